"""A GGUF file becomes the plain folder of the model it holds, once, or is refused in one line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lethe.core.errors import StageError
from lethe.core.hashing import file_sha256
from lethe.models.checkpoints import load_model, load_tokenizer, save_model
from lethe.pretrained import gguf_file
from lethe.pretrained.gguf_file import gguf_path, header_of, plain_folder
from lethe.pretrained.start import check_model
from tests.conftest import TINY_TEXT, tiny_model
from tests.tiny_gguf import write_gguf

if TYPE_CHECKING:
    from torch import Tensor

CHANGED = "which transformers leaves out; use the folder that the file was made from"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama as transformers saves it. Do not change it."""
    return tiny_model(tmp_path_factory.mktemp("gguf") / "source")


def logits(folder: Path) -> Tensor:
    import torch

    tokens = torch.arange(5, 25)[None]
    with torch.inference_mode():
        return load_model(folder, torch.device("cpu"), torch.float32)(input_ids=tokens).logits


def test_the_folder_is_the_model_that_the_file_holds(source: Path, tmp_path: Path) -> None:
    path = write_gguf(source, tmp_path / "own/tiny.gguf")
    folder = plain_folder(path, tmp_path / "cache")
    check_model(folder)
    assert (logits(folder) - logits(source)).abs().max() < 1e-6  # the same float32 weights; a swapped half is 0.1 apart
    assert load_tokenizer(folder)(TINY_TEXT).input_ids == load_tokenizer(source)(TINY_TEXT).input_ids
    assert json.loads((folder / "source.json").read_text()) == {
        "gguf": "tiny.gguf", "sha256": file_sha256(path), "name": "Tiny", "license": "apache-2.0"
    }  # fmt: skip
    config = json.loads((folder / "config.json").read_text())
    assert "quantization_config" not in config
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"]  # transformers 4 reads the first alone
    assert config["dtype"] == "float32"
    told = json.loads((folder / "tokenizer_config.json").read_text())
    assert told["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert not {"gguf_file", "local_files_only"} & told.keys()


def test_rounded_weights_become_plain_numbers(source: Path, tmp_path: Path) -> None:
    path = write_gguf(source, tmp_path / "tiny.gguf", rounded=True)
    folder = plain_folder(path, tmp_path / "cache")
    assert json.loads((folder / "config.json").read_text())["dtype"] == "float16"
    apart = (logits(folder) - logits(source)).abs()
    assert 0 < apart.mean() < 0.1  # 8 bits a weight: 0.02; rows in another order: more than 0.5


def test_what_lies_beside_the_file_is_of_another_model(source: Path, tmp_path: Path) -> None:
    path = write_gguf(source, tmp_path / "own/tiny.gguf")
    (path.parent / "config.json").write_text('{"model_type": "gpt2", "n_layer": 3}')
    folder = plain_folder(path, tmp_path / "cache")
    assert json.loads((folder / "config.json").read_text())["model_type"] == "llama"


def test_a_file_is_converted_once(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_gguf(source, tmp_path / "tiny.gguf")
    first = plain_folder(path, tmp_path / "cache")
    monkeypatch.setattr(gguf_file, "convert", None)
    assert plain_folder(path, tmp_path / "cache") == first
    with path.open("r+b") as stream:
        stream.seek(-4, 2)
        stream.write(b"\0\0\0\0")  # another weight
    with pytest.raises(TypeError):
        plain_folder(path, tmp_path / "cache")


def save_and_stop(*given: Any) -> None:
    save_model(*given)
    raise RuntimeError


def test_a_conversion_that_stopped_leaves_no_model(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_gguf(source, tmp_path / "tiny.gguf")
    with monkeypatch.context() as patched:
        patched.setattr(gguf_file, "save_model", save_and_stop)
        with pytest.raises(RuntimeError):
            plain_folder(path, tmp_path / "cache")
    check_model(plain_folder(path, tmp_path / "cache"))


def cut(size: int) -> Callable[[Path], None]:
    def keep(path: Path) -> None:
        path.write_bytes(path.read_bytes()[:size])

    return keep


@pytest.mark.parametrize(("spoil", "problem"), [
    (lambda path: path.write_text("no model"), "expected a GGUF file, got one that does not begin with GGUF"),
    (lambda path: path.write_bytes(b""), "expected a GGUF file, got one that does not begin with GGUF"),
    (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"),
     "expected a GGUF file, got a Git LFS pointer; fetch the file with `git lfs pull`"),
    (cut(10), "expected a whole GGUF file, got 10 bytes that are not ("),
    (cut(300), "expected a whole GGUF file, got 300 bytes that are not ("),
    (cut(-10), "expected a whole GGUF file of "),
])  # fmt: skip
def test_a_file_that_is_none_is_one_line(
    source: Path, tmp_path: Path, spoil: Callable[[Path], None], problem: str
) -> None:
    path = write_gguf(source, tmp_path / "tiny.gguf")
    spoil(path)
    with pytest.raises(StageError) as error:
        header_of(path)
    assert str(error.value).startswith(f"{path}: {problem}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("how", "problem"), [
    ({"architecture": "unheard"}, "expected an architecture that transformers reads from GGUF, got unheard"),
    ({"weights": False}, "expected a model, got a GGUF file without weights"),
    ({"more": lambda writer: writer.add_uint16("split.count", 3)},
     "expected a whole model in one file, got one of 3 parts; join them with `llama-gguf-split --merge`"),
    ({"more": lambda writer: writer.add_string("llama.rope.scaling.type", "yarn")},
     f"expected positions as they are, got yarn scaling, {CHANGED}"),
    ({"more": lambda writer: writer.add_tensor("rope_freqs.weight", np.full(8, 8, np.float32))},
     f"expected positions as they are, got factors rope_freqs.weight, {CHANGED}"),
])  # fmt: skip
def test_what_transformers_would_read_as_another_model_is_one_line(
    source: Path, tmp_path: Path, how: dict[str, Any], problem: str
) -> None:
    path = write_gguf(source, tmp_path / "tiny.gguf", **how)
    with pytest.raises(StageError) as error:
        header_of(path)
    assert str(error.value).startswith(f"{path}: {problem}")
    assert "\n" not in str(error.value)


def test_an_architecture_that_is_no_causal_language_model_is_one_line(source: Path, tmp_path: Path) -> None:
    path = write_gguf(source, tmp_path / "tiny.gguf", architecture="t5")
    with pytest.raises(StageError) as error:
        plain_folder(path, tmp_path / "cache")
    assert str(error.value).startswith(f"{path}: not loadable as a causal language model: ")
    assert "\n" not in str(error.value)


def test_factors_of_one_change_nothing(source: Path, tmp_path: Path) -> None:
    ones = np.ones(8, np.float32)
    path = write_gguf(source, tmp_path / "tiny.gguf", more=lambda writer: writer.add_tensor("rope_freqs.weight", ones))
    assert header_of(path).architecture == "llama"


def test_the_header_says_what_check_and_the_planner_need(source: Path, tmp_path: Path) -> None:
    header = header_of(write_gguf(source, tmp_path / "tiny.gguf"))
    assert (header.context, header.dtype) == (64, "float32")
    # two layers of 4 x 32 x 32 + 3 x 32 x 64 + 2 x 32 weights, a norm of 32, and two times 32 for each of the tokens
    assert header.weights == 2 * (4096 + 6144 + 64) + 32 + 2 * 32 * len(load_tokenizer(source))


def test_without_the_package_it_says_what_to_install(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_gguf(source, tmp_path / "tiny.gguf")
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(StageError) as error:
        header_of(path)
    assert str(error.value) == (
        f"{path}: expected the package gguf to read it, got none; `pip install 'lethe-unlearning[gguf]'`"
    )


@pytest.mark.parametrize(("names", "found"), [
    ([], "none"),
    (["a.gguf", "b.gguf", "README.md"], "a.gguf, b.gguf"),
])  # fmt: skip
def test_a_folder_holds_one_file(tmp_path: Path, names: list[str], found: str) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(StageError) as error:
        gguf_path(tmp_path, "baseline.folder")
    assert str(error.value) == (
        f"params.yaml: baseline.folder: expected a GGUF file, or a folder with one, got {tmp_path}: {found}"
    )
    (tmp_path / "b.gguf").unlink(missing_ok=True)
    (tmp_path / "a.gguf").touch()
    assert gguf_path(tmp_path, "baseline.folder") == gguf_path(tmp_path / "a.gguf", "") == tmp_path / "a.gguf"


def test_nothing_there_is_one_line() -> None:
    with pytest.raises(StageError, match=r"got nowhere: nothing there"):
        gguf_path(Path("nowhere"), "baseline.folder")
