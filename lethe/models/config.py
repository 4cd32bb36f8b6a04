"""The model's shape, from the config.json of its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lethe.core.tables import read_json


def text_config(folder: Path) -> dict[str, Any]:
    """The config of the part that reads text: the whole of it, but for a model that also reads images.

    Raises StageError if the folder has no config.json.
    """
    config = read_json(folder / "config.json")
    return config.get("text_config", config)


def hidden_size(folder: Path) -> int:
    """Width of the hidden states."""
    return int(text_config(folder)["hidden_size"])


def layer_count(folder: Path) -> int:
    """How many decoder layers the model has."""
    return int(text_config(folder)["num_hidden_layers"])


def vocabulary_size(folder: Path) -> int:
    """Rows of the output head, which may be more than the tokenizer has tokens."""
    return int(text_config(folder)["vocab_size"])


def context_length(folder: Path) -> int | None:
    """How many tokens the folder's model can read at once; None where its architecture sets no limit."""
    config = text_config(folder)
    limits = (config.get(name) for name in ("max_position_embeddings", "n_positions"))
    return next((limit for limit in limits if limit), None)
