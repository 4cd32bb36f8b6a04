"""`lethe gguf`: a model folder as one file for llama.cpp and Ollama.

For Llamas whose tokenizer splits text as GPT-2's or SmolLM's does, which the models are that lethe makes from scratch.
llama.cpp's own converter knows more architectures, but no tokenizer that was trained here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lethe.console import Json, print_json
from lethe.core.errors import StageError
from lethe.core.tables import read_json
from lethe.models.folders import check_folder, read_header, weight_files

if TYPE_CHECKING:
    import numpy as np
    from gguf import GGMLQuantizationType, GGUFWriter

ELSE = "use convert_hf_to_gguf.py of llama.cpp"
NORMAL, CONTROL, ADDED, UNUSED = 1, 3, 4, 5  # llama.cpp's kinds of tokens
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
DIGITS = {"type": "Digits", "individual_digits": True}
SPLITS = {"gpt-2": [BYTES], "smollm": [DIGITS, BYTES]}  # llama.cpp's names of how a tokenizer splits text first
PLAIN = {"rope_scaling": None, "attention_bias": False, "mlp_bias": False, "hidden_act": "silu"}


def command(
    file: Annotated[Path, typer.Argument(help="The file to write.")],
    model: Annotated[Path, typer.Option(help="The model's folder.")] = Path("models/unlearned"),
    json: Json = False,
) -> None:
    """Write a Llama's folder as a GGUF file, which llama.cpp and Ollama read: weights, tokenizer, chat template.

    The weights stay what they are: matrices in the folder's own dtype, nothing is rounded. Other architectures and
    tokenizers are refused; for them there is llama.cpp's **convert_hf_to_gguf.py**.
    """
    written = write_gguf(model, file)
    if json:
        print_json({"written": str(file), "model": str(model), "tensors": written, "bytes": file.stat().st_size})
    else:
        print(f"{file}: {written} tensors of {model}")


def write_gguf(folder: Path, path: Path) -> int:
    """Write the folder's model to `path`, whole or not at all; returns how many tensors.

    Raises StageError if the folder is not that of a Llama, or its tokenizer is not one that can be named in the file.
    """
    try:
        from gguf import GGUFWriter
    except ImportError:
        raise StageError(
            f"{path}: expected the package gguf to write it, got none; `pip install 'lethe-unlearning[gguf]'`"
        ) from None
    if path.is_dir():
        raise StageError(f"{path}: expected the name of a file, got a folder")
    check_folder(folder)
    config, content = checked_config(folder), read_json(folder / "tokenizer.json")
    splits = name_of_splits(folder, content)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    writer = GGUFWriter(part, "llama")
    add_shape(writer, config)
    add_tokenizer(writer, folder, content, splits, config.vocab_size)
    count = add_weights(writer, folder, config)
    writer.close()
    part.rename(path)
    return count


def checked_config(folder: Path) -> Any:
    """The folder's config. Raises StageError unless it is a Llama's as llama.cpp computes it."""
    from lethe.models.config import load_config

    config = load_config(folder)
    if config.model_type != "llama":
        raise StageError(f"{folder}: expected a llama, got {config.model_type}; {ELSE}")
    kind = (config.rope_parameters or {}).get("rope_type", "default")
    found = {name: getattr(config, name, value) for name, value in PLAIN.items()}
    found["rope_scaling"] = None if kind == "default" else kind
    for name, value in found.items():
        if value != PLAIN[name]:
            raise StageError(f"{folder}/config.json: {name}: expected {PLAIN[name]}, got {value}; {ELSE}")
    return config


def name_of_splits(folder: Path, content: Mapping[str, Any]) -> str:
    """llama.cpp's name of how the tokenizer splits a text before it merges bytes. Raises StageError if it has none."""
    first = content.get("pre_tokenizer") or {}
    parts = first.get("pretokenizers", [first])
    for name, wanted in SPLITS.items():
        fits = len(parts) == len(wanted) and all(part | own == part for own, part in zip(wanted, parts, strict=True))
        if fits and content.get("normalizer") is None and content["model"]["type"] == "BPE":
            return name
    found = " and ".join(str(part.get("type")) for part in parts) if first else "no splitting"
    raise StageError(
        f"{folder}/tokenizer.json: expected a tokenizer that splits text as GPT-2's or SmolLM's, got "
        f"{content['model']['type']} after {found}; {ELSE}"
    )


