"""From model folder to model folder: load, tune, train, save."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lethe.core.errors import StageError
from lethe.core.stage import is_main_process
from lethe.models.config import shape_of
from lethe.models.device import TrainingDevice, prepare
from lethe.models.folders import weight_count
from lethe.training.loop import train
from lethe.training.recipe import RecipeParams, steps_of
from lethe.training.rows import Rows, corpus_rows
from lethe.training.sharding import sharding

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel

    from lethe.training.losses import Objective

ROOM = 1.1  # memory of a model relative to its weights: buffers, fragmentation


def run_recipe(
    start: Path,
    documents: Sequence[tuple[str, bool]],
    recipe: Any,
    device: torch.device | TrainingDevice,
    work: Path,
    target: Path,
    description: str,
) -> list[dict[str, float]]:
    """Train `start` on the true next tokens of the documents for `recipe.epochs` and write `target`.

    device: one that `prepare` returned; in a process of its own, where nothing is prepared yet, its name.
    """
    if isinstance(device, str):
        device = prepare(device)
    from lethe.models.checkpoints import load_tokenizer
    from lethe.training.losses import cross_entropy

    rows = corpus_rows(documents, load_tokenizer(start), recipe.block_tokens)
    steps = steps_of(len(rows.length), recipe.batch_size, recipe.epochs)
    return train_folder(start, rows, recipe, steps, cross_entropy, device, work, target, description)


def load_start(folder: Path, device: torch.device, recipe: RecipeParams) -> PreTrainedModel:
    """The model a training starts from, its weights in the recipe's dtype. Raises StageError as load_model does."""
    import torch

    from lethe.models.checkpoints import load_model
    from lethe.training.quantisation import load_rounded

    if recipe.weights == "nf4":
        return load_rounded(folder, device, getattr(torch, recipe.precision))
    dtype = getattr(torch, recipe.weights)
    return load_model(folder, place_of(folder, device, dtype, recipe.tuning), dtype)


def place_of(folder: Path, device: torch.device, dtype: torch.dtype, tuning: str) -> torch.device:
    """Where a training loads its model: on the device, but in main memory where its weights will be sharded and do not
    fit the device whole. A soft prompt's training shards nothing.
    """
    import torch

    if device.type == "cpu" or not sharding() or tuning == "prompt":
        return device
    whole = weight_count(folder) * dtype.itemsize
    return device if torch.cuda.mem_get_info(device)[0] > ROOM * whole else torch.device("cpu")


def train_folder(
    source: Path,
    rows: Rows,
    recipe: RecipeParams,
    steps: int,
    objective: Objective,
    device: torch.device,
    work: Path,
    target: Path,
    description: str,
) -> list[dict[str, float]]:
    """Load the model folder `source`, train it on `rows` and write the plain model folder `target`.

    Raises StageError as load_start and train do, and if the rows have a token for which the model has no embedding.
    """
    import torch

    from lethe.models.checkpoints import load_tokenizer, save_model
    from lethe.models.device import free_memory
    from lethe.training.adapters import attach, folded

    model = load_start(source, device, recipe)
    check_ids(rows, model, description)
    model = attach(model, recipe.tuning, recipe.lora, recipe.seed, getattr(recipe, "prompt", None))
    tokenizer, save_dtype = load_tokenizer(source), getattr(torch, recipe.save_dtype)

    def save(step: int, weights: Mapping[str, Tensor]) -> None:
        if recipe.tuning == "lora":
            model.save_pretrained(work / "adapter", state_dict=dict(weights))
        else:
            save_model(model, tokenizer, target, save_dtype, weights)

    curve = train(model, rows, recipe, steps, objective, work, description, [steps], save=save)
    if recipe.tuning == "lora" and is_main_process():
        del model
        free_memory()
        save_model(folded(source, work / "adapter"), tokenizer, target, save_dtype)
    return curve


def check_ids(rows: Rows, model: PreTrainedModel, description: str) -> None:
    """Raise StageError if the rows have a token for which the model has no embedding."""
    known, largest = shape_of(model.config).vocabulary, int(rows.tokens.max(initial=0))
    if known and largest >= known:
        raise StageError(
            f"{description}: expected tokens with ids below {known}, the rows of the embeddings, got {largest}; the "
            "text holds a token of the tokenizer that the model never had"
        )
