"""Prefix tuning (Li and Liang 2021): trained keys and values before the text in every layer.

Unlike SPUL's soft prompt, which precedes the input embeddings only, it reaches every layer directly and has 2 x layers
times as many values. Its results are always shown under its own name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from lethe.training.adapters import PromptParams


def attach_prefix(model: PreTrainedModel, prompt: PromptParams, seed: int) -> PreTrainedModel:
    """The frozen model with `prompt.tokens` trainable keys and values in every layer, by PEFT, drawn from `seed`."""
    import torch
    from peft import PrefixTuningConfig, get_peft_model

    torch.manual_seed(seed)
    model.requires_grad_(False)
    config: Any = PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=prompt.tokens)
    return get_peft_model(model, config, autocast_adapter_dtype=False)
