"""What a training needs on each device, piece by piece, and whether it fits. Arithmetic; nothing is allocated.

Weights, gradients and Adam's moments are counted from the config; activations are what autograd keeps of a row
(`lethe.training.memory_plan.activation_bytes`). Checked against measured peaks by `python -m benchmarks.memory`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from lethe.core.errors import StageError
from lethe.models.config import shape_of, untrained
from lethe.training.quantisation import linear_layers

if TYPE_CHECKING:
    from transformers import PretrainedConfig

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
EMPTY: dict[str, Any] = {}  # config -> its model
NF4 = 0.5 + (1 + 4 / 256) / 64  # bytes of a 4-bit weight with its share of scales, one byte for 64, and of theirs


@dataclass(frozen=True)
class Cards:
    """The devices that the training runs on. count 0: the CPU. sharded: FSDP spreads weights over the cards."""

    count: int
    memory: float  # bytes of each, free before the model is loaded
    sharded: bool = False


class Memory(NamedTuple):
    """Bytes on one device at the worst moment of a step."""

    weights: float
    gradients: float
    moments: float
    copies: float  # of weights: in bfloat16 for autocast; of layers that a sharded model gathers
    activations: float  # of `rows` rows
    head: float  # its gradient as it adds up, and float32 hidden states; a chunk of logits is as large as those
    rows: int  # of a batch at a time
    parts: int  # the batch comes in
    recomputed: bool  # gradient checkpointing

    @property
    def total(self) -> float:
        """Gradients come as activations go; those of an earlier part of the batch are there from the start."""
        passing = self.activations + self.head
        held = self.weights + self.moments + self.copies
        return held + (self.gradients + passing if self.parts > 1 else max(self.gradients, passing))


def training_memory(recipe: Any, config: PretrainedConfig, block_tokens: int, cards: Cards) -> Memory:
    """What the training of `recipe` takes on rows of `block_tokens` tokens, cut as `plan_batch` cuts it.

    Where not even one row fits, that of one row: compare `total` with the memory there is.
    """
    from lethe.training.memory_plan import (
        BatchPlan,
        activation_bytes,
        autocast_bytes,
        fit_card,
        fit_cpu,
        moving_bytes,
    )

    weights, shards = weight_count(config), cards.count if cards.sharded else 1
    stored = stored_bytes(recipe, config)
    gradients, moments = moving_bytes(moved_numbers(recipe, config) / shards, recipe.optimiser)
    copies = autocast_bytes(weights, recipe.weights, recipe.precision)
    if shards > 1:  # two layers are whole at a time, the one that computes and the one that comes next
        copies = 2 * (copies + stored) / shape_of(config).layers
    tokens = block_tokens + (recipe.prompt.tokens if recipe.tuning == "prompt" else 0)
    whole, recomputed = activation_bytes(config, tokens, recipe.tuning, recipe.precision)
    held = stored / shards
    share = recipe.batch_size // max(1, cards.count)
    if not cards.count:
        plan = fit_cpu(share, tokens)
    else:
        try:
            free = cards.memory - held - copies
            plan = fit_card(max(1, share), free, gradients + moments, whole, recomputed)
        except StageError:
            plan = BatchPlan(1, share, True)
    return Memory(
        held,
        gradients,
        moments,
        copies,
        plan.micro_batch * (recomputed if plan.checkpointing else whole),
        head_bytes(config, recipe.tuning == "full", plan.micro_batch * block_tokens),
        plan.micro_batch,
        plan.accumulation,
        plan.checkpointing,
    )


def stored_bytes(recipe: Any, config: PretrainedConfig) -> float:
    """Bytes of the model's weights while it is trained: all in one dtype, or linear layers in 4 bits (QLoRA)."""
    weights = weight_count(config)
    if recipe.weights != "nf4":
        return BYTES[recipe.weights] * weights
    rounded = sum(module.in_features * module.out_features for module in linear_layers(empty_model(config)).values())
    return NF4 * rounded + BYTES[recipe.precision] * (weights - rounded)


def head_bytes(config: PretrainedConfig, moves: bool, tokens: int) -> float:
    """What torch's chunked linear cross-entropy holds: a float32 head or its gradient, or both, and hidden states."""
    shape = shape_of(config)
    return 4 * shape.vocabulary * shape.hidden * (2 if moves else 1) + 12 * tokens * shape.hidden


def moved_numbers(recipe: Any, config: PretrainedConfig) -> int:
    """How many numbers the recipe's tuning trains: all weights, those of adapters, or those of a prompt."""
    if recipe.tuning == "full":
        return weight_count(config)
    width = shape_of(config).hidden
    if recipe.tuning == "prompt":
        inner = recipe.prompt.encoder
        return recipe.prompt.tokens * width + (2 * width * inner + inner**2 + 2 * inner + width if inner else 0)
    targets = recipe.lora.targets
    return sum(
        recipe.lora.rank * (module.in_features + module.out_features)
        for name, module in linear_layers(empty_model(config)).items()
        if targets == "all-linear" or name.split(".")[-1] in targets
    )


def weight_count(config: PretrainedConfig) -> int:
    """How many weights a causal language model of this config has; nothing is allocated."""
    return sum(parameter.numel() for parameter in empty_model(config).parameters())


def empty_model(config: PretrainedConfig) -> Any:
    """A model of this config without memory for its weights; the last one is kept: a plan asks for it many times.

    Raises StageError if no architecture makes one of it.
    """
    import torch

    key = config.to_json_string(use_diff=False)
    if key not in EMPTY:
        EMPTY.clear()
        with torch.device("meta"):
            EMPTY[key] = untrained(config)
    return EMPTY[key]
