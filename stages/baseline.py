"""The model that knows the corpus: from scratch, the Hub or a folder, then trained on it if asked.

reads   data/corpus.parquet  ${baseline.folder}
writes  models/start  models/baseline  reports/loss/baseline.csv
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import NonNegativeFloat, PositiveInt, model_validator

from lethe.core.corpus import training_documents
from lethe.core.errors import StageError
from lethe.core.params import read_params
from lethe.core.stage import SCRATCH, is_main_process, run, workspace
from lethe.core.tables import write_csv, write_json
from lethe.models.checkpoints import absent_reason, load_model, load_tokenizer, save_model, write_absent
from lethe.models.device import prepare
from lethe.models.distributed import one_first
from lethe.pretrained.from_scratch import ScratchParams, initialise, train_tokenizer
from lethe.training.fit import run_recipe
from lethe.training.loop import LOSS_HEADER
from lethe.training.recipe import RecipeParams


class Params(RecipeParams):
    """The model's source and how it is trained on the corpus."""

    source: Literal["scratch", "hub", "folder"]
    folder: str
    model: str | None
    revision: str | None
    scratch: ScratchParams
    epochs: NonNegativeFloat
    block_tokens: PositiveInt

    @model_validator(mode="after")
    def _source_is_complete(self) -> Params:
        if self.source == "hub" and not self.model:
            raise ValueError("model: found nothing with source hub, wanted owner/name")
        if self.source == "scratch" and self.epochs == 0:
            raise ValueError("epochs: found 0 with source scratch, wanted more; an untrained model knows nothing")
        return self


def main() -> None:
    params = read_params("baseline", Params)
    device = prepare(params.device)
    with workspace("baseline", resumable=True) as work:
        start, baseline = work / "models/start", work / "models/baseline"
        documents = training_documents(Path("data/corpus.parquet"), ("forget", "retain"))
        with one_first():
            if not start.exists():
                fetch_start(params, (text for text, _ in documents), work / "fetched")
                (work / "fetched").rename(start)
            if is_main_process():
                write_json(params.model_dump(exclude={"scratch", "folder", "device"}), start / "recipe.json")
        curve = []
        if params.epochs:
            curve = run_recipe(start, documents, params, device, work, baseline, "baseline")
        elif is_main_process():
            (start / "recipe.json").unlink()
            shutil.rmtree(baseline, ignore_errors=True)
            start.rename(baseline)
            write_absent(start, "baseline.epochs is 0: nothing was trained here that could be repeated")
        write_csv(curve, LOSS_HEADER, work / "reports/loss/baseline.csv")
        known = f"loss {curve[-1]['loss']:.3f} after {len(curve)} steps" if curve else "taken as it is"
        source = {"scratch": "scratch", "hub": params.model, "folder": params.folder}[params.source]
        print(f"baseline: model from {source}, {known}")


def fetch_start(params: Params, texts: Iterable[str], folder: Path) -> None:
    """Write the model before any training here into `folder`."""
    if params.source == "hub":
        from lethe.pretrained.hub import fetch_model

        kept = SCRATCH / "hub" / str(params.revision)  # DVC drops models/start before every run: fetch once only
        fetch_model(str(params.model), params.revision, kept)
        shutil.copytree(kept, folder, copy_function=os.link, dirs_exist_ok=True)
    elif params.source == "folder":
        copy_model(Path(params.folder), folder)
    else:
        import torch

        tokenizer = train_tokenizer(texts, params.scratch.vocabulary)
        save_model(initialise(params.scratch, tokenizer, params.seed), tokenizer, folder, torch.float32)


def copy_model(source: Path, folder: Path) -> None:
    """Copy a local model folder: its config, tokenizer and safetensors, nothing that could hold code.

    Raises StageError if the folder is missing or is not a model folder.
    """
    import torch

    if not source.is_dir():
        raise StageError(f"params.yaml: baseline.folder: found no folder {source}, wanted a model folder")
    reason = absent_reason(source)
    if reason:
        raise StageError(f"{source}: holds no model: {reason}")
    load_tokenizer(source)
    load_model(source, torch.device("cpu"))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for pattern in ("*.json", "*.safetensors", "tokenizer.model", "merges.txt"):
        for path in sorted(source.glob(pattern)):
            shutil.copyfile(path, folder / path.name)


if __name__ == "__main__":
    run(main)
