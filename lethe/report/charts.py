"""Charts as SVG text that takes its colours from the page, so that they work in light and dark mode."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from io import StringIO
from textwrap import fill
from typing import Any, NamedTuple

from lethe.gate.model_catalogue import MODELS
from lethe.report.step_table import METRICS, Row, tasks_of

# Placeholder colours of the drawing, replaced by the page's own.
INK = "#010203"
OF_MODEL = {name: f"#01020{4 + number}" for number, name in enumerate(MODELS)}
PAGE = {INK: "currentColor"} | {colour: f"var(--{name})" for name, colour in OF_MODEL.items()}
PLAIN = ("unlearning", "loss")  # lines that are no model: in the colour of the text
COLOURS = ("#4a7fd0", "#d9772b", "#2f9e6e", "#a66bbe", "#c2504f", "#7d8794", "#b59a1f")  # readable on white and black
INCHES = (3.5, 2.4)  # at their own size the letters are as large as the page's small ones
WIDER = (4.6, 3.2)
TITLE_CHARS = 40  # of a line over a chart
MOST_COLUMNS = 4  # of a legend
LABEL = (4.8, 10.0)  # width of a character and height of a label beside a point, in points
# Where a label may stand beside its point, in points: the first place that is free is taken.
BESIDE = (
    *(((7, 5), "left"), ((7, -11), "left")),
    *(((-7, 5), "right"), ((-7, -11), "right")),
    *(((0, 9), "center"), ((0, -16), "center")),
)


class Line(NamedTuple):
    """One curve, or a constant level to compare with (dashed). models: those at its points, where a point is one."""

    name: str
    points: Sequence[tuple[float, float]]
    level: bool = False
    models: Sequence[str] = ()


class Point(NamedTuple):
    """One model as a point of leakage against utility."""

    name: str
    step: int | None  # None: not a step from baseline to unlearned
    x: float
    y: float


def step_charts(rows: Sequence[Row]) -> list[str]:
    """One chart per metric with the retrained model as a level, and one with all benchmarks."""
    charts = [
        (title, [Line("unlearning", _path(rows, key), models=_on_path(rows, key)), *_levels(rows, key)])
        for key, title in METRICS.items()
    ]
    charts.append(("Benchmarks", [Line(task, _path(rows, task)) for task in tasks_of(rows)]))
    kept = [(title, [line for line in lines if line.points]) for title, lines in charts]
    return [chart(title, "optimiser steps", lines) for title, lines in kept if lines]


def trade_off_chart(rows: Sequence[Row], leakage: str, utility: str) -> str | None:
    """The path of the steps between two metrics of the step table, None unless two models have both.

    leakage: the metric on the vertical axis; utility: the metric on the horizontal axis.
    """
    points = [
        Point(row["model"], row["step"], row[utility], row[leakage])
        for row in rows
        if row[leakage] is not None and row[utility] is not None
    ]
    if len(points) < 2:
        return None
    title = f"{METRICS[leakage]} against {METRICS[utility].lower()}"
    return drawing(title, WIDER, lambda axes: _draw_points(axes, leakage, utility, points))


def request_charts(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """One chart per metric over the number of erasure requests forgotten, the model before any at 0.

    lines: from `lethe.report.request_ledger.history`.
    """
    charts = []
    for key, title in (METRICS | {"benchmark": "Benchmarks (mean accuracy)"}).items():
        points = [(line["forgotten"], line[key]) for line in lines if line.get(key) is not None]
        if len(points) > 1:
            charts.append(chart(title, "erasure requests forgotten", [Line("unlearned", points)]))
    return charts


def loss_charts(curves: Mapping[str, Sequence[tuple[float, float]]]) -> list[str]:
    """One chart per training."""
    return [chart(f"Loss: {name}", "optimiser steps", [Line("loss", points)]) for name, points in curves.items()]


def relearning_charts(curves: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]]) -> list[str]:
    """One chart per relearning attack, a curve for each model. curves: title -> model -> (steps, leak)."""
    return [
        chart(title, "attack steps (vertical: leak)", [Line(model, points) for model, points in models.items()])
        for title, models in curves.items()
    ]


def chart(title: str, x_label: str, lines: Sequence[Line]) -> str:
    """An <svg> element with a title, curves and, where there are several, a legend."""
    return drawing(title, INCHES, lambda axes: _draw_lines(axes, title, x_label, lines))


def drawing(title: str, inches: tuple[float, float], draw: Any) -> str:
    """The result of `draw(axes)` as an <svg> element.

    Same numbers, same text: no date, no random ids, no settings of the machine.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "svg.fonttype": "none",
                "svg.hashsalt": title,
                "font.size": 9,
                "axes.titlesize": 10,
                "axes.spines.top": False,
                "axes.spines.right": False,
                **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
            }
        )
        figure = Figure(figsize=inches, layout="constrained")
        draw(figure.subplots())
        stream = StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(stream, format="svg", transparent=True, metadata=nothing)
    return _inline(stream.getvalue(), title)


