"""Model folders: only safetensors, no code, the head taken off and put back."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from lethe.core.errors import StageError
from lethe.core.hashing import check_tokenizer, folder_sha256, tokenizer_sha256
from lethe.models.checkpoints import absent_reason, load_model, load_tokenizer, quick_dtype, save_model, write_absent
from lethe.models.folders import for_older_readers
from lethe.models.output_head import check_head, headless, tapped
from lethe.models.soft_prompts import save_prompt, virtual_tokens
from lethe.training.adapters import LoraParams, PromptParams, attach
from tests.conftest import tiny_model

CPU = torch.device("cpu")
COMPANIONS = (
    "chat_template.jinja",
    "additional_chat_templates/tool_use.jinja",
    "LICENSE",
    "licence.md",
    "NOTICE.txt",
    "USE_POLICY.md",
    "special_tokens_map.json",
    "tekken.json",
    "sentencepiece.bpe.model",
)


def test_headless_gives_hidden_states_and_the_head_gives_the_logits(tmp_path: Path) -> None:
    model = load_model(tiny_model(tmp_path / "m"), CPU)
    ids = torch.tensor([[1, 5, 9]])
    with torch.no_grad():
        whole = model(input_ids=ids).logits
        with headless(model) as head:
            hidden = model(input_ids=ids).logits
            assert hidden.shape == (1, 3, 32)
            torch.testing.assert_close(head(hidden), whole)  # torch's default for float32: two ways to one product
        assert torch.equal(model(input_ids=ids).logits, whole)


def test_float16_is_not_what_a_cpu_computes_in(tmp_path: Path) -> None:
    whole = tiny_model(tmp_path / "m")
    save_model(load_model(whole, CPU), load_tokenizer(whole), tmp_path / "half", torch.float16)
    half = tmp_path / "half"
    assert load_model(half, CPU, quick_dtype(half, CPU)).dtype == torch.float32
    assert load_model(half, CPU).dtype == torch.float16
    assert quick_dtype(half, torch.device("cuda")) is None
    assert quick_dtype(whole, CPU) is None


def test_a_loaded_model_counts_the_tokens_that_go_through_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lethe.core import stage

    monkeypatch.setattr(stage, "SPENT", {"tokens": 0})
    model = load_model(tiny_model(tmp_path / "m"), CPU)
    assert stage.SPENT == {"tokens": 0}  # what loading itself asks of the model is not the stage's work
    with torch.no_grad():
        cache = model(input_ids=torch.tensor([[1, 5, 9], [1, 2, 3]]), use_cache=True).past_key_values
        model(input_ids=torch.tensor([[4], [4]]), past_key_values=cache)
    assert stage.SPENT == {"tokens": 2 * 3 + 2}


def test_the_head_comes_back_after_an_error(tmp_path: Path) -> None:
    model = load_model(tiny_model(tmp_path / "m"), CPU)
    with pytest.raises(RuntimeError), headless(model):
        raise RuntimeError
    assert model(input_ids=torch.tensor([[1]])).logits.shape[-1] == model.config.vocab_size


def test_logits_that_are_capped_after_the_head_are_refused(tmp_path: Path) -> None:
    model = load_model(tiny_model(tmp_path / "m"), CPU)
    plain = model.forward

    def capped(**inputs: object) -> object:
        result = plain(**inputs)
        if result.logits.shape[-1] == model.config.vocab_size:
            result.logits = 0.1 * torch.tanh(result.logits)
        return result

    model.forward = capped
    with pytest.raises(StageError, match="llama: expected logits that are a linear function of the last hidden state"):
        check_head(model)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_saved_in_another_dtype_the_model_in_memory_keeps_its_own(tmp_path: Path, dtype: torch.dtype) -> None:
    folder = tiny_model(tmp_path / "m")
    model, tokenizer = load_model(folder, CPU), load_tokenizer(folder)
    save_model(model, tokenizer, tmp_path / "a", dtype)
    save_model(model, tokenizer, tmp_path / "b", dtype)
    assert model.dtype == torch.float32
    assert load_model(tmp_path / "a", CPU).dtype == dtype
    assert folder_sha256(tmp_path / "a") == folder_sha256(tmp_path / "b")
    assert tokenizer_sha256(tmp_path / "a") == tokenizer_sha256(folder)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("named", ["dtype", "torch_dtype"])
def test_what_lies_beside_the_weights_is_the_sources(tmp_path: Path, dtype: str, named: str) -> None:
    source, folder = tiny_model(tmp_path / "m"), tmp_path / "saved"
    config = json.loads((source / "config.json").read_text())
    config = {"rope_theta": 10000.0} | config | {"use_cache": True}  # keys that transformers 5 would order or drop
    del config["dtype"]
    (source / "config.json").write_text(json.dumps(config | {named: "float32"}))
    for name in COMPANIONS:
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text("{}")
    (source / "generation_config.json").unlink()
    model = load_model(source, CPU)
    model.config.use_cache = False  # as Trainer sets it
    save_model(model, load_tokenizer(source), folder, getattr(torch, dtype))
    found, kept = folder_sha256(folder), folder_sha256(source)
    assert json.loads((folder / "config.json").read_text()) == config | {named: dtype}
    assert {name for name in kept if found.get(name) != kept[name]} <= {"model.safetensors", "config.json"}
    assert (found["config.json"] == kept["config.json"]) == (dtype == "float32")
    assert set(found) - set(kept) == set()
    assert load_model(folder, CPU).dtype == getattr(torch, dtype)


def test_what_transformers_4_looks_for_is_in_a_folder_without_a_source(tmp_path: Path) -> None:
    model = load_model(tiny_model(tmp_path / "m"), CPU)
    model.name_or_path = ""
    save_model(model, load_tokenizer(tmp_path / "m"), tmp_path / "made", torch.float32)
    config = json.loads((tmp_path / "made/config.json").read_text())
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"]
    assert json.loads((tmp_path / "made/tokenizer_config.json").read_text())["tokenizer_class"] == (
        "PreTrainedTokenizerFast"
    )
    gemma = {"rope_parameters": {"full_attention": {"rope_theta": 1e6}, "sliding_attention": {"rope_theta": 1e4}}}
    (tmp_path / "made/config.json").write_text(json.dumps(gemma))
    for_older_readers(tmp_path / "made")
    found = json.loads((tmp_path / "made/config.json").read_text())
    assert found == gemma | {"rope_theta": 1e6, "rope_local_base_freq": 1e4}


def test_absent(tmp_path: Path) -> None:
    write_absent(tmp_path / "none", "nothing was trained")
    assert absent_reason(tmp_path / "none") == "nothing was trained"
    assert absent_reason(tiny_model(tmp_path / "m")) is None
    with pytest.raises(StageError, match="none: expected a model, got none: nothing was trained"):
        load_model(tmp_path / "none", CPU)


def test_artifacts_of_another_tokenizer(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "m")
    check_tokenizer(tokenizer_sha256(folder), folder, Path("data/x"))
    with pytest.raises(StageError, match=r"data/x: expected tokenizer \w{12} of .*, got 0123456789ab; run `dvc repro`"):
        check_tokenizer("0123456789abcdef", folder, Path("data/x"))


@pytest.fixture
def prompt_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A random soft prompt of three vectors for the tiny model models/baseline, in the current project."""
    monkeypatch.chdir(tmp_path)
    base, folder = tiny_model(Path("models/baseline")), Path("models/unlearned")
    lora = LoraParams(rank=2, alpha=4, dropout=0.0, targets="all-linear")
    prompt = PromptParams(tokens=3, encoder=0, start="random")
    save_prompt(attach(load_model(base, CPU), "prompt", lora, 0, prompt), load_tokenizer(base), folder, base)
    return folder


