"""A few virtual tokens: rows whose targets are answers, ids beyond the vocabulary, a model that is as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from lethe.attacks.soft_prompt import answer_rows, train_soft_prompt, virtual_ids, virtual_tokens
from lethe.core.tables import MASKED
from lethe.models.checkpoints import load_model
from lethe.models.soft_prompts import with_prompt
from tests.attacks.test_relearning import recipe
from tests.conftest import tiny_model, tiny_tokenizer


def test_answer_rows_by_hand() -> None:
    rows = answer_rows([[5, 6, 7], [8]], [[1, 2], [3]], tiny_tokenizer())
    pad = tiny_tokenizer().pad_token_id
    assert rows.tokens.tolist() == [[5, 6, 7, 1, 2], [8, 3, pad, pad, pad]]
    # the answer's first token is due after the prompt's last
    no = MASKED
    assert rows.next_ids.tolist() == [[no, no, 1, 2, no], [3, no, no, no, no]]
    assert rows.length.tolist() == [5, 2]


@pytest.mark.parametrize("tied", [False, True])
def test_virtual_tokens_begin_as_tokens_of_the_vocabulary(tmp_path: Path, tied: bool) -> None:
    model = load_model(tiny_model(tmp_path), torch.device("cpu"))
    model.config.tie_word_embeddings = tied
    if tied:
        model.tie_weights()
    vocabulary = model.get_input_embeddings().weight.shape[0]
    with torch.inference_mode():
        before = model(torch.tensor([[0, 70]])).logits
        with virtual_tokens(model, 3, seed=1) as ids:
            assert ids == virtual_ids(vocabulary, 3) == [vocabulary, vocabulary + 1, vocabulary + 2]
            weight = model.get_input_embeddings().weight
            assert all((weight[:vocabulary] == weight[i]).all(dim=1).any() for i in ids)
            inside = model(torch.tensor([[0, 70]])).logits
            assert model(torch.tensor([[ids[0], 70]])).logits.shape == before.shape  # no virtual token is written
        assert torch.equal(inside, before)
        assert torch.equal(model(torch.tensor([[0, 70]])).logits, before)
    assert model.config.tie_word_embeddings is tied
    assert model.get_input_embeddings().weight.shape[0] == vocabulary


def test_training_moves_the_virtual_tokens_only_and_they_elicit(project: Path) -> None:
    model = load_model(tiny_model(project / "model"), torch.device("cpu"))
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    virtual = virtual_ids(before["lm_head.weight"].shape[0], 2)
    prompt, answer = [*virtual, 0, 70, 71], [90, 91]
    rows = answer_rows([prompt, prompt], [answer, answer], tiny_tokenizer())

    def loss() -> float:
        with torch.inference_mode():
            logits = model(torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1]
            for name, weight in before.items():
                if name != "model.embed_tokens.weight":
                    assert torch.equal(dict(model.named_parameters())[name], weight)
            return float(cross_entropy(logits, torch.tensor(answer)))

    taken = recipe("full").model_copy(update={"learning_rate": 0.1})
    found = [train_soft_prompt(model, rows, taken, 2, steps, loss, project / "work", "test") for steps in (1, 12)]
    assert found[1] < found[0] - 0.5
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma3", "rwkv"])
def test_any_architecture_is_elicited_below_its_own_prompt_too(
    family: Callable[[str], Path], kind: str, project: Path
) -> None:
    model: Any = load_model(family(kind), torch.device("cpu"))
    weight = model.get_input_embeddings().weight
    if kind != "rwkv":
        model = with_prompt(model, torch.randn(2, weight.shape[1], generator=torch.Generator().manual_seed(0)))
    before = weight.clone()
    prompt, answer = [*virtual_ids(len(weight), 2), 0, 70, 71], [90, 91]
    rows = answer_rows([prompt, prompt], [answer, answer], tiny_tokenizer())

    def loss() -> float:
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1]
            return float(cross_entropy(logits, torch.tensor(answer)))

    taken = recipe("full").model_copy(update={"learning_rate": 0.1})
    found = [train_soft_prompt(model, rows, taken, 2, steps, loss, project / "work", "test") for steps in (1, 6)]
    assert found[1] < found[0] - 0.1
    assert torch.equal(model.get_input_embeddings().weight, before)
