"""What of a project holds the text of an erasure request, wherever and under whatever name, or reinforced it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lethe.core.errors import StageError
from lethe.provenance.history import DIGEST

if TYPE_CHECKING:
    from lethe.erasure.requests import State
    from lethe.provenance.artifact_store import Store
    from lethe.provenance.history import History, Lock

CORPUS = "data/corpus.parquet"
HARMLESS = (
    "models/start",
    "models/retrained",
    "models/references",
    "models/suppressed",
    "models/unlearned",
)  # never trained on it, or unlearned
WORST = ("models/reinforced",)  # memorised the text most
SMALL = re.compile(r"reports/.*\.(json|csv)")  # in git: numbers, and a few words of text at most
COPY = 0.5  # the least share by which a file is a copy of the text, and not another text with a passage of it
OWN = (".scratch/", ".dvc/tmp/")  # unfinished work: a noted path below is the request's for as long as it exists
KNOWING = "models/"  # any other model below: it read the text


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


def planned(history: History, store: Store, state: State, models: bool) -> Plan:
    """Everything of the request that exists now, and what an interrupted purge of it had found."""
    from lethe.provenance.history import leads_out, recorded, skipped_lines

    locks, text = all_locks(history), request_text(history, store, state)
    answers = [(lock, holds(history, store, lock, state, text)) for lock in locks]
    holding = [lock for lock, answer in answers if answer]
    sure = [lock for lock, answer in answers if answer is False]  # a corpus that is gone may have held it
    clean = whole(store, {md5 for lock in sure for md5 in outs(recorded(lock.text)).values()})
    before = noted(history, state.request)
    names = {md5: set(paths) for md5, paths in before["objects"].items()}
    kept: set[str] = set()
    spared: set[str] = set()
    for lock in holding:
        entries = recorded(lock.text)
        for path, md5 in outs(entries).items():
            if not descends(entries, path) or SMALL.fullmatch(path):
                continue
            if path.startswith(KNOWING) and path not in WORST and not (models and path not in HARMLESS):
                kept |= {f"{path}: {why_kept(path)}"}
                spared |= beside_weights(store, md5)
                continue
            for each in whole(store, [md5]) - clean:
                names.setdefault(each, set()).add(path)
    for md5 in spared - before["objects"].keys():
        names.pop(md5, None)  # a kept model's config and tokenizer are those of the deleted ones, too
    for name, facts in state.files.items():
        names.setdefault(facts["md5"], set()).add(f"{state.folder}/{name}")
    for path, md5, share in copies(history, store, locks, state, text):
        if share >= COPY:
            names.setdefault(md5, set()).add(path)
        elif md5 not in names:
            part = f"{100 * share:.0f} % of it is the text, the rest is other text"
            kept |= {f"{path} {md5}: {part}; edit it, then purge again"}
    out = sorted({path for paths in names.values() for path in paths if leads_out(path)})
    kept |= {f"{path}: dvc.lock names it, but it lies outside of the project" for path in out}
    objects = [Removal(md5, sorted(paths), there(store, md5)) for md5, paths in sorted(names.items())]
    found = {commit.experiment for lock in holding for commit in lock.commits if commit.experiment}
    present = {commit.experiment for commit in history.commits}
    return Plan(
        objects,
        sorted({*folders(history, state, names), *remaining(history, before["folders"])}),
        sorted(found | present.intersection(before["experiments"])),
        [
            *sorted(kept),
            *elsewhere(history, store, objects, folders(history, state, names)),
            *in_git(history, state),
            *(
                []
                if is_own(history, ".scratch/any")
                else [".scratch: a link out of the project; what it holds is kept"]
            ),
            *unreadable(history, store, locks),
            *(f"{line}: what only it names is not deleted" for line in skipped_lines(history)),
        ],
    )


def journal(history: History, request: str) -> Path:
    """Where a purge notes what it is about to delete, until all of it is gone."""
    return history.project.folder / f".dvc/tmp/purge-{request}.json"


def note_down(plan: Plan, history: History, request: str, bodies: Iterable[str]) -> None:
    """Write the journal: once a corpus is gone, nothing else tells which objects were made from it.

    bodies: hashes of the reinforced model's weights, whatever their headers say.
    """
    content = {
        "objects": {item.md5: item.paths for item in plan.objects},
        "folders": plan.folders,
        "experiments": plan.experiments,
        "bodies": sorted({*bodies, *noted(history, request)["bodies"]}),
    }
    from lethe.provenance.certificate import write

    write(journal(history, request), json.dumps(content).encode())


def noted(history: History, request: str) -> dict[str, Any]:
    """What an interrupted purge of the request had found, nothing if there was none."""
    from lethe.custody.plain_data import json_object, text_if_there

    path = journal(history, request)
    empty: dict[str, Any] = {"objects": {}, "folders": [], "experiments": [], "bodies": []}
    text = text_if_there(path)
    found = empty | json_object(text.encode())
    objects = found["objects"] if isinstance(found["objects"], dict) else {"": None}
    listed = [found["folders"], found["experiments"], found["bodies"], *objects.values()]
    good = all(isinstance(each, list) and all(isinstance(name, str) for name in each) for each in listed)
    if (text and found == empty) or not good or not all(map(DIGEST.fullmatch, objects)):
        raise StageError(f"{path}: expected the notes of an interrupted purge, got another file; delete it")
    return found


def remaining(history: History, paths: Iterable[str]) -> Iterator[str]:
    """Those of the noted paths that still exist; others may have been made anew since, and are found by their hash."""
    for path in paths:
        if (history.project.folder / path).exists() and path.startswith(OWN) and is_own(history, path):
            yield path


def is_own(history: History, path: str) -> bool:
    """Whether a path lies in the project, also after links: nothing else is deleted."""
    from lethe.provenance.history import leads_out

    root = history.project.folder.resolve()
    return not leads_out(path) and (root / path).parent.resolve().is_relative_to(root)


def request_text(history: History, store: Store, state: State) -> str:
    """The request's text from its folder or by its hashes, as far as it is left."""
    from lethe.provenance.artifact_store import read_object

    found = []
    for name, facts in state.files.items():
        path = history.project.folder / state.folder / name
        content = path.read_bytes() if path.is_file() else read_object(store, facts["md5"])
        found.append(text_of(name, content or b""))
    return "\n\n".join(found)


