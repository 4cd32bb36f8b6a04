"""From a model back to the text it was made to forget, through every dvc.lock in the history."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from lethe.core.errors import StageError
from lethe.custody.plain_data import json_object
from lethe.custody.stated import part
from lethe.provenance.artifact_store import Store, cached, manifest, read_file
from lethe.provenance.fingerprint import Subject, bytes_md5, md5_of, same_tensors, sha256s
from lethe.provenance.history import (
    Commit,
    Entry,
    History,
    Lock,
    files_at,
    is_code,
    params_of,
    recorded,
    uncommitted_lock,
    unreadable,
    versions,
)
from lethe.provenance.verify import sha256_of

CORPUS = "data/corpus.parquet"
MADE = {"distil": "reports/distil.json", "finetune": "reports/finetune.json"}  # stage: what it says of models/unlearned
UNLEARNED = "models/unlearned"
GATE = "reports/gate.json"
NEAREST = 5  # shown
Index = dict[str, dict[str, list[int]]]  # md5 -> path -> numbers of the locks that record it as made


class Found(NamedTuple):
    """A recorded out that the subject is, or is part of."""

    path: str
    md5: str
    how: str


class Link(NamedTuple):
    """An artifact of the chain, the stage that made it (None: an input), and what it was made from."""

    path: str
    md5: str
    stage: str | None
    lock: int  # number of the dvc.lock that says so
    deps: dict[str, str]  # made by stages, or inputs; code left out


def outs_of(history: History) -> Index:
    """Every out of every dvc.lock."""
    index: Index = {}
    for number, lock in enumerate(history.locks):
        for entry in recorded(lock.text).values():
            for path, md5 in entry.outs.items():
                index.setdefault(md5, {}).setdefault(path, []).append(number)
    return index


def find(history: History, store: Store, subject: Subject) -> list[Found]:
    """The recorded outs that the subject is, the oldest first; by its folder, then by its files.

    Raises StageError for a beginning that several hashes have and for a file that several models share.
    """
    index = outs_of(history)
    found = by_md5(index, subject) or by_sha256(history, subject) or by_manifest(index, store, subject)
    several = len({each.md5 for each in found}) > 1
    if several and subject.files and not any(name.endswith(".safetensors") for name in subject.files):
        raise StageError(
            f"{subject.given}: expected a file of one model only, such as its weights, got one of {len(found)} models"
        )
    # without distillation models/suppressed is the same folder: the final model goes first
    return sorted(found, key=lambda each: (index[each.md5][each.path][0], each.path != UNLEARNED))


def by_md5(index: Index, subject: Subject) -> list[Found]:
    """Outs whose md5 is the subject's, or begins with the digits given."""
    if subject.files:
        how = "the folder" if subject.md5.endswith(".dir") else "the file"
        return [Found(path, subject.md5, how) for path in index.get(subject.md5, {})]
    matching = [md5 for md5 in index if md5.startswith(subject.md5)]
    if len(matching) > 1:
        shown = ", ".join(matching[:3])
        raise StageError(
            f"{subject.given}: expected the beginning of one hash, got that of {len(matching)} ({shown}); give more "
            "digits"
        )
    return [Found(path, md5, "the hash") for md5 in matching for path in index[md5]]


def by_sha256(history: History, subject: Subject) -> list[Found]:
    """The unlearned models one of whose files has the sha256 of the single file or the hash, by what the stage
    that made them reports.

    dvc.lock knows only the whole folder.
    """
    if len(subject.files) > 1 or subject.md5.endswith(".dir"):
        return []
    wanted = next(iter(sha256s(subject).values()), subject.md5)
    found = {}
    for hashes, md5, _ in unlearned_files(history):
        for name, digest in hashes.items():
            if digest.startswith(wanted):
                found[md5] = Found(UNLEARNED, md5, f"its file {name}")
    return list(found.values())


def unlearned_files(history: History) -> Iterator[tuple[dict[str, str], str, Commit]]:
    """({file: sha256}, folder's md5, commit) of every report of its maker that its commit's dvc.lock vouches for."""
    lock_of = {commit.id: lock for lock in history.locks for commit in lock.commits}
    for stage, report in MADE.items():
        for content, commits in versions(history.project, history.commits, report):
            hashes = {name: str(digest) for name, digest in part(json_object(content), "sha256").items()}
            for commit in commits:
                entries = recorded(lock_of[commit.id].text) if commit.id in lock_of else {}
                outs = entries[stage].outs if stage in entries else {}
                if outs.get(report) == bytes_md5(content) and UNLEARNED in outs:
                    yield hashes, outs[UNLEARNED], commit
                    break


