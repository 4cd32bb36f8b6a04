"""Tiny random models of any architecture: its config with every size made small, and all kinds of its layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEXT = "The miller's boat lay at the bridge. Nobody had seen the ferryman since the flood went down.\n\n"
VOCABULARY, HIDDEN, INNER, HEADS = 300, 32, 48, 4
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers", "num_blocks")
MOST_LAYERS = 4
SPREAD = 0.2  # of the first weights: at the usual 0.02 a tiny model's logits hardly differ
# What a size becomes, by its name in config.json. Sizes that belong together fit: 4 heads of 8 are the width, 32.
SIZES: dict[int, str] = {
    VOCABULARY: "vocab_size vocab_size_per_layer_input",
    64: "max_position_embeddings n_positions n_ctx max_seq_len model_max_length context_length "
    "max_target_positions max_source_positions attention_hidden_size mamba_d_ssm",
    INNER: "intermediate_size ffn_dim n_inner ffn_hidden_size dff dim_ff intermediate_size_mlp encoder_ffn_dim "
    "decoder_ffn_dim dense_intermediate_size d_inner feed_forward_size emb_dim",
    HIDDEN: "hidden_size n_embd d_model embedding_dim lru_width embedding_size word_embed_proj_dim hidden_dim "
    "input_embedding_size output_embedding_size dim router_hidden_size",
    16: "moe_intermediate_size shared_expert_intermediate_size shared_experts_intermediate_size mamba_d_head "
    "shared_intermediate_size expert_ffn_hidden_size moe_shared_expert_intermediate_size q_lora_rank kv_lora_rank "
    "o_lora_rank qk_head_dim mamba_head_dim mamba_headdim attention_head_dim ple_embed_dim",
    8: "head_dim global_head_dim swa_head_dim kv_channels dim_head qk_rope_head_dim qk_nope_head_dim v_head_dim "
    "linear_key_head_dim linear_value_head_dim linear_head_dim state_size mamba_d_state ssm_state_size index_head_dim "
    "hidden_size_per_layer_input laurel_rank d_head sliding_window sliding_window_size attention_window_size "
    "local_attention window_size attention_chunk_size mamba_chunk_size chunk_size index_topk d_rel hc_lowrank "
    "mamba_dt_rank time_step_rank attention_head_size adapter_rank gated_norm_rank keep_window_size",
    HEADS: "num_attention_heads n_head n_heads num_heads attention_heads encoder_attention_heads "
    "decoder_attention_heads n_mamba_heads num_experts num_local_experts n_routed_experts moe_num_experts "
    "mamba_n_heads mamba_num_heads swa_num_attention_heads linear_num_heads index_n_heads rotary_dim zero_expert_num",
    2: "num_key_value_heads num_kv_heads swa_num_key_value_heads num_experts_per_tok num_experts_per_token "
    "experts_per_token moe_topk top_k_experts moe_k linear_num_key_heads linear_num_value_heads o_groups",
    1: "n_group num_expert_group topk_group n_groups mamba_n_groups mamba_ngroups first_k_dense_replace "
    "num_dense_layers n_shared_experts num_shared_experts moe_num_shared_experts",
}  # fmt: skip
OWN = {"head_dim": HIDDEN // HEADS, "num_key_value_heads": HEADS}  # where the config says nothing
FITTED: dict[str, dict[str, Any]] = {  # sizes that follow from others in a way of the architecture's own
    "mamba2": {"head_dim": 2 * HIDDEN // HEADS},
    "falcon_h1": {"mamba_d_head": 2 * HIDDEN // HEADS},
    "zamba2": {"hybrid_layer_ids": [1]},
    "dots3_note_text": {"head_dim": 16},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
}
LOADING = ("dtype", "torch_dtype", "transformers_version", "quantization_config")
SMALL = {name: size for size, names in SIZES.items() for name in names.split()}


def tiny_tokenizer() -> PreTrainedTokenizerBase:
    """A byte-level tokenizer of fewer than VOCABULARY tokens."""
    from lethe.pretrained.from_scratch import train_tokenizer

    return train_tokenizer([TEXT], VOCABULARY)


def tiny_config(values: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> Any:
    """The config of a tiny model of the architecture that `values`, those of a config.json, describe."""
    from transformers import AutoConfig

    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    whole = AutoConfig.for_model(**values).to_dict()  # what the file leaves out has sizes too
    small = shrunk(whole | {"model_type": values["model_type"]}, ids)
    return AutoConfig.for_model(small.pop("model_type"), **small)


def shrunk(values: Mapping[str, Any], ids: Mapping[str, int | None]) -> dict[str, Any]:
    """A config's values with every size small, those of its parts too; ids: of the tiny tokenizer's special tokens."""
    small = small_sizes({name: value for name, value in values.items() if name not in LOADING})
    small |= {name: size for name, size in OWN.items() if name in small and small[name] is None}
    small |= {name: value for name, value in ids.items() if name in small}
    small |= {"initializer_range": SPREAD} if "initializer_range" in small else {}
    small |= chosen_layers(values)
    small |= FITTED.get(values.get("model_type", ""), {})
    return {name: shrunk(part, ids) if is_part(part) else part for name, part in small.items()}


def small_sizes(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with a small size under every known name; as many heads of keys as of queries stay as many."""
    small = {name: min(each, SMALL[name]) if name in SMALL and is_size(each) else each for name, each in values.items()}
    heads, keys = (values.get(name) for name in ("num_attention_heads", "num_key_value_heads"))
    return small | ({"num_key_value_heads": small["num_attention_heads"]} if heads and heads == keys else {})


def is_size(value: Any) -> bool:
    """Whether a value says how large something is."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def is_part(value: Any) -> bool:
    """Whether a value is the config of a part, such as that which reads images."""
    return isinstance(value, dict) and "model_type" in value


def chosen_layers(values: Mapping[str, Any]) -> dict[str, Any]:
    """How many layers, and what is said of each, with one of every kind; twice those where some share their cache."""
    names = [name for name in LAYERS if is_size(values.get(name))]
    if not names:
        return {}
    count = values[names[0]]
    lists = {name: value for name, value in values.items() if isinstance(value, list) and len(value) == count > 1}
    kinds = [tuple(str(each[layer]) for each in lists.values()) for layer in range(count)]
    kept = [layer for layer in range(count) if kinds.index(kinds[layer]) == layer][:MOST_LAYERS]
    kept = sorted({*kept, *range(min(2, count))}) if len(kept) < 2 else kept
    shares = bool(values.get("num_kv_shared_layers"))
    found: dict[str, Any] = {"num_kv_shared_layers": len(kept)} if shares else {}
    kept = [*kept, *kept] if shares else kept
    own = {int(layer): of for layer, of in (values.get("per_layer_config") or {}).items()}
    if own:
        found["per_layer_config"] = {place: small_of(own[i]) for place, i in enumerate(kept) if i in own}
    found |= dict.fromkeys(names, len(kept))
    return found | {name: [small_of(each[i]) for i in kept] for name, each in lists.items()}


def small_of(value: Any) -> Any:
    """What is said of one layer, with small sizes; a number alone is the width of its MLP, or no size."""
    if isinstance(value, dict):
        return small_sizes(value)
    return min(value, INNER) if is_size(value) else value
