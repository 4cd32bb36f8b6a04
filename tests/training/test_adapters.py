"""Tuning: exactly the parameters that should move do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lethe.core.errors import StageError
from lethe.core.params import section_problems
from lethe.models.checkpoints import load_model, load_tokenizer
from lethe.models.soft_prompts import save_prompt
from lethe.training.adapters import (
    LoraParams,
    PromptParams,
    attach,
    check_prompt_room,
    merge,
    prompt_vectors,
    trainable_parameters,
)
from lethe.unlearning.prefix_tuning import attach_prefix
from tests.conftest import tiny_model
from tests.families import FAMILIES, tiny_family

CPU = torch.device("cpu")
LORA = LoraParams(rank=2, alpha=4, dropout=0.0, targets="all-linear")


def prompted(folder: Path, **changes: object) -> torch.nn.Module:
    prompt = PromptParams.model_validate({"tokens": 5, "encoder": 0, "start": "random"} | changes)
    return attach(load_model(folder, CPU), "prompt", LORA, 0, prompt)


def test_full_moves_everything(tmp_path: Path) -> None:
    model = load_model(tiny_model(tmp_path / "m"), torch.device("cpu"))
    assert trainable_parameters(attach(model, "full", LORA, 0)) == sum(p.numel() for p in model.parameters())


def test_lora_moves_the_adapters_only(tmp_path: Path) -> None:
    model = attach(load_model(tiny_model(tmp_path / "m"), torch.device("cpu")), "lora", LORA, 0)
    # a matrix [out, in] gets rank * (out + in): per layer 4 of 32 x 32 and 3 of 32 x 64 or 64 x 32, 2 layers
    assert trainable_parameters(model) == 2 * 2 * (4 * (32 + 32) + 3 * (32 + 64))
    assert all("lora_" in name for name, parameter in model.named_parameters() if parameter.requires_grad)


def test_merging_an_untrained_adapter_changes_nothing(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "m")
    before = load_model(folder, torch.device("cpu")).state_dict()
    merged = merge(attach(load_model(folder, torch.device("cpu")), "lora", LORA, 0)).state_dict()
    assert set(merged) == set(before)
    assert all(torch.equal(tensor, merged[name]) for name, tensor in before.items())


@pytest.mark.parametrize(("seeds", "same"), [((0, 0), True), ((0, 1), False)])
def test_adapters_start_from_the_seed(tmp_path: Path, seeds: tuple[int, int], same: bool) -> None:
    folder = tiny_model(tmp_path / "m")
    first, second = (attach(load_model(folder, torch.device("cpu")), "lora", LORA, seed).state_dict() for seed in seeds)
    assert all(torch.equal(first[name], second[name]) for name in first) == same


@pytest.mark.parametrize(("encoder", "moved"), [(0, 5 * 32), (128, 5 * 32 + 2 * 128 * 32 + 128**2 + 2 * 128 + 32)])
def test_a_prompt_moves_its_vectors_and_their_encoder_only(tmp_path: Path, encoder: int, moved: int) -> None:
    # SPUL section 3: p*d + 2*128*d + 128^2 + 2*128 + d with an encoder
    model = prompted(tiny_model(tmp_path / "m"), encoder=encoder)
    assert trainable_parameters(model) == moved
    assert all("prompt_encoder" in name for name, parameter in model.named_parameters() if parameter.requires_grad)


@pytest.mark.parametrize(("width", "published"), [(2048, 604_416), (4096, 1_192_192), (5120, 1_486_080)])
def test_the_encoder_has_as_many_parameters_as_published(width: int, published: int) -> None:
    from peft import PromptEncoder

    from lethe.training.adapters import prompt_config

    config = prompt_config(PromptParams(tokens=30, encoder=128, start="random"))
    config.token_dim, config.num_transformer_submodules = width, 1
    with torch.device("meta"):
        assert trainable_parameters(PromptEncoder(config)) == published


@pytest.mark.parametrize("encoder", [0, 16])
def test_plain_peft_reads_the_saved_prompt_and_generates(tmp_path: Path, encoder: int) -> None:
    from peft import PeftModel

    folder = tiny_model(tmp_path / "m")
    model = prompted(folder, encoder=encoder).eval()
    save_prompt(model, load_tokenizer(folder), tmp_path / "p", folder)
    plain = PeftModel.from_pretrained(load_model(folder, CPU), tmp_path / "p")
    ids = torch.tensor([[1, 5, 9]])
    # vectors out of the file and out of their encoder: torch's default for float32, for rounding alone
    torch.testing.assert_close(plain(input_ids=ids).logits, model(input_ids=ids).logits)
    with pytest.warns(UserWarning, match="Position ids are not supported"):
        written = plain.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=4, do_sample=False)
    assert written.shape == (1, 7)
    assert prompt_vectors(model).shape == (5, 32)
    assert (tmp_path / "p/adapter_model.safetensors").stat().st_size < 5 * 32 * 4 + 200  # nothing but the p x d matrix


def test_switched_off_a_prompt_leaves_the_base_bit_for_bit(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "m")
    ids = torch.tensor([[1, 5, 9]])
    before = load_model(folder, CPU)(input_ids=ids).logits
    model = prompted(folder)
    assert not torch.equal(model(input_ids=ids).logits[:, 5:], before)
    with model.disable_adapter():
        assert torch.equal(model(input_ids=ids).logits, before)


def test_vectors_can_start_from_the_vocabulary(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "m")
    words = load_model(folder, CPU).get_input_embeddings().weight
    for vector in prompt_vectors(prompted(folder, start="vocabulary")):
        assert (words == vector).all(dim=1).any()


def test_an_encoder_starts_at_random() -> None:
    values = {"tokens": 5, "encoder": 16, "start": "vocabulary"}
    problems = section_problems("finetune.prompt", PromptParams, values)
    assert problems == ["finetune.prompt: start: expected random or encoder 0, got vocabulary with encoder 16"]


def test_a_prompt_needs_room_in_the_context() -> None:
    prompt = PromptParams(tokens=30, encoder=0, start="random")
    check_prompt_room(prompt, 226, 256, "finetune")
    check_prompt_room(prompt, 512, None, "finetune")
    with pytest.raises(StageError) as error:
        check_prompt_room(prompt, 227, 256, "finetune")
    assert str(error.value) == (
        "params.yaml: finetune.prompt.tokens: expected at most 29, got 30 (the model's context is 256, a block "
        "has 227 tokens)"
    )


PROMPT = PromptParams(tokens=3, encoder=0, start="vocabulary")
CAUSAL = [kind for kind in FAMILIES if kind != "bert"]


@pytest.mark.parametrize("kind", CAUSAL)
def test_a_prompt_of_any_architecture_opens_as_it_was_trained(
    family: Callable[[str], Path], kind: str, tmp_path: Path
) -> None:
    ids = torch.tensor([[5, 6, 7, 8]])
    model = attach(load_model(family(kind), CPU), "prompt", LORA, 0, PROMPT).eval()
    save_prompt(model, load_tokenizer(family(kind)), tmp_path / "prompt", family(kind))
    found = load_model(tmp_path / "prompt", CPU)(input_ids=ids).logits
    torch.testing.assert_close(found, model(input_ids=ids).logits[:, -4:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gpt_neox", "opt", "qwen3"])
def test_a_prefix_of_any_architecture_opens_as_it_was_trained(
    family: Callable[[str], Path], kind: str, tmp_path: Path
) -> None:
    ids = torch.tensor([[5, 6, 7, 8]])
    model = attach_prefix(load_model(family(kind), CPU), PROMPT, 0).eval()
    save_prompt(model, load_tokenizer(family(kind)), tmp_path / "prefix", family(kind))
    found = load_model(tmp_path / "prefix", CPU)(input_ids=ids).logits
    torch.testing.assert_close(found, model(input_ids=ids).logits[:, -4:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("mistral", "it has DynamicSlidingWindowLayer)"),
        ("qwen3_5_text", "it has LinearAttentionLayer)"),
        ("mamba", "it has no attention)"),
    ],
)
def test_layers_that_do_not_see_a_prefix_are_told(family: Callable[[str], Path], kind: str, found: str) -> None:
    with pytest.raises(StageError) as error:
        attach_prefix(load_model(family(kind), CPU), PROMPT, 0)
    assert str(error.value) == (
        f"params.yaml: softprompt.layers: expected input for {kind}, got every (it needs layers that attend to all "
        f"tokens, and {found}"
    )


def test_a_model_that_takes_no_vectors_is_told(family: Callable[[str], Path]) -> None:
    model, plain = load_model(family("llama"), CPU), type(load_model(family("llama"), CPU)).forward

    def forward(input_ids: torch.Tensor, **others: object) -> object:
        return plain(model, input_ids=input_ids, **others)

    model.forward = forward
    with pytest.raises(StageError, match="tuning: expected full or lora for llama, got prompt"):
        attach(model, "prompt", LORA, 0, PROMPT)


def test_a_model_that_takes_only_its_own_tokens_vectors_is_told(family: Callable[[str], Path]) -> None:
    model = load_model(family("llama"), CPU)
    plain = type(model).forward
    known = model.get_input_embeddings().weight

    def forward(inputs_embeds: torch.Tensor | None = None, **others: object) -> object:
        if inputs_embeds is not None and not (inputs_embeds[0, 0] == known).all(dim=1).any():
            raise IndexError("no token has this vector")
        return plain(model, inputs_embeds=inputs_embeds, **others)

    model.forward = forward
    with pytest.raises(StageError, match="tuning: expected full or lora for llama, got prompt"):
        attach(model, "prompt", LORA, 0, PROMPT)


def test_linear_layers_of_a_class_of_their_own_have_adapters(family: Callable[[str], Path]) -> None:
    class Own(torch.nn.Linear):
        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            return hidden @ self.weight.T

    model: Any = load_model(family("llama"), CPU)
    for layer in model.model.layers:
        layer.mlp.up_proj.__class__ = Own
    named = {name for name, weight in attach(model, "lora", LORA, 0).named_parameters() if weight.requires_grad}
    assert sum("up_proj" in name for name in named) == 4


@pytest.mark.parametrize("kind", ["gemma3", "mamba", "gpt2", "llama"])
def test_adapters_are_put_where_text_is_read(family: Callable[[str], Path], kind: str) -> None:
    model = attach(load_model(family(kind), CPU), "lora", LORA, 0)
    moved = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert moved
    assert not any("vision" in name or "projector" in name or "out_proj" in name for name in moved)
    # two matrices for each of q k v o and gate up down (gpt2: c_attn, two c_proj, c_fc; mamba: in, x, dt), two layers
    assert len(moved) == {"gemma3": 28, "llama": 28, "gpt2": 16, "mamba": 12}[kind]


def test_routers_that_return_more_than_numbers_have_no_adapter(tmp_path: Path) -> None:
    folder = tiny_family("llama4_text", tmp_path / "m")
    model = attach(load_model(folder, CPU), "lora", LORA, 0).train()
    ids = torch.tensor([[5, 6, 7, 8]])
    model(input_ids=ids, use_cache=False).logits.sum().backward()
    assert not any("router" in name for name, weight in model.named_parameters() if weight.requires_grad)
