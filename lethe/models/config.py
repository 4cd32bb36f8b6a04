"""The model's shape, from its config. Architectures name the same things differently; only this module knows how."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from lethe.core.errors import StageError, one_line
from lethe.core.tables import read_json

INNER = ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size", "dff", "dim_ff", "intermediate_size_mlp")
EXPERTS = ("num_experts_per_tok", "experts_per_token", "moe_topk", "top_k_experts")  # that read one token
DTYPES = ("float32", "float16", "bfloat16")
CONTEXT = ("max_position_embeddings", "n_positions", "max_seq_len")


class Shape(NamedTuple):
    """Sizes of the part that reads text."""

    hidden: int
    layers: int
    vocabulary: int  # rows of the output head, which may be more than the tokenizer has tokens
    inner: int  # of the MLP, of all experts together that read one token
    heads: int  # of attention; 0 where there is none
    cached_heads: int  # of keys and values
    head_width: int


def load_config(folder: Path) -> Any:
    """The config of a model folder, by transformers; where no architecture is named, the bare values.

    Raises StageError if the folder has no config.json, or one that no architecture accepts.
    """
    from transformers import AutoConfig, PretrainedConfig

    path = folder / "config.json"
    if not path.exists():
        raise StageError(f"{folder}: expected a model folder with its config.json, got none")
    values = read_json(path)
    if not isinstance(values, dict):
        raise StageError(f"{path}: expected a JSON object, got {type(values).__name__}")
    parts: list[Any] = [part for part in (values, values.get("text_config")) if isinstance(part, dict)]
    for part in parts:
        for name in ("dtype", "torch_dtype"):
            if part.get(name) not in (None, *DTYPES):
                raise StageError(f"{path}: {name}: expected {', '.join(DTYPES)}, got {part[name]}")
    if "model_type" not in values:
        return PretrainedConfig(**values.get("text_config", values))
    with loadable(path):
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


@contextmanager
def loadable(what: Any, kind: str = "a causal language model") -> Iterator[None]:
    """Tell what transformers raises inside the block as a StageError about `what`; want of memory stays as it is."""
    try:
        yield
    except Exception as error:  # each architecture rejects values in its own way
        torch = sys.modules.get("torch")  # not imported for this: `lethe check` reads configs without it
        if torch is not None and isinstance(error, torch.OutOfMemoryError):
            raise
        said = f"nothing is called {one_line(error)}" if isinstance(error, KeyError) else one_line(error)
        # Of code in the folder transformers says how to run it.
        said = "it needs code of its own, which is never run" if "trust_remote_code" in said else said
        said = "transformers has none of its kind" if said.startswith("Unrecognized configuration class") else said
        raise StageError(f"{what}: not loadable as {kind}: {said}") from None


def untrained(config: Any) -> Any:
    """A causal language model of a config, its weights random. Raises StageError if no architecture makes one."""
    from transformers import AutoModelForCausalLM

    with loadable(config.model_type):
        return AutoModelForCausalLM.from_config(config, trust_remote_code=False)


def text_part(config: Any) -> Any:
    """The config of the part that reads text: the whole of it, but for a model that also reads images or sound."""
    try:
        part = config.get_text_config(decoder=True)
    except ValueError as error:  # several parts write text
        raise StageError(f"{config.model_type}: {one_line(error)}") from None
    if not hasattr(part, "get_text_config"):  # of an architecture that has no part of its own for text
        raise StageError(f"{config.model_type}: expected its values at the top of config.json, got them in a section")
    return part


def shape_of(config: Any) -> Shape:
    """The sizes that a config states, under whatever name. Raises StageError if it states no width or no layers."""
    config = text_part(config) if hasattr(config, "get_text_config") else config
    wanted = {"hidden_size": first(config, "hidden_size", "n_embd", "d_model")}
    wanted["num_hidden_layers"] = first(config, "num_hidden_layers", "n_layer", "n_layers", "num_layers")
    absent = [name for name, found in wanted.items() if not found]
    if absent:
        raise StageError(f"config.json: expected {' and '.join(absent)}, got none")
    hidden, heads = wanted["hidden_size"], first(config, "num_attention_heads", "n_head") or 0
    return Shape(
        hidden,
        wanted["num_hidden_layers"],
        first(config, "vocab_size") or 0,
        inner_width(config, hidden),
        heads,
        cached_heads(config, heads),
        first(config, "head_dim") or (hidden // heads if heads else 0),
    )


def inner_width(config: Any, hidden: int) -> int:
    """Width of the MLP; with experts, of those together that read one token."""
    dense = first(config, *INNER) or round((first(config, "expansion_ratio", "expand") or 4) * hidden)
    if not (chosen := first(config, *EXPERTS)):
        return dense
    own = first(config, "moe_intermediate_size")
    return max(dense, chosen * own) if own else chosen * dense


def cached_heads(config: Any, heads: int) -> int:
    """Heads of keys and values that a cache holds."""
    if getattr(config, "multi_query", False) and not getattr(config, "new_decoder_architecture", False):
        return 1
    return first(config, "num_key_value_heads", "num_kv_heads") or heads


def first(config: Any, *names: str) -> Any:
    """The first of these values that the config has and that is not 0 or None; of one value a layer, the largest."""
    for name in names:
        try:
            found = getattr(config, name, None)
        except RuntimeError:  # it differs between layers
            continue
        found = max(found) if isinstance(found, list) and found else found
        if found:
            return found
    return None


def text_config(folder: Path) -> Any:
    """The config of the part of a folder's model that reads text. Raises StageError as load_config does."""
    return text_part(load_config(folder))


def shape(folder: Path) -> Shape:
    """The sizes of a folder's model. Raises StageError as load_config does."""
    return shape_of(text_config(folder))


def hidden_size(folder: Path) -> int:
    """Width of the hidden states."""
    return shape(folder).hidden


def layer_count(folder: Path) -> int:
    """How many decoder layers the model has."""
    return shape(folder).layers


def vocabulary_size(folder: Path) -> int:
    """Rows of the output head, which may be more than the tokenizer has tokens."""
    return shape(folder).vocabulary


def context_length(folder: Path) -> int | None:
    """How many tokens the folder's model can read at once; None where its architecture sets no limit."""
    return context_of(text_config(folder))


def context_of(config: Any) -> int | None:
    """The same of a config; -1 is XLNet's for no limit.

    With positions of the kind longrope it is that of the first training: beyond it every position of a batch turns by
    other angles, so a row's numbers would depend on its neighbours, and on what was cached before.
    """
    limit = first(config, *CONTEXT)
    positions = getattr(config, "rope_parameters", None)
    if isinstance(positions, dict) and positions.get("rope_type") == "longrope":
        limit = positions.get("original_max_position_embeddings") or limit
    return limit if limit and limit > 0 else None
