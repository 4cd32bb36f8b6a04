"""The dvc.lock of every commit that HEAD, or another ref that is named, was made from.

What lies beside that history counts only where it is asked for: anybody who can push a branch can write a dvc.lock.
The number of git calls does not depend on the length of the history, and YAML is parsed only where it is needed.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from lethe.core.errors import StageError
from lethe.core.params import overlaid
from lethe.custody.plain_data import read_yaml_text, text_if_there
from lethe.custody.plain_git import LITERAL, PLAIN_GIT, plain

FIELDS = ("%H", "%P", "%an <%ae>", "%aI", "%s")  # separated by NUL, the one character that none of them can contain
HEAD = "HEAD"
ABBREVIATED = re.compile(r"[0-9a-f]{4,63}")
COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
DIGEST = re.compile(r"[0-9a-f]{32}(?:\.dir)?")
CONFLICT = re.compile(r"^(<{7}|={7}|>{7})(?= |$)", re.MULTILINE)
EXPERIMENT = re.compile(r"refs/exps/[0-9a-f]{2}/[0-9a-f]{38}/(.+)")
PLAIN = r"[^'\"&*!|>%@`#{\[\n](?:(?! #|: )[^\n])*?"  # a path that YAML writes without quotes
ENTRY = re.compile(
    rf"    - path: ({PLAIN})\n(?:      hash: md5\n)?      md5: ([0-9a-f]{{32}}(?:\.dir)?)\n"
    r"(?:      (?:size|nfiles): \d+\n){0,2}(?:      isexec: true\n)?"
)
HEAD_LINES = re.compile(r"(?:\ufeff|#[^\n]*\n)?(?:schema: ['\"]?2\.0['\"]?\n)?stages:\n")
SECTION = re.compile(r"^    (\w+):", re.MULTILINE)
STAGE = re.compile(r"^  (\S[^\n]*):\n", re.MULTILINE)


class Project(NamedTuple):
    """Where dvc.yaml lies, and its path from the root of the git repository ("" or "sub/folder/")."""

    folder: Path
    prefix: str


class Commit(NamedTuple):
    id: str
    parents: tuple[str, ...]
    author: str  # name <address>
    date: str  # ISO 8601, of the author
    subject: str
    experiment: str  # its name, "" for an ordinary commit


class Entry(NamedTuple):
    """A stage in a dvc.lock: {path: md5} of what it read and what it made; a folder's md5 ends in .dir."""

    deps: dict[str, str]
    outs: dict[str, str]


class Lock(NamedTuple):
    """One content of dvc.lock and the commits that hold it, oldest first."""

    text: str
    commits: tuple[Commit, ...]


class Scope(NamedTuple):
    """The history that an answer speaks of."""

    ref: str  # as it was named; "" for every ref
    commit: str  # that it is
    branch: str  # the current branch where the ref is HEAD, else ""


class History(NamedTuple):
    """All commits, parents before children, and every dvc.lock in the order of the first commit that holds it."""

    project: Project
    commits: tuple[Commit, ...]
    locks: tuple[Lock, ...]
    scope: Scope
    skipped: tuple[Lock, ...]  # those that cannot be read


def open_project(folder: Path) -> Project:
    """The project that `folder` is in. Raises StageError without git, DVC or a commit, and for a shallow clone."""
    command = [*PLAIN_GIT, "rev-parse", "--is-shallow-repository", "--show-toplevel"]
    found = subprocess.run(command, cwd=folder, capture_output=True, env=plain())
    if found.returncode:
        why = found.stderr.decode(errors="replace").strip().split("\n")[0].removeprefix("fatal: ")
        said = "none" if "not a git repository" in why else why  # such as one that another user owns
        raise StageError(f"{folder.resolve()}: expected the git repository that made the model, got {said}")
    shallow, top = os.fsdecode(found.stdout).removesuffix("\n").split("\n", 1)
    if shallow == "true":
        raise StageError(f"{top}: expected the whole history, got a shallow clone; git fetch --unshallow")
    root = next((place for place in (folder.resolve(), *folder.resolve().parents) if (place / ".dvc").is_dir()), None)
    if root is None or not root.is_relative_to(Path(top).resolve()):
        raise StageError(f"{folder.resolve()}: expected the DVC project that made the model, got no .dvc folder")
    prefix = root.relative_to(Path(top).resolve()).as_posix()
    return Project(root, "" if prefix == "." else f"{prefix}/")


