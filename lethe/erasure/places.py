"""Every place of a project where text can lie, as streams of bytes: the folder, DVC's cache, remotes, git's objects."""

from __future__ import annotations

import io
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from lethe.custody.plain_git import PLAIN_GIT, plain
from lethe.erasure.reading import SHORTEST
from lethe.erasure.streams import Passing
from lethe.provenance.artifact_store import place_name
from lethe.provenance.history import listed

if TYPE_CHECKING:
    from lethe.provenance.artifact_store import Store
    from lethe.provenance.history import History, Project

LOOSE = re.compile(r"[0-9a-f]{2}/[0-9a-f]{38}(?:[0-9a-f]{24})?")  # objects below `objects`, which git reads itself
PACKAGES = ("bin", "Scripts", "lib", "lib64", "Lib", "include", "share", "etc")  # of a virtual environment
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
        yield Unread(place_name(name), "", why)
    yield from git_objects(history.project)
    yield from git_folders(history.project)
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
        if in_git:
            yield from left_over(project, here)
            if here != project.folder / ".git":  # another one, a bare one, or that of a submodule
                yield from other_repository(project, here)
        folders[:] = [name for name in kept if not (in_git and name == "objects") and not (here / name).is_symlink()]
        yield from (leading_out(project, here / name) for name in kept if (here / name).is_symlink())
        for name in (*kept, *sorted(names)):
            yield from name_alone(project, here / name)
        for name in sorted(names):
            yield file_item(project, here / name)
            yield from attributes(project, here / name)
    yield from closed(project)


def name_alone(project: Project, path: Path) -> Iterator[Item]:
    """The name of what is no file, and where a link leads to: they can be text, too."""
    target = os.fsencode(os.readlink(path)) if path.is_symlink() else b""
    if len(target) >= SHORTEST or (len(path.name) >= SHORTEST and not path.is_file()):
        held = target.replace(b"_", b" ")
        yield Item("folder", f"{named(project, path)}, its name", len(held), lambda: io.BytesIO(held))


def attributes(project: Project, path: Path) -> Iterator[Item]:
    """What stands in a file's extended attributes, where this system has them."""
    try:
        names = [name for name in os.listxattr(path, follow_symlinks=False) if name.startswith("user.")]
        held = b"\n".join(
            name.replace("_", " ").encode() + b"\n" + os.getxattr(path, name, follow_symlinks=False) for name in names
        )
    except (OSError, AttributeError):
        return
    if held:
        yield Item("folder", f"{named(project, path)}, its attributes", len(held), lambda: io.BytesIO(held))


def left_over(project: Project, place: Path) -> Iterator[Item | Unread]:
    """Files among the objects of a repository that git does not read as objects: one that was killed leaves them."""
    for path in sorted((place / "objects").rglob("*")):
        own = LOOSE.fullmatch(path.relative_to(place / "objects").as_posix()) or is_pack(path)
        if path.is_file() and not own:
            yield file_item(project, path)


def is_pack(path: Path) -> bool:
    """Whether git reads the objects of a pack: only where the index beside it is of this very pack."""
    index = path.with_suffix(".idx")
    if path.suffix != ".pack" or not (path.is_file() and index.is_file()):
        return False
    with path.open("rb") as pack, index.open("rb") as of:
        for stream in (pack, of):
            stream.seek(max(0, stream.seek(0, 2) - 64))
        ends = pack.read(), of.read()
    return any(ends[0][-size:] == ends[1][-2 * size : -size] for size in (20, 32))


def git_folders(project: Project) -> Iterator[Item | Unread]:
    """The files of git's own folders that lie outside of the project: messages, logs, unfinished work."""
    asked = ("--absolute-git-dir", "--git-common-dir", "--show-toplevel")
    own, common, top = (project.folder / each for each in listed(project, "rev-parse", *asked))
    for place in dict.fromkeys((own.resolve(), common.resolve())):
        if place.is_relative_to(project.folder.resolve()):
            continue
        yield from left_over(project, place)
        for where, folders, names in os.walk(place):
            folders[:] = [name for name in folders if not (Path(where) == place and name == "objects")]
            yield from (file_item(project, Path(where, name)) for name in sorted(names))
    if top.resolve() != project.folder.resolve():
        yield Unread("git", str(top), "the repository's other folders: not the project's; check them there", True)


