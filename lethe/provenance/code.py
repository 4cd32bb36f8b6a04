"""The code that made a model: which files, which commit holds them, and what was recommitted with other code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lethe.provenance.fingerprint import bytes_md5, contents_md5
from lethe.provenance.history import (
    Commit,
    Entry,
    History,
    files_at,
    folder_at,
    folder_versions,
    is_code,
    recorded,
    versions,
)
from lethe.provenance.lineage import Link, entry_of


def code_used(history: History, links: Iterable[Link]) -> dict[str, str]:
    """{path: md5} of the code that made the chain; of two versions, the one of the stage nearest to the model."""
    used: dict[str, str] = {}
    for link in links:
        deps = entry_of(history, link).deps if link.stage else {}
        for path, md5 in deps.items():
            if is_code(path):
                used.setdefault(path, md5)
    return used


def code_commit(history: History, code: Mapping[str, str], recorded_in: Commit) -> tuple[str, list[str]]:
    """The commit whose code is the code that ran, and, for the commit of the lock, the files that are not.

    "" if no commit has all of it.
    """
    differing = code_differences(history, recorded_in.id, code)
    if not differing:
        return recorded_in.id, []
    holding = [commit.id for commit in history.commits]
    for path in differing:
        if not holding:
            break
        same = commits_holding(history, path, code[path])
        holding = [id_ for id_ in holding if id_ in same]
    found = (id_ for id_ in reversed(holding) if not code_differences(history, id_, code))
    return next(found, ""), differing


def code_differences(history: History, commit: str, code: Mapping[str, str]) -> list[str]:
    """The files and folders of code that have another md5 in the commit, or are not in it."""
    held = md5s_at(history, commit, code)
    return [path for path, md5 in code.items() if held.get(path) != md5]


def commits_holding(history: History, path: str, md5: str) -> set[str]:
    """The commits in which the file, or the folder if the md5 ends in .dir, has this md5."""
    if md5.endswith(".dir"):
        found = folder_versions(history.project, history.commits, path)
        return {commit.id for files, commits in found if contents_md5(files) == md5 for commit in commits}
    held = versions(history.project, history.commits, path)
    return {commit.id for content, commits in held if bytes_md5(content) == md5 for commit in commits}


def md5s_at(history: History, commit: str, wanted: Mapping[str, str]) -> dict[str, str]:
    """{path: md5 as dvc.lock gives it} of what the commit holds of some files and folders.

    wanted: {path: md5}; a path is taken for a folder if its md5 ends in .dir.
    """
    folders = [path for path, md5 in wanted.items() if md5.endswith(".dir")]
    files = files_at(history.project, commit, [path for path in wanted if path not in folders])
    below = {path: folder_at(history.project, commit, path) for path in folders}
    held = {path: bytes_md5(content) for path, content in files.items()}
    return held | {path: contents_md5(found) for path, found in below.items() if found}


def recommitted(history: History, links: Iterable[Link]) -> list[tuple[Commit, dict[str, list[str]]]]:
    """Commits whose dvc.lock has other code for a stage of the chain, yet the same inputs and the same outs.

    `dvc commit` writes that without running anything; so does a run that gave the same bytes. The lock cannot tell.
    """
    found = []
    before = {link.stage: entry_of(history, link) for link in links if link.stage}
    for lock in history.locks[min(link.lock for link in links) :]:
        now, changed = recorded(lock.text), {}
        for stage, old in before.items():
            new = now.get(str(stage))
            if new and new != old and without_code(new) == without_code(old):
                changed[str(stage)] = sorted(path for path, _ in set(new.deps.items()) ^ set(old.deps.items()))
                before[stage] = new
        if changed:
            unique = {stage: sorted(set(paths)) for stage, paths in changed.items()}
            found.append((lock.commits[0], unique))
    return found


def without_code(entry: Entry) -> Entry:
    """The entry without its code."""
    return Entry({path: md5 for path, md5 in entry.deps.items() if not is_code(path)}, entry.outs)