def git(project: Project, *arguments: str, given: bytes = b"", patterns: bool = False) -> bytes:
    """Output of a git command in the project. Raises StageError with git's last line.

    patterns: whether its paths are patterns.
    """
    words = [each for each in PLAIN_GIT if not (patterns and each == LITERAL)]
    done = subprocess.run([*words, *arguments], cwd=project.folder, input=given, capture_output=True, env=plain())
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().split("\n")[-1]
        raise StageError(f"git {arguments[0]}: {said}")
    return done.stdout


def listed(project: Project, *arguments: str) -> list[str]:
    """The lines of a git command's output. Only a line feed ends a line: names may hold U+2028 and other bytes."""
    return [line for line in git(project, *arguments).decode(errors="surrogateescape").split("\n") if line]


def commits(project: Project, start: str) -> tuple[Commit, ...]:
    """The commits that a commit was made from and itself, parents before children, else by date; "" for every ref's."""
    names = experiments(project)
    order = ("--author-date-order", "--reverse", "--no-show-signature", "-z", f"--format={'%x00'.join(FIELDS)}")
    plain_text = "--encoding=UTF-8"  # whatever the settings say
    said = git(project, "log", plain_text, *order, start or "--all", "--").decode(errors="replace")
    words = iter(said.split("\0"))
    rows = zip(*[words] * len(FIELDS), strict=False)  # the last NUL ends the last subject
    return tuple(
        Commit(id_, tuple(parents.split(" ")) if parents else (), author, date, subject, names.get(id_, ""))
        for id_, parents, author, date, subject in rows
    )


def scope_of(project: Project, ref: str) -> Scope:
    """The commit that a branch, tag, hash or experiment is. Raises StageError for anything else."""
    if not ref:
        return Scope("", "", "")
    ids = {ref} if ref == HEAD else named_by(project, ref)
    ids = set(filter(None, (commit_of(project, each) for each in ids)))
    if not ids and ref == HEAD:
        raise StageError(f"{project.folder}: expected at least one commit, got none; git add . && git commit")
    if len(ids) != 1:
        raise StageError(f"--ref: expected a branch, tag, commit or experiment, got {ref}, which names {len(ids)}")
    branch = listed(project, "rev-parse", "--abbrev-ref", HEAD)[0] if ref == HEAD else ""
    return Scope(ref, ids.pop(), "" if branch == HEAD else branch)


def commit_of(project: Project, name: str) -> str:
    """The commit that a name of git is, "" for anything else."""
    command = ["rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"]
    found = subprocess.run([*PLAIN_GIT, *command], cwd=project.folder, capture_output=True, text=True, env=plain())
    said = found.stdout.strip()
    return said if found.returncode == 0 and COMMIT.fullmatch(said) else ""  # `^HEAD` is every commit but those


def named_by(project: Project, ref: str) -> set[str]:
    """Everything that a name can mean: a tag called like the branch, or a branch called like a commit, is another."""
    kinds = ("refs/heads/", "refs/tags/", "refs/remotes/")
    found = {
        ref,
        *(f"{kind}{ref}" for kind in kinds),
        *(id_ for id_, name in experiments(project).items() if name == ref),
    }
    if ABBREVIATED.fullmatch(ref) and not COMMIT.fullmatch(ref):
        found |= set(listed(project, "rev-parse", f"--disambiguate={ref}"))
    return found


def scope_words(scope: Scope, count: int) -> str:
    """The history an answer speaks of: `main at 1a2b3c4d5e, 12 commits`."""
    if not scope.ref:
        return f"every branch, tag and experiment of this clone, {count} commits"
    named = scope.branch or ("HEAD" if scope.ref == HEAD else scope.ref)
    return f"{named} at {scope.commit[:10]}, {count} commits"


