"""`lethe gguf`: what it writes is the model, read back by transformers; what it cannot write is one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from lethe.cli.commands import app
from lethe.cli.gguf import name_of_splits, write_gguf
from lethe.core.errors import StageError
from lethe.models.checkpoints import load_model, load_tokenizer, save_model
from lethe.pretrained.gguf_file import plain_folder, read_gguf
from tests.conftest import TINY_TEXT, tiny_model
from tests.models.test_folders import damage_config

CPU = torch.device("cpu")
TEMPLATE = "{% for message in messages %}<s>{{ message.content }}</s>{% endfor %}"
ELSE = "use convert_hf_to_gguf.py of llama.cpp"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with fewer heads of keys than of queries, a chat template and a licence. Do not change it."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    work = tmp_path_factory.mktemp("gguf")
    folder = tiny_model(work / "plain")
    config = LlamaConfig.from_pretrained(folder, num_attention_heads=4, num_key_value_heads=2, head_dim=8)
    config.tie_word_embeddings = True
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n\n# A model\n")
    return folder


def logits(folder: Path) -> torch.Tensor:
    with torch.inference_mode():
        return load_model(folder, CPU, torch.float32)(input_ids=torch.arange(5, 25)[None]).logits


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_file_is_the_model(source: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    own, path = tmp_path / "own", tmp_path / "made/tiny.gguf"
    save_model(load_model(source, CPU), load_tokenizer(source), own, dtype)
    shutil.copy(source / "README.md", own)
    done = CliRunner().invoke(app, ["gguf", str(path), "--model", str(own), "--json"], catch_exceptions=False)
    assert json.loads(done.stdout) == {
        "written": str(path), "model": str(own), "tensors": 20, "bytes": path.stat().st_size
    }  # fmt: skip
    folder = plain_folder(path, tmp_path / "cache")
    assert (logits(folder) - logits(own)).abs().max() < 1e-6  # the same numbers; rows in another order are 0.1 apart
    tokenizer = load_tokenizer(folder)
    assert tokenizer(TINY_TEXT).input_ids == load_tokenizer(own)(TINY_TEXT).input_ids
    assert tokenizer.chat_template == TEMPLATE
    values, tensors = read_gguf(path)
    assert values["general.license"] == "apache-2.0"
    assert values["tokenizer.ggml.pre"] == "gpt-2"
    kinds = {len(tensor.shape): set[int]() for tensor in tensors}
    for tensor in tensors:
        kinds[len(tensor.shape)].add(tensor.kind)
    assert kinds == {1: {0}, 2: {0 if dtype == torch.float32 else 30}}  # F32; BF16
    assert [path.name for path in path.parent.iterdir()] == ["tiny.gguf"]


def split_as(content: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / "tokenizer.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"pre_tokenizer": content}))

    return spoil


@pytest.mark.parametrize(("spoil", "problem"), [
    (damage_config(model_type="qwen2"), f"own: expected a llama, got qwen2; {ELSE}"),
    (damage_config(attention_bias=True), f"own/config.json: attention_bias: expected False, got True; {ELSE}"),
    (damage_config(rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}),
     f"own/config.json: rope_scaling: expected None, got linear; {ELSE}"),
    (split_as({"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}),
     "own/tokenizer.json: expected a tokenizer that splits text as GPT-2's or SmolLM's, got BPE after ByteLevel; "
     f"{ELSE}"),
])  # fmt: skip
def test_what_cannot_be_written_is_one_line(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], None], problem: str
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(source, "own")
    spoil(Path("own"))
    with pytest.raises(StageError) as error:
        write_gguf(Path("own"), Path("tiny.gguf"))
    assert str(error.value) == problem
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own"]


def test_how_llama_cpp_calls_the_splitting() -> None:
    split = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    content = {"model": {"type": "BPE"}, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, split]}}
    assert name_of_splits(Path(), content) == "smollm"
    assert name_of_splits(Path(), content | {"pre_tokenizer": split}) == "gpt-2"
    with pytest.raises(StageError, match="got BPE after Digits; use"):
        name_of_splits(Path(), content | {"pre_tokenizer": digits})
