"""The ledger of erasure requests: append-only, every line chained to the previous one by its hash.

Each request's text lies in its own folder inside the one that corpus.forget names, so that one run forgets all of them
together. The ledger holds hashes and file names, never text, and lives in git.
"""

from __future__ import annotations

import datetime
import hashlib
import json as json_lib
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from lethe.console import Json, console, end, print_json
from lethe.core.errors import StageError
from lethe.report.request_ledger import LEDGER, MEASURED, cost, head, read_ledger, row_sha256

if TYPE_CHECKING:
    from rich.table import Table

NAME = re.compile(r"[\w.-]+")

app = typer.Typer(no_args_is_help=True, help="The ledger of erasure requests: add, list, satisfy, check.")
Request = Annotated[str, typer.Argument(help="The request's id: letters, digits, . _ -")]
Date = Annotated[str | None, typer.Option(help="YYYY-MM-DD; default: today.")]


class State(NamedTuple):
    """A request after all its events."""

    request: str
    date: str
    status: str  # open, satisfied, superseded, purged
    folder: str
    sha256: str  # of its folder
    files: dict[str, dict[str, Any]]
    model: dict[str, Any] | None  # that satisfies it
    superseded_by: str | None
    purged: dict[str, Any] | None


@app.command()
def add(
    request: Request,
    folder: Annotated[Path, typer.Argument(help="Folder of its text, inside the one that corpus.forget names.")],
    supersedes: Annotated[str | None, typer.Option(help="The request that this one replaces.")] = None,
    date: Date = None,
    json: Json = False,
) -> None:
    """Record a request: the hashes of its text, never the text itself."""
    rows = read_ledger(LEDGER)
    states = fold(rows)
    check_new(request, folder, supersedes, states)
    files = described(folder)
    if not files:
        raise StageError(f"{folder}: expected the text of request {request}, got an empty folder")
    event = {"folder": folder.as_posix(), "corpus": listed_sha256(files), "files": files, "supersedes": supersedes}
    row = append(LEDGER, rows, "added", request, day(date), event)
    if json:
        print_json(row)
    else:
        print(f"requests: {request} added as line {row['number']}, {len(files)} files; head {row['sha256']}")


@app.command("list")
def list_(json: Json = False) -> None:
    """Show every request with its status, and the cost of forgetting them one after another."""
    rows = read_ledger(LEDGER)
    states = fold(rows)
    if json:
        print_json({"head": head(rows), "requests": [state._asdict() for state in states.values()], "cost": cost(rows)})
        return
    console().print(request_table(list(states.values())), cost_table(cost(rows)), f"head {head(rows)}", sep="\n")


@app.command()
def satisfy(
    requests: Annotated[list[str], typer.Argument(help="The ids of the requests that it satisfies.")],
    model: Annotated[Path, typer.Option(help="The model folder that has forgotten the text.")] = Path(
        "models/unlearned"
    ),
    date: Date = None,
    json: Json = False,
) -> None:
    """Record the model that satisfies requests, once dvc.lock proves that it was made from their text."""
    rows = read_ledger(LEDGER)
    states = [known(request, fold(rows)) for request in requests]
    for state in states:
        check_text(state)
    events = [{"model": {"path": model.as_posix(), **proof(model, Path(state.folder))}} for state in states]
    for state, event in zip(states, events, strict=True):
        rows.append(append(LEDGER, rows, "satisfied", state.request, day(date), event | {"measures": measures()}))
    if json:
        print_json({"head": head(rows), "added": rows[-len(states) :]})
    else:
        print(f"requests: {', '.join(requests)} satisfied by {model} {events[-1]['model']['md5']}; head {head(rows)}")


@app.command()
def check(json: Json = False) -> None:
    """Check the chain of hashes, that lines were only added in git, and that the forget corpus is the requests' text.

    Exit code 3 if anything differs.
    """
    rows = read_ledger(LEDGER)
    problems = rewritten(LEDGER, rows) + changed_texts(fold(rows)) + uncovered(rows)
    problems += strays(fold(rows))
    if json:
        print_json({"head": head(rows), "lines": len(rows), "problems": problems})
    else:
        for problem in problems:
            print(problem)
        print(f"requests: {len(rows)} lines, an unbroken chain to head {head(rows)}; {len(problems)} problems")
    end(not problems)


# The chain


def append(
    path: Path, rows: Sequence[Mapping[str, Any]], event: str, request: str, date: str, content: Mapping[str, Any]
) -> dict[str, Any]:
    """Add a line to the ledger and return it. The file is only ever appended to."""
    import os

    row: dict[str, Any] = {"number": len(rows) + 1, "event": event, "request": request, "date": date, **content}
    row["previous"] = head(rows)
    row["sha256"] = row_sha256(row)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json_lib.dumps(row, ensure_ascii=False) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    return row