def fetch_all(project: Project) -> None:
    """Fetch branches, tags and experiments of every git remote; no local ref is overwritten by an experiment."""
    for remote in listed(project, "remote"):
        branches = f"+refs/heads/*:refs/remotes/{remote}/*"
        git(project, "fetch", "--quiet", "--tags", remote, branches, "refs/exps/*:refs/exps/*")


def experiments(project: Project) -> dict[str, str]:
    """{commit: name} of the local DVC experiments."""
    rows = (
        line.split(" ", 1) for line in listed(project, "for-each-ref", "--format=%(objectname) %(refname)", "refs/exps")
    )
    return {id_: found[1] for id_, ref in rows if (found := EXPERIMENT.fullmatch(ref))}


def object_ids(project: Project, names: Sequence[str], kind: str = "blob") -> list[str]:
    """The object of a kind, blob or tree, that each `<commit>:<path>` names, "" where there is none."""
    asked = [name for name in names if "\n" not in name]  # git would read two names
    lines = "".join(f"{name}\n" for name in asked).encode(errors="surrogateescape")
    said = git(project, "cat-file", "--batch-check=%(objectname) %(objecttype)", given=lines).split(b"\n")
    ids = (line.split(b" ")[0].decode() if line.endswith(f" {kind}".encode()) else "" for line in said)
    found = dict(zip(asked, ids, strict=False))
    return [found.get(name, "") for name in names]


def contents(project: Project, ids: Iterable[str]) -> dict[str, bytes]:
    """{blob: content} of blobs that exist."""
    wanted = list(dict.fromkeys(filter(None, ids)))
    output, found, place = git(project, "cat-file", "--batch", given="".join(f"{i}\n" for i in wanted).encode()), {}, 0
    for id_ in wanted:
        end = output.index(b"\n", place)
        kind, size = output[place:end].split()[1:]
        found[id_] = output[end + 1 : end + 1 + int(size)]
        check_object(id_, kind, found[id_])
        place = end + int(size) + 2  # the content ends with a line feed of git's own
    return found


def check_object(id_: str, kind: bytes, content: bytes) -> None:
    """Raise StageError unless the content is what the object's name says: git reads what lies there without asking."""
    digest = hashlib.sha1 if len(id_) == 40 else hashlib.sha256
    if digest(b"%s %d\0%s" % (kind, len(content), content)).hexdigest() != id_:
        raise StageError(
            f"git: expected object {id_[:12]} with the content that its name says, got another; `git fsck`"
        )


def versions(project: Project, every: Sequence[Commit], path: str) -> list[tuple[bytes, tuple[Commit, ...]]]:
    """Every content that the file at `path` (from the project's folder) has in these commits, in their order."""
    held = commits_by_object(project, every, path, "blob")
    read = contents(project, held)
    return [(read[id_], commits) for id_, commits in held.items()]


def folder_versions(
    project: Project, every: Sequence[Commit], folder: str
) -> list[tuple[dict[str, bytes], tuple[Commit, ...]]]:
    """Every content that the folder has in these commits, {path relative to it: content} each, in their order."""
    held = commits_by_object(project, every, folder, "tree")
    return [(folder_at(project, commits[0].id, folder), commits) for commits in held.values()]


def commits_by_object(project: Project, every: Sequence[Commit], path: str, kind: str) -> dict[str, tuple[Commit, ...]]:
    """{object: the commits in which `path` is this object}, of a kind, blob or tree, in the order of the commits."""
    held: dict[str, tuple[Commit, ...]] = {}
    ids = object_ids(project, [f"{commit.id}:{project.prefix}{path}" for commit in every], kind)
    for commit, id_ in zip(every, ids, strict=True):
        if id_:
            held[id_] = (*held.get(id_, ()), commit)
    return held


def files_at(project: Project, commit: str, paths: Sequence[str]) -> dict[str, bytes]:
    """{path: content} of those of the files that the commit holds."""
    ids = object_ids(project, [f"{commit}:{project.prefix}{path}" for path in paths])
    read = contents(project, ids)
    return {path: read[id_] for path, id_ in zip(paths, ids, strict=True) if id_}


