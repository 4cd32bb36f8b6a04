"""Start: a model folder is copied whole and without code, or told in one line why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from lethe.core.errors import StageError
from lethe.pretrained.start import copy_model
from tests.conftest import tiny_model


def remove_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def pickle_only(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def spoil_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "vit"}')


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (remove_tokenizer, "own: expected a model folder with its fast tokenizer, got no tokenizer.json"),
        (pickle_only, "own: expected *.safetensors, got none (pickled weights are never loaded)"),
        (spoil_config, "own: not loadable as a causal language model: "),
    ],
)
def test_bad_folder(project: Path, spoil: object, message: str) -> None:
    folder = tiny_model(Path("own"))
    spoil(folder)  # type: ignore[operator]
    with pytest.raises(StageError) as error:
        copy_model(Path("own"), Path("copy"), "baseline.folder")
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_missing_folder() -> None:
    with pytest.raises(StageError, match=r"params.yaml: baseline.folder: expected a model folder, got none, which"):
        copy_model(Path("none"), Path("copy"), "baseline.folder")
