"""Config: a model's shape read from its folder, that of its text part where it also reads images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lethe.core.errors import StageError
from lethe.models.config import context_length, hidden_size, layer_count


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ({"max_position_embeddings": 64}, 64),
        ({"n_positions": 1024}, 1024),
        ({"text_config": {"max_position_embeddings": 32}}, 32),
        ({"model_type": "mamba"}, None),
    ],
)
def test_context_length(config: dict, wanted: int | None, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert context_length(tmp_path) == wanted


@pytest.mark.parametrize("inside", [False, True])
def test_width_and_layers(inside: bool, tmp_path: Path) -> None:
    shape = {"hidden_size": 32, "num_hidden_layers": 2}
    (tmp_path / "config.json").write_text(json.dumps({"text_config": shape} if inside else shape))
    assert (hidden_size(tmp_path), layer_count(tmp_path)) == (32, 2)


def test_a_folder_without_a_config_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StageError) as error:
        hidden_size(tmp_path)
    assert str(error.value) == (
        f"{tmp_path}/config.json: no such file; expected the JSON that an earlier stage writes; run `dvc repro`"
    )
