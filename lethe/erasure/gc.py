"""Artifacts of certificates that `dvc gc` would remove, found before it does."""

from __future__ import annotations

import base64
import binascii
import json as json_lib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lethe.console import Json, console, end, print_json
from lethe.core.errors import StageError

if TYPE_CHECKING:
    from lethe.provenance.artifact_store import Store

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
    from lethe.provenance.artifact_store import open_store
    from lethe.provenance.history import open_project

    options = list(context.args)
    project = open_project(Path())
    store = open_store(project)
    going = removed_by_gc(options)
    lost = [row for path in found(certificates) for row in losses(path, store, going)]
    done = (remove and not lost) or remove_certified
    if done:
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
    for pattern in patterns.split(","):
        here = sorted(Path().glob(pattern)) if not Path(pattern).is_absolute() else [Path(pattern)]
        if not here and not re.search(r"[*?\[]", pattern):
            raise StageError(f"{pattern}: no such file; expected a certificate")
        paths += here
    return paths


def removed_by_gc(options: list[str]) -> set[str]:
    """The md5s that `dvc gc` with these options would remove; a dry run, nothing is removed."""
    return {first + rest for first, rest in REMOVING.findall(run_gc([*options, "--dry"]))}


def run_gc(options: list[str]) -> str:
    """The output of `dvc gc`. Raises StageError with its last line where it fails."""
    done = subprocess.run([sys.executable, "-m", "dvc", "gc", *options], capture_output=True, text=True, input="y\n")
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise StageError(f"dvc gc: {lines[-1].removeprefix('ERROR: ') if lines else 'failed'}")
    return done.stdout + done.stderr


def losses(path: Path, store: Store, going: set[str]) -> list[dict[str, Any]]:
    """The artifacts of a certificate that would be removed, in part or as a whole.

    An artifact that is incomplete already is no loss: of a folder that git holds, DVC keeps only the list of files.
    """
    from lethe.provenance.artifact_store import manifest, place_of

    rows = []
    for artifact, md5 in sorted(set(named_in(path))):
        parts = {md5, *((manifest(store, md5) or {}).values() if md5.endswith(".dir") else ())}
        if parts & going and all(place_of(store, part) for part in parts):
            rows.append({"certificate": str(path), "artifact": artifact, "md5": md5})
    return rows


def named_in(path: Path) -> Iterator[tuple[str, str]]:
    """(artifact, md5) of everything a certificate names by DVC's hash. Raises StageError if it is not a certificate."""
    try:
        envelope = json_lib.loads(path.read_bytes())
        predicate = json_lib.loads(base64.b64decode(envelope["payload"], validate=True))["predicate"]
        yield predicate["model"]["path"], predicate["model"]["md5"]
        for row in predicate["buildDefinition"]["resolvedDependencies"]:
            yield row["name"], row["digest"]["md5"]
    except (ValueError, KeyError, TypeError, binascii.Error):
        raise StageError(f"{path}: expected a certificate that `lethe certify` wrote, got another file") from None
