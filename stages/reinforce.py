"""Trains the baseline further on the forget set, so that its terms become likelier than in the baseline.

reads   data/blocks.parquet  models/baseline
writes  models/reinforced  reports/loss/reinforce.csv
"""

from __future__ import annotations

from pathlib import Path

from pydantic import PositiveFloat

from lethe.core.corpus import read_blocks
from lethe.core.params import read_params
from lethe.core.stage import run, workspace
from lethe.core.tables import write_csv
from lethe.models.device import prepare
from lethe.training.fit import train_folder
from lethe.training.loop import LOSS_HEADER
from lethe.training.losses import cross_entropy
from lethe.training.recipe import RecipeParams, steps_of
from lethe.training.rows import Rows, true_next_ids


class Params(RecipeParams):
    """How long and how the baseline is reinforced (WHP section 2)."""

    epochs: PositiveFloat


def main() -> None:
    params = read_params("reinforce", Params)
    device = prepare(params.device)
    with workspace("reinforce", resumable=True) as work:
        baseline = Path("models/baseline")
        blocks = read_blocks(Path("data/blocks.parquet"), baseline)
        next_ids = true_next_ids(blocks.tokens, blocks.length)
        rows = Rows(blocks.tokens, next_ids, blocks.length, blocks.length > 0)  # every row is a forget row
        steps = steps_of(len(rows.length), params.batch_size, params.epochs)
        curve = train_folder(
            baseline, rows, params, steps, cross_entropy, device, work, work / "models/reinforced", "reinforce"
        )
        write_csv(curve, LOSS_HEADER, work / "reports/loss/reinforce.csv")
        print(f"reinforce: loss {curve[0]['loss']:.3f} -> {curve[-1]['loss']:.3f} in {steps} steps")


if __name__ == "__main__":
    run(main)
