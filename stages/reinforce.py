"""Trains the baseline further on the forget set, so that its terms become likelier than in the baseline.

reads   data/corpus.parquet  data/blocks.parquet  models/baseline
writes  models/reinforced  reports/loss/reinforce.csv
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import PositiveFloat

from lethe.anchors.prior_knowledge import prior_knowledge
from lethe.core.corpus import read_blocks, training_documents
from lethe.core.params import read_params
from lethe.core.stage import run, workspace
from lethe.core.tables import write_csv
from lethe.models.checkpoints import load_tokenizer
from lethe.models.device import free_memory, prepare
from lethe.training.fit import load_start, train_folder
from lethe.training.loop import LOSS_HEADER
from lethe.training.losses import cross_entropy
from lethe.training.recipe import RecipeParams, steps_of
from lethe.training.rows import Rows, true_next_ids

if TYPE_CHECKING:
    import torch


class Params(RecipeParams):
    """How long and how the baseline is reinforced (WHP section 2)."""

    epochs: PositiveFloat


def main() -> None:
    params = read_params("reinforce", Params)
    device = prepare(params.device)
    with workspace("reinforce", resumable=True) as work:
        corpus, baseline = Path("data/corpus.parquet"), Path("models/baseline")
        blocks = read_blocks(Path("data/blocks.parquet"), baseline)
        next_ids = true_next_ids(blocks.tokens, blocks.length, blocks.trained)
        rows = Rows(blocks.tokens, next_ids, blocks.length, blocks.length > 0)  # every row is a forget row
        steps = steps_of(len(rows.length), params.batch_size, params.epochs)
        if told := known(corpus, baseline, params, device):
            print(f"reinforce: {told}", flush=True)  # before hours are spent
        curve = train_folder(
            baseline, rows, params, steps, cross_entropy, device, work, work / "models/reinforced", "reinforce"
        )
        write_csv(curve, LOSS_HEADER, work / "reports/loss/reinforce.csv")
        print(f"reinforce: loss {curve[0]['loss']:.3f} -> {curve[-1]['loss']:.3f} in {steps} steps")


def known(corpus: Path, baseline: Path, params: Params, device: torch.device) -> str:
    """Whether the baseline knows what it is to forget, as a sentence."""
    model, tokenizer = load_start(baseline, device, params), load_tokenizer(baseline)
    sides = (training_documents(corpus, [side]) for side in ("forget", "retain"))
    forget, retain = ([text for text, _ in documents] for documents in sides)
    found = prior_knowledge(model, tokenizer, forget, retain, params.seed)
    del model
    free_memory()
    return found.sentence()


if __name__ == "__main__":
    run(main)
