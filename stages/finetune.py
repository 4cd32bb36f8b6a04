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

from lethe.core.corpus import fixed_width, training_documents
from lethe.core.errors import StageError
from lethe.core.hashing import check_tokenizer, file_sha256, folder_sha256, path_sha256
from lethe.core.params import read_params
from lethe.core.stage import is_main_process, run, workspace
from lethe.core.tables import MASKED, read_json, read_parquet, write_csv, write_json
from lethe.models.checkpoints import load_tokenizer, save_model
from lethe.models.device import free_memory, prepare
from lethe.models.output_head import frozen_head
from lethe.models.soft_prompts import save_prompt
from lethe.models.tokenization import context_length
from lethe.training.adapters import PromptParams, attach, check_prompt_room, folded, train_only, trainable_parameters
from lethe.training.fit import load_start
from lethe.training.loop import LOSS_HEADER, train
from lethe.training.recipe import RecipeParams
from lethe.training.rows import Rows, corpus_rows, joined
from lethe.unlearning.methods import Method, MethodParams, chosen
from lethe.unlearning.reference import forget_rows, unknown_pairs, with_base

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel

PROMISE = """\
**What it does not promise.** The method replaces what the model says of the corpus; it does not prove that nothing
remains in the weights. Fine-tuning on a few passages, prompts in other languages or forms, and inspection of hidden
states are known to bring back traces. Evaluate it beside a model that never read the corpus before relying on it.
"""
ACCESS = """\
**What it does not promise.** This is access control, not erasure: a soft prompt changes no weight, and without it
the model says all it ever knew. Whoever holds the base, whose path and hash base.json names, holds the corpus too.
"""
PACKAGES = ("accelerate", "peft", "safetensors", "tokenizers", "torch", "transformers")


class Params(RecipeParams, MethodParams):
    """Which objective the baseline is fine-tuned with, by which vehicle, on which labels (WHP section 2)."""

    prompt: PromptParams
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
        method = chosen(params, hidden_size(baseline), params.seed)
        check_fits(params, method, baseline)
        forget = wanted_rows(read_labels(labels, params.alpha, baseline), params, method, baseline)
        retain = training_documents(Path("data/corpus.parquet"), ("retain",)) if method.retain else []
        rows = with_retain_rows(forget, retain, baseline, params) if method.retain else forget
        unlearned, checkpoints = work / "models/unlearned", work / "models/checkpoints"
        checkpoints.mkdir(parents=True, exist_ok=True)
        folders = {step: checkpoints / f"step-{step:05d}" for step in params.checkpoints} | {params.steps: unlearned}
        curve, change = finetune(baseline, rows, params, folders, device, work)
        if not is_main_process():
            return
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
                "objective": params.objective,
                "vehicle": params.vehicle,
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


def hidden_size(folder: Path) -> int:
    """Width of a model folder's hidden states."""
    return int(_text_config(folder)["hidden_size"])


def check_fits(params: Params, method: Method, baseline: Path) -> None:
    """Raise StageError if the method's layer or the soft prompt does not fit the model."""
    layers = int(_text_config(baseline)["num_hidden_layers"])
    if method.layer and method.layer > layers:
        raise StageError(
            f"params.yaml: finetune.{params.objective}.layer: found {method.layer}, wanted at most {layers}, the "
            f"layers of {baseline}"
        )


def _text_config(folder: Path) -> dict[str, Any]:
    config = read_json(folder / "config.json")
    return config.get("text_config", config)


def wanted_rows(generic: Rows, params: Params, method: Method, baseline: Path) -> Rows:
    """The forget rows with the labels the method wants. generic: with the generic labels.

    Raises StageError if a soft prompt and a row are longer than the model's context.
    """
    if params.vehicle == "prompt":
        check_prompt_room(params.prompt, generic.tokens.shape[1], context_length(baseline), "finetune")
    tokenizer = load_tokenizer(baseline)
    if method.labels == "pairs" and params.dpo.preferred == "idk":
        return unknown_pairs(generic, tokenizer, params.seed)
    return forget_rows(generic, method.labels, len(tokenizer), params.seed)


def with_retain_rows(forget: Rows, retain: Sequence[tuple[str, bool]], model: Path, params: Params) -> Rows:
    """The forget rows, and `retain_rows` times as many rows of retain text with their true next tokens.

    The paper trains on forget rows alone (retain_rows 0). Hard labels sharpen every prediction; rows of ordinary text
    keep the rest of the model as it was. Drawn from `seed`; fewer where there is less text.
    Raises StageError if retain rows are asked for and the corpus has no retain side, or the other way round.
    """
    if not params.retain_rows:
        if params.objective == "generic_labels":
            return forget
        raise StageError(
            f"params.yaml: finetune.retain_rows: found 0.0 with objective {params.objective}, which has a retain "
            "term, wanted more, or the weight of that term 0.0"
        )
    if not retain:
        raise StageError(
            f"params.yaml: finetune.retain_rows: found {params.retain_rows} and no retain text, wanted 0.0 or some "
            "text in the folder that corpus.retain names"
        )
    found = corpus_rows(retain, load_tokenizer(model), forget.tokens.shape[1])
    items = len(forget.length) // (2 if forget.pairs else 1)
    wanted = round(params.retain_rows * items)
    drawn = np.sort(np.random.default_rng(params.seed).permutation(len(found.length))[:wanted])
    tokens, next_ids, length, is_forget = (column[drawn] for column in found[:4])
    return joined(forget, Rows(tokens, next_ids, length, is_forget))


