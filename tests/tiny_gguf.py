"""A tiny model folder written as a GGUF file, as llama.cpp's converter writes a Llama."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from gguf import GGUFWriter

PARTS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
WHOLE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
LICENCE = {"license": "apache-2.0", "name": "Tiny"}


def write_gguf(
    folder: Path,
    path: Path,
    architecture: str = "llama",
    rounded: bool = False,
    weights: bool = True,
    more: Callable[[GGUFWriter], Any] | None = None,
) -> Path:
    """Write the Llama of a folder to `path`. rounded: matrices in blocks of 8 bits. more: adds to the file."""
    from gguf import GGMLQuantizationType, GGUFWriter, quants
    from safetensors.numpy import load_file

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = GGUFWriter(path, architecture)
    writer.add_name(LICENCE["name"])
    writer.add_license(LICENCE["license"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    add_tokenizer(writer, json.loads((folder / "tokenizer.json").read_text(encoding="utf-8")))
    for name, tensor in load_file(folder / "model.safetensors").items() if weights else ():
        told = gguf_name(name)
        if ".attn_q." in told or ".attn_k." in told:
            tensor = turned(tensor, config["num_attention_heads"])
        if rounded and tensor.ndim > 1:
            kind = GGMLQuantizationType.Q8_0
            writer.add_tensor(told, quants.quantize(tensor, kind), raw_dtype=kind)
        else:
            writer.add_tensor(told, np.ascontiguousarray(tensor))
    if more:
        more(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def add_tokenizer(writer: GGUFWriter, content: dict[str, Any]) -> None:
    """The vocabulary, merges and special tokens of a byte-level BPE tokenizer that puts <s> first."""
    vocabulary = content["model"]["vocab"]
    special = {token["content"]: token["id"] for token in content["added_tokens"]}
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in special else 1 for token in tokens])  # 3: control
    writer.add_token_merges([" ".join(merge) for merge in content["model"]["merges"]])
    writer.add_bos_token_id(special["<s>"])
    writer.add_eos_token_id(special["</s>"])
    writer.add_pad_token_id(special["<pad>"])
    writer.add_add_bos_token(True)


def gguf_name(name: str) -> str:
    """llama.cpp's name of a weight of a Llama."""
    stem, suffix = name.rsplit(".", 1)
    if stem in WHOLE:
        return f"{WHOLE[stem]}.{suffix}"
    _, _, layer, part = stem.split(".", 3)
    return f"blk.{layer}.{PARTS[part]}.{suffix}"


def turned(matrix: np.ndarray, heads: int) -> np.ndarray:
    """The rows of each head in llama.cpp's order: pairs of neighbours are rotated together, not two halves."""
    return matrix.reshape(heads, 2, -1, matrix.shape[1]).swapaxes(1, 2).reshape(matrix.shape)
