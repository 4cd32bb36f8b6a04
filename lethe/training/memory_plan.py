"""Memory plan of a training: micro-batches, accumulation and gradient checkpointing, from the size of each part."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from lethe.core.errors import StageError
from lethe.models.config import shape_of
from lethe.training.adapters import Tuning
from lethe.training.recipe import Precision, RecipeParams, Weights
from lethe.training.sharding import offloaded, recomputes, sharding

if TYPE_CHECKING:
    from transformers import PreTrainedModel


PROCESS = 600_000_000  # bytes of Python, torch and transformers before there is a model
HEAP = 1.5  # resident memory is up to twice what tensors hold: fragments
CPU_TOKENS = 8192  # tokens of one micro-batch on the CPU
GRADIENT = 4  # bytes per trained value
MOMENTS = {"adamw": 8, "adamw_8bit": 2}  # bytes of Adam's two moments per trained value


class BatchPlan(NamedTuple):
    """How the global batch is split on this machine. micro_batch x accumulation x processes = batch_size."""

    micro_batch: int
    accumulation: int
    checkpointing: bool


def plan_batch(model: PreTrainedModel, block_tokens: int, recipe: RecipeParams, on_gpu: bool) -> BatchPlan:
    """The largest micro-batch that fits, with gradient checkpointing only where one row would not fit without it.

    Raises StageError if the processes cannot share the global batch evenly, or the card is too small for one row.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    share, left_over = divmod(recipe.batch_size, processes)
    if left_over:
        raise StageError(
            f"params.yaml: batch_size: expected a multiple of {processes}, the number of processes, got "
            f"{recipe.batch_size}"
        )
    if not on_gpu:
        return fit_cpu(share, block_tokens)
    import torch

    from lethe.training.adapters import trainable_parameters

    free = torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    return fit_card(share, *card_bytes(model, block_tokens, recipe, free, trainable_parameters(model), processes))


def card_bytes(
    model: PreTrainedModel, block_tokens: int, recipe: RecipeParams, free: float, moved: int, processes: int
) -> tuple[float, float, float, float]:
    """What fit_card takes after the share: bytes free for a step, of gradients and moments, and of a row's activations.

    free: on the card now. A model that waits in main memory for its shards (`lethe.training.fit.place_of`) will have
    one of them on the card; offloaded shards stay there, with their gradients and moments.
    """
    shards = processes if sharding() else 1
    whole, recomputed = activation_bytes(model.config, block_tokens, recipe.tuning, recipe.precision)
    weights = sum(parameter.numel() for parameter in model.parameters())
    copies = 0.0 if "FSDP" in sharding() else autocast_bytes(weights, recipe.weights, recipe.precision)
    if sharding() and model.device.type == "cpu" and not offloaded():
        copies += sum(parameter.nbytes for parameter in model.parameters()) / shards
    training = 0.0 if offloaded() else sum(moving_bytes(moved / shards, recipe.optimiser))
    return free - copies, training, recomputed if recomputes() else whole, recomputed


