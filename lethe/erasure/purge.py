"""Delete every object that holds the text of an erasure request, or the reinforced model, which knows it best."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from lethe.console import Json, console, print_json
from lethe.core.errors import StageError

if TYPE_CHECKING:
    from lethe.erasure.requests import State
    from lethe.provenance.artifact_store import Store
    from lethe.provenance.history import History, Lock

CORPUS = "data/corpus.parquet"
HARMLESS = (
    "models/start",
    "models/retrained",
    "models/suppressed",
    "models/unlearned",
)  # never trained on it, or unlearned
WORST = ("models/reinforced",)  # memorised the text most
SMALL = re.compile(r"reports/.*\.(json|csv)")  # in git: numbers, and a few words of text at most
KNOWING = "models/"  # any other model below: it read the text
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


class Removal(NamedTuple):
    """A DVC object to delete: its hash, its paths, and where it is stored."""

    md5: str
    paths: list[str]
    places: list[str]  # cache, remote NAME; none if it was deleted before


class Plan(NamedTuple):
    """All that is deleted, and what is kept with the reason."""

    objects: list[Removal]
    folders: list[str]  # of the project: the request's text, outs, unfinished work
    experiments: list[str]
    kept: list[str]  # lines


def command(
    request: Annotated[str, typer.Argument(help="The id of a request in the ledger.")],
    models: Annotated[
        bool, typer.Option("--models", help="Also delete models trained on the text: baseline, checkpoints ...")
    ] = False,
    confirm: Annotated[str | None, typer.Option(help="The request's id again, instead of typing it.")] = None,
    json: Json = False,
) -> None:
    """List every object that holds a request's text or the reinforced model, and delete it after a typed confirmation.

    It covers the cache, remotes, the project's folder, unfinished work, cached replies of language models and
    experiments. The ledger keeps the hashes. With --json and without --confirm it only lists.
    """
    from lethe.erasure.requests import LEDGER, alone, append, day, fold, known, open_ledger

    state = known(request, fold(open_ledger(LEDGER).rows))
    check_state(state)
    history, store, plan = survey(state, models)
    if json and confirm is None:
        print_json(plan._asdict() | {"objects": [item._asdict() for item in plan.objects], "loses": LOSES})
        return
    show(plan, request)
    if (confirm if confirm is not None else typed(request)) != request:
        raise StageError(f"purge: expected {request} typed as confirmation, got something else; nothing was deleted")
    carry_out(plan, history, store)
    *_, left = survey(state, models)
    remaining = [*(item.md5 for item in existing(left)), *left.folders, *left.experiments]
    if remaining:
        raise StageError(
            f"purge: expected everything deleted, got {remaining[0]} and {len(remaining) - 1} others; `lethe purge "
            f"{request}`"
        )
    content = {"objects": [item._asdict() for item in plan.objects], "experiments": plan.experiments}
    with alone() as rows:
        row = append(LEDGER, rows, "purged", request, day(None), {"purged": content | {"kept": plan.kept}})
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


def typed(request: str) -> str:
    """What the user types."""
    print(f"type {request} to delete all of this permanently: ", end="", flush=True)
    return sys.stdin.readline().strip()


def survey(state: State, models: bool) -> tuple[History, Store, Plan]:
    """All that exists now. Raises StageError unless every remote answers: what is left in one is not purged."""
    from lethe.provenance.artifact_store import open_store
    from lethe.provenance.history import open_history

    history = open_history(Path(), "")
    store = open_store(history.project)
    plan = planned(history, store, state, models)
    for name, why in store.unasked.items():
        raise StageError(f"remote {name}: expected an answer from every remote, as all are purged, got none ({why})")
    return history, store, plan


# What is deleted


def planned(history: History, store: Store, state: State, models: bool) -> Plan:
    """Everything of the request that exists now."""
    from lethe.provenance.history import recorded

    locks = all_locks(history)
    holding = [lock for lock in locks if holds(history, store, lock, state)]
    clean = {md5 for lock in locks if lock not in holding for md5 in whole(store, outs(recorded(lock.text)).values())}
    names: dict[str, set[str]] = {}
    kept: set[str] = set()
    for lock in holding:
        entries = recorded(lock.text)
        for path, md5 in outs(entries).items():
            if not descends(entries, path) or SMALL.fullmatch(path):
                continue
            if path.startswith(KNOWING) and path not in WORST and not (models and path not in HARMLESS):
                kept |= {f"{path}: {why_kept(path)}"}
                continue
            for each in whole(store, [md5]) - clean:
                names.setdefault(each, set()).add(path)
    for name, facts in state.files.items():
        names.setdefault(facts["md5"], set()).add(f"{state.folder}/{name}")
    objects = [Removal(md5, sorted(paths), there(store, md5)) for md5, paths in sorted(names.items())]
    return Plan(
        objects,
        sorted(set(folders(history, state, names))),
        sorted({commit.experiment for lock in holding for commit in lock.commits if commit.experiment}),
        [*sorted(kept), *in_git(history, state), *unreadable(history, store, locks)],
    )


def all_locks(history: History) -> list[Lock]:
    """Every dvc.lock of the history, and the uncommitted one."""
    from lethe.provenance.history import Lock, uncommitted_lock

    text = uncommitted_lock(history)
    return [*history.locks, *([Lock(text, ())] if text else [])]


def holds(history: History, store: Store, lock: Lock, state: State) -> bool:
    """Whether the corpus of this dvc.lock held any of the request's files."""
    entry = corpus_entry(lock)
    if entry is None:
        return False
    wanted = {facts["md5"] for facts in state.files.values()}
    if any(md5 in wanted for md5 in input_files(history, store, lock).values()):
        return True
    return any(row["side"] == "forget" and inside(row["file"], lock, state) for row in documents(history, store, lock))