def named(project: Project, path: Path) -> str:
    """A path as the project has it; one outside of it as it is."""
    return path.relative_to(project.folder).as_posix() if path.is_relative_to(project.folder) else str(path)


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
    name = named(project, path)
    try:
        if not path.is_file():
            return Unread("folder", name, "no such file" if not path.exists() else "a pipe, device or socket")
        facts = path.stat()
    except OSError as error:
        return Unread("folder", name, str(error.strerror))
    return Item("folder", name, facts.st_size, opener(path), "", (facts.st_dev, facts.st_ino), facts.st_nlink)


def virtual_environments(root: Path) -> set[Path]:
    """The folders of installed packages in one at the top of the project; a mark alone makes no folder one.

    A link to one elsewhere is a link like any other.
    """
    found = (each.parent for each in (*root.glob("*/pyvenv.cfg"), *root.glob(".*/pyvenv.cfg")))
    real = [each for each in found if any((each / python).exists() for python in ("bin/python", "Scripts/python.exe"))]
    packages = {(each / name).resolve() for each in real for name in PACKAGES if (each / name).is_dir()}
    return {each for each in packages if each.is_relative_to(root.resolve())}


def cache(store: Store) -> Iterator[Item | Unread]:
    """Every object of DVC's cache, also of older layouts and of the run cache."""
    root = store.cache.parent.parent if store.cache.parent.name == "files" else store.cache
    closed: list[OSError] = []
    paths = []
    for where, folders, names in os.walk(root, onerror=closed.append):
        for name in folders:
            if (link := Path(where, name)).is_symlink():
                yield Unread("cache", link.relative_to(root).as_posix(), f"a link to {link.resolve()}, not entered")
        paths += [Path(where, name) for name in names]
    yield from (Unread("cache", str(error.filename), str(error.strerror)) for error in closed)
    for path in sorted(paths):
        if not path.is_file():
            yield Unread("cache", path.relative_to(root).as_posix(), "no file that can be read")
            continue
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


def git_objects(project: Project) -> Iterator[Item | Unread]:
    """Every object that git has, also of stashes, experiments and commits that no ref names any more."""
    names = dict(line.split(" ", 1) for line in listed(project, "rev-list", "--objects", "--all") if " " in line)
    with subprocess.Popen(
        [*PLAIN_GIT, "cat-file", "--batch-all-objects", "--batch", "--unordered"],
        cwd=project.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=plain(),
    ) as asked:
        yield from objects_in(asked.stdout, "", names)
    if asked.returncode:
        yield Unread("git", "objects", "git cannot read all of them; `git fsck`")


def other_repository(project: Project, place: Path) -> Iterator[Item | Unread]:
    """Every object of a repository inside the project that is not the project's own."""
    name = place.relative_to(project.folder).as_posix()
    ask = [*PLAIN_GIT, f"--git-dir={place}", "cat-file", "--batch-all-objects", "--batch", "--unordered"]
    alone = plain() | {"GIT_NO_LAZY_FETCH": "1"}
    with subprocess.Popen(
        ask, cwd=project.folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=alone
    ) as asked:
        yield from objects_in(asked.stdout, f"{name}: ", {})
    if asked.returncode:
        yield Unread("folder", f"{name}/objects", "another repository, which git cannot read")


def objects_in(output: IO[bytes] | None, before: str, names: Mapping[str, str]) -> Iterator[Item | Unread]:
    """The objects that `git cat-file --batch` writes. before: what their names begin with; names: {object: path}."""
    while output and (header := output.readline()):
        if len(header.split()) != 3:  # `<object> missing`: its file is broken, or a filter left it elsewhere
            yield Unread("git", f"{before}object {header.decode().strip()}", "git cannot read it; `git fsck`")
            continue
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