def trainings_at_once(recipe: RecipeParams, config: Any, weights: int, block_tokens: int) -> int:
    """How many trainings of this recipe fit into the machine's free memory side by side, one at least."""
    import psutil

    rows = fit_cpu(recipe.batch_size, block_tokens).micro_batch
    activations = rows * activation_bytes(config, block_tokens, recipe.tuning, recipe.precision)[0]
    each = PROCESS + 4 * weights + sum(moving_bytes(weights, recipe.optimiser)) + activations
    return max(1, int(0.8 * psutil.virtual_memory().available // (HEAP * each)))


def moving_bytes(moved: float, optimiser: str) -> tuple[float, float]:
    """Bytes of the gradients and of the optimiser's moments of so many trained values."""
    return GRADIENT * moved, MOMENTS[optimiser] * moved


def fit_cpu(share: int, row_tokens: int) -> BatchPlan:
    """The plan for the CPU, CPU_TOKENS at a time."""
    return fit_rows(share, CPU_TOKENS // row_tokens, checkpointing=False)


def fit_card(share: int, free: float, training: float, whole: float, recomputed: float) -> BatchPlan:
    """The plan for a card with `free` bytes after the weights.

    training: bytes of gradients and optimiser moments. whole, recomputed: of one row's activations, see
    activation_bytes. An eighth or so of what is left stays free. Raises StageError if not even one row fits.
    """
    if free < training + recomputed:
        raise StageError(
            f"params.yaml: batch_size: expected {(training + recomputed) / 1e9:.1f} GB for gradients, moments and one "
            f"row, got {free / 1e9:.1f} GB free on the GPU next to the weights; try tuning lora, or more GPUs through "
            "`accelerate config`"
        )
    budget = 0.85 * (free - training)
    if budget >= whole:
        return fit_rows(share, int(budget // whole), checkpointing=False)
    return fit_rows(share, int(budget // recomputed), checkpointing=True)


def activation_bytes(
    config: Any, block_tokens: int, tuning: Tuning = "full", precision: Precision = "bfloat16"
) -> tuple[int, int]:
    """Bytes of activations one row needs for its backward pass: as a whole, and with gradient checkpointing.

    What autograd keeps per token of a Llama layer, h hidden and i intermediate, under bfloat16 autocast:
    full    4 float32 [h], the two residuals and their norms' outputs: 16h; 6 bfloat16 [h], the inputs of
            q, k, v, of gate and up, of o, and norms' outputs: 12h; q, k, v: 6h; together 34h.
            4 bfloat16 [i], gate, its silu, up and their product: 8i
    lora    frozen bfloat16 weights: 2 float32 [h]: 8h; 6 bfloat16 [h], the adapters' inputs: 12h; q, k, v and the
            attention's output: 8h; together 28h. 4 bfloat16 [i]: 8i. An adapter's own [rank] is left out
    prompt  no weight needs a gradient: 2 float32 [h] and 4 bfloat16 [h]: 16h. 3 bfloat16 [i]: 6i
    In float32 the same tensors at four bytes a value, without the copies that autocast makes: 40h + 16i, 32h + 16i and
    24h + 12i. Checkpointing keeps one residual a layer, 4h, and recomputes one layer at a time.
    """
    hidden, layers, _, intermediate, *_ = shape_of(config)
    kept = {
        "bfloat16": {"full": (34, 8), "lora": (28, 8), "prompt": (16, 6)},
        "float32": {"full": (40, 16), "lora": (32, 16), "prompt": (24, 12)},
    }
    per_hidden, per_intermediate = kept[precision][tuning]
    layer = per_hidden * hidden + per_intermediate * intermediate
    return layer * layers * block_tokens, (4 * hidden * layers + layer) * block_tokens


def autocast_bytes(weights: float, stored: Weights, precision: Precision) -> float:
    """Bytes of the bfloat16 copies of float32 weights that autocast keeps for the backward pass."""
    return 2 * weights if (stored, precision) == ("float32", "bfloat16") else 0


def fit_rows(share: int, most: int, checkpointing: bool) -> BatchPlan:
    """A process's `share` of the batch in equal micro-batches of at most `most` rows, one at least."""
    micro = max(size for size in range(1, share + 1) if share % size == 0 and size <= max(1, most))
    return BatchPlan(micro, share // micro, checkpointing)


def resume_bytes(model: PreTrainedModel, tuning: Tuning) -> int:
    """Disk for two resume checkpoints (the new one is written before the old one is deleted): what Trainer saves.

    All weights with full tuning, only the trained ones of an adapter or prompt; and two float32 Adam moments per
    trained value.
    """
    saved = [parameter for parameter in model.parameters() if tuning == "full" or parameter.requires_grad]
    weights = sum(parameter.numel() * parameter.element_size() for parameter in saved)
    moments = sum(8 * parameter.numel() for parameter in model.parameters() if parameter.requires_grad)  # at most
    return 2 * (weights + moments)