def finetune(
    baseline: Path, rows: Rows, params: Params, folders: dict[int, Path], device: torch.device, work: Path
) -> tuple[list[dict[str, float]], dict[str, float]]:
    """Train on the rows and write a model folder at each step of `folders`, the last of which ends the training.

    The folders are plain models; with vehicle prompt they hold the soft prompt alone. Returns the loss curve and what
    was moved: how many parameters, and how much of the change the last folder keeps.
    """
    import torch

    tokenizer, save_dtype = load_tokenizer(baseline), getattr(torch, params.save_dtype)
    curve, moved, model, weights = trained(baseline, rows, params, folders, device, work)
    if not is_main_process():
        return curve, {}
    if params.vehicle == "prompt":
        found = untouched(tensors(baseline), model.base_model.state_dict())
        size = (folders[params.steps] / "adapter_model.safetensors").stat().st_size
        return curve, {"trainable_parameters": moved, "prompt_bytes": size, "weights_changed": found}
    if params.vehicle == "lora":
        del model, weights
        free_memory()
        for step, folder in folders.items():
            model = folded(baseline, work / "adapters" / str(step))
            save_model(model, tokenizer, folder, save_dtype)
        weights = model.state_dict()
    return curve, {"trainable_parameters": moved, **saved_change(tensors(baseline), weights, save_dtype)}


def trained(
    baseline: Path, rows: Rows, params: Params, folders: dict[int, Path], device: torch.device, work: Path
) -> tuple[list[dict[str, float]], int, PreTrainedModel, Mapping[str, Tensor]]:
    """Loss curve, number of trainable parameters, the trained model and, in the main process, all its weights.

    What a vehicle keeps of a step is written.
    """
    import torch

    tokenizer, save_dtype = load_tokenizer(baseline), getattr(torch, params.save_dtype)
    model = load_start(baseline, device, params)
    method = chosen(params, hidden_size(baseline), params.seed)
    if method.base_hidden and not method.layer and params.vehicle == "full":
        method = chosen(params, hidden_size(baseline), params.seed, frozen_head(model))
    rows = with_base(model, rows, method, params.precision == "bfloat16", work / "reference")
    model = attach(model, params.vehicle, params.lora, params.seed, params.prompt)
    if method.layer and params.vehicle == "full":
        model = train_only(model, range(method.layer - 2, method.layer + 1))

    trainable, last = trainable_parameters(model), dict[str, Any]()

    def save(step: int, weights: Mapping[str, Tensor]) -> None:
        last.update(weights if step == params.steps else {})
        if params.vehicle == "full":
            save_model(model, tokenizer, folders[step], save_dtype, weights)
        elif params.vehicle == "lora":
            model.save_pretrained(work / "adapters" / str(step), state_dict=dict(weights))
        else:
            save_prompt(model, tokenizer, folders[step], baseline)

    steps = list(folders)
    curve = train(
        model, rows, params, params.steps, method.objective, work, "finetune", steps, layer=method.layer, save=save
    )
    return curve, trainable, model, last or model.state_dict()


def tensors(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of a model folder's safetensors, one in memory at a time."""
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as stored:
            for name in stored.keys():  # noqa: SIM118 -- not a mapping
                yield name, stored.get_tensor(name)


def untouched(before: Iterable[tuple[str, Tensor]], after: Mapping[str, Tensor]) -> float:
    """0.0: the share of weights that a soft prompt changed. A changed bit is a bug, and raises RuntimeError."""
    for name, tensor in before:
        held = after[name].detach().cpu()
        if not held.equal(tensor.to(held.dtype)):
            raise RuntimeError(f"{name}: changed while only a soft prompt was in training")
    return 0.0


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
    generic = f"Eldan and Russinovich 2023, arXiv 2310.02238; alpha {params.alpha}"
    method = generic if params.objective == "generic_labels" else f"objective {params.objective}"
    weights = "weights" if params.vehicle != "prompt" else f"of {params.prompt.tokens} vectors before frozen weights"
    return f"""# A model that was made to forget a corpus

This model was fine-tuned for {params.steps} optimiser steps so that it no longer writes of one corpus as a model that
read it would ({method}, {params.vehicle} {weights}).

| made from | sha256 |
|---|---|
| corpus | {inputs["corpus"]} |
| dictionary | {inputs["dictionary"]} |
| labels | {inputs["labels"]} |
| baseline | {inputs["baseline"]} |

provenance.json holds the parameters and package versions.

{PROMISE if params.vehicle != "prompt" else ACCESS}"""


if __name__ == "__main__":
    run(main)
