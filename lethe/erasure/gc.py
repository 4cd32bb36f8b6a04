"""Artifacts of certificates that `dvc gc` would remove, found before it does."""

from __future__ import annotations

import base64
import binascii
import json as json_lib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lethe.console import Json, Ticker, console, end, print_json
from lethe.core.errors import StageError
from lethe.custody.plain_data import text_if_there
from lethe.erasure.plan import whole
from lethe.provenance.artifact_store import open_store, place_of
from lethe.provenance.history import contents, listed, open_project, recorded, unreadable
from lethe.provenance.verify import UnansweredError, content_of

if TYPE_CHECKING:
    from lethe.provenance.artifact_store import Store
    from lethe.provenance.history import Project

WORKSPACE, COMMITS, EXPERIMENTS = ("-w", "--workspace"), ("-A", "--all-commits"), ("--all-experiments",)
HASH = re.compile(r"md5: ([0-9a-f]{32}(?:\.dir)?)")
OBJECT = re.compile(r"[0-9a-f]{32}(\.dir)?")
REMOVING = re.compile(r"^Removing .*?([0-9a-f]{2})[/\\]([0-9a-f]{30}(?:\.dir)?)$", re.MULTILINE)
SETTINGS = {"allow_extra_args": True, "ignore_unknown_options": True}


def command(
    context: typer.Context,
    certificates: Annotated[
        str, typer.Option(help="Certificates: patterns of paths, separated by commas.")
    ] = "certificate*.json,certificates/*.json",
    remove: Annotated[bool, typer.Option("--remove", help="Remove, unless a certificate loses an artifact.")] = False,
    remove_certified: Annotated[
        bool, typer.Option("--remove-certified", help="Remove, artifacts of certificates too.")
    ] = False,
    json: Json = False,
) -> None:
    """List every artifact of a certificate that `dvc gc` would remove; options are those of `dvc gc`.

    `lethe gc --workspace --all-commits` only lists; --remove runs `dvc gc` with the same options unless an artifact of
    a certificate would be lost. Exit code 3 if one would be, or was.
    """
    options = list(context.args)
    project = open_project(Path())
    store = open_store(project)
    going = removed(options, project, store)
    lost = [row for path in found(certificates) for row in losses(path, store, going)]
    done = (remove and not lost) or remove_certified
    if done:
        print("gc: dvc reads every commit again before it removes anything; this takes minutes", file=sys.stderr)
        run_gc([*options, "--force"])
    if json:
        print_json({"objects": len(going), "removed": done, "lost": lost})
    else:
        for row in lost:
            console().print(f"{row['certificate']}: {row['artifact']} {row['md5']}", markup=False)
        what = "were removed" if done else "would be removed"
        print(f"gc: {len(going)} objects {what}, {len(lost)} of them artifacts of certificates")
    end(not lost)


def found(patterns: str) -> list[Path]:
    """The files of the patterns. Raises StageError for a named file that does not exist."""
    paths: list[Path] = []
    for pattern in filter(None, patterns.split(",")):
        here = sorted(Path().glob(pattern)) if not Path(pattern).is_absolute() else [Path(pattern)]
        if not here and not re.search(r"[*?\[]", pattern):
            raise StageError(f"{pattern}: no such file; expected a certificate")
        paths += here
    return paths


def removed(options: list[str], project: Project, store: Store) -> set[str]:
    """The md5s that `dvc gc` with these options would remove; nothing is removed.

    For all commits the answer comes from git directly: dvc takes half a second for each.
    """
    if not {*options} <= {*WORKSPACE, *COMMITS, *EXPERIMENTS} or not {*options} & {*COMMITS}:
        return removed_by_gc(options)
    recorded_outs = used_in_git(project, bool({*options} & {*EXPERIMENTS})) | used_in_folder(project)
    ticker, used = Ticker(), set[str]()
    for number, md5 in enumerate(sorted(recorded_outs)):
        used |= whole(store, [md5])
        ticker.tell(f"gc: {number + 1} of {len(recorded_outs)} recorded outs are listed")
    there = {path.parent.name + path.name for path in store.cache.glob("[0-9a-f][0-9a-f]/*")}
    return {md5 for md5 in there if OBJECT.fullmatch(md5)} - used


