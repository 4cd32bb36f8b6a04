"""What the stages cost when they last ran on this machine: a table, a page that is no artifact, and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lethe.core.errors import StageError
from lethe.core.params import read_yaml
from lethe.report.html import render

if TYPE_CHECKING:
    from rich.table import Table

FOLDER = Path(".scratch/cost")  # where every stage leaves what it cost
TEMPLATE = Path(__file__).with_name("cost.html.j2")
NUMBERS = {  # as recorded -> as shown; more than one stage adds up but for peaks
    "cpu_seconds": "CPU seconds",
    "gpu_seconds": "GPU seconds",
    "wall_seconds": "seconds by the clock",
    "peak_memory_mib": "peak memory, MiB",
    "peak_gpu_memory_mib": "peak GPU memory, MiB",
    "tokens": "tokens read",
    "tokens_per_second": "tokens a second",
}
SUMMED = ("cpu_seconds", "gpu_seconds", "wall_seconds", "tokens")
PEAKS = ("peak_memory_mib", "peak_gpu_memory_mib")


class Cost(NamedTuple):
    """What one stage cost. numbers: by the names of NUMBERS, None where it is not known."""

    stage: str
    numbers: dict[str, float | None]
    ran: bool  # False: the stage has not run here, its outs came from the cache


def costs(pipeline: Path, folder: Path) -> list[Cost]:
    """Every stage in the order of the pipeline. Raises StageError if no stage has run here, or a record is broken."""
    found = [recorded(stage, folder / f"{stage}.json") for stage in read_yaml(pipeline)["stages"]]
    if not any(cost.ran for cost in found):
        raise StageError(f"{folder}: expected that of a run on this machine, got no stage's cost; run `dvc repro`")
    return found


def recorded(stage: str, path: Path) -> Cost:
    """What a stage recorded, and tokens a second where it counted tokens. Raises StageError for a broken record."""
    if not path.exists():
        return Cost(stage, dict.fromkeys(NUMBERS), ran=False)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        numbers: dict[str, float | None] = {name: values.get(name) for name in NUMBERS}
    except (json.JSONDecodeError, AttributeError):
        raise StageError(f"{path}: expected one JSON object, got no record of a cost; delete it") from None
    tokens, seconds = numbers["tokens"], numbers["wall_seconds"]
    if tokens and seconds:
        numbers["tokens_per_second"] = round(tokens / seconds, 1)
    return Cost(stage, numbers, ran=True)


def total(found: Sequence[Cost]) -> dict[str, float | None]:
    """Sums of what adds up, the largest of the peaks."""
    whole: dict[str, float | None] = dict.fromkeys(NUMBERS)
    for names, join in ((SUMMED, sum), (PEAKS, max)):
        for name in names:
            known = [value for cost in found if (value := cost.numbers[name]) is not None]
            whole[name] = round(join(known), 2) if known else None
    return whole


def as_dict(found: Sequence[Cost]) -> dict[str, Any]:
    """Costs by stage, the total, and the stages that have not run here."""
    return {
        "stages": {cost.stage: cost.numbers for cost in found if cost.ran},
        "total": total(found),
        "not_run_here": [cost.stage for cost in found if not cost.ran],
    }


def shown(value: float | None) -> str:
    """A number for a person: whole, but for a few seconds."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def table(found: Sequence[Cost]) -> Table:
    """A row per stage and the total; a stage that came from the cache says so."""
    from rich import box
    from rich.table import Table

    whole = total(found)
    names = [name for name in NUMBERS if any(cost.numbers[name] is not None for cost in found)]
    made = Table("stage", box=box.SIMPLE_HEAD, pad_edge=False, show_footer=False)
    for name in names:
        made.add_column(NUMBERS[name], justify="right")
    made.add_column("")
    for cost in found:
        note = "" if cost.ran else "not run here"
        made.add_row(cost.stage, *(shown(cost.numbers[name]) for name in names), note)
    made.add_section()
    made.add_row("total", *(shown(whole[name]) for name in names), "")
    return made


def page(found: Sequence[Cost]) -> str:
    """The table as a page with a bar for each stage's share of the time."""
    whole = total(found)
    names = [name for name in NUMBERS if any(cost.numbers[name] is not None for cost in found)]
    longest = max((cost.numbers["wall_seconds"] or 0 for cost in found), default=0) or 1
    rows = [
        {
            "stage": cost.stage,
            "ran": cost.ran,
            "width": round(100 * (cost.numbers["wall_seconds"] or 0) / longest, 1),
            "cells": [(cost.numbers[name], shown(cost.numbers[name])) for name in names],
        }
        for cost in found
    ]
    return render(
        TEMPLATE, charts={}, titles=[NUMBERS[name] for name in names], rows=rows, whole=[shown(whole[n]) for n in names]
    )
