"""Charts as SVG."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

from lethe.report.charts import (
    OF_MODEL,
    PAGE,
    Line,
    chart,
    free_places,
    label_box,
    loss_charts,
    overlaps,
    request_charts,
    step_charts,
    trade_off_chart,
)

MODELS = ["baseline", "step-00005", "unlearned"]
LINES = [
    Line("unlearning", [(0, 3.0), (5, 2.0), (30, 0.5)], models=MODELS),
    Line("retrained", [(0, 0.2), (30, 0.2)], True),
]


def test_a_chart_is_well_formed_and_takes_its_colours_from_the_page() -> None:
    svg = chart("a < b", "optimiser steps", LINES)
    root = ElementTree.fromstring(svg)
    assert root.attrib["aria-label"] == "a < b"
    assert [
        colour
        for colour in ("currentColor", "var(--baseline)", "var(--unlearned)", "var(--retrained)")
        if colour not in svg
    ] == []
    assert not [drawn for drawn in PAGE if drawn in svg]
    assert [text for text in ("unlearning", "retrained", "optimiser steps") if f">{text}</text>" not in svg] == []


def test_same_numbers_same_text(monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    first = chart("x", "y", LINES)
    monkeypatch.setitem(matplotlib.rcParams, "font.size", 40)  # a person's own settings
    assert chart("x", "y", LINES) == first


def test_charts_leave_out_what_was_not_measured() -> None:
    empty = {"completion_familiarity": None, "probability_familiarity": None, "leak": None}
    rows = [
        {"step": 0, "model": "baseline", "retain_perplexity": 4.0, "task": None, **empty},
        {"step": None, "model": "retrained", "retain_perplexity": 4.0, "task": 0.5, **empty},
    ]
    [only] = step_charts(rows)
    assert 'aria-label="Retain perplexity"' in only
    assert step_charts([]) == []
    assert len(loss_charts({"baseline": [(1, 2.0)], "finetune": [(1, 2.0)]})) == 2


def test_requests_have_a_chart_for_each_number_of_two_models() -> None:
    lines = [
        {"forgotten": 0, "retain_perplexity": 4.0, "leak": 0.5, "benchmark": None},
        {"forgotten": 1, "retain_perplexity": None, "leak": 0.25, "benchmark": 0.7},
        {"forgotten": 3, "retain_perplexity": 5.0, "leak": 0.0},
    ]
    charts = request_charts(lines)
    shown = [ElementTree.fromstring(svg).attrib["aria-label"] for svg in charts]
    assert shown == ["Leak", "Retain perplexity"]
    assert all(">erasure requests forgotten</text>" in svg for svg in charts)
    assert request_charts([]) == []


def test_the_path_of_the_steps_names_the_models() -> None:
    path = [
        (0, "baseline", 4.0, 0.5),
        (5, "step-00005", 4.2, 0.3),
        (30, "unlearned", 4.1, 0.1),
        (None, "retrained", 5, 0),
    ]
    rows = [
        {"step": step, "model": model, "retain_perplexity": kept, "probability_familiarity": given}
        for step, model, kept, given in path
    ]
    svg = trade_off_chart(rows, "probability_familiarity", "retain_perplexity")
    assert svg is not None
    assert ElementTree.fromstring(svg).attrib["aria-label"] == "Familiarity (probability) against retain perplexity"
    assert [name for name in ("baseline", "step 5", "unlearned", "retrained") if f">{name}</text>" not in svg] == []
    assert trade_off_chart(rows, "probability_familiarity", "retain_perplexity") == svg
    alone = [rows[0], rows[1] | {"retain_perplexity": None}]
    assert trade_off_chart(alone, "probability_familiarity", "retain_perplexity") is None


def test_labels_cover_no_point_axis_or_other_label() -> None:
    # A point to the right above the first, one to the right below it: right of it there is no room, left there is.
    points, texts = [(100.0, 50.0), (120.0, 59.0), (121.0, 41.0)], ["suppressed", "step 40", "unlearned"]
    chosen = free_places(points, texts, (0, 0, 300, 200))
    assert chosen[0] == ((-7, 5), "right")
    boxes = [label_box(*point, text, *place) for point, text, place in zip(points, texts, chosen, strict=True)]
    assert not any(overlaps(boxes[one], boxes[other]) for one, other in ((0, 1), (0, 2), (1, 2)))
    assert not any(overlaps(box, (x - 4, y - 4, x + 4, y + 4)) for box in boxes for x, y in points)
    # with the left axis at 60 the label, 48 wide, has no free place either: of equally bad ones the first
    assert free_places(points, texts, (60, 0, 300, 200))[0] == ((7, 5), "left")


def test_a_model_has_the_same_mark_in_every_chart() -> None:
    assert len(set(OF_MODEL.values())) == len(OF_MODEL)
    row = {"retain_perplexity": 4.0, "probability_familiarity": 0.5, "completion_familiarity": None, "leak": None}
    rows = [row | {"step": 0, "model": "baseline"}, row | {"step": None, "model": "retrained"}]
    path = trade_off_chart(rows, "probability_familiarity", "retain_perplexity")
    assert path is not None
    drawn, shapes = (path, *step_charts(rows)), {}
    for model in ("baseline", "retrained"):  # a mark is a path with an id; its size differs, not its commands
        mark = re.compile(rf'<path id="[^"]*" d="([^"]*)" style="[^"]*stroke: var\(--{model}\)')
        found = [{"".join(re.findall("[A-Za-z]", path)) for path in mark.findall(svg)} for svg in drawn]
        assert all(found)
        [shapes[model]] = set().union(*found)
    assert shapes["baseline"] != shapes["retrained"]


def test_the_legend_lies_below_the_curves() -> None:
    root = ElementTree.fromstring(chart("x", "steps", LINES))
    heights = {text.text: float(re.findall(r"[\d.]+", text.attrib["transform"])[-1]) for text in texts_of(root)}
    assert heights["unlearning"] > heights["steps"]  # downwards


def texts_of(root: ElementTree.Element) -> list[ElementTree.Element]:
    return [element for element in root.iter() if element.tag.endswith("text")]