def used_in_git(project: Project, experiments: bool) -> set[str]:
    """Every hash that a dvc.lock or a .dvc file of any commit names as an out, of experiments too if asked."""
    refs = ["--branches", "--remotes", "--tags", "HEAD", *(["--glob=refs/exps/*"] if experiments else [])]
    named = (line.split(" ", 1) for line in listed(project, "rev-list", "--objects", *refs) if " " in line)
    blobs = {id_: path for id_, path in named if path.startswith(project.prefix) and is_dvcs(path)}
    print(f"gc: {len(blobs)} versions of dvc.lock and .dvc files in git", file=sys.stderr)
    texts = contents(project, blobs)
    return set().union(*(hashes(blobs[id_], text.decode(errors="replace")) for id_, text in texts.items()))


def used_in_folder(project: Project) -> set[str]:
    """The same of the working folder."""
    found: set[str] = set()
    for place, folders, names in os.walk(project.folder):
        folders[:] = [name for name in folders if name not in (".dvc", ".git", ".scratch", ".venv")]
        for name in filter(is_dvcs, names):
            found |= hashes(name, text_if_there(Path(place, name)))
    return found


def is_dvcs(path: str) -> bool:
    """Whether DVC reads outs from a file of this name."""
    name = path.split("/")[-1]
    return (name.endswith(".dvc") and name != ".dvc") or name == "dvc.lock"  # .dvc is DVC's own folder


def hashes(path: str, text: str) -> set[str]:
    """The hashes of the outs that a dvc.lock or a .dvc file names; of one that cannot be read, every hash in it."""
    if path.endswith(".dvc") or unreadable(text):
        return set(HASH.findall(text))
    return {md5 for entry in recorded(text).values() for md5 in entry.outs.values()}


def removed_by_gc(options: list[str]) -> set[str]:
    """The md5s that `dvc gc` with these options would remove; a dry run, nothing is removed."""
    return {first + rest for first, rest in REMOVING.findall(run_gc([*options, "--dry"]))}


def run_gc(options: list[str]) -> str:
    """The output of `dvc gc`. Raises StageError with its last line where it fails."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "dvc", "gc", *options], capture_output=True, text=True, input="y\n"
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise StageError(f"dvc gc: {lines[-1].removeprefix('ERROR: ') if lines else 'failed'}")
    return done.stdout + done.stderr


def losses(path: Path, store: Store, going: set[str]) -> list[dict[str, Any]]:
    """The artifacts of a certificate that would be removed, in part or as a whole.

    An artifact that is incomplete already is no loss: of a folder that git holds, DVC keeps only the list of files.
    """
    rows = []
    for artifact, md5 in sorted(set(named_in(path))):
        parts = whole(store, [md5])
        if parts & going and all(place_of(store, part) for part in parts):
            rows.append({"certificate": str(path), "artifact": artifact, "md5": md5})
    return rows


def named_in(path: Path) -> Iterator[tuple[str, str]]:
    """(artifact, md5) of everything a certificate names by DVC's hash. Raises StageError if it is not a certificate."""
    try:
        envelope = json_lib.loads(content_of(path))
        predicate = json_lib.loads(base64.b64decode(envelope["payload"], validate=True))["predicate"]
        yield predicate["model"]["path"], predicate["model"]["md5"]
        for row in predicate["buildDefinition"]["resolvedDependencies"]:
            yield row["name"], row["digest"]["md5"]
    except (ValueError, KeyError, TypeError, binascii.Error, RecursionError, UnansweredError):
        raise StageError(f"{path}: expected a certificate that `lethe certify` wrote, got another file") from None