def text_of(name: str, content: bytes) -> str:
    """The text of an input file, as the corpus has it; of one that cannot be read, its bytes as text."""
    from lethe.text.passages import texts_in

    try:
        return "\n\n".join(text for _, text in texts_in(Path(name).suffix.lower(), content, name))
    except StageError:
        return content.decode(errors="replace")


def shared(text: str, other: str) -> float:
    """How much of the other text is the request's; 0 only if they share no run of words."""
    from lethe.text.overlap import common, words_of

    count = len(words_of(other))
    if not count or not common(text, [other])[0]:
        return 0.0
    return common(other, [text])[0] or 1 / count  # the request is shorter than the runs that are compared


def copies(
    history: History, store: Store, locks: Iterable[Lock], state: State, text: str
) -> Iterator[tuple[str, str, float]]:
    """(path, md5, share) of every recorded input file that is an earlier version of the request's, or has its text."""
    from lethe.provenance.artifact_store import read_object

    known = {facts["md5"] for facts in state.files.values()}
    for lock in locks:
        files = input_files(history, store, lock)[0] if corpus_entry(lock) else {}
        for path, md5 in files.items():
            if md5 in known:
                continue
            known.add(md5)
            if path.startswith(f"{state.folder}/"):
                yield path, md5, 1.0
                continue
            here = history.project.folder / path
            content = read_object(store, md5) or (here.read_bytes() if here.is_file() else b"")
            if share := shared(text, text_of(path, content)):
                yield path, md5, share


def all_locks(history: History) -> list[Lock]:
    """Every dvc.lock of the history, and the uncommitted one."""
    from lethe.provenance.history import Lock, uncommitted_lock

    text = uncommitted_lock(history)
    return [*history.locks, *([Lock(text, ())] if text else [])]


def holds(history: History, store: Store, lock: Lock, state: State, text: str) -> bool | None:
    """Whether the corpus of this dvc.lock held any of the request's files, in any version, or its text under any name.

    None where neither the corpus nor the list of its files is left.
    """
    if corpus_entry(lock) is None:
        return False
    wanted = {facts["md5"] for facts in state.files.values()}
    files, whole = input_files(history, store, lock)
    if any(md5 in wanted or path.startswith(f"{state.folder}/") for path, md5 in files.items()):
        return True
    rows = documents(history, store, lock)
    if any(row["side"] == "forget" and inside(row["file"], lock, state) for row in rows):
        return True
    if any(shared(text, row["text"]) for row in rows):
        return True
    return False if rows or whole else None


def corpus_entry(lock: Lock) -> Any:
    """The stage that made the corpus, None if there is none in this dvc.lock."""
    from lethe.provenance.history import recorded

    return next((entry for entry in recorded(lock.text).values() if CORPUS in entry.outs), None)


