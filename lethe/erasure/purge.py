"""Delete every object that holds the text of an erasure request, or the reinforced model, which knows it best."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lethe.console import Json, console, print_json
from lethe.core.errors import StageError
from lethe.erasure.plan import Plan, Removal, journal, note_down, noted, planned

if TYPE_CHECKING:
    from lethe.erasure.requests import State
    from lethe.provenance.artifact_store import Store
    from lethe.provenance.history import History

LOSES = (
    "audit: every hash of the chain stays; `lethe audit --verify` will report these objects as gone",
    "trace: a file is still found by its hash in the ledger; a passage is not, as no corpus is left to search",
    "replay: no stage that reads one of these objects can be run again, so no model made from them can be rebuilt",
    "resume: unfinished work and cached replies of language models are deleted",
)
BEYOND = (
    "other clones, backups and snapshots are out of reach, and a deleted file is not an overwritten one",
    "a bucket with versioning keeps old versions of a deleted object: delete those there too",
)


def command(
    request: Annotated[str, typer.Argument(help="The id of a request in the ledger.")],
    models: Annotated[
        bool, typer.Option("--models", help="Also delete models trained on the text: baseline, checkpoints ...")
    ] = False,
    confirm: Annotated[str | None, typer.Option(help="The request's id again, instead of typing it.")] = None,
    json: Json = False,
    check: Annotated[
        bool, typer.Option("--check", help="Delete nothing: search everything that can be read for what is left.")
    ] = False,
    text: Annotated[
        Path | None, typer.Option(help="With --check, after a purge: the request's text, which is here no more.")
    ] = None,
) -> None:
    """List every object that holds a request's text or the reinforced model, and delete it after a typed confirmation.

    It covers the cache, remotes, the project's folder, unfinished work, cached replies of language models and
    experiments. The ledger keeps the hashes. With --json and without --confirm it only lists. Afterwards everything
    that can be read is searched for passages of the text and for the deleted bytes, and what is left is named.

    --check does this search alone, before or after a purge. Exit code **0**: nothing was found, and all of it was read.
    **1**: nothing was found, but something could not be read. **3**: something was found.
    """
    from lethe.erasure.check import bodies_of, remains, report, texts_of
    from lethe.erasure.ledger_lines import opened
    from lethe.erasure.requests import LEDGER, alone, append, day, fold, known

    state = known(request, fold(opened(LEDGER).rows))
    if check:
        return report(state, text, json)
    check_state(state)
    check_folder(state)
    history, store, plan = survey(state, models)
    if json and confirm is None:
        print_json(plan._asdict() | {"objects": [item._asdict() for item in plan.objects], "loses": LOSES})
        return
    show(plan, request)
    if (confirm if confirm is not None else typed(request)) != request:
        raise StageError(f"purge: expected {request} typed as confirmation, got something else; nothing was deleted")
    texts = texts_of(history, store, state, text)[0]
    note_down(plan, history, request, bodies_of(store, {item.md5: item.paths for item in plan.objects}))
    carry_out(plan, history, store)
    *_, left = survey(state, models)
    remaining = [*(item.md5 for item in existing(left)), *left.folders, *left.experiments]
    if remaining:
        raise StageError(
            f"purge: expected everything deleted, got {remaining[0]} and {len(remaining) - 1} others; `lethe purge "
            f"{request}`"
        )
    content = {"objects": [item._asdict() for item in plan.objects], "experiments": plan.experiments}
    content |= {"kept": plan.kept, "bodies": noted(history, request)["bodies"]}
    with alone() as rows:
        row = append(LEDGER, rows, "purged", request, day(None), {"purged": content})
    journal(history, request).unlink()
    remains(history, store, state._replace(purged=content), texts)
    print(
        f"purge: all that held {request} is deleted; the ledger keeps {len(plan.objects)} hashes, head {row['sha256']}"
    )


def check_state(state: State) -> None:
    """Raise StageError for a request whose text is still needed, or is gone."""
    if state.status == "open":
        raise StageError(
            f"purge: expected a satisfied or superseded request, got {state.request}, which is open (no model can be "
            f"made to forget a text that is gone); `lethe requests satisfy {state.request}`"
        )
    if state.status == "purged":
        raise StageError(f"purge: expected a satisfied or superseded request, got {state.request}, which is purged")


def check_folder(state: State) -> None:
    """Raise StageError unless the request's folder is one that `lethe requests add` would take, with its files alone.

    The ledger is a file: whoever can write it could name any folder there.
    """
    from lethe.erasure.ledger_lines import inside_project
    from lethe.provenance.fingerprint import JUNK

    folder = Path(state.folder)
    if not inside_project(state.folder):
        raise StageError(f"purge: {state.folder}: expected a folder of text inside the project, got another place")
    wanted = {str(folder / name) for name in state.files}
    passed = (*JUNK, ".gitignore", ".gitkeep")  # hidden links are told among what is kept
    more = [
        str(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in passed and not (path.name.startswith(".") and path.is_symlink())
    ]
    more = [path for path in more if path not in wanted]
    if more:
        raise StageError(f"purge: {more[0]}: expected only files that the request names, got another; move it away")


def typed(request: str) -> str:
    """What the user types."""
    print(f"type {request} to delete all of this permanently: ", end="", flush=True)
    return sys.stdin.readline().strip()


def survey(state: State, models: bool) -> tuple[History, Store, Plan]:
    """All that exists now. Raises StageError unless every remote answers: what is left in one is not purged."""
    from lethe.provenance.artifact_store import open_store, place_name
    from lethe.provenance.history import open_history

    history = open_history(Path(), "")
    store = open_store(history.project)
    plan = planned(history, store, state, models)
    for name, why in store.unasked.items():
        raise StageError(
            f"{place_name(name)}: expected an answer from every place, as all are purged, got none ({why})"
        )
    return history, store, plan


# Deleting


def carry_out(plan: Plan, history: History, store: Store) -> None:
    """Delete all of the plan, each step on its own: a run that was killed is finished by the next one.

    Remotes first, as they can fail. The list of a folder's files goes after all of them: without it nobody would know
    which they are. Experiments go last, as they name all of it.
    """
    from lethe.provenance.artifact_store import cached

    for last in (False, True):
        objects = [item for item in plan.objects if item.md5.endswith(".dir") is last]
        for item in objects:
            for place in item.places:
                if place != "cache":
                    delete_remote(store, place.removeprefix("remote "), item.md5)
        for item in objects:
            if "cache" in item.places:
                delete(cached(store, item.md5))
    for path in plan.folders:
        delete(history.project.folder / path)
    for name in plan.experiments:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "dvc", "exp", "remove", "--", name],  # one may be called -A
            cwd=history.project.folder,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise StageError(f"purge: dvc exp remove {name}: {done.stderr.strip().splitlines()[-1]}")


def delete_remote(store: Store, name: str, md5: str) -> None:
    """Delete one object of a remote. Raises StageError where that is refused."""
    from lethe.provenance.artifact_store import one_line

    remote = store.remotes[name]
    try:
        remote.fs.rm_file(remote.oid_to_path(md5))
    except Exception as error:  # a remote of any kind, with errors of its own
        raise StageError(
            f"remote {name}: could not delete {md5} ({one_line(error)}); earlier objects are deleted; run the same "
            "purge again"
        ) from None


def delete(path: Path) -> None:
    """Delete a file or a folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


# What is shown


def existing(plan: Plan) -> list[Removal]:
    """The objects that are still stored somewhere."""
    return [item for item in plan.objects if item.places]


def show(plan: Plan, request: str) -> None:
    """Print everything that is deleted, what is kept, and what that breaks."""
    out = console()
    for item in existing(plan):
        out.print(f"{item.md5:<36} {', '.join(item.paths)}  in {', '.join(item.places)}", markup=False)
    for path in plan.folders:
        out.print(f"{path}  in the project's folder", markup=False)
    for name in plan.experiments:
        out.print(f"experiment {name}", markup=False)
    for line in plan.kept:
        out.print(f"kept: {line}", markup=False)
    for line in (*LOSES, *BEYOND):
        out.print(f"lost: {line}" if line in LOSES else f"note: {line}", markup=False)
    objects = len(existing(plan))
    counts = f"{objects} objects, {len(plan.folders)} files and folders, {len(plan.experiments)} experiments"
    out.print(f"purge {request}: {counts}")
