"""Model folders: whatever is wrong with their files is one line, before any training."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lethe.core.errors import StageError
from lethe.models.checkpoints import load_model
from lethe.models.folders import check_folder, weight_count
from lethe.pretrained.start import copy_model

CPU = torch.device("cpu")
FILE = "model.safetensors"
Folder = Callable[[str], Path]


def damage_config(**changes: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | changes))

    return spoil


def damage_weights(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        weights = load_file(folder / FILE)
        save_file(change(weights) or weights, folder / FILE, {"format": "pt"})

    return spoil


def write(name: str, content: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_text(content)


def prefixed(prefix: str) -> Callable[[Path], None]:
    return damage_weights(lambda weights: {prefix + name: tensor for name, tensor in weights.items()})


def with_nan(weights: dict[str, torch.Tensor]) -> None:
    weights["model.norm.weight"][3] = torch.nan


def with_large(weights: dict[str, torch.Tensor]) -> None:
    weights["lm_head.weight"][:] = 3e38


def rounded(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.to(torch.float8_e4m3fn) for name, tensor in weights.items()}


def cut_off(folder: Path) -> None:
    (folder / FILE).write_bytes((folder / FILE).read_bytes()[:-100])


def padding_beyond(folder: Path) -> None:
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    added = dict(tokenizer["added_tokens"][0], id=tokenizer["added_tokens"][-1]["id"] + 1000, content="[PAD]")
    tokenizer["added_tokens"].append(added)
    path.write_text(json.dumps(tokenizer))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"pad_token": "[PAD]"}))


def padding_nowhere(folder: Path) -> None:
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"pad_token": "[PAD]"}))


def template_beyond(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("<|turn|>{{ messages[0].content }}")
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    last = tokenizer["added_tokens"][-1]
    tokenizer["added_tokens"] += [
        dict(last, id=9000 + number, content=name) for number, name in enumerate(("<|unused|>", "<|turn|>"))
    ]
    path.write_text(json.dumps(tokenizer))


def word_piece(folder: Path) -> None:
    path = folder / "tokenizer.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True}})
    )


def pickled_index(folder: Path) -> None:
    (folder / FILE).rename(folder / "pytorch_model.bin")
    index = {"weight_map": {"model.norm.weight": "pytorch_model.bin"}}
    (folder / f"{FILE}.index.json").write_text(json.dumps(index))


def in_two_files(folder: Path) -> None:
    """The weights in two files, one tensor, with other numbers, in both of them."""
    weights = load_file(folder / FILE)
    (folder / FILE).unlink()
    first = "lm_head.weight"
    save_file({first: weights[first]}, folder / "a.safetensors")
    save_file(weights | {first: weights[first] + 1}, folder / "b.safetensors")
    index = {name: "a.safetensors" if name == first else "b.safetensors" for name in weights}
    (folder / f"{FILE}.index.json").write_text(json.dumps({"weight_map": index}))


def another(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """A folder whose tokenizer.json is changed."""

    def spoil(folder: Path) -> None:
        path = folder / "tokenizer.json"
        tokenizer = json.loads(path.read_text())
        change(tokenizer)
        path.write_text(json.dumps(tokenizer))

    return spoil


def settings(**changes: Any) -> Callable[[Path], None]:
    """A folder whose tokenizer_config.json has other values."""

    def spoil(folder: Path) -> None:
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return spoil


def folder_in_place(folder: Path) -> None:
    (folder / FILE).unlink()
    (folder / FILE).mkdir()


def in_a_section(folder: Path) -> None:
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "text_config": values}))


def word_beyond(tokenizer: dict[str, Any]) -> None:
    tokenizer["added_tokens"].append(dict(tokenizer["added_tokens"][-1], id=9000, content="Quavane", special=False))


def all_unknown(tokenizer: dict[str, Any]) -> None:
    tokenizer["model"] = {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0]]}


NO_ACCENTS = {"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "StripAccents"}]}
KEEPS = "own/tokenizer.json: expected a tokenizer that keeps letters, capitals and accents, got "
ENDS = "own/generation_config.json: eos_token_id: expected an id or a list of ids, got "
HUGE = {"hidden_size": 1 << 14, "intermediate_size": 1 << 16, "num_hidden_layers": 9}
NOTHING = {"type": "Replace", "pattern": {"Regex": "."}, "content": ""}
CODE = {"auto_map": {"AutoTokenizer": ["own.Own", "own.Own"]}, "tokenizer_class": "Own"}
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 7\n"
LORA = json.dumps({"peft_type": "LORA", "base_model_name_or_path": "owner/name"})
ALL = "own: expected all weights of the architecture that config.json names, got none for "
BEFORE = [  # found by `lethe check`, without reading the weights
    (write(FILE, POINTER), "own/model.safetensors: expected weights, got a Git LFS pointer; fetch the file with"),
    (write(FILE, ""), "own/model.safetensors: expected whole safetensors, got 0 bytes that are not"),
    (cut_off, "own/model.safetensors: expected whole safetensors, got "),
    (damage_weights(rounded), "own/model.safetensors: expected weights in 16 or 32 bits, got F8_E4M3"),
    (write("config.json", '{"model_type": "lla'), "own/config.json: not valid JSON: "),
    (damage_config(num_attention_heads=3), "own/config.json: not loadable as a causal language model: "),
    (
        damage_config(quantization_config={"quant_method": "gptq", "bits": 4}),
        "own/config.json: expected weights in 16 or 32 bits, got weights quantised with gptq; use the model they were",
    ),
    (write("adapter_config.json", LORA), "own: expected a whole model, got a LORA adapter of owner/name; merge it"),
    (word_piece, "own/tokenizer.json: expected byte-level BPE or SentencePiece's space marker, got neither"),
    (padding_beyond, "own: expected special tokens with ids below "),
    (padding_nowhere, "own: expected a tokenizer with a padding, end or unknown token, got [PAD], which tokeni"),
    (template_beyond, "own: expected special tokens with ids below "),
    (write("config.json", POINTER), "own/config.json: expected a file of the model, got a Git LFS pointer; fetch"),
    (write("tokenizer.json", POINTER), "own/tokenizer.json: expected a file of the model, got a Git LFS pointer; fe"),
    (write("tokenizer_config.json", "[]"), "own/tokenizer_config.json: expected a JSON object, got list"),
    (settings(pad_token=3), "own/tokenizer_config.json: expected tokens as texts, got 3 for one of them"),
    (settings(pad_token={"id": 3}), "own/tokenizer_config.json: expected tokens as texts, got None for one of them"),
    (another(lambda own: own.update(normalizer=NOTHING)), "tokenizer.json: expected a tokenizer with tokens for the"),
    (another(lambda own: own["model"]["vocab"].update(zzz=900)), "own: expected tokens with ids below "),
    (lambda own: (own / "chat_template.jinja").write_bytes(b"\xe9"), "own/chat_template.jinja: expected text in UTF-8"),
    (write("adapter_config.json", "[]"), "own: expected a whole model, got a None adapter of None; merge it"),
    (folder_in_place, "own/model.safetensors: expected a file of the model, got: Is a directory"),
    (in_two_files, "own/b.safetensors: expected each tensor in one file, got lm_head.weight, which a.saf"),
    (
        damage_weights(lambda weights: {name: each.to(torch.int8) for name, each in weights.items()}),
        "own/model.safetensors: expected weights in 16 or 32 bits, got I8 for lm_head.weight",
    ),
    (damage_config(dtype="bf16"), "own/config.json: dtype: expected float32, float16, bfloat16, got bf16"),
    (damage_config(quantization_config={}), "own/config.json: expected weights in 16 or 32 bits, got weights quanti"),
    (damage_config(attention_dropout=2.0), "own/config.json: attention_dropout: expected a share from 0 to below 1, "),
    (pickled_index, "own/model.safetensors.index.json: expected the name of a .safetensors file beside it, got py"),
    (
        lambda folder: (folder / FILE).unlink(),
        "own: expected *.safetensors, got none (pickled weights are never loaded)",
    ),
    (
        lambda folder: (folder / FILE).rename(folder / "consolidated.safetensors"),
        "own: expected model.safetensors, or model.safetensors.index.json and the files that it names, got consol",
    ),
    (in_a_section, "llama: expected its values at the top of config.json, got them in a section"),
    (damage_config(sliding_window=0), "own/config.json: sliding_window: expected null or at least 2, got 0"),
    (write("generation_config.json", "{"), "own/generation_config.json: not valid JSON: "),
    (write("generation_config.json", "[]"), "own/generation_config.json: expected a JSON object, got list"),
    (write("generation_config.json", '{"eos_token_id": "2"}'), ENDS + '"2"'),
    (write("generation_config.json", '{"eos_token_id": [1, [2]]}'), ENDS + "[1, [2]]"),
    (another(word_beyond), "own: expected tokens with ids below "),
    (another(all_unknown), KEEPS + "'<unk><unk>' for 'A a'"),
    (another(lambda own: own.update(normalizer={"type": "Lowercase"})), KEEPS + "'a a' for 'A a'"),
    (another(lambda own: own.update(normalizer=NO_ACCENTS)), KEEPS + "'e' for 'é'"),
    (another(lambda own: own["model"].update(dropout=0.5)), "own/tokenizer.json: dropout: expected null, got 0.5: the"),
]  # fmt: skip
LOADED = [  # found by the stage
    (
        prefixed("_orig_mod."),
        ALL + "lm_head.weight",
    ),
    (prefixed("module."), ALL + "lm_head.weight"),
    (
        prefixed("base_model.model."),
        ALL + "lm_head.weight",
    ),
    (
        damage_weights(lambda weights: weights.pop("model.norm.weight") is None),
        ALL + "model.norm.weight",
    ),
    (
        damage_config(num_hidden_layers=1),
        "own: expected only weights of the architecture that config.json names, got also model.layers.1.",
    ),
    (
        damage_config(vocab_size=500),
        "own: expected weights of the shapes that config.json says, got another for lm_head.weight and 1 more",
    ),
    (settings(**CODE), "own: not loadable as a tokenizer: it needs code of its own, which is never run"),
    (
        damage_config(hidden_act="foo"),
        "own: not loadable as a causal language model: nothing is called 'foo'",
    ),
    (
        damage_weights(lambda weights: {name: each * 0 for name, each in weights.items()}),
        "own: expected weights, got nothing but 0; fetch the files again",
    ),
    (
        damage_config(rope_parameters={"rope_type": "linear", "factor": 0, "rope_theta": 10000.0}),
        "own/config.json: expected a base and factors of positions above 0, got others in ",
    ),
    (damage_weights(with_large), "own: expected logits that are numbers, got NaN or infinity after two ids"),
    (
        settings(tokenizer_class="Qwen2Tokenizer"),
        "own/tokenizer_config.json: expected a tokenizer_class that reads text as tokenizer.json does, got Qwen2To",
    ),
    (settings(tokenizer_class="GemmaTokenizer"), "own: not loadable as a tokenizer: "),
    (damage_config(**HUGE), "own: expected weights for the architecture that config.json names, 29,"),
    (damage_config(output_attentions=True), "own: not loadable as a model that can be saved again: "),
    (damage_weights(with_nan), "own: expected finite weights, got NaN or infinity in model.norm.weight"),
]


@pytest.fixture
def own(family: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A whole model folder to be spoilt, in the current folder."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(family("llama"), "own"))


@pytest.mark.parametrize(("spoil", "message"), [*BEFORE, *LOADED], ids=range(len(BEFORE) + len(LOADED)))
def test_a_bad_folder_is_one_line(own: Path, spoil: Callable[[Path], Any], message: str) -> None:
    check_folder(own)
    spoil(own)
    for load in (check_folder, lambda own: copy_model(own, Path("copy"), "baseline.folder")):
        if load is check_folder and (spoil, message) in LOADED:
            continue
        with pytest.raises(StageError) as error:
            load(own)
        assert str(error.value).startswith(message)
        assert "\n" not in str(error.value)


def test_constants_that_older_versions_wrote_are_no_weights(own: Path) -> None:
    weights = load_file(own / FILE)
    save_file(weights | {"model.layers.0.self_attn.masked_bias": torch.tensor(-1e4)}, own / FILE, {"format": "pt"})
    copy_model(own, Path("copy"), "baseline.folder")


def test_a_window_that_no_layer_has_does_not_matter(own: Path) -> None:
    damage_config(sliding_window=0, layer_types=["full_attention", "full_attention"])(own)
    check_folder(own)
    damage_config(sliding_window=2, layer_types=["sliding_attention", "full_attention"])(own)
    check_folder(own)


def test_weights_in_several_files_and_what_lies_beside_them(own: Path) -> None:
    model = load_model(own, CPU)
    model.save_pretrained("cut", max_shard_size="60KB")
    for path in own.glob("tokenizer*"):
        shutil.copy(path, "cut")
    for name in ("chat_template.jinja", "LICENSE", "vocab.txt", "README.md", "modeling.py", "other.bin"):
        Path("cut", name).write_text(name)
    assert weight_count(Path("cut")) == weight_count(own) == model.num_parameters()
    copy_model(Path("cut"), Path("copy"), "baseline.folder")
    kept = {path.name for path in Path("copy").iterdir()}
    assert {path.name for path in Path("cut").iterdir()} - kept == {"modeling.py", "other.bin"}
    assert len([name for name in kept if name.endswith(".safetensors")]) > 1
    assert all(Path("copy", name).read_bytes() == Path("cut", name).read_bytes() for name in kept)
