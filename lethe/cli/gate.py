"""The release gate from the reports in git: the verdict that the report page shows."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lethe.core.errors import StageError
from lethe.core.params import join_problems, read_yaml, section_problems
from lethe.core.tables import read_json
from lethe.custody.plain_data import checked, json_object, text_if_there
from lethe.custody.plain_git import PLAIN_GIT, plain
from lethe.gate.criteria import JUDGED, Criterion, GateParams, criteria, sentence, status
from lethe.gate.metric_catalogue import number

if TYPE_CHECKING:
    from rich.table import Table


def judge(params: Path, reports: Path) -> list[Criterion]:
    """The criteria of the params file, judged by the reports in a folder.

    Raises StageError where a report is missing or a threshold is invalid.
    """
    limits = thresholds(params, (read_yaml(params).get("report") or {}).get("gate"))
    return judged_by(limits, [report_of(reports / f"{name}.json") for name in JUDGED], str(reports))


def report_of(path: Path) -> dict[str, Any]:
    """A report of one reading. Raises StageError for any other: what counts must not depend on who reads it."""
    if not path.exists():
        read_json(path)  # it says so in its own words
    if not (content := json_object(checked(path).read_bytes())):
        raise StageError(
            f"{path}: expected a report as `lethe repro` writes it, got no JSON, a name that stands there twice or a "
            "number that JSON does not have; `dvc repro`"
        )
    return content


def judged_by(limits: GateParams, reports: Sequence[Mapping[str, Any]], where: str) -> list[Criterion]:
    """The criteria, judged by these reports. Raises StageError for reports of another shape."""
    try:
        return criteria(limits, *reports)
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, IndexError):
        raise StageError(f"{where}: expected reports as `lethe repro` writes them, got others") from None


def thresholds(where: Path, values: Any) -> GateParams:
    """The thresholds of a params file. Raises StageError for an invalid one."""
    problems = section_problems("report.gate", GateParams, values)
    if problems:
        raise StageError(join_problems(where, problems))
    return GateParams.model_validate(values)


def judge_here(params: Path, reports: Path) -> tuple[list[Criterion], str]:
    """The criteria of the params file, judged by the reports in a folder, and words for what vouches for both."""
    from lethe.provenance.history import params_of

    lock = text_if_there(Path("dvc.lock"))
    judged, of = judge(params, reports), origin(reports)
    limits = (read_yaml(params).get("report") or {}).get("gate")
    same = not lock or limits == params_of(lock, "report").get("gate")
    return judged, of if same else f"{of}, judged by limits that dvc.lock does not record"


def origin(reports: Path) -> str:
    """Words for what vouches for the reports in a folder.

    Raises StageError for a report that is not the one that dvc.lock records.
    """
    from lethe.provenance.fingerprint import md5_of
    from lethe.provenance.history import recorded

    lock, paths = Path("dvc.lock"), [reports / f"{name}.json" for name in JUDGED]
    text, nobody = text_if_there(lock), "Reports that no dvc.lock records: nothing vouches for them"
    if not text:
        return nobody
    outs = {path: md5 for entry in recorded(text).values() for path, md5 in entry.outs.items()}
    for path in paths:
        if not path.exists():
            raise StageError(f"{path}: expected the report of a finished run, got none; `git checkout {path}`")
        if outs.get(path.as_posix(), "") not in ("", md5_of(path)):
            raise StageError(f"{path}: expected the report that dvc.lock records, got another; `git checkout {path}`")
    if not all(path.as_posix() in outs for path in paths):
        return nobody
    head = subprocess.run([*PLAIN_GIT, "rev-parse", "HEAD"], capture_output=True, text=True, env=plain())
    if head.returncode:
        return "Reports that no commit holds"
    commit = head.stdout.strip()[:10]
    if all(in_head(path) == path.read_bytes() for path in (lock, *paths)):
        return f"The reports of commit {commit}"
    return f"Reports that no commit holds; HEAD is {commit}"


def in_head(path: Path) -> bytes:
    """What HEAD has at a path, whatever git was told not to look at."""
    return subprocess.run([*PLAIN_GIT, "cat-file", "blob", f"HEAD:./{path}"], capture_output=True, env=plain()).stdout


def judge_ref(ref: str) -> tuple[list[Criterion], str]:
    """The criteria of a ref's own params, judged by its reports, and words for the commit.

    Raises StageError where a report is missing there, or is not the one that its dvc.lock records.
    """
    from lethe.provenance.fingerprint import bytes_md5
    from lethe.provenance.history import files_at, open_history, params_of, recorded

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
    return judged_by(limits, list(map(json_object, held.values())), ref), f"The reports of commit {commit[:10]}"


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
