"""Every place of a project where text can lie, as streams of bytes: the folder, DVC's cache, remotes, git's objects."""

from __future__ import annotations

import io
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from lethe.erasure.streams import Passing
from lethe.provenance.history import PLAIN_GIT, listed

if TYPE_CHECKING:
    from lethe.provenance.artifact_store import Store
    from lethe.provenance.history import History, Project

OBJECT = re.compile(r"([0-9a-f]{2})[/\\]([0-9a-f]{30}(?:\.dir)?)$")


class Item(NamedTuple):
    """Something to read. md5: as DVC names it, "" where its name tells none. same: equal for links to one file."""

    place: str  # folder, cache, remote NAME, git
    name: str
    size: int
    open: Callable[[], IO[bytes]]
    md5: str = ""
    same: tuple[int, int] | None = None
    links: int = 1  # names that this file has, also elsewhere


class Unread(NamedTuple):
    """What was not read, and why. beside: it lies beside what the check is about, so that it leaves nothing open."""

    place: str
    name: str
    why: str
    beside: bool = False


def everything(history: History, store: Store) -> Iterator[Item | Unread]:
    """All items of all places, and what cannot be read."""
    yield from folder(history.project, store)
    yield from cache(store)
    for name in list(store.remotes):
        yield from remote(store, name)
    for name, why in store.unasked.items():
        yield Unread(f"remote {name}", "", why)
    yield from git_objects(history.project)
    for name in listed(history.project, "remote"):
        yield Unread("git", f"remote {name}", "another clone: check it there", True)
    for line in listed(history.project, "worktree", "list", "--porcelain"):
        place = line.removeprefix("worktree ")
        if place != line and not history.project.folder.is_relative_to(Path(place).resolve()):
            yield Unread("git", f"worktree {place}", "another folder of this repository: check it there", True)


def folder(project: Project, store: Store) -> Iterator[Item | Unread]:
    """Every file below the project's folder, hidden ones, unfinished work and git's logs too; the cache apart."""
    apart = {store.cache.resolve(), *virtual_environments(project.folder)}
    for place in sorted(apart - {store.cache.resolve()}):
        yield Unread("folder", place.relative_to(project.folder.resolve()).as_posix(), "a virtual environment", True)
    for where, folders, names in os.walk(project.folder, onerror=None):
        here = Path(where)
        kept = [name for name in sorted(folders) if (here / name).resolve() not in apart]
        in_git = "HEAD" in names and {"objects", "refs"} <= set(folders)
        if in_git and here != project.folder / ".git":  # another one, a bare one, or that of a submodule
            yield from other_repository(project, here)
        folders[:] = [name for name in kept if not (in_git and name == "objects") and not (here / name).is_symlink()]
        yield from (leading_out(project, here / name) for name in kept if (here / name).is_symlink())
        for name in sorted(names):
            yield file_item(project, here / name)
    yield from closed(project)


def closed(project: Project) -> Iterator[Unread]:
    """Folders that may not be listed."""
    found: list[OSError] = []
    for _ in os.walk(project.folder, onerror=found.append):
        pass
    yield from (Unread("folder", str(error.filename), str(error.strerror)) for error in found)


def leading_out(project: Project, path: Path) -> Unread:
    """A link to a folder: what it leads to inside the project is read there."""
    target = path.resolve()
    inside = target.is_relative_to(project.folder.resolve())
    why = "a link into the project, read there" if inside else f"a link to {target}, outside of the project"
    return Unread("folder", path.relative_to(project.folder).as_posix(), why, inside)


def file_item(project: Project, path: Path) -> Item | Unread:
    """One file of the folder, or why it is none."""
    name = path.relative_to(project.folder).as_posix()
    try:
        if not path.is_file():
            return Unread("folder", name, "no such file" if not path.exists() else "a pipe, device or socket")
        facts = path.stat()
    except OSError as error:
        return Unread("folder", name, str(error.strerror))
    return Item("folder", name, facts.st_size, opener(path), "", (facts.st_dev, facts.st_ino), facts.st_nlink)


def virtual_environments(root: Path) -> set[Path]:
    """The folders of installed packages at the top of the project."""
    return {path.parent.resolve() for path in root.glob("*/pyvenv.cfg")} | {
        path.parent.resolve() for path in root.glob(".*/pyvenv.cfg")
    }


