"""Outs that were edited in place, and with them the cache's own copy, which is the same file under another name.

DVC links the outs into its cache and takes an object that nobody may write to for whole. Root may write to it: then DVC
notices that the out has changed, restores it from the object, which has changed as well, and goes on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lethe.core.errors import StageError

if TYPE_CHECKING:
    from lethe.provenance.artifact_store import Store

LOCK = Path("dvc.lock")
HASHED = Path(".scratch/hashed.json")  # what was equal to its record: {path: [size, two nanoseconds, inode, md5]}
Facts = tuple[int, int, int, int]


def check_outs() -> None:
    """Raise StageError naming the first out whose object in the cache is no longer what its name says.

    Only files that have changed since the last time are read.
    """
    from lethe.provenance.artifact_store import open_store
    from lethe.provenance.history import open_project, unreadable

    if not LOCK.exists() or unreadable(LOCK.read_text(encoding="utf-8", errors="replace")):
        return  # DVC says so itself
    hashed = json.loads(HASHED.read_text(encoding="utf-8")) if HASHED.exists() else {}
    wrong, now = compared(open_store(open_project(Path())), hashed)
    HASHED.parent.mkdir(exist_ok=True)
    HASHED.write_text(json.dumps(now), encoding="utf-8")
    if wrong:
        path, copy = wrong[0]
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise StageError(
            f"{path}{more}: expected the file that was made, got one edited in place, and the cache's copy with it; rm "
            f"{copy} and {path}, then `dvc fetch` from a remote or run the stage again"
        )


def compared(store: Store, hashed: dict[str, list[object]]) -> tuple[list[tuple[Path, Path]], dict[str, list[object]]]:
    """(out's file, cache's copy) of each copy that has other bytes than its name says, and what is equal now."""
    from lethe.provenance.artifact_store import cached
    from lethe.provenance.fingerprint import md5_of

    wrong, now = [], {}
    for path, md5 in recorded_files(store):
        copy = cached(store, md5)
        if not path.is_file() or not copy.is_file():
            continue
        known = [*facts(copy), md5]
        if hashed.get(path.as_posix()) != known and md5_of(copy) != md5:
            wrong.append((path, copy))
        else:
            now[path.as_posix()] = known
    return wrong, now


def recorded_files(store: Store) -> Iterator[tuple[Path, str]]:
    """(path, md5) of every file that dvc.lock records as made, those of folders by the folder's list."""
    from lethe.provenance.artifact_store import manifest
    from lethe.provenance.history import leads_out, recorded

    for entry in recorded(LOCK.read_text(encoding="utf-8")).values():
        for out, md5 in entry.outs.items():
            if leads_out(out):
                continue
            files = (manifest(store, md5) or {}) if md5.endswith(".dir") else {"": md5}
            for name, file_md5 in files.items():
                yield Path(out, name), file_md5


def facts(path: Path) -> Facts:
    """What changes whenever a file's bytes do."""
    found = path.stat()
    # anybody can set the second, nobody the third
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino
