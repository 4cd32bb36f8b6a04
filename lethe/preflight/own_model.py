"""Whether a model folder of one's own is whole, and whether a run can do with it what it does with a model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lethe.core.errors import StageError
from lethe.gate.metric_catalogue import size
from lethe.models.config import load_config
from lethe.models.folders import check_folder, refuse_pointer, weight_files

LOADED = 3e9  # bytes of weights that are read as a whole; a forward pass of more takes longer than a minute on a CPU
SECONDS = 55  # for the trial of the architecture
TUNINGS = {"full": "full", "lora": "LoRA", "prompt": "prompt"}


class Report(NamedTuple):
    """What was found of a model folder."""

    checks: dict[str, tuple[str, str]]  # name -> how it went and why, of a tiny model of the architecture
    problems: list[str]
    notes: list[str]


def examined_model(folder: Path, finetune: Any, free_memory: float) -> Report:
    """The folder's own files, and what a tiny model of its architecture can do.

    finetune: the parameters of that stage, None if they are invalid. Raises StageError where no architecture accepts
    config.json.
    """
    from lethe.preflight.trial import FAILS, OK, REFUSED

    if (path := folder / "config.json").exists():
        refuse_pointer(path)
    config = load_config(folder)
    files = file_problems(folder, free_memory)
    problems, notes = [*files[0]], [*files[1]]
    if finetune is None:
        return Report({}, problems, [*notes, f"{folder}: not tried, because the parameters of finetune are not valid"])
    checks = tried(config.to_dict() | {"model_type": config.model_type}, finetune)
    needed = {name for tuning, name in TUNINGS.items() if tuning != finetune.tuning}
    for name, (state, why) in checks.items():
        line = f"{config.model_type}: {name}: {why}"
        if name == "build":
            notes.append(f"{config.model_type}: not tried, as no tiny model of it could be made: {why}")
        elif state == FAILS or (state == REFUSED and name not in needed):
            problems.append(line)
        elif state not in (OK, "-"):
            notes.append(line)
    return Report(checks, problems, notes)


def file_problems(folder: Path, free_memory: float) -> tuple[list[str], list[str]]:
    """Problems and notes of the files: weights, tokenizer, and what the weights give, if they are not too large."""
    from lethe.pretrained.start import check_model

    if {path.name for path in folder.iterdir() if path.is_file()} == {"config.json"}:
        return [], [f"{folder}: only config.json is there, so no weights and no tokenizer were checked"]
    try:
        check_folder(folder)
        weights = sum(path.stat().st_size for path in weight_files(folder))
        if weights > LOADED or weights > 0.7 * free_memory:
            return [], [f"{folder}: of the weights, {size(weights)}, only names and shapes were read"]
        check_model(folder)
    except StageError as error:
        return [str(error)], []
    return [], []


def tried(config: Mapping[str, Any], finetune: Any) -> dict[str, tuple[str, str]]:
    """What came of a tiny model of the architecture, in a process of its own on the CPU."""
    given = json.dumps({"config": config, "finetune": finetune.model_dump()}, default=str)
    command = [sys.executable, "-m", "lethe.preflight.trial"]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    try:
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=SECONDS, env=environment)
    except subprocess.TimeoutExpired:
        return {"build": ("fails", f"not done after {SECONDS} s")}
    if done.returncode:
        return {"build": ("fails", (done.stderr.strip().splitlines() or ["no message"])[-1])}
    return {name: tuple(found) for name, found in json.loads(done.stdout.splitlines()[-1]).items()}
