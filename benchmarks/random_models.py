"""Random Llamas to measure with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM


def random_llama(vocabulary: int, hidden: int, layers: int, **others: Any) -> LlamaForCausalLM:
    """One with weights drawn from seed 0: heads of width 32, three times as wide between, unless `others` says so."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    heads = {"num_attention_heads": hidden // 32, "num_key_value_heads": hidden // 32}
    shape = {"hidden_size": hidden, "num_hidden_layers": layers, "intermediate_size": 3 * hidden} | heads | others
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, **shape))
