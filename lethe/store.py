"""Where DVC keeps the bytes behind a hash: this project's cache and its remotes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from stages.lib.errors import StageError
from stages.lib.hashing import folder_files


class Place(NamedTuple):
    """The cache or a remote, as DVC's own object store."""

    name: str  # cache, or remote and its name
    store: Any  # dvc_data.hashfile.db.HashFileDB

    def has(self, md5: str) -> bool:
        """Whether the object is there."""
        return self.store.exists(md5)

    def path(self, md5: str) -> str:
        """Where the object lies, or would lie."""
        return self.store.oid_to_path(md5)

    def size(self, md5: str) -> int:
        """Bytes of an object that is there."""
        return int(self.store.fs.size(self.path(md5)))

    def read(self, md5: str) -> bytes:
        """The bytes of an object that is there."""
        return self.store.fs.cat_file(self.path(md5))

    def remove(self, md5: str) -> None:
        """Delete the object; other hard links to its bytes stay."""
        self.store.fs.remove(self.path(md5))


def places(folder: Path) -> list[Place]:
    """The cache and every remote of the DVC project at `folder`. Raises StageError for a remote DVC cannot use."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    with Repo(str(folder)) as repo:
        found = [Place("cache", repo.cache.local)]
        for name in repo.config["remote"]:
            try:
                found.append(Place(f"remote {name}", repo.cloud.get_remote_odb(name)))
            except DvcException as error:
                raise StageError(f"remote {name}: {error}") from None
    return found


def whole(md5s: Iterator[str] | list[str], at: list[Place]) -> dict[str, set[str]]:
    """{md5: itself and, for a folder, its files}; a folder whose list is nowhere at hand stands for itself alone."""
    found = {}
    for md5 in md5s:
        place = next((place for place in at if md5.endswith(".dir") and place.has(md5)), None)
        found[md5] = {md5} | ({entry["md5"] for entry in json.loads(place.read(md5))} if place else set())
    return found


def md5_of(path: Path) -> str:
    """The md5 that DVC gives a file or a folder, computed from the bytes that are there; a folder's ends in .dir."""
    if not path.is_dir():
        return file_md5(path)
    return folder_md5({file.relative_to(path).as_posix(): file_md5(file) for file in folder_files(path)})


def folder_md5(files: dict[str, str]) -> str:
    """DVC's md5 of a folder with these files: {path from the folder: md5}."""
    entries = [{"md5": files[name], "relpath": name} for name in sorted(files)]
    return hashlib.md5(json.dumps(entries).encode()).hexdigest() + ".dir"


def file_md5(path: Path) -> str:
    """Hex md5 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "md5").hexdigest()
