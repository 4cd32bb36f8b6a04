"""Trains the retrained references: the baseline's recipe from the same start, without the forget set, once per seed.

reads   data/corpus.parquet  models/start  ${retrain.folder}
writes  models/retrained  models/references  reports/loss/retrain.csv
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, NonNegativeInt, field_validator

from lethe.core.corpus import training_documents
from lethe.core.errors import StageError
from lethe.core.params import Seed, StageParams, read_params
from lethe.core.side_by_side import side_by_side
from lethe.core.stage import is_main_process, run, workspace
from lethe.core.tables import read_json, write_csv
from lethe.models.checkpoints import absent_reason, write_absent
from lethe.models.config import load_config
from lethe.models.device import TrainingDevice, prepare
from lethe.models.distributed import processes
from lethe.models.folders import weight_count
from lethe.pretrained.start import copy_model
from lethe.training.fit import run_recipe
from lethe.training.loop import LOSS_HEADER
from lethe.training.memory_plan import trainings_at_once
from lethe.training.recipe import StoredRecipe


class Params(StageParams):
    """Where the references come from, and what differs from the baseline's recipe, which is in models/start."""

    source: Literal["recipe", "folder"]
    folder: str
    seeds: list[Seed] = Field(min_length=1)
    device: TrainingDevice
    resume_every: NonNegativeInt

    @field_validator("seeds")
    @classmethod
    def _each_once(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"expected each seed once, got {seeds}")
        return seeds


def main() -> None:
    params = read_params("retrain", Params)
    device = prepare(params.device)
    with workspace("retrain", resumable=True) as work:
        start, retrained = Path("models/start"), work / "models/retrained"
        references = work / "models/references"
        references.mkdir(parents=True, exist_ok=True)
        documents = training_documents(Path("data/corpus.parquet"), ("retain",))
        curves: list[list[dict[str, float]]] = []
        if params.source == "folder":
            found = models_in(Path(params.folder))
            reason = None
            if is_main_process():
                for folder, target in zip(found, targets(retrained, references, len(found)), strict=True):
                    copy_model(folder, target, "retrain.folder")
        elif reason := absent_of(start, documents, params.seeds):
            if is_main_process():
                write_absent(retrained, reason)
        else:
            stored = StoredRecipe.model_validate(read_json(start / "recipe.json"))
            changes = params.model_dump(include={"device", "resume_every"})
            each = []
            for seed, target in zip(params.seeds, targets(retrained, references, len(params.seeds)), strict=True):
                folder = work / f"seed-{seed}"
                folder.mkdir(exist_ok=True)
                recipe = stored.model_copy(update=changes | {"seed": seed})
                each.append((start, documents, recipe, params.device, folder, target, f"retrain seed {seed}"))
            curves = trained(each, device.type)
        if is_main_process() and not any(references.iterdir()):  # DVC warns of an empty folder, again and again
            write_absent(references, "there is at most one retrained model, models/retrained")
        write_csv(curves[0] if curves else [], LOSS_HEADER, work / "reports/loss/retrain.csv")
        print(f"retrain: {sentence(reason, dict(zip(params.seeds, curves, strict=False)), params.folder)}")


def trained(each: Sequence[tuple[Any, ...]], kind: str) -> list[list[dict[str, float]]]:
    """The loss curves of several trainings, the arguments of run_recipe each.

    On the CPU as many at once as fit into memory: one alone leaves cores idle, and its bytes do not depend on the
    others. On GPUs, and where processes share the work already, one after the other.
    """
    if len(each) == 1 or kind != "cpu" or processes() > 1:
        return [run_recipe(*arguments) for arguments in each]
    start, _, recipe, *_ = each[0]
    at_once = trainings_at_once(recipe, load_config(start), weight_count(start), recipe.block_tokens)
    return side_by_side(run_recipe, each, min(at_once, len(each)), [arguments[-1] for arguments in each])


def targets(retrained: Path, references: Path, count: int) -> list[Path]:
    """The folders of `count` retrained models: the first is models/retrained, the others lie in models/references."""
    return [retrained, *(references / f"retrained-{number}" for number in range(2, count + 1))]


def models_in(folder: Path) -> list[Path]:
    """The model folders that a person names as references: the folder itself, or every model folder in it.

    Raises StageError if there is none.
    """
    found = [path.parent for path in sorted((folder / "config.json", *folder.glob("*/config.json"))) if path.exists()]
    if not found:
        raise StageError(
            f"params.yaml: retrain.folder: expected a model folder, or a folder of several, got {folder}, which has no "
            "config.json"
        )
    return [folder] if folder in found else found


def absent_of(start: Path, documents: Sequence[tuple[str, bool]], seeds: Sequence[int]) -> str | None:
    """Why there is nothing to train, None if there is. Raises StageError if several models were asked for then."""
    reason = absent_reason(start)
    if reason and len(seeds) > 1:
        raise StageError(f"params.yaml: retrain.seeds: expected one seed, got {len(seeds)}, but {reason}")
    return reason or (None if documents else "the corpus has no retain text to train on")


def sentence(reason: str | None, curves: Mapping[int, list[dict[str, float]]], folder: str) -> str:
    """What was done, for the printed line."""
    if reason:
        return f"absent: {reason}"
    if not curves:
        return f"taken from {folder}"
    losses = ", ".join(f"{curve[-1]['loss']:.3f} (seed {seed})" for seed, curve in curves.items())
    steps = len(next(iter(curves.values())))
    return f"loss {losses} after {steps} steps"


if __name__ == "__main__":
    run(main)