def add_shape(writer: GGUFWriter, config: Any) -> None:
    """The sizes."""
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    width = config.head_dim or config.hidden_size // config.num_attention_heads
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_rope_dimension_count(width)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)


def add_tokenizer(writer: GGUFWriter, folder: Path, content: Mapping[str, Any], splits: str, rows: int) -> None:
    """Tokens, merges, special tokens, chat template, licence. rows: of the embeddings; those without a token unused."""
    from huggingface_hub import metadata_load

    from lethe.models.checkpoints import load_tokenizer
    from lethe.models.tokenization import backend_tokenizer, leading_ids

    tokenizer: Any = load_tokenizer(folder)
    names = {number: name for name, number in content["model"]["vocab"].items()}
    kinds = dict.fromkeys(names, NORMAL)
    for token in content["added_tokens"]:
        names[token["id"]], kinds[token["id"]] = token["content"], CONTROL if token["special"] else ADDED
    merges = (merge if isinstance(merge, str) else " ".join(merge) for merge in content["model"]["merges"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(splits)
    writer.add_token_list([names.get(number, f"[PAD{number}]") for number in range(rows)])
    writer.add_token_types([kinds.get(number, UNUSED) for number in range(rows)])
    writer.add_token_merges(list(merges))
    for kind in ("bos", "eos", "pad"):
        if (number := getattr(tokenizer, f"{kind}_token_id")) is not None:
            getattr(writer, f"add_{kind}_token_id")(number)
    writer.add_add_bos_token(bool(leading_ids(backend_tokenizer(folder))))
    if isinstance(tokenizer.chat_template, str):
        writer.add_chat_template(tokenizer.chat_template)
    card = folder / "README.md"
    if card.exists() and (licence := (metadata_load(card) or {}).get("license")):
        writer.add_license(str(licence))


def add_weights(writer: GGUFWriter, folder: Path, config: Any) -> int:
    """Write the file with its tensors, one of which is in memory at a time; returns how many."""
    import numpy as np
    from gguf import MODEL_ARCH, get_tensor_name_map
    from gguf.quants import quantize

    names = get_tensor_name_map(MODEL_ARCH.LLAMA, config.num_hidden_layers)
    shapes = {name: each for path in weight_files(folder) for name, each in read_header(path).items()}
    for name, (shape, dtype) in shapes.items():
        kind = stored_as(dtype, len(shape))
        told = names.get_name(name, try_suffixes=(".weight",))
        if told is None:
            raise StageError(f"{folder}: expected weights of a llama, got also {name}; {ELSE}")
        size = int(np.prod(shape)) * (4 if kind.name == "F32" else 2)
        writer.add_tensor_info(told, shape, np.dtype(np.float32), size, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, values in matrices(folder):
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(name.split(".")[-2])
        kind = stored_as(shapes[name][1], values.ndim)
        writer.write_tensor_data(quantize(turned(values, heads) if heads else values, kind))
    return len(shapes)


def stored_as(dtype: str, axes: int) -> GGMLQuantizationType:
    """What the file holds a tensor as: a matrix as it is, a norm in float32. dtype: of safetensors."""
    from gguf import GGMLQuantizationType

    return GGMLQuantizationType[dtype if axes > 1 and dtype in ("F16", "BF16") else "F32"]


def matrices(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """(name, float32 tensor) in the order of the files' headers."""
    from safetensors import safe_open

    for path in weight_files(folder):
        with safe_open(path, "pt") as stored:
            for name in stored.keys():  # noqa: SIM118 -- not a mapping
                yield name, stored.get_tensor(name).float().numpy()


def turned(matrix: np.ndarray, heads: int) -> np.ndarray:
    """The rows of each head in llama.cpp's order: it rotates pairs of neighbours, not two halves."""
    return matrix.reshape(heads, 2, -1, matrix.shape[1]).swapaxes(1, 2).reshape(matrix.shape)
