"""Vehicles: which parameters move."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from stages.lib.params import StageParams

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class LoraParams(StageParams):
    """Low-rank adapters (Hu et al. 2021), by PEFT."""

    rank: int = Field(ge=1)
    alpha: int = Field(ge=1)
    dropout: float = Field(ge=0, lt=1)
    targets: Literal["all-linear"] | list[str]


def attach(model: PreTrainedModel, vehicle: str, lora: LoraParams, seed: int) -> PreTrainedModel:
    """The model with exactly the vehicle's parameters trainable; lora draws its start from `seed`."""
    if vehicle == "full":
        return model.requires_grad_(True)
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.targets,
        task_type="CAUSAL_LM",
    )
    wrapped: Any = get_peft_model(model, config)
    return wrapped


def merge(model: PreTrainedModel) -> PreTrainedModel:
    """The plain model with the vehicle's change folded into its weights."""
    wrapped: Any = model
    return wrapped.merge_and_unload() if hasattr(model, "merge_and_unload") else model


def trainable_parameters(model: PreTrainedModel) -> int:
    """How many numbers the vehicle moves."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
