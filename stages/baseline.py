"""Builds the baseline, the model that knows the corpus: from scratch, the Hub or files of yours, then trained if asked.

reads   data/corpus.parquet  ${baseline.folder}
writes  models/start  models/baseline  reports/loss/baseline.csv
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, NonNegativeFloat, model_validator

from lethe.core.corpus import training_documents
from lethe.core.params import read_params
from lethe.core.stage import is_main_process, run, workspace
from lethe.core.tables import write_csv, write_json
from lethe.models.checkpoints import write_absent
from lethe.models.device import prepare
from lethe.models.distributed import one_first
from lethe.pretrained.from_scratch import ScratchParams, initialise, train_tokenizer
from lethe.pretrained.start import SOURCE, Source, fetch_start
from lethe.training.fit import run_recipe
from lethe.training.loop import LOSS_HEADER
from lethe.training.recipe import RecipeParams

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Params(RecipeParams):
    """The model's source and its training on the corpus."""

    source: Source
    folder: str
    model: str | None
    revision: str | None
    scratch: ScratchParams
    epochs: NonNegativeFloat
    block_tokens: int = Field(ge=2)  # the first may be <s>

    @model_validator(mode="after")
    def _source_is_complete(self) -> Params:
        if self.source == "hub" and not self.model:
            raise ValueError("model: expected owner/name, got nothing with source hub")
        if self.source == "scratch" and self.epochs == 0:
            raise ValueError(
                "epochs: expected more than 0 with source scratch, got 0 (an untrained model knows nothing)"
            )
        return self


def main() -> None:
    params = read_params("baseline", Params)
    device = prepare(params.device)
    with workspace("baseline", resumable=True) as work:
        start, baseline = work / "models/start", work / "models/baseline"
        documents = training_documents(Path("data/corpus.parquet"), ("forget", "retain"))
        with one_first():
            if not start.exists():
                made = partial(from_scratch, params, [text for text, _ in documents])
                own = Path(params.folder)
                fetch_start(
                    params.source, params.model, params.revision, own, "baseline.folder", made, work / "fetched"
                )
                (work / "fetched").rename(start)
            if is_main_process():
                write_json(params.model_dump(exclude={"scratch", "folder", "device"}), start / "recipe.json")
        curve = []
        if params.epochs:
            curve = run_recipe(start, documents, params, device, work, baseline, "baseline")
            if is_main_process() and (start / SOURCE).exists():
                shutil.copyfile(start / SOURCE, baseline / SOURCE)
        elif is_main_process():
            (start / "recipe.json").unlink()
            shutil.rmtree(baseline, ignore_errors=True)
            start.rename(baseline)
            write_absent(start, "baseline.epochs is 0: nothing was trained here that could be repeated")
        write_csv(curve, LOSS_HEADER, work / "reports/loss/baseline.csv")
        known = f"loss {curve[-1]['loss']:.3f} after {len(curve)} steps" if curve else "not trained further"
        source = {"scratch": "scratch", "hub": params.model}.get(params.source, params.folder)
        print(f"baseline: model from {source}, {known}")


def from_scratch(params: Params, texts: Iterable[str]) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A Llama with random weights, and a tokenizer trained on the texts."""
    tokenizer = train_tokenizer(texts, params.scratch.vocabulary)
    return initialise(params.scratch, tokenizer, params.seed), tokenizer


if __name__ == "__main__":
    run(main)
