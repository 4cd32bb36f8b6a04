"""Tiny random models of many architectures, one for each kind of trouble."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
}
GROUPED = {"num_key_value_heads": 2, "head_dim": 16}
MIXED = {"layer_types": ["linear_attention", "full_attention"]} | {
    f"linear_{name}": 2 for name in ("num_key_heads", "num_value_heads")
}
EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
LINEAR = MIXED | {"linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_conv_kernel_dim": 4}
VISION = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
VISION |= {"image_size": 28, "patch_size": 14}

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "gpt2": {},
    "gpt_neox": {},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 16},
    "gemma2": GROUPED | {"sliding_window": 8, "final_logit_softcapping": 5.0},
    "gemma3": GROUPED | {"sliding_window": 8},
    "granite": {"logits_scaling": 8.0, "num_key_value_heads": 2},
    "cohere2": {"logit_scale": 0.25, "num_key_value_heads": 2},
    "mistral": {"sliding_window": 8, "num_key_value_heads": 2},
    "qwen3": GROUPED,
    "qwen3_moe": GROUPED | EXPERTS,
    "qwen3_5_text": GROUPED | LINEAR,
    "gpt_oss": GROUPED | EXPERTS | {"sliding_window": 8},
    "mamba": {"state_size": 8},
    "rwkv": {"attention_hidden_size": 32},
    "bert": {},
}
MORE: dict[str, dict[str, Any]] = {"llama4_text": GROUPED | EXPERTS | {"intermediate_size_mlp": 48}}


def tiny_family(kind: str, folder: Path, seed: int = 0, **changes: Any) -> Path:
    """Write a random model of a family with the tokenizer of `tiny_model` into `folder`; changes: of its config."""
    import torch
    from transformers import AutoModelForCausalLM

    from tests.conftest import tiny_tokenizer

    tokenizer = tiny_tokenizer()
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(tiny_config(kind, tokenizer, **changes))
    if kind == "rwkv":  # which starts its head at zero
        torch.nn.init.normal_(model.head.weight, std=0.2)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny_config(kind: str, tokenizer: Any, **changes: Any) -> Any:
    """The config of a tiny model."""
    from transformers import AutoConfig

    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    sizes = SIZES | {"vocab_size": len(tokenizer)} | ids | (FAMILIES | MORE)[kind] | changes
    if kind == "gemma3":
        text = sizes | {"layer_types": ["sliding_attention", "full_attention"]}
        return AutoConfig.for_model(kind, text_config=text, vision_config=VISION, mm_tokens_per_image=4, **ids)
    return AutoConfig.for_model(kind, **sizes)
