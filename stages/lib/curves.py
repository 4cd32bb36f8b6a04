"""Line charts as SVG text that takes its ink from the page, so that one page serves light and dark."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from io import StringIO
from typing import NamedTuple

from stages.lib.steps import METRICS, Row, tasks_of

INK = "#010203"  # replaced by the page's text colour
COLOURS = (
    "#3b82c4",
    "#d9772b",
    "#2f9e6e",
    "#a66bbe",
    "#c2504f",
    "#7d8794",
    "#b59a1f",
)  # readable on white and on black
INCHES = (4.2, 2.7)


class Line(NamedTuple):
    """One curve, or a level to compare with (dashed)."""

    name: str
    points: Sequence[tuple[float, float]]
    level: bool = False


def step_charts(rows: Sequence[Row]) -> list[str]:
    """One chart per metric with the retrained model as a level, and one with all benchmarks."""
    charts = [(title, [Line("unlearning", _path(rows, key)), *_levels(rows, key)]) for key, title in METRICS.items()]
    charts.append(("Benchmarks", [Line(task, _path(rows, task)) for task in tasks_of(rows)]))
    kept = [(title, [line for line in lines if line.points]) for title, lines in charts]
    return [chart(title, "optimiser steps", lines) for title, lines in kept if lines]


def loss_charts(curves: Mapping[str, Sequence[tuple[float, float]]]) -> list[str]:
    """One chart per training."""
    return [chart(f"Loss: {name}", "optimiser steps", [Line(name, points)]) for name, points in curves.items()]


def chart(title: str, across: str, lines: Sequence[Line]) -> str:
    """An <svg> element. Same numbers, same text: no date, no random ids, no settings of the machine."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "svg.fonttype": "none",
                "svg.hashsalt": title,
                "font.size": 9,
                "axes.spines.top": False,
                "axes.spines.right": False,
                **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
            }
        )
        figure = Figure(figsize=INCHES, layout="constrained")
        _draw(figure, title, across, lines)
        stream = StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(stream, format="svg", transparent=True, metadata=nothing)
    return _inline(stream.getvalue(), title)


def _draw(figure: object, title: str, across: str, lines: Sequence[Line]) -> None:
    axes = figure.subplots()  # type: ignore[attr-defined]
    for number, line in enumerate(lines):
        xs, ys = zip(*line.points, strict=True)
        colour = INK if line.level else COLOURS[number % len(COLOURS)]
        marker = "o" if len(xs) < 20 and not line.level else None
        style = "--" if line.level else "-"
        axes.plot(xs, ys, style, color=colour, marker=marker, markersize=3, linewidth=1.5, label=line.name)
    low, high = axes.get_ylim()
    axes.set_ylim(min(0, low) if low < high / 2 else low, high)  # zero is shown unless it would flatten the curve
    axes.set_title(title)
    axes.set_xlabel(across)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(axis="y", color=INK, alpha=0.15, linewidth=0.6)
    if len(lines) > 1:
        axes.legend(frameon=False)


def _inline(svg: str, title: str) -> str:
    """The drawing without what belongs to a file of its own, its group ids (not unique in a page) and its fonts."""
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
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
