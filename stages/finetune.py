"""The unlearned model: the baseline fine-tuned on the generic labels.

reads   data/labels.parquet  data/corpus.parquet  data/dictionary.csv  models/baseline
writes  models/unlearned  models/checkpoints  reports/finetune.json  reports/loss/finetune.csv
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import NonNegativeFloat, PositiveInt, model_validator

from stages.lib.corpora import fixed_width, training_documents
from stages.lib.errors import StageError
from stages.lib.hashing import file_sha256, folder_sha256, path_sha256
from stages.lib.machine import prepare
from stages.lib.models import check_tokenizer, load_model, load_tokenizer, save_model
from stages.lib.objectives import cross_entropy
from stages.lib.params import read_params
from stages.lib.stage import run, workspace
from stages.lib.tables import read_parquet, write_csv, write_json
from stages.lib.training import LOSS_HEADER, MASKED, RecipeParams, Rows, corpus_rows, train
from stages.lib.vehicles import attach, merge, trainable_parameters

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel

PACKAGES = ("accelerate", "peft", "safetensors", "tokenizers", "torch", "transformers")


class Params(RecipeParams):
    """How the baseline is fine-tuned on the labels (WHP section 2)."""

    alpha: NonNegativeFloat
    retain_rows: NonNegativeFloat
    steps: PositiveInt
    checkpoints: list[PositiveInt]

    @model_validator(mode="after")
    def _checkpoints_ascend_before_the_end(self) -> Params:
        if self.checkpoints != sorted(set(self.checkpoints)) or any(step >= self.steps for step in self.checkpoints):
            raise ValueError(
                f"checkpoints: found {self.checkpoints}, wanted ascending steps below {self.steps}, which is the "
                "unlearned model itself"
            )
        return self


def main() -> None:
    params = read_params("finetune", Params)
    device = prepare(params.device)
    with workspace("finetune", resumable=True) as work:
        labels, baseline = Path("data/labels.parquet"), Path("models/baseline")
        forget = read_labels(labels, params.alpha, baseline)
        retain = training_documents(Path("data/corpus.parquet"), ("retain",)) if params.retain_rows else []
        rows = with_retain_rows(forget, retain, baseline, params)
        unlearned, checkpoints = work / "models/unlearned", work / "models/checkpoints"
        checkpoints.mkdir(parents=True, exist_ok=True)
        folders = {step: checkpoints / f"step-{step:05d}" for step in params.checkpoints} | {params.steps: unlearned}
        curve, change = finetune(baseline, rows, params, folders, device, work)
        inputs = {
            "corpus": file_sha256(Path("data/corpus.parquet")),
            "dictionary": file_sha256(Path("data/dictionary.csv")),
            "labels": file_sha256(labels),
            "baseline": path_sha256(baseline),
        }
        write_json(provenance(inputs, params), unlearned / "provenance.json")
        (unlearned / "README.md").write_text(model_card(params, inputs), encoding="utf-8")
        write_csv(curve, LOSS_HEADER, work / "reports/loss/finetune.csv")
        write_json(
            {
                "steps": params.steps,
                "alpha": params.alpha,
                **change,
                "sha256": folder_sha256(unlearned),
            },
            work / "reports/finetune.json",
        )
        print(f"finetune: loss {curve[0]['loss']:.3f} -> {curve[-1]['loss']:.3f} in {params.steps} steps")


def read_labels(path: Path, alpha: float, model: Path) -> Rows:
    """The labels for one alpha as training rows.

    Raises StageError if label.alphas has no such alpha or the labels were made with another tokenizer.
    """
    column = f"next_ids_{alpha}"
    table, facts = read_parquet(path, ("tokens", "length"))
    if column not in table.column_names:
        raise StageError(
            f"params.yaml: finetune.alpha: found {alpha}, wanted one of label.alphas: {facts.get('alphas', 'none')}"
        )
    check_tokenizer(facts["tokenizer"], model, path)
    length = table["length"].to_numpy()
    next_ids = fixed_width(table, column)
    if (next_ids == MASKED).all():
        raise StageError(f"{path}: found no position with a label, wanted some; see data/labels.txt")
    return Rows(fixed_width(table, "tokens"), next_ids, length, length > 0)


def with_retain_rows(forget: Rows, retain: Sequence[tuple[str, bool]], model: Path, params: Params) -> Rows:
    """The forget rows, and `retain_rows` times as many rows of retain text with their true next tokens.

    The paper trains on forget rows alone (retain_rows 0). Hard labels sharpen every prediction; rows of ordinary text
    keep the rest of the model as it was. Drawn from `seed`; fewer where there is less text.
    Raises StageError if retain rows are asked for and the corpus has no retain side.
    """
    if not params.retain_rows:
        return forget
    if not retain:
        raise StageError(
            f"params.yaml: finetune.retain_rows: found {params.retain_rows} and no retain text, wanted 0.0 or some text "
            "in the folder that corpus.retain names"
        )
    found = corpus_rows(retain, load_tokenizer(model), forget.tokens.shape[1])
    wanted = round(params.retain_rows * len(forget.length))
    drawn = np.sort(np.random.default_rng(params.seed).permutation(len(found.length))[:wanted])
    pairs = zip(forget[:4], found[:4], strict=True)
    return Rows(*(np.concatenate([ours, theirs[drawn]]) for ours, theirs in pairs))


def finetune(
    baseline: Path, rows: Rows, params: Params, folders: dict[int, Path], device: torch.device, work: Path
) -> tuple[list[dict[str, float]], dict[str, float]]:
    """Train on the rows and write a plain model folder at each step of `folders`, the last of which ends the training.

    Returns the loss curve and what `saved_change` says of the last folder.
    """
    import torch

    tokenizer = load_tokenizer(baseline)
    weights, save_dtype = getattr(torch, params.weights), getattr(torch, params.save_dtype)
    model = attach(load_model(baseline, device, weights), params.vehicle, params.lora, params.seed)
    moved = trainable_parameters(model)

    def save_plain(step: int) -> None:
        save_model(model, tokenizer, folders[step], save_dtype)

    def save_adapter(step: int) -> None:
        model.save_pretrained(work / "adapters" / str(step))

    on_step = save_plain if params.vehicle == "full" else save_adapter
    curve = train(model, rows, params, params.steps, cross_entropy, work, "finetune", list(folders), on_step)
    if params.vehicle != "full":
        for step, folder in folders.items():
            model = merged_adapter(load_model(baseline, device, weights), work / "adapters" / str(step))
            save_model(model, tokenizer, folder, save_dtype)
    return curve, {"trainable_parameters": moved, **saved_change(tensors(baseline), model.state_dict(), save_dtype)}


def merged_adapter(model: PreTrainedModel, adapter: Path) -> PreTrainedModel:
    """The model with a saved adapter folded in. (Folding it in and out of a model in training would round weights.)"""
    from peft import PeftModel

    return merge(PeftModel.from_pretrained(model, adapter))


def tensors(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of a model folder's safetensors, one in memory at a time."""
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as stored:
            for name in stored.keys():  # noqa: SIM118 -- not a mapping
                yield name, stored.get_tensor(name)