def by_manifest(index: Index, store: Store, subject: Subject) -> list[Found]:
    """Outs that have the subject as a file or a folder in them, as far as their list of files is available."""
    single = subject.md5 if len(subject.files) < 2 and not subject.md5.endswith(".dir") else ""
    wanted = {name: md5_of(path) for name, path in subject.files.items()} if not single else {}
    found = []
    for md5, paths in index.items():
        files = (manifest(store, md5) or {}) if md5.endswith(".dir") else {}
        names = [name for name, file_md5 in files.items() if single and file_md5 == single]
        parts = [part for part in folders(files) if wanted and below(files, part) == wanted]
        found += [Found(path, md5, f"its file {name}") for path in paths for name in names]
        found += [Found(path, md5, f"its folder {part}") for path in paths for part in parts]
    return found


def folders(files: Iterable[str]) -> set[str]:
    """The folders that relative paths lie in, at any depth."""
    return {name[:place] for name in files for place, sign in enumerate(name) if sign == "/"}


def below(files: Mapping[str, str], part: str) -> dict[str, str]:
    """The files below one folder, relative to it."""
    return {name[len(part) + 1 :]: md5 for name, md5 in files.items() if name.startswith(f"{part}/")}


def refuse_unrecorded(history: History, subject: Subject) -> None:
    """Raise StageError for a model that only the uncommitted dvc.lock has, and so no author, and for part of a hash."""
    if not subject.files and len(subject.md5) < 32:
        raise StageError(f"{subject.given}: expected a file or the beginning of a recorded hash, got neither")
    text = uncommitted_lock(history)
    if unreadable(text):
        return
    outs = {md5: path for entry in recorded(text).values() for path, md5 in entry.outs.items()} if text else {}
    if subject.md5 in outs:
        raise StageError(
            f"dvc.lock: expected {outs[subject.md5]} ({subject.given}) in a commit, got it only in the "
            "uncommitted dvc.lock; git commit dvc.lock reports"
        )


def chain(history: History, found: Found, index: Index | None = None) -> list[Link]:
    """The out and everything it was made from, nearest first, each from the dvc.lock that vouches for it.

    A stage's dep that another stage made is looked for in the same dvc.lock first, then in earlier ones, then in later
    ones: `dvc repro` of a part of the pipeline leaves the rest of the lock as it was.
    """
    index = index or outs_of(history)
    links: dict[tuple[str, str], Link] = {}
    waiting = [(found.path, found.md5, index[found.md5][found.path][0])]
    while waiting:
        path, md5, number = waiting.pop(0)
        if (path, md5) in links:
            continue
        link = links[path, md5] = made_by(history, index, path, md5, number)
        waiting += [(dep, dep_md5, link.lock) for dep, dep_md5 in link.deps.items()]
    return list(links.values())


def made_by(history: History, index: Index, path: str, md5: str, number: int) -> Link:
    """The link of one artifact, from the dvc.lock nearest to the one numbered."""
    numbers = index.get(md5, {}).get(path, [])
    if not numbers:
        return Link(path, md5, None, number, {})
    nearest = min(numbers, key=lambda other: (other > number, abs(number - other)))
    for stage, entry in recorded(history.locks[nearest].text).items():
        if entry.outs.get(path) == md5:
            deps = {dep: dep_md5 for dep, dep_md5 in entry.deps.items() if not is_code(dep)}
            return Link(path, md5, stage, nearest, deps)
    raise AssertionError(f"{path}: indexed, yet not in dvc.lock {nearest}")


def entry_of(history: History, link: Link) -> Entry:
    """What dvc.lock says of the stage that made the artifact."""
    return recorded(history.locks[link.lock].text)[str(link.stage)]


def spine(links: Iterable[Link]) -> list[Link]:
    """model <- labels <- dictionary <- blocks <- corpus: the main line of the chain."""
    wanted = ("data/labels.parquet", "data/dictionary.csv", "data/blocks.parquet", CORPUS)
    first, *others = links
    by_path = {link.path: link for link in others}
    return [first, *(by_path[path] for path in wanted if path in by_path)]


def params_used(history: History, links: Iterable[Link]) -> dict[str, Any]:
    """{stage: its params} of the stages that made the chain."""
    return {link.stage: params_of(history.locks[link.lock].text, link.stage) for link in links if link.stage}


def measured(history: History, found: Found) -> tuple[dict[str, Any], dict[str, str], Lock]:
    """The measurements of the model: {report: content} as git holds it, {report: md5} as dvc.lock has it, that lock.

    The dvc.lock is the newest with reports made with the model or from it, whatever an older one had more of. A report
    whose bytes dvc.lock does not vouch for, or that is no JSON object, is left out of the first.
    """
    age = {commit.id: number for number, commit in enumerate(history.commits)}
    newest = sorted(history.locks, key=lambda lock: -age[lock.commits[-1].id])
    lock = next((lock for lock in newest if reports_of(lock, found)), newest[0])
    reports, commit = reports_of(lock, found), lock.commits[-1]
    held = files_at(history.project, commit.id, list(reports))
    vouched = {path: text for path, text in held.items() if bytes_md5(text) == reports[path]}
    read = {path: json_object(text) for path, text in vouched.items()}
    return {path: content for path, content in read.items() if content}, reports, lock


