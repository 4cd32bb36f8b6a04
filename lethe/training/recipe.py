"""The recipe of a training: all its hyperparameters except its length."""

from __future__ import annotations

import os
from typing import ClassVar, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from lethe.core.errors import StageError
from lethe.core.params import Beta, Seed, StageParams
from lethe.models.device import TrainingDevice
from lethe.training.adapters import LoraParams, Tuning
from lethe.training.sharding import sharding

OPTIMISERS = {"adamw": "adamw_torch_fused", "adamw_8bit": "adamw_bnb_8bit"}  # our name -> transformers' name
Precision = Literal["float32", "bfloat16"]
Weights = Literal["float32", "bfloat16", "nf4"]
SaveDtype = Literal["float32", "float16", "bfloat16"]


class RecipeParams(StageParams):
    """How a model is trained, except for how long."""

    shared_section: ClassVar[str] = "training"
    tuning: Tuning
    lora: LoraParams
    weights: Weights
    learning_rate: PositiveFloat
    batch_size: PositiveInt
    schedule: Literal["linear", "cosine", "constant"]
    warmup: float = Field(ge=0, lt=1)
    weight_decay: NonNegativeFloat
    adam_betas: list[Beta] = Field(min_length=2, max_length=2)
    optimiser: Literal["adamw", "adamw_8bit"]
    max_grad_norm: PositiveFloat
    precision: Precision
    save_dtype: SaveDtype
    resume_every: NonNegativeInt
    device: TrainingDevice
    seed: Seed

    @model_validator(mode="after")
    def _full_training_needs_float32(self) -> RecipeParams:
        if self.tuning == "full" and self.weights != "float32":
            raise ValueError(
                f"weights: expected float32 with tuning full, got {self.weights} (small steps are rounded away in it); "
                "tuning lora can train it"
            )
        return self

    @model_validator(mode="after")
    def _rounded_weights_need_adapters(self) -> RecipeParams:
        if self.tuning == "prompt" and self.weights == "nf4":
            raise ValueError(
                "weights: expected float32 or bfloat16 with tuning prompt, got nf4 (a soft prompt only works with the "
                "weights it was trained with)"
            )
        return self

    @model_validator(mode="after")
    def _a_prompt_needs_its_section(self) -> RecipeParams:
        if self.tuning == "prompt" and not hasattr(self, "prompt"):
            raise ValueError(
                "tuning: expected full or lora, got prompt (this stage writes weights, and a prompt has none)"
            )
        return self


def steps_of(rows: int, batch_size: int, epochs: float) -> int:
    """Optimiser steps in `epochs` passes; the last, smaller batch of an epoch counts as a step."""
    return round(-(-rows // batch_size) * epochs)


def check_precision(precision: Precision) -> None:
    """Make `accelerate launch` and the recipe agree on mixed precision.

    The launcher says "no" without a configuration; any other value was configured and must equal the recipe's.
    """
    wanted = {"float32": "no", "bfloat16": "bf16"}[precision]
    found = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if found not in ("no", wanted):
        raise StageError(
            f"accelerate config: expected mixed_precision {wanted} for params.yaml's precision {precision}, got "
            f"{found}; run `accelerate config`"
        )
    os.environ["ACCELERATE_MIXED_PRECISION"] = "no" if "DEEPSPEED" in sharding() else wanted


class StoredRecipe(RecipeParams):
    """The recipe as stored in models/start/recipe.json, by which `retrain` repeats the baseline."""

    source: str
    model: str | None
    revision: str | None
    epochs: PositiveFloat
    block_tokens: PositiveInt
    device: TrainingDevice = "auto"