def test_a_prompt_folder_opens_as_a_plain_model_with_the_prompt_on(prompt_folder: Path) -> None:
    from peft import PeftModel

    model, base = load_model(prompt_folder, CPU), load_model(Path("models/baseline"), CPU)
    ids = torch.tensor([[1, 5, 9]])
    wanted = PeftModel.from_pretrained(base, prompt_folder)(input_ids=ids).logits[:, 3:]
    # Products of other shapes, here of six rows and of three, may add up in another order: 1e-6 on some processors,
    # nothing on others. torch's default for float32 allows ten times that; a wrong vector moves these logits by 1.
    torch.testing.assert_close(model(input_ids=ids).logits, wanted)
    with headless(model) as head:
        torch.testing.assert_close(head(model(input_ids=ids).logits), wanted)


def test_a_prompted_model_continues_from_its_cache_and_ignores_padding(prompt_folder: Path) -> None:
    model = load_model(prompt_folder, CPU)
    ids = torch.tensor([[1, 5, 9, 7]])
    whole = model(input_ids=ids).logits
    # two padding tokens on the left, the last token in a second call with the cache of the first
    padded, mask = torch.tensor([[0, 0, 1, 5, 9]]), torch.tensor([[0, 0, 1, 1, 1]])
    first = model(input_ids=padded, attention_mask=mask, position_ids=torch.tensor([[0, 0, 0, 1, 2]]), use_cache=True)
    torch.testing.assert_close(first.logits[:, 2:], whole[:, :3], rtol=1e-4, atol=1e-5)
    second = model(
        input_ids=ids[:, 3:],
        attention_mask=torch.tensor([[0, 0, 1, 1, 1, 1]]),
        position_ids=torch.tensor([[3]]),
        past_key_values=first.past_key_values,
        use_cache=True,
    )
    torch.testing.assert_close(second.logits, whole[:, 3:], rtol=1e-4, atol=1e-5)


