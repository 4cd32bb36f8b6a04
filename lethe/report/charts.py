"""Charts as SVG text that takes its colours from the page, so that one page serves light and dark."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from io import StringIO
from textwrap import fill
from typing import Any, NamedTuple

from lethe.report.step_table import METRICS, Row, tasks_of

# Colours of the drawing, replaced by the page's own.
INK, BASELINE, UNLEARNED, RETRAINED = "#010203", "#010204", "#010205", "#010206"
PAGE = {
    INK: "currentColor",
    BASELINE: "var(--baseline)",
    UNLEARNED: "var(--unlearned)",
    RETRAINED: "var(--retrained)",
}
OF_MODEL = {"baseline": BASELINE, "unlearned": UNLEARNED, "retrained": RETRAINED}
COLOURS = (UNLEARNED, "#d9772b", "#2f9e6e", "#a66bbe", "#c2504f", "#7d8794", "#b59a1f")  # readable on white and black
INCHES = (3.5, 2.4)  # at their own size the letters are as large as the page's small ones
WIDER = (4.6, 3.2)
TITLE_CHARS = 40  # of a line over a chart


class Line(NamedTuple):
    """One curve, or a level to compare with (dashed)."""

    name: str
    points: Sequence[tuple[float, float]]
    level: bool = False


class Spot(NamedTuple):
    """One model as a point between what it gives away and what it keeps."""

    name: str
    step: int | None  # None: not on the way from baseline to unlearned
    x: float
    y: float


def step_charts(rows: Sequence[Row]) -> list[str]:
    """One chart per metric with the retrained model as a level, and one with all benchmarks."""
    charts = [(title, [Line("unlearning", _path(rows, key)), *_levels(rows, key)]) for key, title in METRICS.items()]
    charts.append(("Benchmarks", [Line(task, _path(rows, task)) for task in tasks_of(rows)]))
    kept = [(title, [line for line in lines if line.points]) for title, lines in charts]
    return [chart(title, "optimiser steps", lines) for title, lines in kept if lines]


def trade_chart(rows: Sequence[Row], given: str, kept: str) -> str | None:
    """The path of the steps between two metrics of the step table, None unless two models have both.

    given: what the model gives away, upwards; kept: what it keeps, across.
    """
    spots = [
        Spot(row["model"], row["step"], row[kept], row[given])
        for row in rows
        if row[given] is not None and row[kept] is not None
    ]
    if len(spots) < 2:
        return None
    return drawing(
        f"{METRICS[given]} against {METRICS[kept].lower()}", WIDER, lambda axes: _draw_spots(axes, given, kept, spots)
    )


def request_charts(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """One chart per number over the erasure requests forgotten so far, the model before any at 0.

    lines: `lethe.report.request_ledger.course`.
    """
    charts = []
    for key, title in (METRICS | {"benchmark": "Benchmarks (mean accuracy)"}).items():
        points = [(line["forgotten"], line[key]) for line in lines if line.get(key) is not None]
        if len(points) > 1:
            charts.append(chart(title, "erasure requests forgotten", [Line("unlearned", points)]))
    return charts


def loss_charts(curves: Mapping[str, Sequence[tuple[float, float]]]) -> list[str]:
    """One chart per training."""
    return [chart(f"Loss: {name}", "optimiser steps", [Line(name, points)]) for name, points in curves.items()]


def relearning_charts(curves: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]]) -> list[str]:
    """One chart per relearning attack, a curve for each model. curves: title -> model -> (steps, leak)."""
    return [
        chart(title, "steps of the attack; up: leak", [Line(model, points) for model, points in models.items()])
        for title, models in curves.items()
    ]


def chart(title: str, across: str, lines: Sequence[Line]) -> str:
    """An <svg> element with a title, curves and, where there are several, their names."""
    return drawing(title, INCHES, lambda axes: _draw_lines(axes, title, across, lines))


def drawing(title: str, inches: tuple[float, float], draw: Any) -> str:
    """What `draw(axes)` draws, as an <svg> element.

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


def _draw_lines(axes: Any, title: str, across: str, lines: Sequence[Line]) -> None:
    for number, line in enumerate(lines):
        xs, ys = zip(*line.points, strict=True)
        colour = OF_MODEL.get(line.name, RETRAINED if line.level else COLOURS[number % len(COLOURS)])
        marker = "o" if len(xs) < 20 and not line.level else None
        style = "--" if line.level else "-"
        axes.plot(xs, ys, style, color=colour, marker=marker, markersize=3.5, linewidth=1.5, label=line.name)
    low, high = axes.get_ylim()
    axes.set_ylim(min(0, low) if low < high / 2 else low, high)  # zero is shown unless it would flatten the curve
    axes.set_title(fill(title, TITLE_CHARS), loc="left")
    axes.set_xlabel(across)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(axis="y", color=INK, alpha=0.12, linewidth=0.6)
    if len(lines) > 1:
        axes.legend(frameon=False)


def _draw_spots(axes: Any, given: str, kept: str, spots: Sequence[Spot]) -> None:
    way = [spot for spot in spots if spot.step is not None]
    axes.plot([spot.x for spot in way], [spot.y for spot in way], "-", color=INK, alpha=0.35, linewidth=1)
    above, below, under = ((7, 5), "left"), ((7, -11), "left"), ((0, -14), "center")
    for number, spot in enumerate(spots):
        colour = OF_MODEL.get(spot.name, INK)
        shape = {"retrained": "D"}.get(spot.name, "o")
        size = 7 if spot.name in OF_MODEL else 3.5
        axes.plot([spot.x], [spot.y], shape, color=colour, markersize=size)
        apart = above if number % 2 == 0 else below  # neighbours on the way do not cover each other
        offset, align = {"baseline": above, "unlearned": under, "retrained": above}.get(spot.name, apart)
        text = spot.name if spot.name in OF_MODEL else f"step {spot.step}"
        axes.annotate(text, (spot.x, spot.y), offset, ha=align, textcoords="offset points", color=colour, fontsize=8.5)
    axes.margins(x=0.22, y=0.12)
    axes.set_title(METRICS[given], loc="left")
    axes.set_xlabel(METRICS[kept].lower())
    axes.grid(color=INK, alpha=0.12, linewidth=0.6)


def _inline(svg: str, title: str) -> str:
    """The drawing without what belongs to a file of its own, its group ids (not unique in a page) and its fonts."""
    svg = svg[svg.index("<svg") :]
    for drawn, shown in PAGE.items():
        svg = svg.replace(drawn, shown)
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"font-family: [^;]*", "font-family: inherit", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)


def _path(rows: Sequence[Row], metric: str) -> list[tuple[float, float]]:
    """(step, value) of the models on the way from baseline to unlearned."""
    return [(row["step"], row[metric]) for row in rows if row["step"] is not None and row[metric] is not None]


def _levels(rows: Sequence[Row], metric: str) -> list[Line]:
    """The models that are no step, as levels across the chart."""
    ends = [step for step, _ in _path(rows, metric)]
    beside = [row for row in rows if row["step"] is None and row[metric] is not None]
    return [Line(row["model"], [(min(ends), row[metric]), (max(ends), row[metric])], True) for row in beside if ends]
