"""softprompt: p x d numbers before weights that keep every bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lethe.classification.prompts import prompt_tokens
from lethe.core.errors import StageError
from lethe.core.hashing import path_sha256
from lethe.models.checkpoints import load_model, load_tokenizer
from lethe.models.saved_change import bits_sha256
from stages import softprompt
from tests.conftest import set_param
from tests.task import TEMPLATE, task_project

CPU = torch.device("cpu")


@pytest.fixture
def tiny(project: Path) -> Path:
    return task_project(project, "softprompt")


def report(project: Path) -> dict:
    return json.loads((project / "reports/softprompt.json").read_text())


def test_main(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = path_sha256(tiny / "models/task")
    softprompt.main()
    assert capsys.readouterr().out.startswith("softprompt: prompt of 96 parameters, spul loss ")  # 3 vectors of 32
    assert path_sha256(tiny / "models/task") == weights
    stored = load_file(tiny / "models/softprompt/adapter_model.safetensors")
    assert {name: tuple(tensor.shape) for name, tensor in stored.items()} == {"prompt_embeddings": (3, 32)}
    found = report(tiny)
    assert (found["tuning"], found["saved_numbers"], found["trainable_parameters"]) == ("prompt", 96, 96)
    assert found["weights_untouched"] is True
    assert found["weights_sha256"] == bits_sha256(load_model(tiny / "models/task", CPU))
    assert found["rows"] == {"forget": 4, "retain": 4}


def test_the_saved_prompt_is_plain_peft_and_generates(tiny: Path) -> None:
    from peft import PeftModel

    softprompt.main()
    tokenizer = load_tokenizer(tiny / "models/task")
    ids = torch.tensor([prompt_tokens(tokenizer, TEMPLATE, "Tom ate figs.")])
    base = load_model(tiny / "models/task", CPU)
    without = base(input_ids=ids).logits
    peft = PeftModel.from_pretrained(load_model(tiny / "models/task", CPU), tiny / "models/softprompt").eval()
    ours = load_model(tiny / "models/softprompt", CPU)
    with torch.no_grad():
        assert torch.allclose(peft(input_ids=ids).logits[:, 3:], ours(input_ids=ids).logits, atol=1e-5)
        assert not torch.allclose(ours(input_ids=ids).logits, without, atol=1e-3)
        with peft.disable_adapter():
            assert torch.equal(peft(input_ids=ids).logits, without)  # switched off: the base, bit for bit
        written = peft.generate(input_ids=ids, max_new_tokens=2, do_sample=False)
        assert written[0, ids.shape[1]] == ours(input_ids=ids).logits[0, -1].argmax()


def test_same_inputs_same_bytes(tiny: Path) -> None:
    softprompt.main()
    before = path_sha256(tiny / "models/softprompt")
    softprompt.main()
    assert path_sha256(tiny / "models/softprompt") == before


def test_an_encoder_is_trained_and_not_saved(tiny: Path) -> None:
    set_param(tiny, "softprompt.prompt.encoder", 16)
    set_param(tiny, "softprompt.prompt.start", "random")
    softprompt.main()
    # p*d + 2*h*d + h^2 + 2*h + d with p = 3, d = 32, h = 16: 96 + 1024 + 256 + 32 + 32
    assert report(tiny)["trainable_parameters"] == 1440
    assert report(tiny)["saved_numbers"] == 96


def test_a_prompt_may_start_from_a_text(tiny: Path) -> None:
    set_param(tiny, "softprompt.start_text", "Tom Orla")
    set_param(tiny, "softprompt.learning_rate", 1e-12)
    softprompt.main()
    stored = load_file(tiny / "models/softprompt/adapter_model.safetensors")["prompt_embeddings"]
    vectors = load_model(tiny / "models/task", CPU).get_input_embeddings().weight
    ids = load_tokenizer(tiny / "models/task")("Tom Orla", add_special_tokens=False)["input_ids"]
    wanted = [ids[place % len(ids)] for place in range(3)]  # repeated or cut
    assert torch.allclose(stored, vectors[torch.tensor(wanted)], atol=1e-6)
    assert report(tiny)["start"] == "text"


def test_prefix_tuning_has_its_own_name(tiny: Path) -> None:
    set_param(tiny, "softprompt.layers", "every")
    softprompt.main()
    found = report(tiny)
    # keys and values of 2 layers, 32 wide, for 3 vectors: 3 * 2 * 2 * 32
    assert (found["tuning"], found["saved_numbers"]) == ("prefix", 384)
    assert found["weights_untouched"] is True


def test_a_prefix_read_back_is_the_one_peft_trained(tiny: Path) -> None:
    from peft import PeftModel

    set_param(tiny, "softprompt.layers", "every")
    softprompt.main()
    tokenizer = load_tokenizer(tiny / "models/task")
    ids = torch.tensor([prompt_tokens(tokenizer, TEMPLATE, "Tom ate figs.")])
    peft = PeftModel.from_pretrained(load_model(tiny / "models/task", CPU), tiny / "models/softprompt").eval()
    ours = load_model(tiny / "models/softprompt", CPU)
    with torch.no_grad():
        wanted = ours(input_ids=ids).logits
        assert torch.allclose(peft(input_ids=ids, attention_mask=torch.ones_like(ids)).logits, wanted, atol=1e-5)
        # token by token with the cache gives the same
        step = ours(input_ids=ids[:, :-1], use_cache=True)
        last = ours(
            input_ids=ids[:, -1:], attention_mask=torch.ones_like(ids), past_key_values=step.past_key_values,
            position_ids=torch.tensor([[ids.shape[1] - 1]]),
        )  # fmt: skip
        assert torch.allclose(last.logits[:, -1], wanted[:, -1], atol=1e-5)


@pytest.mark.parametrize("tuning", ["lora", "full"])
@pytest.mark.parametrize("objective", ["gradient_ascent", "ascent_kl", "npo", "dpo"])
def test_other_objectives_and_tunings(tiny: Path, tuning: str, objective: str) -> None:
    set_param(tiny, "softprompt.tuning", tuning)
    set_param(tiny, "softprompt.objective", objective)
    softprompt.main()
    trained = load_model(tiny / "models/softprompt", CPU)
    assert bits_sha256(trained) != bits_sha256(load_model(tiny / "models/task", CPU))
    assert "weights_untouched" not in report(tiny)


def param(name: str, value: object) -> Callable[[Path], None]:
    return lambda project: set_param(project, f"softprompt.{name}", value)


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (
            param("generic", [" "]),
            "params.yaml: specialise.template: the label ' ': expected a word of at least one token, got none",
        ),
        (
            param("prompt.tokens", 60),
            "params.yaml: softprompt.prompt.tokens: expected at most 45, got 60 (the model's context is 64, a "
            "block has 19 tokens)",
        ),
        (
            lambda project: [param("layers", "every")(project), param("tuning", "lora")(project)],
            "params.yaml: softprompt: layers: expected input, got every (which needs tuning prompt and "
            "prompt.encoder 0)",
        ),
    ],
)
def test_bad_input_is_one_line(tiny: Path, spoil: Callable[[Path], None], line: str) -> None:
    spoil(tiny)
    with pytest.raises(StageError) as caught:
        softprompt.main()
    assert str(caught.value) == line
    assert not (tiny / "models/softprompt").exists()
