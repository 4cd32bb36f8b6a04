"""Uniform: padding, caches and copies of any architecture give the numbers that a prompt gets alone, read at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lethe.core.errors import StageError
from lethe.inference.decoding import continue_greedily, sample_continuations
from lethe.inference.scoring import expectations, token_loss
from lethe.models.checkpoints import load_model
from lethe.models.soft_prompts import with_prompt
from lethe.models.uniform import Reread, uniform
from tests.families import FAMILIES

CPU = torch.device("cpu")
CAUSAL = [kind for kind in FAMILIES if kind != "bert"]
PROMPTS = [[0, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51], [0, 60, 61], [0, 70, 71, 72, 73, 74, 75]]
ENDINGS = [[[80, 81, 82], [83]], [[90, 91]], [[100, 101, 102, 103]]]
Folder = Callable[[str], Path]


def test_what_the_library_computes_wrongly_is_refused(family: Folder) -> None:
    model = load_model(family("llama"), CPU)
    model.config.model_type = "youtu"
    with pytest.raises(StageError, match="youtu: expected weights as they were saved, got 0 for the embedding of the"):
        uniform(model)
    model.config.pad_token_id = None
    assert uniform(model) is model
    model.config.model_type, model.config.index_topk = "deepseek_v32", 63  # of a context of 64
    with pytest.raises(StageError, match="deepseek_v32: expected batches and caches that change no number, got others"):
        uniform(model)
    model.config.index_topk = 64
    assert uniform(model) is model


@pytest.mark.parametrize("prompted", [False, True], ids=["plain", "prompted"])
@pytest.mark.parametrize("kind", CAUSAL)
def test_batches_and_caches_change_no_number(family: Folder, kind: str, prompted: bool) -> None:
    model = load_model(family(kind), CPU)
    if prompted:
        width = model.get_input_embeddings().weight.shape[1]
        model = with_prompt(model, torch.randn(3, width, generator=torch.Generator().manual_seed(0)))

    def logits(ids: list[int]) -> torch.Tensor:
        with torch.inference_mode():
            return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float()

    found = continue_greedily(model, PROMPTS, [[3], [4], [5]], 4, ())
    for prompt, continuation, wanted in zip(PROMPTS, found, (3, 4, 5), strict=True):
        for end in range(4):
            following = logits(prompt + continuation.tokens[:end])[-1]
            # the likeliest, or as likely up to rounding
            assert following[continuation.tokens[end]] == pytest.approx(following.max().item(), abs=1e-3)
        assert continuation.probability == pytest.approx(logits(prompt)[-1].softmax(-1)[wanted].item(), abs=1e-5)
    scored = expectations(model, PROMPTS, ENDINGS, openings=2, new_tokens=3)
    for prompt, endings, expected in zip(PROMPTS, ENDINGS, scored, strict=True):
        for ending, scores in zip(endings, expected.scores, strict=True):
            odds = logits(prompt + ending[:-1])[-len(ending) :].log_softmax(-1)
            wanted_scores = [float(row[token]) for row, token in zip(odds, ending, strict=True)]
            assert scores == pytest.approx(wanted_scores, abs=1e-3)
        for opening in expected.openings:
            odds = logits(prompt + opening.tokens[:-1])[-len(opening.tokens) :].log_softmax(-1)
            wanted_scores = [float(row[token]) for row, token in zip(odds, opening.tokens, strict=True)]
            assert opening.scores == pytest.approx(wanted_scores, abs=1e-3)
    several = sample_continuations(model, PROMPTS[:2], 2, 3, (), 1.0, 0)
    assert [len(own) for own in several] == [2, 2]
    alone = [token_loss(model, [prompt]) * (len(prompt) - 1) for prompt in PROMPTS]
    assert token_loss(model, PROMPTS) * 20 == pytest.approx(sum(alone), rel=1e-4)


@pytest.mark.parametrize("kind", ["llama", "qwen3_5_text", "mamba", "rwkv"])
def test_what_cannot_be_reordered_is_read_again(family: Folder, kind: str) -> None:
    model = load_model(family(kind), CPU)
    cache = model(input_ids=torch.tensor([[1, 5, 9]]), use_cache=True).past_key_values
    assert isinstance(cache, Reread) == (kind == "rwkv")


def test_known_wrong_caches_of_keys_and_values_are_not_used(family: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lethe.models.uniform.REREAD", ("llama",))
    model = load_model(family("llama"), CPU)
    assert isinstance(model(input_ids=torch.tensor([[1, 5, 9]]), use_cache=True).past_key_values, Reread)


def test_a_model_that_padding_changes_is_refused(family: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lethe.models.uniform.rereading", lambda plain, takes: plain)
    with pytest.raises(StageError) as error:
        load_model(family("rwkv"), CPU)
    assert str(error.value) == "rwkv: expected logits that padding does not change, got others"


def test_hidden_states_of_a_model_without_a_cache(family: Folder) -> None:
    model = load_model(family("rwkv"), CPU)
    tokens, mask = torch.tensor([[0, 0, 7], [4, 5, 6]]), torch.tensor([[0, 0, 1], [1, 1, 1]])
    with torch.inference_mode():
        both = model(input_ids=tokens, attention_mask=mask, output_hidden_states=True).hidden_states
        alone = model(input_ids=tokens[:1, 2:], output_hidden_states=True).hidden_states
    torch.testing.assert_close(both[1][0, -1], alone[1][0, -1])
    assert uniform(model) is model