def folder_at(project: Project, commit: str, folder: str) -> dict[str, bytes]:
    """{path relative to the folder: content} of the files below a folder in a commit."""
    where = f"{project.prefix}{folder}/"
    rows = git(project, "ls-tree", "-r", "-z", "--full-tree", commit, "--", where).decode(errors="surrogateescape")
    named = (row.split("\t", 1) for row in rows.split("\0") if row)
    ids = {name: facts.split(" ")[2] for facts, name in named if facts.split(" ")[1] == "blob"}
    read = contents(project, ids.values())
    return {name.removeprefix(where): read[id_] for name, id_ in ids.items()}


def open_history(folder: Path, ref: str = HEAD) -> History:
    """The history of the project that `folder` is in, up to a branch, tag, commit or experiment; "" for every ref's.

    A dvc.lock that cannot be read is skipped and told. Raises StageError where the history is missing or incomplete.
    """
    project = open_project(folder)
    scope = scope_of(project, ref)
    every = commits(project, scope.commit)
    found = [Lock(text.decode(errors="replace"), held) for text, held in versions(project, every, "dvc.lock")]
    if not found:
        raise StageError(
            f"{project.folder}: expected dvc.lock in git, got no commit that contains it; git add dvc.lock"
        )
    skipped = tuple(lock for lock in found if unreadable(lock.text))
    history = History(project, every, tuple(lock for lock in found if lock not in skipped), scope, skipped)
    if not history.locks:
        raise StageError(
            f"{project.folder}: expected a dvc.lock that can be read, got none: {skipped_lines(history)[0]}"
        )
    return history


def skipped_lines(history: History) -> list[str]:
    """A line for each dvc.lock that cannot be read, with its first commit and the reason."""
    return [f"commit {lock.commits[0].id[:10]}: {unreadable(lock.text)}; skipped" for lock in history.skipped]


def others(history: History) -> int:
    """How many commits of branches, tags and experiments lie beside the history."""
    return int(git(history.project, "rev-list", "--all", "--count")) - len(history.commits) if history.scope.ref else 0


def unreadable(text: str) -> str:
    """Why a dvc.lock cannot be read, "" if it can."""
    try:
        recorded(text)
    except StageError as error:
        return str(error)
    return ""


def uncommitted_lock(history: History) -> str:
    """The text of the current dvc.lock if no commit holds it, else ""."""
    text = text_if_there(history.project.folder / "dvc.lock")
    return "" if any(text == lock.text for lock in (*history.locks, *history.skipped)) else text


@cache
def recorded(text: str) -> dict[str, Entry]:
    """The stages of a dvc.lock, in its order.

    A line pattern reads the form DVC writes, fifty times as fast as YAML; anything that does not fit it whole is left
    to YAML, so that the answer is the same: what DVC reads is what is vouched for. Raises StageError for anything but a
    dvc.lock, such as an unsolved merge.
    """
    if found := CONFLICT.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise StageError(f"dvc.lock: expected one version, got the marks of an unsolved merge in line {line}")
    head, *rest = STAGE.split(text)
    entries = {name: _entry(body) for name, body in zip(rest[::2], rest[1::2], strict=True)}
    if HEAD_LINES.fullmatch(head) and all(entries.values()) and 2 * len(entries) == len(rest):  # no stage twice
        return entries  # type: ignore[return-value]
    stages = read_lock(text).get("stages", {})
    try:
        return {
            name: Entry(_md5s(stage.get("deps", [])), _md5s(stage.get("outs", []))) for name, stage in stages.items()
        }
    except (AttributeError, KeyError, TypeError):
        raise StageError("dvc.lock: expected the file that `dvc repro` writes, got other content") from None


