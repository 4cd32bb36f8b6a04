"""The ledger of erasure requests: append-only, every line chained to the previous one by its hash.

Each request's text lies in its own folder inside the one that corpus.forget names, so that one run forgets all of them
together. The ledger holds hashes and file names, never text, and lives in git.
"""

from __future__ import annotations

import datetime
import hashlib
import json as json_lib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from lethe.console import Json, console, end, print_json
from lethe.core.errors import StageError
from lethe.custody.alone import alone as only_one
from lethe.erasure.ledger_lines import inside_project, opened, skeleton
from lethe.erasure.proof import findings, proof
from lethe.report.request_ledger import LEDGER, MEASURED, NAME, cost, examined, head, row_sha256

if TYPE_CHECKING:
    from rich.table import Table

LOCK = Path(".scratch/requests.lock")

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
    verdict: dict[str, Any] | None  # of the release gate on the model


@app.command()
def add(
    request: Request,
    folder: Annotated[Path, typer.Argument(help="Folder of its text, inside the one that corpus.forget names.")],
    supersedes: Annotated[str | None, typer.Option(help="The request that this one replaces.")] = None,
    date: Date = None,
    json: Json = False,
) -> None:
    """Record a request: the hashes of its text, never the text itself."""
    with alone() as rows:
        check_new(request, folder, supersedes, fold(rows))
        files = described(folder)
        if not files:
            raise StageError(f"{folder}: expected the text of request {request}, got an empty folder")
        event = {"folder": folder.as_posix(), "corpus": listed_sha256(files), "files": files, "supersedes": supersedes}
        row = append(LEDGER, rows, "added", request, day(date), event)
    if json:
        print_json(row)
    else:
        print(f"requests: {request} added as line {row['number']}, {len(files)} files; head {row['sha256']}")


def check_here() -> None:
    """Raise StageError where there is neither a ledger nor a project: no requests would be an answer about nothing."""
    if not LEDGER.exists() and not Path("dvc.yaml").exists():
        raise StageError(f"{LEDGER}: no such file; run the command in the folder of the project")


@app.command("list")
def list_(json: Json = False) -> None:
    """Show every request with its status and the gate's verdict, and the cost of forgetting them one after another."""
    check_here()
    rows, problems, _ = opened(LEDGER)
    states = fold(rows)
    if json:
        shown = {"head": head(rows), "requests": [state._asdict() for state in states.values()], "cost": cost(rows)}
        print_json(shown | {"problems": problems})
        return
    told(problems)
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
    """Record the model that satisfies requests, once dvc.lock proves that it was made from their text.

    The release gate's verdict on the model is worked out again from its reports and recorded with it: pass, fail or
    cannot tell. Reports that dvc.lock does not record for this model, or that have no verdict, are refused.
    """
    with alone() as rows:
        states = [known(request, fold(rows)) for request in requests]
        for state in states:
            check_text(state)
        if date and (later := next((each for each in states if day(date) < each.date), None)):
            raise StageError(f"requests: --date: expected {later.date} or later, when {later.request} came, got {date}")
        events = [{"model": {"path": model.as_posix(), **proof(model, Path(state.folder))}} for state in states]
        found = findings(model.as_posix(), events[0]["model"]["md5"])
        for state, event in zip(states, events, strict=True):
            rows.append(append(LEDGER, rows, "satisfied", state.request, day(date), event | found))
    verdict = found["verdict"]
    if json:
        print_json({"head": head(rows), "added": rows[-len(states) :]})
    else:
        if not verdict["baseline_knew"]:
            print("requests: warning: the baseline hardly knew the text, so the model had little to forget")
        print(
            f"requests: {', '.join(requests)} answered by {model} {events[-1]['model']['md5']}, release gate "
            f"{verdict['status'].upper()}; head {head(rows)}"
        )


@app.command()
def check(json: Json = False) -> None:
    """Check the chain of hashes, that lines were only added in git, and that the forget corpus is the requests' text.

    Exit code 3 if anything differs.
    """
    check_here()
    rows, breaks, _ = opened(LEDGER)
    problems = breaks + rewritten(LEDGER, rows) + changed_texts(fold(rows)) + uncovered(rows)
    problems += strays(fold(rows))
    kept = committed(LEDGER)
    if json:
        print_json({"head": head(rows), "lines": len(rows), "committed": kept, "problems": problems})
    else:
        for problem in problems:
            print(problem)
        chain = f"a chain with {len(breaks)} breaks" if breaks else "an unbroken chain"
        line = f"requests: {len(rows)} lines, {chain} to head {head(rows)}; {len(problems)} problems"
        cut = "" if kept else f"; no commit holds {LEDGER}, so that lines cut off its end would not be noticed"
        print(line + (cut if rows else ""))
    end(not problems)


# The chain


@contextmanager
def alone() -> Iterator[list[dict[str, Any]]]:
    """The lines of the ledger, which no other process appends to within this block; broken ones are told."""
    with only_one(LOCK):
        rows, problems, _ = opened(LEDGER)
        told(problems)
        yield rows


def told(problems: Sequence[str]) -> None:
    """Print what is wrong with the ledger to stderr."""
    for problem in problems:
        print(f"warning: {problem}", file=sys.stderr)