def test_a_prompt_folder_names_its_base_without_a_place_on_this_machine(prompt_folder: Path) -> None:
    assert str(prompt_folder.resolve().parent) not in "".join(p.read_text() for p in prompt_folder.glob("*.json"))
    assert sorted(p.name for p in prompt_folder.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "base.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_a_prompt_for_another_base_is_refused(prompt_folder: Path) -> None:
    tiny_model(Path("models/other"), seed=1)
    with pytest.raises(StageError) as error:
        load_model(prompt_folder, CPU, base=Path("models/other"))
    assert re.fullmatch(
        r"models/unlearned: expected models/other to be its base \w{12}, got \w{12}; run `dvc repro`",
        str(error.value),
    )
    with pytest.raises(StageError) as error:
        load_model(prompt_folder, CPU, base=Path("models/none"))
    assert str(error.value) == (
        "models/unlearned: expected the base model models/none of this soft prompt, got none; run `dvc repro`"
    )


def test_a_prompted_model_trained_and_saved_keeps_its_prompt(prompt_folder: Path) -> None:
    # as an attack does that trains the weights under the prompt
    model, ids = load_model(prompt_folder, CPU), torch.tensor([[1, 5, 9]])
    with torch.no_grad():
        model.model.norm.weight.mul_(1.5)
    save_model(model, load_tokenizer(prompt_folder), Path("moved/here"), torch.float32)
    Path("moved/here").rename("there")
    again = load_model(Path("there"), CPU)
    assert torch.equal(again(input_ids=ids).logits, model(input_ids=ids).logits)
    assert not torch.equal(again(input_ids=ids).logits, load_model(prompt_folder, CPU)(input_ids=ids).logits)


def test_virtual_tokens_are_counted_wherever_the_prompt_lies(prompt_folder: Path) -> None:
    save_model(load_model(prompt_folder, CPU), load_tokenizer(prompt_folder), Path("own"), torch.float32)
    found = [virtual_tokens(Path(name)) for name in ("models/baseline", "models/unlearned", "own")]
    assert found == [0, 3, 3]


def test_a_prompt_of_another_width_or_kind(prompt_folder: Path) -> None:
    from safetensors.torch import save_file

    save_file({"prompt_embeddings": torch.zeros(3, 16)}, prompt_folder / "adapter_model.safetensors")
    with pytest.raises(StageError) as error:
        load_model(prompt_folder, CPU)
    assert str(error.value) == (
        "models/unlearned: expected a soft prompt of width 32, got PROMPT_TUNING with vectors 3 x 16"
    )


def test_tapped_takes_a_layers_own_output(prompt_folder: Path) -> None:
    model, ids = load_model(Path("models/baseline"), CPU), torch.tensor([[1, 5, 9]])
    with tapped(model, 1) as first, tapped(model, 2) as second:
        model(input_ids=ids)
    assert torch.equal(model.model.norm(second[0]), model.model(input_ids=ids).last_hidden_state)
    assert not torch.equal(first[0], second[0])
