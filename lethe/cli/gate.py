"""The release gate from the reports in git: the verdict that the report page shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lethe.core.errors import StageError
from lethe.core.params import join_problems, read_yaml, section_problems
from lethe.core.tables import read_json
from lethe.gate.criteria import Criterion, GateParams, criteria, sentence, status
from lethe.gate.metric_catalogue import number

if TYPE_CHECKING:
    from rich.table import Table


def judge(params: Path, reports: Path) -> list[Criterion]:
    """The criteria of the params file, judged by the reports in a folder.

    Raises StageError where a report is missing or a threshold is invalid.
    """
    values = (read_yaml(params).get("report") or {}).get("gate")
    problems = section_problems("report.gate", GateParams, values)
    if problems:
        raise StageError(join_problems(params, problems))
    found = [read_json(reports / f"{name}.json") for name in ("familiarity", "benchmarks", "measures", "attacks")]
    return criteria(GateParams.model_validate(values), *found)


def table(judged: Sequence[Criterion]) -> Table:
    """Each criterion with its limit, the measured value, its 95 % interval and the result."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    shown = Table("criterion", box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("limit", "value", "95 % interval", "", ""):
        shown.add_column(title, justify="right" if title else "left")
    colours = {"pass": "green", "fail": "red"}
    for criterion in judged:
        limit = f"{criterion.bound} {criterion.allowed:.3g}" + ("*" if criterion.allowed != criterion.limit else "")
        none = criterion.low is None or criterion.high is None
        interval = "" if none else f"{number(criterion.low)} to {number(criterion.high)}"
        result = f"[{colours.get(criterion.result, 'yellow')}]{criterion.result}[/]"
        shown.add_row(criterion.what, limit, number(criterion.value), interval, result, escape(criterion.note))
    if any(criterion.allowed != criterion.limit for criterion in judged):
        shown.caption = "* beyond the limit of params.yaml, as far as retrained models differ from each other"
    return shown


def as_dict(judged: Sequence[Criterion]) -> dict[str, Any]:
    """The gate as one JSON object."""
    return {
        "status": status(judged),
        "verdict": sentence(judged),
        "criteria": [criterion._asdict() | {"met": criterion.met} for criterion in judged],
    }
