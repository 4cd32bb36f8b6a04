"""Every commit and experiment with its metrics and parameters, and two of them compared."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lethe.core.errors import StageError
from lethe.gate.criteria import DESCRIPTIONS, verdict
from lethe.gate.metric_catalogue import number
from lethe.report.comparison import groups
from lethe.report.html import flattened

if TYPE_CHECKING:
    from lethe.provenance.artifact_store import Store
    from lethe.provenance.history import Commit, History

GATE, PAGE = "reports/gate.json", "reports/index.html"
MEASURED = ("measures", "familiarity", "benchmarks")  # the reports, in the order of `groups`
ASIDE = re.compile(r"refs/(?:stash$|exps/(?:exec|celery)/)")
WORKSPACE = "workspace"  # the id of the run that no commit holds


class Run(NamedTuple):
    """A dvc.lock, what lies beside it, and the newest commit that holds it (None: the folder as it is)."""

    id: str
    lock: str
    commit: Commit | None
    commits: int


def all_runs(history: History) -> list[Run]:
    """Every run, the newest first; a dvc.lock that several commits hold is one."""
    from lethe.provenance.history import uncommitted_lock, unreadable

    aside = set_aside(history)
    held = [(lock, [commit for commit in lock.commits if commit.id not in aside]) for lock in history.locks]
    found = [Run(own[-1].id, lock.text, own[-1], len(own)) for lock, own in held if own]
    found.sort(key=lambda run: run.commit.date if run.commit else "", reverse=True)
    text = uncommitted_lock(history)
    return [Run(WORKSPACE, text, None, 0)] * bool(text and not unreadable(text)) + found


def set_aside(history: History) -> set[str]:
    """The commits that only git's stash or DVC's queue holds: they are nobody's run."""
    from lethe.provenance.history import git
    from lethe.provenance.history import listed as lines

    refs = lines(history.project, "for-each-ref", "--format=%(refname)")
    hidden = [ref for ref in refs if ASIDE.match(ref)]
    if not hidden:
        return set()
    asked = [*hidden, "^HEAD", *(f"^{ref}" for ref in refs if ref not in hidden)]
    return set(git(history.project, "rev-list", "--stdin", given="\n".join(asked).encode()).decode().split())


def listed() -> dict[str, Any]:
    """Every run as a row, the columns of metrics, and those of parameters, of which only those that differ.

    Raises StageError where there is no history.
    """
    from lethe.provenance.history import open_history, skipped_lines

    history = open_history(Path(), "")
    runs = all_runs(history)
    gates = reports(history, runs, [GATE])
    params = {run.id: params_of_run(run) for run in runs}
    rows = [row(run, gates[run.id].get(GATE)) | {"params": params[run.id]} for run in runs]
    differing = [name for name in dict.fromkeys(name for own in params.values() for name in own) if differs(name, rows)]
    for one in rows:
        one["params"] = {name: one["params"].get(name, "") for name in differing}
    metrics = [name for name in DESCRIPTIONS if any(name in one["metrics"] for one in rows)]
    titles = {name: DESCRIPTIONS[name] for name in metrics}
    return {"rows": rows, "metrics": titles, "params": differing, "notes": skipped_lines(history)}


