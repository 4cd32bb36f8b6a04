"""The release gate from the reports in git: the verdict that the report page shows."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lethe.core.errors import StageError
from lethe.core.params import join_problems, read_yaml, section_problems
from lethe.core.tables import read_json
from lethe.gate.criteria import JUDGED, Criterion, GateParams, criteria, sentence, status
from lethe.gate.metric_catalogue import number

if TYPE_CHECKING:
    from rich.table import Table


def judge(params: Path, reports: Path) -> list[Criterion]:
    """The criteria of the params file, judged by the reports in a folder.

    Raises StageError where a report is missing or a threshold is invalid.
    """
    limits = thresholds(params, (read_yaml(params).get("report") or {}).get("gate"))
    return criteria(limits, *(read_json(reports / f"{name}.json") for name in JUDGED))


def thresholds(where: Path, values: Any) -> GateParams:
    """The thresholds of a params file. Raises StageError for an invalid one."""
    problems = section_problems("report.gate", GateParams, values)
    if problems:
        raise StageError(join_problems(where, problems))
    return GateParams.model_validate(values)


def origin(reports: Path) -> str:
    """Words for what vouches for the reports in a folder, "" without a dvc.lock.

    Raises StageError for a report that is not the one that dvc.lock records.
    """
    from lethe.provenance.fingerprint import md5_of
    from lethe.provenance.history import recorded

    lock = Path("dvc.lock")
    if not lock.exists():
        return ""
    text = lock.read_text(encoding="utf-8", errors="replace")
    outs = {path: md5 for entry in recorded(text).values() for path, md5 in entry.outs.items()}
    paths = [reports / f"{name}.json" for name in JUDGED]
    for path in paths:
        if not path.exists():
            raise StageError(f"{path}: expected the report of a finished run, got none; `git checkout {path}`")
        if outs.get(path.as_posix(), "") not in ("", md5_of(path)):
            raise StageError(f"{path}: expected the report that dvc.lock records, got another; `git checkout {path}`")
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    if head.returncode:
        return ""
    same = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", str(lock), *map(str, paths)], capture_output=True)
    commit = head.stdout.strip()[:10]
    return (
        f"The reports of commit {commit}" if same.returncode == 0 else f"Reports that no commit holds; HEAD is {commit}"
    )


def judge_ref(ref: str) -> tuple[list[Criterion], str]:
    """The criteria of a ref's own params, judged by its reports, and words for the commit.

    Raises StageError where a report is missing there, or is not the one that its dvc.lock records.
    """
    from lethe.provenance.fingerprint import bytes_md5
    from lethe.provenance.history import files_at, open_history, params_of, recorded
    from lethe.provenance.lineage import json_object

    history = open_history(Path(), ref)
    commit = history.scope.commit
    lock = next((lock for lock in history.locks if any(each.id == commit for each in lock.commits)), None)
    if lock is None:
        raise StageError(f"{ref}: expected a dvc.lock that can be read in commit {commit[:10]}, got none")
    outs = {path: md5 for entry in recorded(lock.text).values() for path, md5 in entry.outs.items()}
    held = files_at(history.project, commit, [f"reports/{name}.json" for name in JUDGED])
    for path in (f"reports/{name}.json" for name in JUDGED):
        if path not in held or bytes_md5(held[path]) != outs.get(path):
            raise StageError(f"{ref}: {path}: expected the report that dvc.lock of {commit[:10]} records, got none")
    limits = thresholds(Path(f"dvc.lock of {commit[:10]}"), params_of(lock.text, "report").get("gate"))
    return criteria(limits, *map(json_object, held.values())), f"The reports of commit {commit[:10]}"


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
        shown.caption_justify = "left"
        shown.caption = "* beyond the limit of params.yaml, as far as retrained models differ from each other"
    return shown


def as_dict(judged: Sequence[Criterion]) -> dict[str, Any]:
    """The gate as one JSON object."""
    return {
        "status": status(judged),
        "verdict": sentence(judged),
        "criteria": [criterion._asdict() | {"met": criterion.met} for criterion in judged],
    }