def corpus_entry(lock: Lock) -> Any:
    """The stage that made the corpus, None if there is none in this dvc.lock."""
    from lethe.provenance.history import recorded

    return next((entry for entry in recorded(lock.text).values() if CORPUS in entry.outs), None)


def input_files(history: History, store: Store, lock: Lock) -> dict[str, str]:
    """{path: md5} of every file in the folders the corpus was read from, as far as they are listed anywhere."""
    from lethe.provenance.artifact_store import manifest
    from lethe.provenance.fingerprint import bytes_md5, md5_of, own_files
    from lethe.provenance.history import folder_at

    found: dict[str, str] = {}
    for path, md5 in corpus_entry(lock).deps.items():
        if not md5.endswith(".dir"):
            continue
        listed = manifest(store, md5)
        if listed is None and lock.commits:
            held = folder_at(history.project, lock.commits[0].id, path)
            listed = {name: bytes_md5(content) for name, content in held.items()}
        if not listed and (history.project.folder / path).is_dir() and not lock.commits:
            listed = {name: md5_of(file) for name, file in own_files(history.project.folder / path).items()}
        found |= {f"{path}/{name}": digest for name, digest in (listed or {}).items()}
    return found


def documents(history: History, store: Store, lock: Lock) -> list[dict[str, Any]]:
    """The rows of this dvc.lock's corpus, none if it is gone."""
    from lethe.provenance.audit import documents_of

    return documents_of(history, store, corpus_entry(lock).outs[CORPUS])[0]


def inside(file: str, lock: Lock, state: State) -> bool:
    """Whether a corpus's file name is one of the request's."""
    forget = [path for path in corpus_entry(lock).deps if Path(path) in Path(state.folder).parents]
    names = {(Path(state.folder) / name).relative_to(folder).as_posix() for folder in forget for name in state.files}
    return file in names or any(file.startswith(f"{name}:") for name in names)  # a line of a .jsonl


def outs(entries: Mapping[str, Any]) -> dict[str, str]:
    """{path: md5} of everything the stages made."""
    return {path: md5 for entry in entries.values() for path, md5 in entry.outs.items()}


def descends(entries: Mapping[str, Any], path: str) -> bool:
    """Whether the out was made from the corpus, or is the corpus."""
    from lethe.provenance.history import ancestors

    return path == CORPUS or CORPUS in ancestors(dict(entries), path)


def why_kept(path: str) -> str:
    """Why a model is not deleted."""
    if path in HARMLESS:
        return "kept: not trained on the text, or made to forget it"
    return "kept, although trained on the text; --models deletes it too"


def whole(store: Store, md5s: Iterable[str]) -> set[str]:
    """The objects and, of folders, every file."""
    from lethe.provenance.artifact_store import manifest

    found: set[str] = set()
    for md5 in md5s:
        found |= {md5, *(manifest(store, md5) or {}).values()} if md5.endswith(".dir") else {md5}
    return found


def there(store: Store, md5: str) -> list[str]:
    """Where DVC has the object."""
    from lethe.provenance.artifact_store import cached, remotes_with

    return (["cache"] if cached(store, md5).exists() else []) + [f"remote {name}" for name in remotes_with(store, md5)]


def folders(history: History, state: State, names: Mapping[str, set[str]]) -> Iterator[str]:
    """Files and folders of the project that hold the text: the request's folder, outs, unfinished work, replies."""
    from lethe.provenance.fingerprint import path_md5

    root = history.project.folder
    if (root / state.folder).exists():
        yield state.folder
    for path in {path for paths in names.values() for path in paths}:
        if (root / path).exists() and not path.startswith(state.folder) and path_md5(root / path) in names:
            yield path
    for work in sorted((root / ".scratch").glob("*/*")):
        if work.parent.name != "cost" and work.name != "lock":
            yield work.relative_to(root).as_posix()
    for work in sorted((root / ".dvc/tmp/exps").glob("*/*")):  # folders that experiments ran in
        if work.parent.name not in ("cache", "celery"):  # DVC's own queue, without any text
            yield work.relative_to(root).as_posix()


def in_git(history: History, state: State) -> Iterator[str]:
    """A line if git itself holds the request's text, which is not deleted here."""
    from lethe.provenance.history import git

    listed = git(history.project, "log", "--all", "--format=%h", "--", state.folder).decode().split()
    if listed:
        yield (
            f"{state.folder}: git holds it in {len(listed)} commits, which purge does not change; git filter-repo "
            f"--invert-paths --path {history.project.prefix}{state.folder}"
        )


def unreadable(history: History, store: Store, locks: Iterable[Lock]) -> Iterator[str]:
    """A line for each corpus whose content is not available."""
    for lock in locks:
        if corpus_entry(lock) and not input_files(history, store, lock) and not documents(history, store, lock):
            yield (
                f"{CORPUS} {corpus_entry(lock).outs[CORPUS]}: not available, so it is unknown whether it held the text"
            )


# Deleting


def carry_out(plan: Plan, history: History, store: Store) -> None:
    """Delete all of the plan: remotes first, as they can fail; experiments before the files that they name."""
    from lethe.provenance.artifact_store import cached

    for item in plan.objects:
        for place in item.places:
            if place.startswith("remote "):
                delete_remote(store, place.removeprefix("remote "), item.md5)
    for item in plan.objects:
        if "cache" in item.places:
            delete(cached(store, item.md5))
    for path in plan.folders:
        delete(history.project.folder / path)
    for name in plan.experiments:
        done = subprocess.run(
            [sys.executable, "-m", "dvc", "exp", "remove", name],
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