def input_files(history: History, store: Store, lock: Lock) -> tuple[dict[str, str], bool]:
    """{path: md5} of every file in the folders the corpus was read from, as far as they are listed anywhere.

    And whether all of them are: with their own hash, in the cache, a remote, git or the project.
    """
    from lethe.provenance.fingerprint import bytes_md5
    from lethe.provenance.history import folder_at, is_code
    from lethe.provenance.trace import listed_folder

    found: dict[str, str] = {}
    whole = True
    for path, md5 in corpus_entry(lock).deps.items():
        if not md5.endswith(".dir") or is_code(path):
            continue
        files = listed_folder(history, store, lock, path, md5)
        whole = whole and files is not None
        if files is None and lock.commits:  # another version of it, which may tell something
            held = folder_at(history.project, lock.commits[0].id, path)
            files = {name: bytes_md5(content) for name, content in held.items()}
        found |= {f"{path}/{name}": digest for name, digest in (files or {}).items()}
    return found, whole


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
        found |= {md5, *(manifest(store, md5) or {}).values()}
    return found


def beside_weights(store: Store, md5: str) -> set[str]:
    """The files of a model's folder but its weights."""
    from lethe.provenance.artifact_store import manifest

    return {each for name, each in (manifest(store, md5) or {}).items() if not name.endswith(".safetensors")}


def there(store: Store, md5: str) -> list[str]:
    """Where DVC has the object."""
    from lethe.provenance.artifact_store import cached, remotes_with

    return (["cache"] if cached(store, md5).exists() else []) + [f"remote {name}" for name in remotes_with(store, md5)]


def folders(history: History, state: State, names: Mapping[str, set[str]]) -> Iterator[str]:
    """Files and folders of the project that hold the text: the request's folder, outs, unfinished work, replies."""
    from lethe.provenance.fingerprint import path_md5
    from lethe.provenance.history import leads_out

    root = history.project.folder
    if (root / state.folder).exists():
        yield state.folder
    for path in {path for paths in names.values() for path in paths if not leads_out(path)}:
        if (root / path).exists() and not path.startswith(f"{state.folder}/") and path_md5(root / path) in names:
            yield path
    inside = is_own(history, ".scratch/any")  # a link out of the project is named among what is kept
    for work in sorted([*(root / ".scratch").glob("*/*"), *(root / ".scratch").glob("*")]):
        if (
            inside
            and work.parent.name != "cost"
            and work.suffix != ".lock"
            and work.name != "lock"
            and not is_shelf(work, root)
        ):
            yield work.relative_to(root).as_posix()
    for work in sorted((root / ".dvc/tmp/exps").glob("*/*")):  # folders that experiments ran in
        if work.parent.name not in ("cache", "celery"):  # DVC's own queue, without any text
            yield work.relative_to(root).as_posix()


def elsewhere(history: History, store: Store, objects: Iterable[Removal], paths: Iterable[str]) -> Iterator[str]:
    """A line for each file that keeps a name, or what it is a link to, when all of these names are deleted."""
    from lethe.provenance.artifact_store import cached

    root = history.project.folder
    under = [each for path in paths for each in ((root / path), *(root / path).rglob("*"))]
    files = [cached(store, item.md5) for item in objects if "cache" in item.places] + under
    names: dict[tuple[int, int], list[Path]] = {}
    for path in dict.fromkeys(files):
        kept = not path.resolve().is_relative_to(store.cache.resolve())  # its objects are listed by their hashes
        if kept and path.is_symlink() and path.is_file() and not path.resolve().is_relative_to(root.resolve()):
            yield f"{shown(path, root)}: a link to {path.resolve()}, outside of the project, which is kept"
        elif path.is_file() and not path.is_symlink():
            facts = path.lstat()
            names.setdefault((facts.st_dev, facts.st_ino), []).append(path)
    for (_, inode), own in names.items():
        more = own[0].lstat().st_nlink - len(own)
        if more > 0:
            yield f"{shown(own[0], root)}: the same file has {more} more names (hard links); find / -inum {inode}"


def shown(path: Path, root: Path) -> str:
    """A path as the project has it."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def is_shelf(work: Path, root: Path) -> bool:
    """Whether this is a folder of .scratch itself, whose content is listed."""
    return work.parent == root / ".scratch" and work.is_dir()


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
    from lethe.provenance.audit import former_places

    yield from former_places(history)
    for lock in locks:
        if corpus_entry(lock) and not input_files(history, store, lock)[1] and not documents(history, store, lock):
            yield (
                f"{CORPUS} {corpus_entry(lock).outs[CORPUS]}: not available, so it is unknown whether it held the text"
            )