def cache(store: Store) -> Iterator[Item]:
    """Every object of DVC's cache, also of older layouts and of the run cache."""
    root = store.cache.parent.parent if store.cache.parent.name == "files" else store.cache
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        facts, found = path.stat(), OBJECT.search(path.as_posix())
        same = (facts.st_dev, facts.st_ino)
        name = path.relative_to(root).as_posix()
        md5 = found[1] + found[2] if found else ""
        yield Item("cache", name, facts.st_size, opener(path), md5, same, facts.st_nlink)


def opener(path: Path) -> Callable[[], IO[bytes]]:
    """Opens a file when it is called."""
    return lambda: path.open("rb")


def remote(store: Store, name: str) -> Iterator[Item | Unread]:
    """Every file of a remote, by DVC's own interface to it."""
    from lethe.provenance.artifact_store import one_line

    found = store.remotes[name]
    try:
        root = found.path.removesuffix("md5").rstrip("/").removesuffix("files").rstrip("/")  # whatever else lies there
        paths = sorted(found.fs.find(root))
        for path in paths:
            size, md5 = int(found.fs.size(path) or 0), OBJECT.search(path)
            shown = path.removeprefix(root).lstrip("/")
            yield Item(f"remote {name}", shown, size, remote_opener(found.fs, path), md5[1] + md5[2] if md5 else "")
    except Exception as error:  # a remote of any kind, with errors of its own
        store.unasked[name] = one_line(error)


def remote_opener(filesystem: object, path: str) -> Callable[[], IO[bytes]]:
    """Opens a file of a remote when it is called."""
    return lambda: filesystem.open(path, "rb")  # type: ignore[attr-defined,no-any-return]


def git_objects(project: Project) -> Iterator[Item]:
    """Every object that git has, also of stashes, experiments and commits that no ref names any more."""
    names = dict(line.split(" ", 1) for line in listed(project, "rev-list", "--objects", "--all") if " " in line)
    with subprocess.Popen(
        [*PLAIN_GIT, "cat-file", "--batch-all-objects", "--batch", "--unordered"],
        cwd=project.folder,
        stdout=subprocess.PIPE,
    ) as asked:
        yield from objects_in(asked.stdout, "", names)


def other_repository(project: Project, place: Path) -> Iterator[Item | Unread]:
    """Every object of a repository inside the project that is not the project's own."""
    name = place.relative_to(project.folder).as_posix()
    ask = [*PLAIN_GIT, f"--git-dir={place}", "cat-file", "--batch-all-objects", "--batch", "--unordered"]
    plain = os.environ | {"GIT_NO_LAZY_FETCH": "1"}
    with subprocess.Popen(
        ask, cwd=project.folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=plain
    ) as asked:
        yield from objects_in(asked.stdout, f"{name}: ", {})
    if asked.returncode:
        yield Unread("folder", f"{name}/objects", "another repository, which git cannot read")


def objects_in(output: IO[bytes] | None, before: str, names: Mapping[str, str]) -> Iterator[Item]:
    """The objects that `git cat-file --batch` writes. before: what their names begin with; names: {object: path}."""
    while output and (header := output.readline()):
        id_, kind, size = header.decode().split()
        content = Bounded(output, int(size))
        shown = f"{before}{kind} {id_[:12]}{f' {names[id_]}' if id_ in names else ''}"
        yield Item("git", shown, int(size), lambda content=content: content)  # type: ignore[misc]
        content.skip()
        output.read(1)  # the line feed that git writes after each


class Bounded(Passing):
    """So many bytes of a stream that goes on after them. A small object is held, so that it can be read twice."""

    HELD = 1 << 26  # bytes

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self.stream, self.left = stream, size
        self.held = io.BytesIO(self._take(size)) if size <= self.HELD else None
        self.start = b"" if self.held else self._take(512)
        self.place = 0

    def _take(self, size: int) -> bytes:
        content = self.stream.read(min(size, self.left))
        self.left -= len(content)
        return content

    def read(self, size: int = -1) -> bytes:
        if self.held:
            return self.held.read(size)
        rest = self.start[self.place :]
        if rest:
            rest = rest if size < 0 else rest[:size]
            self.place += len(rest)
            return rest
        return self._take(self.left if size < 0 else size)

    def seek(self, place: int, whence: int = 0) -> int:
        if self.held:
            return self.held.seek(place, whence)
        if whence or place > len(self.start) or self.place > len(self.start):
            raise ValueError("too large an object of git for an archive or a table")
        self.place = place
        return place

    def tell(self) -> int:
        return self.held.tell() if self.held else self.place

    def skip(self) -> None:
        """Go to the end."""
        while self.left:
            self._take(1 << 20)
