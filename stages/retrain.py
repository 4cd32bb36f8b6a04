"""Trains the retrained reference: the baseline's recipe from the same start, without the forget set.

reads   data/corpus.parquet  models/start
writes  models/retrained  reports/loss/retrain.csv
"""

from __future__ import annotations

from pathlib import Path

from pydantic import NonNegativeInt

from lethe.core.corpus import training_documents
from lethe.core.params import StageParams, read_params
from lethe.core.stage import is_main_process, run, workspace
from lethe.core.tables import read_json, write_csv
from lethe.models.checkpoints import absent_reason, write_absent
from lethe.models.device import prepare
from lethe.training.fit import run_recipe
from lethe.training.loop import LOSS_HEADER
from lethe.training.recipe import Device, StoredRecipe


class Params(StageParams):
    """What differs from the baseline's recipe; everything else is stored in models/start."""

    device: Device
    resume_every: NonNegativeInt
    seed: int


def main() -> None:
    params = read_params("retrain", Params)
    device = prepare(params.device)
    with workspace("retrain", resumable=True) as work:
        start, retrained = Path("models/start"), work / "models/retrained"
        documents = training_documents(Path("data/corpus.parquet"), ("retain",))
        reason = absent_reason(start) or (None if documents else "the corpus has no retain text to train on")
        curve = []
        if reason and is_main_process():
            write_absent(retrained, reason)
        if not reason:
            stored = StoredRecipe.model_validate(read_json(start / "recipe.json"))
            recipe = stored.model_copy(update=params.model_dump())
            curve = run_recipe(start, documents, recipe, device, work, retrained, "retrain")
        write_csv(curve, LOSS_HEADER, work / "reports/loss/retrain.csv")
        done = f"absent: {reason}" if reason else f"loss {curve[-1]['loss']:.3f} after {len(curve)} steps"
        print(f"retrain: {done}")


if __name__ == "__main__":
    run(main)