@cache
def _entry(body: str) -> Entry | None:
    """The deps and outs of a stage's lines, None if they have a form that the pattern does not know.

    Cached, because most stages of a dvc.lock stand in the commits before and after it word for word.
    """
    start, *rest = SECTION.split(body)
    found: dict[str, dict[str, str]] = {}
    if start or len(set(rest[::2])) != len(rest[::2]) or not all(map(closed, body.split("\n"))):
        return None
    for kind, lines in zip(rest[::2], rest[1::2], strict=True):
        if kind in ("deps", "outs"):
            found[kind] = dict(ENTRY.findall(lines))
            if len(found[kind]) != lines.count("\n    - ") or ENTRY.sub("", lines) not in ("\n", " []\n"):
                return None
    return Entry(found.get("deps", {}), found.get("outs", {}))


def closed(line: str) -> bool:
    """Whether a line of a stage opens no text that goes on in the next: that could look like stages of its own."""
    pairs = (line.count(each) for each in "[]{}")
    inside = not line or line.startswith("    ")
    return (
        inside
        and line.count('"') % 2 == line.count("'") % 2 == 0
        and next(pairs) == next(pairs)
        and next(pairs) == next(pairs)
    )


def _md5s(items: Iterable[dict[str, Any]]) -> dict[str, str]:
    """{path: md5}; a TypeError for anything but paths, each once, with hashes: a hash becomes a path in the cache."""
    found: dict[str, str] = {}
    for item in items:
        if "md5" in item:
            path, md5 = "" + item["path"], "" + item["md5"]
            if path in found or not DIGEST.fullmatch(md5):
                raise TypeError(path)
            found[path] = md5
    return found


@cache
def read_lock(text: str) -> dict[str, Any]:
    """A complete dvc.lock as YAML. Raises StageError if it is not one."""
    content = read_yaml_text(text)
    if not isinstance(content, dict):
        raise StageError("dvc.lock: expected the file that `dvc repro` writes, got one without stages")
    return content


@cache
def params_of(text: str, stage: str) -> dict[str, Any]:
    """The stage's parameters as its dvc.lock recorded them: its section of params.yaml over the shared ones it read."""
    head, *rest = STAGE.split(text)
    body = dict(zip(rest[::2], rest[1::2], strict=True)).get(stage, "")
    _, *parts = SECTION.split(body)
    lines = dict(zip(parts[::2], parts[1::2], strict=True)).get("params", "")
    if head.endswith("stages:\n") and recorded(text).get(stage):
        found = read_yaml_text(lines) or {}  # of this one section: YAML takes a hundred times as long for the whole
    else:
        found = read_lock(text)["stages"].get(stage, {}).get("params", {})
    sections = found.get("params.yaml", {}) if isinstance(found, dict) else {}
    values: dict[str, Any] = {}
    for name in (*(name for name in sections if name != stage), stage):
        section = sections.get(name)
        values = overlaid(values, section if isinstance(section, dict) else {})
    return values


def ancestors(lock: dict[str, Entry], out: str) -> list[str]:
    """The paths that `out` was made from within one lock, inputs and code too, nearest first."""
    made = {path: stage for stage, entry in lock.items() for path in entry.outs}
    order, waiting = [], [out]
    while waiting:
        path = waiting.pop(0)
        new = [dep for dep in lock[made[path]].deps if dep not in order] if path in made else []
        order += new
        waiting += new
    return order


def refs_with(project: Project, commit: str) -> list[str]:
    """Short names of the branches, tags and experiments that contain the commit."""
    refs = listed(project, "for-each-ref", f"--contains={commit}", "--format=%(refname)")
    return [_short(ref) for ref in refs if not re.match(r"refs/exps/(exec|celery)", ref)]


def _short(ref: str) -> str:
    found = EXPERIMENT.fullmatch(ref)
    return f"experiment {found[1]}" if found else re.sub(r"^refs/(heads|tags|remotes)/", "", ref)


def leads_out(path: str) -> bool:
    """Whether a recorded path is none inside the project: nothing there may be deleted or run."""
    return not Path(path).parts or Path(path).is_absolute() or ".." in Path(path).parts


def is_code(path: str) -> bool:
    """Whether a dep is code rather than data: a file, or since the library has packages a folder of it."""
    return path.startswith(("stages/", "lethe/")) or path == "constraints.txt"
