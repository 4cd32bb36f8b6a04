"""Fine-tuning of the baseline with an objective, and the model folders written at the requested steps."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lethe.core.stage import is_main_process
from lethe.core.tables import read_json, write_json
from lethe.models.checkpoints import load_tokenizer, save_model
from lethe.models.config import hidden_size
from lethe.models.device import free_memory
from lethe.models.output_head import frozen_head
from lethe.models.saved_change import saved_change, tensors, untouched
from lethe.models.soft_prompts import PROMPT, save_prompt, write_base
from lethe.training.adapters import attach, folded, train_only, trainable_parameters
from lethe.training.fit import load_start
from lethe.training.loop import train
from lethe.training.losses import TARGET_IDS, soft_cross_entropy
from lethe.unlearning.methods import chosen
from lethe.unlearning.reference import with_base

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel

    from lethe.training.rows import Rows
    from lethe.unlearning.methods import UnlearningParams

ADAPTER = "adapter"  # folder of the adapter beside the weights that it is merged into


def fine_tune(
    baseline: Path, rows: Rows, params: UnlearningParams, folders: dict[int, Path], device: torch.device, work: Path
) -> tuple[list[dict[str, float]], dict[str, float]]:
    """Train on the rows and write a model folder at each step of `folders`, the last of which ends the training.

    The folders are plain models, with tuning lora the adapter as PEFT's folder in them; with tuning prompt they hold
    the soft prompt alone. Returns the loss curve, the number of trained parameters and how much of their change the
    last folder keeps.
    """
    import torch

    tokenizer, save_dtype = load_tokenizer(baseline), getattr(torch, params.save_dtype)
    curve, moved, model, weights = trained(baseline, rows, params, folders, device, work)
    if not is_main_process():
        return curve, {}
    if params.tuning == "prompt":
        held = model.base_model.state_dict()
        found = untouched(tensors(baseline, held), held)
        size = (folders[max(folders)] / "adapter_model.safetensors").stat().st_size
        return curve, {"trainable_parameters": moved, "prompt_bytes": size, "weights_changed": found}
    if params.tuning == "lora":
        del model, weights
        free_memory()
        for step, folder in folders.items():
            adapter = work / "adapters" / str(step)
            model = folded(baseline, adapter)
            save_model(model, tokenizer, folder, save_dtype)
            keep_adapter(adapter, folder / ADAPTER, baseline)
        weights = model.state_dict()
    return curve, {"trainable_parameters": moved, **saved_change(tensors(baseline, weights), weights, save_dtype)}


def keep_adapter(adapter: Path, folder: Path, baseline: Path) -> None:
    """Copy a saved adapter into `folder`, with the path and hash of its base; the same bytes in every process."""
    folder.mkdir()
    shutil.copyfile(adapter / "adapter_model.safetensors", folder / "adapter_model.safetensors")
    config = {
        key: sorted(each) if isinstance(each, list) else each for key, each in read_json(adapter / PROMPT).items()
    }
    write_json(config, folder / PROMPT)  # PEFT writes sets in any order
    write_base(folder, baseline)


def trained(
    baseline: Path, rows: Rows, params: UnlearningParams, folders: dict[int, Path], device: torch.device, work: Path
) -> tuple[list[dict[str, float]], int, PreTrainedModel, Mapping[str, Tensor]]:
    """Loss curve, number of trainable parameters, the trained model and, in the main process, all its weights.

    What is kept of a step is written.
    """
    import torch

    tokenizer, save_dtype = load_tokenizer(baseline), getattr(torch, params.save_dtype)
    model = load_start(baseline, device, params)
    method = chosen(params, hidden_size(baseline), params.seed)
    if method.base_hidden and not method.layer and params.tuning == "full":
        method = chosen(params, hidden_size(baseline), params.seed, frozen_head(model))
    if TARGET_IDS in rows.columns:
        method = method._replace(objective=soft_cross_entropy)
    rows = with_base(model, rows, method, params.precision == "bfloat16", work / "reference")
    model = attach(model, params.tuning, params.lora, params.seed, params.prompt)
    if method.layer and params.tuning == "full":
        model = train_only(model, range(method.layer - 2, method.layer + 1))

    trainable, end, last = trainable_parameters(model), max(folders), dict[str, Any]()

    def save(step: int, weights: Mapping[str, Tensor]) -> None:
        last.update(weights if step == end else {})
        if params.tuning == "full":
            save_model(model, tokenizer, folders[step], save_dtype, weights)
        elif params.tuning == "lora":
            model.save_pretrained(work / "adapters" / str(step), state_dict=dict(weights))
        else:
            save_prompt(model, tokenizer, folders[step], baseline)

    curve = train(
        model, rows, params, end, method.objective, work, "finetune", list(folders), layer=method.layer, save=save
    )
    return curve, trainable, model, last or model.state_dict()
