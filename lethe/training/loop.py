"""The training loop: Hugging Face Trainer over rows of (tokens, next_ids, forget), for any objective and tuning."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lethe.core.stage import is_main_process, need_disk, wait_for_others
from lethe.models.folders import is_whole
from lethe.training.losses import DualObjective
from lethe.training.memory_plan import resume_bytes
from lethe.training.recipe import RecipeParams, check_precision
from lethe.training.rows import Rows
from lethe.training.sharding import keep_whole, sharding

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from lethe.training.losses import Objective

LOSS_HEADER = ("step", "loss", "learning_rate")


def train(
    model: PreTrainedModel,
    rows: Rows,
    recipe: RecipeParams,
    steps: int,
    objective: Objective,
    work: Path,
    description: str,
    at_steps: Sequence[int] = (),
    on_step: Callable[[int], None] = lambda step: None,
    with_base: bool = False,
    layer: int | None = None,
    save: Callable[[int, Mapping[str, Tensor]], None] | None = None,
) -> list[dict[str, float]]:
    """Train `model` in place for `steps` optimiser steps and return its loss curve (columns LOSS_HEADER).

    Resumes from the last complete checkpoint under `work`; a resumed run gives the bytes of an uninterrupted one.
    on_step: called after each optimiser step listed in at_steps, by every process. save: called then by the main
    process with all weights; without it no weights are sharded. with_base: the objective gets the column BASE_HIDDEN
    from a second pass with the prompt or adapter switched off (tuning lora and prompt). layer: the objective's hidden
    states are those after this decoder layer; None: the last ones. Raises StageError if the loss is not finite, the
    disk is too small, or `accelerate config` contradicts the recipe.
    """
    from lethe.training.trainer import AtSteps, DualSteps, FiniteLoss, Job, make_trainer

    if recipe.tuning == "prompt" or save is None or with_base:
        keep_whole(description)
    check_precision(recipe.precision)
    prepare_to_resume(model, recipe, work, description)
    trainer = make_trainer(model, Job(rows, recipe, steps, objective, description, with_base, layer), work / "trainer")
    if isinstance(objective, DualObjective):
        trainer.add_callback(DualSteps(trainer, objective))
    trainer.add_callback(AtSteps(trainer, at_steps, on_step, save))
    trainer.add_callback(FiniteLoss(description))
    trainer.train(resume_from_checkpoint=last_whole_checkpoint(work / "trainer"))
    wait_for_others()
    return loss_curve(trainer.state.log_history)


def prepare_to_resume(model: PreTrainedModel, recipe: RecipeParams, work: Path, description: str) -> None:
    """Check the disk space for resume checkpoints, or report that sharded training keeps none."""
    if not recipe.resume_every:
        return
    if not sharding():
        need_disk(work, resume_bytes(model, recipe.tuning), f"the resume checkpoints of {description}")
    elif is_main_process():
        print(f"{description}: {sharding()[0]} keeps nothing to resume from, a stopped training starts again")


def last_whole_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint whose trainer_state.json, which Trainer writes last, is complete.

    One that was damaged since is set aside with a line: loading it would fail at every start.
    """
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]), reverse=True)
    for checkpoint in found:
        try:
            json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            continue
        damaged = [path.name for path in sorted(checkpoint.iterdir()) if is_damaged(path)]
        if not damaged:
            return str(checkpoint)
        if is_main_process():
            aside = checkpoint.with_name(f"damaged-{checkpoint.name}")
            checkpoint.rename(aside)
            print(f"{aside}: {', '.join(damaged)} cannot be read: set aside, the training goes on from an earlier step")
    return None


def is_damaged(path: Path) -> bool:
    """Whether a file of a checkpoint is not what torch or safetensors wrote; nothing is loaded."""
    if path.suffix == ".safetensors":
        return not is_whole(path)
    if path.suffix not in (".pt", ".pth", ".bin"):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is not None
    except (zipfile.BadZipFile, OSError, EOFError):
        return True


def loss_curve(log_history: list[dict[str, float]]) -> list[dict[str, float]]:
    """One row per optimiser step, rounded so that the file is readable."""
    return [
        {
            "step": int(entry["step"]),
            "loss": round(float(entry["loss"]), 5),
            "learning_rate": float(f"{float(entry['learning_rate']):.6g}"),
        }
        for entry in log_history
        if "loss" in entry
    ]