def saved_change(
    before: Iterable[tuple[str, Tensor]], trained: Mapping[str, Tensor], save_dtype: torch.dtype
) -> dict[str, float]:
    """How much of the training survives in files of `save_dtype`.

    weights_changed: share of the saved weights that differ from the baseline's in the same dtype.
    saved_cosine: cosine between the change that was saved and the change that was trained. At small learning rates a
    bfloat16 file keeps less than half of the direction, a float16 file nearly all.
    """
    changed = total = 0
    dot = saved_norm = trained_norm = 0.0
    for name, tensor in before:
        old, new = tensor.float(), trained[name].detach().cpu().float()
        saved = new.to(save_dtype).float()
        changed += int((saved != old.to(save_dtype).float()).sum())
        total += old.numel()
        moved, kept = (new - old).double(), (saved - old).double()
        dot += float((moved * kept).sum())
        trained_norm += float(moved.square().sum())
        saved_norm += float(kept.square().sum())
    norms = (trained_norm * saved_norm) ** 0.5
    return {
        "weights_changed": round(changed / total, 6),
        "saved_cosine": round(dot / norms, 6) if norms else 0.0,
    }


def provenance(inputs: dict[str, str], params: Params) -> dict[str, Any]:
    """What the model was made from: hashes of the inputs, parameters, package versions."""
    return {
        "sha256": inputs,
        "params": {"finetune": params.model_dump()},
        "versions": {"python": python_version()} | {name: version(name) for name in PACKAGES},
    }


def model_card(params: Params, inputs: dict[str, str]) -> str:
    """README.md of the model folder."""
    return f"""# A model that was made to forget a corpus

This model was fine-tuned for {params.steps} optimiser steps so that it no longer writes of one corpus as a model that
read it would (Eldan and Russinovich 2023, arXiv 2310.02238; alpha {params.alpha}, {params.vehicle} weights).

| made from | sha256 |
|---|---|
| corpus | {inputs["corpus"]} |
| dictionary | {inputs["dictionary"]} |
| labels | {inputs["labels"]} |
| baseline | {inputs["baseline"]} |

provenance.json holds the parameters and package versions.

**What it does not promise.** The method replaces what the model says of the corpus; it does not prove that nothing
remains in the weights. Fine-tuning on a few passages, prompts in other languages or forms, and inspection of hidden
states are known to bring back traces. Evaluate it beside a model that never read the corpus before relying on it.
"""


if __name__ == "__main__":
    run(main)
