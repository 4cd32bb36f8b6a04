"""The pipeline run in a clone of this project, so that a study never touches this project's parameters or artifacts.

The clone shares this project's DVC cache: what has run once is never run again.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap

from lethe.core.params import StageParams, known_names
from lethe.core.whole_params import section_schemas
from lethe.preflight.presets import dumped, put, round_trip, whole_text
from lethe.provenance.replay import share_cache

ROOT = Path(__file__).resolve().parents[1]
Changes = dict[str, Any]  # dotted parameter -> value
PAPER: Changes = {  # hard labels and no distillation
    "finetune.labels": "hard",
    "finetune.alpha": 5.0,
    "distil.steps": 0,
}


def clone(target: Path) -> Path:
    """A fresh clone of the committed project at `target`, with this project's cache."""
    shutil.rmtree(target, ignore_errors=True)
    run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(target)], ROOT)
    share_cache(target, ROOT / ".dvc/cache")
    return target


@contextmanager
def failures_in(project: Path) -> Iterator[None]:
    """Exit with one line where a command of the clone fails: its own message is above."""
    try:
        yield
    except subprocess.CalledProcessError as error:
        sys.exit(f"error: {project}: `{' '.join(error.cmd)}` ended with exit code {error.returncode}; see above")


def write_result(content: Mapping[str, Any] | Sequence[Any], path: Path) -> None:
    """Write a study's numbers as JSON, with the folder if there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def change_params(project: Path, changes: Changes, base: str = "params.yaml") -> None:
    """Write the project's params.yaml: the params file or preset `base` with dotted parameters set, comments kept.

    A stage's section may be given a parameter that it inherits from a shared section. Exits if no stage knows the
    parameter.
    """
    content = round_trip().load(whole_text(project / base))
    known = section_schemas(content)
    for dotted, value in changes.items():
        *sections, key = dotted.split(".")
        if not is_parameter(sections, key, content, known):
            sys.exit(f"{base}: {dotted}: unknown parameter")
        place = content
        for section in sections:
            put(place, section, place.get(section, CommentedMap()))
            place = place[section]
        put(place, key, value)
    (project / "params.yaml").write_text(dumped(content), encoding="utf-8")


def is_parameter(sections: list[str], key: str, content: Changes, known: dict[str, type[StageParams]]) -> bool:
    """Whether params.yaml has the parameter, or may have it as the class of its section says."""
    place: Any = content
    for section in sections:
        place = place.get(section) if isinstance(place, dict) else None
    if isinstance(place, dict) and key in place:
        return True
    return sections[0] in known and key in known_names(known[sections[0]], sections[1:])


def repro(project: Path, changes: Changes, *targets: str, base: str = "params.yaml") -> dict[str, Any]:
    """`dvc repro` with the committed params file `base` (params.yaml or a preset) and changed parameters.

    Returns the reports and what the run cost; a stage that came from the cache has cost nothing and is left out.
    """
    shutil.rmtree(project / ".scratch/cost", ignore_errors=True)
    run(["git", "checkout", "--quiet", "params.yaml"], project)
    change_params(project, changes, base)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(["dvc", "repro", *targets], project)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    reports = {path.stem: json.loads(path.read_text()) for path in sorted((project / "reports").glob("*.json"))}
    costs = {path.stem: json.loads(path.read_text()) for path in sorted((project / ".scratch/cost").glob("*.json"))}
    return reports | {"cpu_seconds": round(seconds, 1), "stages": costs}


def run(command: list[str], folder: Path) -> None:
    """Run a command of this environment in `folder`; its code is the folder's own."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(command, cwd=folder, check=True, env=os.environ | {"PATH": path, "PYTHONPATH": str(folder)})