def differs(name: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether two runs have another value of a parameter; one that a run does not know yet is none."""
    return len({one["params"][name] for one in rows if name in one["params"]}) > 1


def row(run: Run, gate: Any) -> dict[str, Any]:
    """A run as a row of the table."""
    commit = run.commit
    results = gate.get("results") if isinstance(gate, dict) else None
    numbers = {name: value for name, value in gate.items() if name in DESCRIPTIONS} if isinstance(gate, dict) else {}
    return {
        "id": run.id,
        "name": WORKSPACE if commit is None else commit.experiment or commit.id[:10],
        "experiment": commit.experiment if commit else "",
        "date": commit.date if commit else "",
        "author": commit.author if commit else "",
        "subject": commit.subject if commit else "what lies in the folder, in no commit",
        "commits": run.commits,
        "verdict": verdict_of(gate) if isinstance(gate, dict) else "",
        "metrics": {name: value for name, value in numbers.items() if isinstance(value, int | float)},
        "results": results or {},
    }


def verdict_of(gate: Mapping[str, Any]) -> str:
    """The verdict that reports/gate.json gives; an older one has the counts of its results and not the results."""
    names = {"met": "pass", "missed": "fail", "unmeasured": "cannot tell", "unmeasurable": "not measurable"}
    results = gate.get("results")
    if isinstance(results, dict):
        listed = list(results.values())
    else:
        listed = [result for name, result in names.items() for _ in range(min(100, int(gate.get(name, 0) or 0)))]
    return verdict(listed) if listed else ""


def reports(history: History, runs: Sequence[Run], paths: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Run -> path -> the JSON of a report, of those that the run's dvc.lock records or that no stage of it makes."""
    from lethe.custody.plain_data import json_object
    from lethe.provenance.fingerprint import bytes_md5
    from lethe.provenance.history import contents, object_ids

    asked = [(run, path) for run in runs if run.commit for path in paths]
    names = [f"{run.id}:{history.project.prefix}{path}" for run, path in asked]
    ids = object_ids(history.project, names)
    read = contents(history.project, ids)
    held = {(run.id, path): read[found] for (run, path), found in zip(asked, ids, strict=True) if found}
    here = [(path, history.project.folder / path) for path in paths]
    held |= {(WORKSPACE, path): place.read_bytes() for path, place in here if place.is_file()}
    known: dict[str, dict[str, Any]] = {run.id: {} for run in runs}
    for run in runs:
        outs = outs_of(run)
        for path in paths:
            content = held.get((run.id, path))
            if content is not None and outs.get(path) == bytes_md5(content):
                known[run.id][path] = json_object(content)
    return known


def outs_of(run: Run) -> dict[str, str]:
    """{path: md5} of what the run made, by its dvc.lock."""
    from lethe.provenance.history import recorded

    return {path: md5 for entry in recorded(run.lock).values() for path, md5 in entry.outs.items()}


def params_of_run(run: Run) -> dict[str, str]:
    """`stage.parameter` -> its value as text, as the dvc.lock recorded them."""
    from lethe.provenance.history import params_of, recorded

    return {
        f"{stage}.{name}": value
        for stage in recorded(run.lock)
        for name, value in flattened(params_of(run.lock, stage))
        if name
    }


def compared(one: str, other: str) -> dict[str, Any]:
    """Two runs beside each other: what differs in parameters and code, and every number of the unlearned model.

    Raises StageError for a run that is none.
    """
    from lethe.provenance.history import open_history

    history = open_history(Path(), "")
    by_id = {run.id: run for run in all_runs(history)}
    missing = [name for name in (one, other) if name not in by_id]
    if missing:
        raise StageError(f"runs: expected a commit or experiment that has a dvc.lock, got {missing[0]}")
    pair = [by_id[one], by_id[other]]
    paths = [GATE, *(f"reports/{name}.json" for name in MEASURED)]
    found = reports(history, pair, paths)
    rows = [row(run, found[run.id].get(GATE)) for run in pair]
    params = [params_of_run(run) for run in pair]
    numbers = [numbers_of(found[run.id]) for run in pair]
    pages = [PAGE in outs_of(run) for run in pair]
    return {
        "runs": [given | {"page": page} for given, page in zip(rows, pages, strict=True)],
        "gate": beside([gate_cells(given) for given in rows], DESCRIPTIONS),
        "params": [line for line in beside(params) if line["cells"][0] != line["cells"][1]],
        "numbers": beside([shown for shown, _ in numbers]),
        "code": sorted(changed_code(*pair)),
        "notes": [f"{given['name']}: {why}" for given, (_, why) in zip(rows, numbers, strict=True) if why],
    }


def beside(columns: Sequence[Mapping[str, Any]], titles: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """A line per name that any column has, with the cell of each."""
    names = dict.fromkeys(name for column in columns for name in column)
    return [
        {"name": (titles or {}).get(name, name), "cells": [column.get(name, "") for column in columns]}
        for name in names
    ]


def gate_cells(found: Mapping[str, Any]) -> dict[str, str]:
    """Criterion -> its value and result as text."""
    names = [name for name in DESCRIPTIONS if name in found["metrics"] or name in found["results"]]
    return {name: f"{number(found['metrics'].get(name))} {found['results'].get(name, '')}".strip() for name in names}


def numbers_of(found: Mapping[str, Any]) -> tuple[dict[str, str], str]:
    """`group: metric` -> the unlearned model's number with its interval, and why there are none."""
    wanted = [found.get(f"reports/{name}.json") for name in MEASURED]
    if not all(wanted):
        lacking = [name for name, report in zip(MEASURED, wanted, strict=True) if not report]
        return {}, f"no report of {', '.join(lacking)} that its dvc.lock records"
    try:
        lines = [(group, line) for group, lines in groups(*wanted) for line in lines]  # type: ignore[arg-type]
    except (KeyError, TypeError, AttributeError):
        return {}, "its reports have the form of another version"
    return {
        f"{group}: {line.label}": f"{line.values['unlearned']} {interval(line.intervals['unlearned'])}".strip()
        for group, line in lines
        if "unlearned" in line.values
    }, ""


def interval(text: str) -> str:
    """The interval in brackets, nothing where there is none."""
    return f"[{text}]" if text else ""


def changed_code(one: Run, other: Run) -> Iterable[str]:
    """The code that both ran, and that is not the same."""
    from lethe.provenance.history import is_code, recorded

    own, its = (
        {path: md5 for entry in recorded(run.lock).values() for path, md5 in entry.deps.items() if is_code(path)}
        for run in (one, other)
    )
    return [path for path in own.keys() & its.keys() if own[path] != its[path]]


def report_page(name: str) -> bytes:
    """The report page of a run, from DVC's cache or a remote. Raises StageError where it is in neither."""
    from lethe.provenance.artifact_store import open_store, read_object
    from lethe.provenance.fingerprint import md5_of
    from lethe.provenance.history import open_history

    history = open_history(Path(), "")
    run = next((run for run in all_runs(history) if run.id == name), None)
    md5 = outs_of(run).get(PAGE) if run else None
    if md5 is None:
        raise StageError(f"runs: expected a run with a report page, got {name[:40]}")
    here = history.project.folder / PAGE
    if here.is_file() and md5_of(here) == md5:
        return here.read_bytes()
    store: Store = open_store(history.project)
    content = read_object(store, md5)
    if content is None:
        raise StageError(f"{PAGE}: {name[:10]}'s page is in no cache or remote here; `dvc fetch` gets it from a remote")
    return content
