"""Where artifacts are stored: DVC's cache, its remotes, the project's folder, or git."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lethe.core.errors import StageError
from lethe.provenance.fingerprint import bytes_md5
from lethe.provenance.history import DIGEST, Project, leads_out

CACHE = ""  # among the names of remotes
NOWHERE = "none"


class Store(NamedTuple):
    """Where DVC keeps objects by md5. `unasked`: {remote: why it could not be asked}, filled as it happens; the cache
    is CACHE there.
    """

    cache: Path
    remotes: dict[str, Any]  # name -> DVC's object database
    unasked: dict[str, str]


def open_store(project: Project) -> Store:
    """The cache and every remote of the project, as DVC's configuration names them."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(project.folder)) as repo:  # closed again: its databases are other processes' too
            store = Store(Path(repo.cache.local.path), {}, {})
            for name in repo.config["remote"]:
                try:
                    store.remotes[name] = repo.cloud.get_remote_odb(name, "audit")
                except Exception as error:  # an unreachable remote is reported and stops nothing
                    store.unasked[name] = one_line(error)
    except DvcException as error:
        raise StageError(f"{project.folder}: DVC cannot read the project: {error}") from None
    return store


def one_line(error: Exception) -> str:
    """What an error says first."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def cached(store: Store, md5: str) -> Path:
    """Where the cache has the object, if it has it; in a place that never exists if nobody here may look."""
    path = store.cache / md5[:2] / md5[2:]
    try:
        if path.exists() and not path.is_file():
            store.unasked[CACHE] = f"{path}: expected a file, got a folder, pipe or device"
            return path / NOWHERE
        if path.exists() and not os.access(path, os.R_OK):
            store.unasked[CACHE] = f"{path}: Permission denied"
            return path / NOWHERE
    except OSError as error:  # another user's folder of a shared cache
        store.unasked[CACHE] = f"{path}: {error.strerror}"
        return Path(os.devnull) / NOWHERE
    return path


def place_name(name: str) -> str:
    """What a place of `Store.unasked` is called in an answer."""
    return "cache" if name == CACHE else f"remote {name}"


def unasked_lines(store: Store) -> list[str]:
    """`remote far did not answer: why` of each place that could not be asked."""
    named = {
        name: "the cache cannot be read" if name == CACHE else f"remote {name} did not answer" for name in store.unasked
    }
    return [f"{named[name]}: {why}" for name, why in store.unasked.items()]


def remotes_with(store: Store, md5: str) -> Iterator[str]:
    """The names of the remotes that hold the object; one that does not answer goes into `unasked`."""
    for name, remote in store.remotes.items():
        if name in store.unasked:
            continue
        try:
            if remote.fs.exists(remote.oid_to_path(md5)):
                yield name
        except Exception as error:
            store.unasked[name] = one_line(error)


def place_of(store: Store, md5: str) -> str:
    """ "cache", "remote NAME" or ""."""
    if cached(store, md5).exists():
        return "cache"
    return next((f"remote {name}" for name in remotes_with(store, md5)), "")


def read_object(store: Store, md5: str) -> bytes | None:
    """The object's bytes from the cache, else from a remote; None if it is in neither, or has other bytes there."""
    path = cached(store, md5)
    if path.exists() and bytes_md5(content := path.read_bytes()) == md5.removesuffix(".dir"):
        return content
    for name in remotes_with(store, md5):
        remote = store.remotes[name]
        try:
            with remote.fs.open(remote.oid_to_path(md5), "rb") as stream:
                content = stream.read()
            if bytes_md5(content) == md5.removesuffix(".dir"):
                return content
        except Exception as error:
            store.unasked[name] = one_line(error)
    return None


def manifest(store: Store, md5: str) -> dict[str, str] | None:
    """{relative path: md5} of a folder, None if its object is missing or broken."""
    content = read_object(store, md5) if md5.endswith(".dir") else None
    try:
        files = {entry["relpath"]: entry["md5"] for entry in json.loads(content)} if content else None
        fine = files is not None and all(map(DIGEST.fullmatch, files.values())) and not any(map(leads_out, files))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return files if fine else None


def read_file(store: Store, md5: str, name: str) -> bytes | None:
    """One file of a folder, by the folder's md5."""
    file_md5 = (manifest(store, md5) or {}).get(name)
    return read_object(store, file_md5) if file_md5 else None


def cache_of(root: Path) -> Path:
    """The cache of the project."""
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        return Path(repo.cache.local.path).parents[1]