def fold(rows: Sequence[Mapping[str, Any]]) -> dict[str, State]:
    """Each request after all its events, in the order they were added."""
    states: dict[str, State] = {}
    for row in rows:
        name = row["request"]
        if row["event"] == "added":
            old = row["supersedes"]
            if old:
                states[old] = states[old]._replace(status="superseded", superseded_by=name)
            texts = (row["folder"], row["corpus"], row["files"])
            states[name] = State(name, row["date"], "open", *texts, None, None, None)
        elif row["event"] == "satisfied":
            states[name] = states[name]._replace(status="satisfied", model=row["model"])
        else:
            states[name] = states[name]._replace(status="purged", purged={"date": row["date"], **row["purged"]})
    return states


# What is true of a request


def known(request: str, states: Mapping[str, State]) -> State:
    """The request of this id. Raises StageError if there is none."""
    if request not in states:
        raise StageError(f"requests: expected a recorded id ({', '.join(states) or 'none yet'}), got {request}")
    return states[request]


def check_new(request: str, folder: Path, supersedes: str | None, states: Mapping[str, State]) -> None:
    """Raise StageError unless a request of this id and folder can be added."""
    from lethe.core.params import read_yaml

    if not NAME.fullmatch(request):
        raise StageError(f"requests: expected an id of letters, digits and . _ - only, got {request!r}")
    if request in states:
        raise StageError(f"requests: expected a new id, got {request}, which was added on {states[request].date}")
    if supersedes is not None:
        old = known(supersedes, states)
        if old.superseded_by:
            raise StageError(
                f"requests: {supersedes} is already superseded by {old.superseded_by}; supersede {old.superseded_by}"
            )
    inside = Path(read_yaml(Path("params.yaml"))["corpus"]["forget"])
    if not folder.is_dir() or folder.is_absolute() or inside not in folder.parents or ".." in folder.parts:
        raise StageError(f"{folder}: expected a folder inside {inside}, which corpus.forget names; put the text there")
    for state in states.values():
        other = Path(state.folder)
        both = folder == other or folder in other.parents or other in folder.parents
        if both and state.request != supersedes and not state.superseded_by:
            raise StageError(f"{folder}: expected a folder for this request alone, got that of request {state.request}")


def described(folder: Path) -> dict[str, dict[str, Any]]:
    """{file: its sha256, the md5 that DVC files it under, its bytes} of a folder."""
    from lethe.core.hashing import file_sha256, folder_files
    from lethe.provenance.fingerprint import md5_of as file_md5

    return {
        path.relative_to(folder).as_posix(): {
            "sha256": file_sha256(path),
            "md5": file_md5(path),
            "bytes": path.stat().st_size,
        }
        for path in folder_files(folder)
    }


def listed_sha256(files: Mapping[str, Mapping[str, Any]]) -> str:
    """One hash for a folder: that of its sorted `sha256  name` lines, as lethe.core.hashing.path_sha256 has it."""
    lines = "".join(f"{files[name]['sha256']}  {name}\n" for name in sorted(files, key=Path))
    return hashlib.sha256(lines.encode()).hexdigest()


def check_text(state: State) -> None:
    """Raise StageError if the request is closed for good or its text is not what was recorded."""
    if state.status in ("superseded", "purged"):
        raise StageError(
            f"requests: expected an open or satisfied request, got {state.request}, which is {state.status}"
        )
    problems = text_problems(state)
    if problems:
        raise StageError(f"requests: {state.request}: {problems[0]}")


def text_problems(state: State) -> list[str]:
    """How the request's folder differs from what was recorded, file by file."""
    folder = Path(state.folder)
    if not folder.is_dir():
        return [f"{folder}: no such folder; expected the recorded text; `dvc checkout` may restore it"]
    found = described(folder)
    names = sorted({*found, *state.files}, key=Path)
    words = {(True, False): "is new", (False, True): "is gone", (True, True): "was changed"}
    return [
        f"{folder / name} {words[name in found, name in state.files]} since the request was recorded"
        for name in names
        if found.get(name) != state.files.get(name)
    ]


def proof(model: Path, folder: Path) -> dict[str, Any]:
    """What dvc.lock records of the model: its md5, its corpus, its commit.

    Raises StageError unless model and text are the ones of dvc.lock, and the model was made from the text.
    """
    from lethe.provenance.fingerprint import path_md5 as md5_of
    from lethe.provenance.history import ancestors, recorded

    lock_path = Path("dvc.lock")
    lock = recorded(lock_path.read_text(encoding="utf-8")) if lock_path.exists() else {}
    outs = {out: md5 for entry in lock.values() for out, md5 in entry.outs.items()}
    if not model.is_dir() or outs.get(model.as_posix()) != (made := md5_of(model)):
        raise StageError(f"{model}: expected the model that dvc.lock records, got another; `dvc repro`")
    inputs = {dep: md5 for entry in lock.values() for dep, md5 in entry.deps.items()}
    read = [path for path in ancestors(lock, model.as_posix()) if Path(path) in (folder, *folder.parents)]
    if not read:
        raise StageError(
            f"{model}: expected a model made from {folder}, got one made without it (dvc.lock); `dvc repro`"
        )
    if md5_of(Path(read[0])) != inputs[read[0]]:
        raise StageError(f"{read[0]}: changed since the model was made from it; `dvc repro`, then satisfy again")
    return {"md5": made, "corpus_md5": outs["data/corpus.parquet"], "commit": commit()}