def _draw_lines(axes: Any, title: str, x_label: str, lines: Sequence[Line]) -> None:
    for number, line in enumerate(lines):
        xs, ys = zip(*line.points, strict=True)
        other = INK if line.name in PLAIN else OF_MODEL["retrained"] if line.level else COLOURS[number % len(COLOURS)]
        colour = OF_MODEL.get(line.name, other)
        own = MODELS.get(line.name)
        few = "o" if len(xs) < 20 and not line.level else None
        style = "--" if line.level else "-"
        every = [-1] if line.level else None  # a level bears its mark once
        mark, size = (own.marker, own.points) if own else (few, 3.5)
        marks = {"marker": mark, "markersize": size, "markevery": every}
        axes.plot(xs, ys, style, color=colour, linewidth=1.5, label=line.name, **marks)
        for model, x, y in zip(line.models, xs, ys, strict=False):
            if of := MODELS.get(model):
                axes.plot([x], [y], of.marker, color=OF_MODEL[model], markersize=of.points, zorder=3)
    low, high = axes.get_ylim()
    axes.set_ylim(min(0, low) if low < high / 2 else low, high)  # zero is shown unless it would flatten the curve
    axes.set_title(fill(title, TITLE_CHARS), loc="left")
    axes.set_xlabel(x_label)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(axis="y", color=INK, alpha=0.12, linewidth=0.6)
    if len(lines) > 1:  # below the chart, where no curve runs
        columns = len(lines) if len(lines) <= MOST_COLUMNS else MOST_COLUMNS - 1
        small = {"frameon": False, "fontsize": 8, "handlelength": 1.2, "columnspacing": 0.9, "handletextpad": 0.4}
        axes.figure.legend(loc="outside lower center", ncols=columns, **small)


def _draw_points(axes: Any, leakage: str, utility: str, points: Sequence[Point]) -> None:
    path = [point for point in points if point.step is not None]
    axes.plot([point.x for point in path], [point.y for point in path], "-", color=INK, alpha=0.35, linewidth=1)
    for point in points:
        own = MODELS.get(point.name)
        mark, size = (own.marker, own.points + 0.5) if own else ("o", 3.5)
        axes.plot([point.x], [point.y], mark, color=OF_MODEL.get(point.name, INK), markersize=size)
    axes.margins(x=0.4, y=0.12)
    axes.autoscale_view()  # before the transformation is used: the limits are otherwise set when the chart is drawn
    texts = [point.name if point.name in OF_MODEL else f"step {point.step}" for point in points]
    inch = 72 / axes.figure.dpi  # of the drawing's dots, in points
    scaled = inch * axes.transData.transform([(point.x, point.y) for point in points])
    frame = inch * axes.get_window_extent().extents
    for point, text, (offset, align) in zip(points, texts, free_places(scaled.tolist(), texts, frame), strict=True):
        colour, place = OF_MODEL.get(point.name, INK), (point.x, point.y)
        axes.annotate(text, place, offset, ha=align, textcoords="offset points", color=colour, fontsize=8.5)
    axes.set_title(METRICS[leakage], loc="left")
    axes.set_xlabel(METRICS[utility].lower())
    axes.grid(color=INK, alpha=0.12, linewidth=0.6)


def free_places(
    at: Sequence[tuple[float, float]], texts: Sequence[str], frame: Sequence[float]
) -> list[tuple[tuple[int, int], str]]:
    """Offset and alignment of each point's label, so that it covers no point, axis or earlier label, if it can.

    at: the points, in points of 1/72 inch. frame: left, bottom, right and top of the axes.
    """
    left, bottom, right, _ = frame
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in at]
    taken += [(-math.inf, -math.inf, left, math.inf), (right, -math.inf, math.inf, math.inf)]
    taken += [(-math.inf, -math.inf, math.inf, bottom)]
    chosen = []
    for (x, y), text in zip(at, texts, strict=True):
        boxes = {place: label_box(x, y, text, *place) for place in BESIDE}
        crowded = {place: sum(overlaps(box, other) for other in taken) for place, box in boxes.items()}
        chosen.append(min(BESIDE, key=lambda place: crowded[place]))
        taken.append(boxes[chosen[-1]])
    return chosen


def label_box(x: float, y: float, text: str, offset: tuple[int, int], align: str) -> tuple[float, float, float, float]:
    """(left, bottom, right, top) of a label beside the point (x, y)."""
    width, height = LABEL[0] * len(text), LABEL[1]
    left = x + offset[0] - {"left": 0, "center": width / 2, "right": width}[align]
    return left, y + offset[1] - 2, left + width, y + offset[1] - 2 + height


def overlaps(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    """Whether two boxes (left, bottom, right, top) have a point in common."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _inline(svg: str, title: str) -> str:
    """The drawing as an element of a page: without file header, group ids (not unique in a page) and fonts."""
    svg = svg[svg.index("<svg") :]
    for drawn, shown in PAGE.items():
        svg = svg.replace(drawn, shown)
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"font-family: [^;]*", "font-family: inherit", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)


def _path(rows: Sequence[Row], metric: str) -> list[tuple[float, float]]:
    """(step, value) of the models from baseline to unlearned."""
    return [(row["step"], row[metric]) for row in rows if row["step"] is not None and row[metric] is not None]


def _on_path(rows: Sequence[Row], metric: str) -> list[str]:
    """The models of `_path`."""
    return [row["model"] for row in rows if row["step"] is not None and row[metric] is not None]


def _levels(rows: Sequence[Row], metric: str) -> list[Line]:
    """The models that are no step (retrained), as levels across the chart."""
    ends = [step for step, _ in _path(rows, metric)]
    others = [row for row in rows if row["step"] is None and row[metric] is not None]
    return [Line(row["model"], [(min(ends), row[metric]), (max(ends), row[metric])], True) for row in others if ends]
