"""Charts as SVG text that takes its colours from the page, so that they work in light and dark mode."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from io import StringIO
from textwrap import fill
from typing import Any, NamedTuple

from lethe.report.step_table import METRICS, Row, tasks_of

# Placeholder colours of the drawing, replaced by the page's own.
INK, BASELINE, UNLEARNED, RETRAINED, SUPPRESSED = "#010203", "#010204", "#010205", "#010206", "#010207"
PAGE = {
    INK: "currentColor",
    BASELINE: "var(--baseline)",
    SUPPRESSED: "var(--suppressed)",
    UNLEARNED: "var(--unlearned)",
    RETRAINED: "var(--retrained)",
}
OF_MODEL = {"baseline": BASELINE, "suppressed": SUPPRESSED, "unlearned": UNLEARNED, "retrained": RETRAINED}
COLOURS = (UNLEARNED, "#d9772b", "#2f9e6e", "#a66bbe", "#c2504f", "#7d8794", "#b59a1f")  # readable on white and black
INCHES = (3.5, 2.4)  # at their own size the letters are as large as the page's small ones
WIDER = (4.6, 3.2)
TITLE_CHARS = 40  # of a line over a chart


class Line(NamedTuple):
    """One curve, or a constant level to compare with (dashed)."""

    name: str
    points: Sequence[tuple[float, float]]
    level: bool = False


class Point(NamedTuple):
    """One model as a point of leakage against utility."""

    name: str
    step: int | None  # None: not a step from baseline to unlearned
    x: float
    y: float


def step_charts(rows: Sequence[Row]) -> list[str]:
    """One chart per metric with the retrained model as a level, and one with all benchmarks."""
    charts = [(title, [Line("unlearning", _path(rows, key)), *_levels(rows, key)]) for key, title in METRICS.items()]
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
    return [chart(f"Loss: {name}", "optimiser steps", [Line(name, points)]) for name, points in curves.items()]


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
        colour = OF_MODEL.get(line.name, RETRAINED if line.level else COLOURS[number % len(COLOURS)])
        marker = "o" if len(xs) < 20 and not line.level else None
        style = "--" if line.level else "-"
        axes.plot(xs, ys, style, color=colour, marker=marker, markersize=3.5, linewidth=1.5, label=line.name)
    low, high = axes.get_ylim()
    axes.set_ylim(min(0, low) if low < high / 2 else low, high)  # zero is shown unless it would flatten the curve
    axes.set_title(fill(title, TITLE_CHARS), loc="left")
    axes.set_xlabel(x_label)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(axis="y", color=INK, alpha=0.12, linewidth=0.6)
    if len(lines) > 1:
        axes.legend(frameon=False)


def _draw_points(axes: Any, leakage: str, utility: str, points: Sequence[Point]) -> None:
    path = [point for point in points if point.step is not None]
    axes.plot([point.x for point in path], [point.y for point in path], "-", color=INK, alpha=0.35, linewidth=1)
    above, below, under = ((7, 5), "left"), ((7, -11), "left"), ((0, -14), "center")
    for number, point in enumerate(points):
        colour = OF_MODEL.get(point.name, INK)
        shape = {"retrained": "D"}.get(point.name, "o")
        size = 7 if point.name in OF_MODEL else 3.5
        axes.plot([point.x], [point.y], shape, color=colour, markersize=size)
        alternating = above if number % 2 == 0 else below  # labels of neighbouring steps do not overlap
        offset, align = under if point.name == "unlearned" else above if point.name in OF_MODEL else alternating
        text = point.name if point.name in OF_MODEL else f"step {point.step}"
        place = (point.x, point.y)
        axes.annotate(text, place, offset, ha=align, textcoords="offset points", color=colour, fontsize=8.5)
    axes.margins(x=0.22, y=0.12)
    axes.set_title(METRICS[leakage], loc="left")
    axes.set_xlabel(METRICS[utility].lower())
    axes.grid(color=INK, alpha=0.12, linewidth=0.6)


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


def _levels(rows: Sequence[Row], metric: str) -> list[Line]:
    """The models that are no step (retrained), as levels across the chart."""
    ends = [step for step, _ in _path(rows, metric)]
    others = [row for row in rows if row["step"] is None and row[metric] is not None]
    return [Line(row["model"], [(min(ends), row[metric]), (max(ends), row[metric])], True) for row in others if ends]
