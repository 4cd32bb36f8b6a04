"""Prefix tuning (Li and Liang 2021): trained keys and values before the text in every layer.

Unlike SPUL's soft prompt, which precedes the input embeddings only, it reaches every layer directly and has 2 x layers
times as many values. Its results are always shown under its own name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lethe.core.errors import StageError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from lethe.training.adapters import PromptParams


def attach_prefix(model: PreTrainedModel, prompt: PromptParams, seed: int) -> PreTrainedModel:
    """The frozen model with `prompt.tokens` trainable keys and values in every layer, by PEFT, drawn from `seed`."""
    import torch
    from peft import PrefixTuningConfig, get_peft_model

    from lethe.models.config import shape_of
    from lethe.models.soft_prompts import check_prefix

    check_prefix(model)
    torch.manual_seed(seed)
    model.requires_grad_(False)
    shape = shape_of(model.config)
    config: Any = PrefixTuningConfig(
        task_type="CAUSAL_LM",
        num_virtual_tokens=prompt.tokens,
        num_layers=shape.layers,
        num_attention_heads=shape.cached_heads,  # PEFT reads them from Llama's names alone
        token_dim=shape.cached_heads * shape.head_width,
    )
    prefixed = get_peft_model(model, config, autocast_adapter_dtype=False)
    try:
        with torch.no_grad():
            prefixed(input_ids=torch.zeros(1, 2, dtype=torch.long, device=model.device))
    except (RuntimeError, ValueError) as error:  # keys and values of other shapes than heads and their width
        raise StageError(
            f"params.yaml: softprompt.layers: expected input for {model.config.model_type}, got every (its keys and "
            f"values take no prefix: {' '.join(str(error).split())})"
        ) from None
    return prefixed