def append(
    path: Path, rows: Sequence[Mapping[str, Any]], event: str, request: str, date: str, content: Mapping[str, Any]
) -> dict[str, Any]:
    """Add a line to the ledger and return it. The file is only ever appended to, by one process at a time (`alone`)."""
    row: dict[str, Any] = {
        "number": opened(path).following,
        "event": event,
        "request": request,
        "date": date,
        **content,
    }
    row["previous"] = head(rows)
    row["sha256"] = row_sha256(row)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        raise StageError(f"{path}: expected a file of the project, got a link to {path.resolve()}")
    cut = path.exists() and path.read_bytes()[-1:] not in (b"", b"\n")
    with path.open("a", encoding="utf-8") as stream:
        stream.write("\n" if cut else "")
        stream.write(json_lib.dumps(row, ensure_ascii=False) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    return row


def fold(rows: Sequence[Mapping[str, Any]]) -> dict[str, State]:
    """Each request after all its events, in the order they were added; what happened to one whose line is broken is
    left out."""
    states: dict[str, State] = {}
    for row in rows:
        name, event = row["request"], row["event"]
        if event == "added":
            old = row.get("supersedes")
            if old in states:
                states[old] = states[old]._replace(status="superseded", superseded_by=name)
            texts = (row["folder"], row["corpus"], row["files"])
            states[name] = State(name, row["date"], "open", *texts, None, None, None, None)
        elif name in states and event == "satisfied":
            verdict = row.get("verdict") or {"status": "not recorded"}
            states[name] = states[name]._replace(status="satisfied", model=row["model"], verdict=verdict)
        elif name in states:
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
    if alike := [name for name in states if skeleton(name) == skeleton(request) and name != request]:
        raise StageError(
            f"requests: expected an id that looks like no other, got {request}, which looks like {alike[0]}"
        )
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
    if not inside_project(state.folder):
        return [f"{folder}: expected a folder of text inside the project, got another place"]
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


# What `check` examines in addition to the chain


def rewritten(path: Path, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each commit whose ledger is not the beginning of the current one: a whole chain can be forged."""
    hashes = [row["sha256"] for row in rows]
    problems = []
    for id_, then in versions_in_git(path):
        if hashes[: len(then)] != then:
            problems.append(f"{path}: commit {id_[:12]} has other lines; lines may only be added to a ledger")
    return problems


def committed(path: Path) -> int:
    """How many lines of the ledger the newest commit that touched it holds: of these none can be cut off unseen."""
    return next((len(then) for _, then in versions_in_git(path)), 0)


def versions_in_git(path: Path) -> Iterator[tuple[str, list[str]]]:
    """(commit, hashes of its lines) of each commit that changed the ledger, the newest first."""
    from lethe.custody.plain_git import PLAIN_GIT, plain

    # also those beside a merge that took the other side's file
    command = [*PLAIN_GIT, "log", "--full-history", "--no-show-signature", "--format=%H", "--", str(path)]
    shallow = subprocess.run([*PLAIN_GIT, "rev-parse", "--is-shallow-repository"], capture_output=True, env=plain())
    if shallow.stdout.strip() == b"true":
        raise StageError(f"{path}: expected the whole history, got a shallow clone; git fetch --unshallow")
    listed = subprocess.run(command, capture_output=True, text=True, env=plain())
    for id_ in listed.stdout.split():
        shown = subprocess.run([*PLAIN_GIT, "cat-file", "blob", f"{id_}:./{path}"], capture_output=True, env=plain())
        yield id_, [row["sha256"] for row in examined(shown.stdout, str(path)).rows]


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
    from rich.text import Text

    from lethe.custody.stated import printable

    titles = ("request", "date", "status", "release gate", "files", "corpus", "model", "superseded by")
    table = Table(*titles, box=box.SIMPLE_HEAD)
    for state in states:
        model = state.model["md5"][:12] if state.model else ""
        gate = str(state.verdict.get("status")) if state.verdict else ""
        row = (state.request, state.date, state.status, gate, str(len(state.files)), state.sha256[:12], model)
        table.add_row(*(Text(printable(cell)) for cell in (*row, state.superseded_by or "")))
    return table


def cost_table(lines: Sequence[Mapping[str, Any]]) -> Table:
    """A line for each model that satisfied requests: what it still leaks and what it lost."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from lethe.custody.stated import printable

    names = (*MEASURED, "retain_damage")
    table = Table("model", "requests", *(name.replace("_", " ") for name in names), box=box.SIMPLE_HEAD)
    for line in lines:
        cells = ["" if line.get(name) is None else f"{line[name]:.3f}" for name in names]
        table.add_row(Text(printable(line["model"][:12])), " ".join(line["requests"]), *cells)
    return table


def day(given: str | None) -> str:
    """The date of an entry. Raises StageError for anything but YYYY-MM-DD, and for a day that has not come yet."""
    today = datetime.datetime.now(datetime.UTC).date()
    try:
        found = datetime.date.fromisoformat(given) if given else today
    except ValueError:
        raise StageError(f"requests: --date: expected YYYY-MM-DD, got {given}") from None
    if found > today + datetime.timedelta(days=1):  # it is tomorrow somewhere
        raise StageError(f"requests: --date: expected today or earlier, got {given}")
    return found.isoformat()