def reports_of(lock: Lock, found: Found) -> dict[str, str]:
    """{path: md5} of the JSON reports that a dvc.lock says were made with the model or from it."""
    outs = outs_from(recorded(lock.text), found)
    return {path: md5 for path, md5 in outs.items() if path.endswith(".json")}


def outs_from(entries: Mapping[str, Entry], found: Found) -> dict[str, str]:
    """{path: md5} of the outs made with the found one or, through any number of stages, from it."""
    made = {
        path: md5
        for entry in entries.values()
        if entry.outs.get(found.path) == found.md5
        for path, md5 in entry.outs.items()
    }
    grew = bool(made)
    while grew:
        new = {
            path: md5
            for entry in entries.values()
            if any(made.get(dep) == dep_md5 and descends(dep, found) for dep, dep_md5 in entry.deps.items())
            for path, md5 in entry.outs.items()
        }
        grew = not new.keys() <= made.keys()
        made |= new
    return made


def descends(dep: str, found: Found) -> bool:
    """Whether a dep carries the found model on: itself, or data and reports made from it; not its siblings' weights."""
    return dep == found.path or not dep.startswith("models/")


def nearest(history: History, store: Store, subject: Subject) -> list[dict[str, Any]]:
    """Recorded models that have something in common with one that matches none, the most similar first."""
    own, mine = sha256s(subject), json_object_of(subject)
    known = {md5: hashes for hashes, md5, _ in unlearned_files(history)}
    rows = []
    for md5, paths in outs_of(history).items():
        for path, numbers in paths.items():
            if path.startswith("models/") and md5.endswith(".dir"):
                lock = history.locks[numbers[0]]
                found = Found(path, md5, "")
                same = [
                    *alike_files(store, found, subject, known.get(md5, {}), own),
                    *alike_origin(store, found, lock, mine),
                ]
                if same:
                    rows.append({"path": path, "md5": md5, "commit": lock.commits[0].id, "same": same})
    return sorted(rows, key=lambda row: -weight(row["same"]))[:NEAREST]


def weight(same: Iterable[str]) -> int:
    """How strong the similarities are: weights before corpus before params."""
    points = {"tensors": 8, "file": 4, "corpus": 2, "params": 1}
    return sum(points[text.split(":")[0]] for text in same)


def alike_files(
    store: Store, found: Found, subject: Subject, known: Mapping[str, str], own: Mapping[str, str]
) -> Iterator[str]:
    """`tensors: ...` or `file: ...` for weights in common, with what else differs."""
    files = manifest(store, found.md5) or {}
    for name, path in subject.files.items():
        if not name.endswith(".safetensors"):
            continue
        for other in {*files, *known}:
            if not other.endswith(".safetensors"):
                continue
            if known.get(other) == own[name] or (other in files and files[other] == md5_of(path)):
                yield f"file: {name} is its {other}{other_files(subject, files, known, own)}"
                continue
            copy = cached(store, files.get(other, "no"))
            if copy.exists() and same_tensors(path, copy):
                yield f"tensors: {name} holds the tensors of its {other} under another header"


def other_files(subject: Subject, files: Mapping[str, str], known: Mapping[str, str], own: Mapping[str, str]) -> str:
    """`; README.md differs, x is missing` of a folder whose weights are the same."""
    if len(subject.files) < 2:
        return ""
    equal = {name for name in own if known.get(name) == own[name] or files.get(name) == md5_of(subject.files[name])}
    names = {*files, *known}
    said = [f"{name} differs" for name in sorted(names & own.keys() - equal)]
    said += [f"{name} is missing" for name in sorted(names - own.keys())]
    said += [f"{name} is extra" for name in sorted(own.keys() - names)]
    return f"; {', '.join(said)}" if said else ""


def alike_origin(store: Store, found: Found, lock: Lock, mine: Mapping[str, Any]) -> Iterator[str]:
    """`corpus: ...` and `params: ...` for what the model's provenance.json has in common with a recorded model."""
    if found.path != UNLEARNED or not mine:
        return
    theirs = json_object(read_file(store, found.md5, "provenance.json") or b"")
    corpus = part(theirs, "sha256").get("corpus") or corpus_sha256(store, lock)
    if corpus and corpus == part(mine, "sha256").get("corpus"):
        yield f"corpus: {corpus}"
    if part(mine, "params").get("finetune") == params_of(lock.text, "finetune"):
        yield "params: the section finetune"


def corpus_sha256(store: Store, lock: Lock) -> str:
    """The sha256 of the corpus of a dvc.lock, "" if its bytes are not available."""
    md5 = next((entry.outs[CORPUS] for entry in recorded(lock.text).values() if CORPUS in entry.outs), "")
    path = cached(store, md5) if md5 else None
    return sha256_of(path) if path and path.exists() else ""


def json_object_of(subject: Subject) -> dict[str, Any]:
    """The provenance.json of the subject's folder, {} if there is none."""
    path = subject.files.get("provenance.json")
    return json_object(path.read_bytes()) if path else {}


def short(digest: str) -> str:
    """A hash short enough for a table."""
    return digest[:10]