def commit() -> str | None:
    """The current commit, None outside git."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def measures() -> dict[str, dict[str, float | None]]:
    """{model: what it still knows and what it lost} from the current reports, for baseline and unlearned."""
    from lethe.core.tables import read_json

    models = read_json(Path("reports/familiarity.json"))["models"]
    scores = read_json(Path("reports/benchmarks.json"))["models"]
    found = {
        name: {metric: models[name].get(metric) for metric in MEASURED if metric != "benchmark"}
        for name in ("baseline", "unlearned")
        if name in models
    }
    return {name: numbers | {"benchmark": mean(scores.get(name, {}))} for name, numbers in found.items()}


def mean(scores: Mapping[str, float]) -> float | None:
    """The mean accuracy over all benchmarks, None if there was none."""
    return round(sum(scores.values()) / len(scores), 4) if scores else None


# What `check` examines in addition to the chain


def rewritten(path: Path, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each commit whose ledger is not the beginning of the current one: a whole chain can be forged."""
    listed = subprocess.run(["git", "log", "--format=%H", "--", str(path)], capture_output=True, text=True)
    hashes = [row["sha256"] for row in rows]
    problems = []
    for id_ in listed.stdout.split():
        shown = subprocess.run(["git", "show", f"{id_}:./{path}"], capture_output=True, text=True)
        then = [json_lib.loads(line)["sha256"] for line in shown.stdout.splitlines() if line.strip()]
        if hashes[: len(then)] != then:
            problems.append(f"{path}: commit {id_[:12]} has other lines; lines may only be added to a ledger")
    return problems


def changed_texts(states: Mapping[str, State]) -> list[str]:
    """A line for each file of an open or satisfied request that is not as recorded."""
    live = [state for state in states.values() if state.status in ("open", "satisfied")]
    return [f"{state.request}: {problem}" for state in live for problem in text_problems(state)]


def strays(states: Mapping[str, State]) -> list[str]:
    """A line for each file that the corpus will hold though no live request names it."""
    from lethe.core.hashing import folder_files
    from lethe.core.params import read_yaml

    if not states:
        return []
    inside = Path(read_yaml(Path("params.yaml"))["corpus"]["forget"])
    live = [Path(state.folder) for state in states.values() if state.status in ("open", "satisfied")]
    return [
        f"{path}: belongs to no open or satisfied request, but lies in {inside}, which corpus.forget names"
        for path in folder_files(inside)
        if not path.name.startswith(".") and not any(folder in path.parents for folder in live)
    ]


def uncovered(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each satisfied request whose model is not the newest one: that one has to satisfy all of them."""
    newest = next((row["model"]["md5"] for row in reversed(rows) if row["event"] == "satisfied"), None)
    return [
        f"{state.request}: expected the newest model {newest[:12]}, which has to satisfy every request, got "
        f"{state.model['md5'][:12]}; `lethe requests satisfy {state.request}`"
        for state in fold(rows).values()
        if state.status == "satisfied" and state.model and newest and state.model["md5"] != newest
    ]


# What is shown


def request_table(states: Sequence[State]) -> Table:
    """A line for each request."""
    from rich import box
    from rich.table import Table

    table = Table("request", "date", "status", "files", "corpus", "model", "superseded by", box=box.SIMPLE_HEAD)
    for state in states:
        model = state.model["md5"][:12] if state.model else ""
        row = (state.request, state.date, state.status, str(len(state.files)), state.sha256[:12], model)
        table.add_row(*row, state.superseded_by or "")
    return table


def cost_table(lines: Sequence[Mapping[str, Any]]) -> Table:
    """A line for each model that satisfied requests: what it still leaks and what it lost."""
    from rich import box
    from rich.table import Table

    names = (*MEASURED, "retain_damage")
    table = Table("model", "requests", *(name.replace("_", " ") for name in names), box=box.SIMPLE_HEAD)
    for line in lines:
        cells = ["" if line.get(name) is None else f"{line[name]:.3f}" for name in names]
        table.add_row(line["model"][:12], " ".join(line["requests"]), *cells)
    return table


def day(given: str | None) -> str:
    """The date of an entry. Raises StageError for anything but YYYY-MM-DD."""
    try:
        today = datetime.datetime.now(datetime.UTC).date()
        return (datetime.date.fromisoformat(given) if given else today).isoformat()
    except ValueError:
        raise StageError(f"requests: --date: expected YYYY-MM-DD, got {given}") from None
