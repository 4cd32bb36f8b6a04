"""Whether every artifact of a chain is still what dvc.lock says: every available copy is hashed again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from os.path import samefile
from typing import NamedTuple

from lethe.provenance.artifact_store import Store, cached, manifest, remotes_with
from lethe.provenance.fingerprint import bytes_md5, folder_md5, md5_of, path_md5
from lethe.provenance.history import History, files_at, folder_at, recorded
from lethe.provenance.lineage import Link

EQUAL, DIFFERENT = "present and equal", "present and different"
REMOTE, GONE = "missing here, in remote", "gone"


class Status(NamedTuple):
    """An artifact, the md5 it should have, its state, and where it was found or how it differs."""

    path: str
    md5: str
    state: str
    said: str


def rehash(history: History, store: Store, links: Iterable[Link]) -> list[Status]:
    """The state of every artifact of the chain."""
    path = history.project.folder / "dvc.lock"
    entries = recorded(path.read_text(encoding="utf-8")).values() if path.exists() else ()
    expected = {path: md5 for entry in entries for path, md5 in entry.deps.items()}
    # after a part of the pipeline a later stage's dep is older than what the folder holds
    expected |= {path: md5 for entry in entries for path, md5 in entry.outs.items()}
    return [status_of(history, store, link, expected.get(link.path) == link.md5) for link in links]


def status_of(history: History, store: Store, link: Link, expected: bool) -> Status:
    """The state of one artifact. expected: the project's folder should hold this version of it."""
    here = [in_cache(store, link.md5), in_folder(history, store, link, expected), in_git(history, link)]
    different = [said for state, said in here if state == DIFFERENT]
    if different:
        return Status(link.path, link.md5, DIFFERENT, "; ".join(different))
    equal = [said for state, said in here if state == EQUAL]
    if equal:
        return Status(link.path, link.md5, EQUAL, ", ".join(equal))
    names = whole_in(store, link.md5)
    if names:
        return Status(link.path, link.md5, REMOTE, f"{', '.join(names)}; dvc pull or dvc fetch gets it")
    return Status(link.path, link.md5, GONE, next((said for _, said in here if said), ""))


def in_cache(store: Store, md5: str) -> tuple[str, str]:
    """(state or "", words) of the object in the cache; of a folder, of each of its files."""
    path = cached(store, md5)
    if not path.exists():
        return "", ""
    if (found := md5_of(path)) != md5.removesuffix(".dir"):
        return DIFFERENT, f"cache: md5 {found}"
    if not md5.endswith(".dir"):
        return EQUAL, "cache"
    files = manifest(store, md5) or {}
    states = {name: in_cache(store, file_md5)[0] for name, file_md5 in files.items()}
    changed = [name for name, state in states.items() if state == DIFFERENT]
    if changed:
        return DIFFERENT, f"cache: {', '.join(changed)}"
    absent = sum(not state for state in states.values())
    return (EQUAL, "cache") if not absent else ("", f"{absent} of {len(files)} files not in the cache")


def in_folder(history: History, store: Store, link: Link, expected: bool) -> tuple[str, str]:
    """(state or "", words) of the project's folder; another version matters only if dvc.lock names this one."""
    path, copy = history.project.folder / link.path, cached(store, link.md5)
    if not path.exists() or (path.is_file() and copy.exists() and samefile(path, copy)):
        return "", ""
    found = path_md5(path)
    if found == link.md5:
        return EQUAL, "folder"
    return (DIFFERENT, f"folder: md5 {found}") if expected else ("", "the folder holds another version")


def in_git(history: History, link: Link) -> tuple[str, str]:
    """(state or "", words) of an input in the commit that recorded it."""
    if link.stage is not None:
        return "", ""
    commit = history.locks[link.lock].commits[0].id
    if link.md5.endswith(".dir"):
        files = folder_at(history.project, commit, link.path)
        found = folder_md5({name: bytes_md5(content) for name, content in files.items()}) if files else ""
    else:
        held = files_at(history.project, commit, [link.path])
        found = bytes_md5(held[link.path]) if held else ""
    return (EQUAL, f"git {commit[:10]}") if found == link.md5 else ("", "")


def whole_in(store: Store, md5: str) -> list[str]:
    """The remotes that hold the object and, of a folder, every file of it that the cache has not."""
    names = list(remotes_with(store, md5))
    files = manifest(store, md5) if md5.endswith(".dir") else {}
    if files is None:
        return []
    for file_md5 in files.values():
        if not cached(store, file_md5).exists():
            names = [name for name in names if name in remotes_with(store, file_md5)]
    return names


def code_status(code: Mapping[str, str], commit: str, differing: Iterable[str]) -> Status:
    """One line for the code that made the chain: git holds it, or no commit does."""
    digest = bytes_md5(json.dumps(sorted(code.items())).encode())
    what = f"code of {len(code)} files"
    if commit:
        return Status(what, digest, EQUAL, f"git {commit[:10]}")
    return Status(what, digest, GONE, f"no commit has all of it: {', '.join(differing)}")


def report_statuses(reports: Mapping[str, str], vouched: Iterable[str], commit: str) -> list[Status]:
    """One line per report whose hash is in dvc.lock and whose bytes are in git."""
    return [
        Status(path, md5, EQUAL, f"git {commit[:10]}")
        if path in set(vouched)
        else Status(path, md5, DIFFERENT, f"git {commit[:10]}: other bytes than dvc.lock recorded, or none")
        for path, md5 in sorted(reports.items())
    ]
