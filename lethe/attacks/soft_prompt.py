"""A soft prompt as an attack: a few virtual tokens trained to make a model generate the target name."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lethe.attacks.relearning import restored
from lethe.core.tables import MASKED
from lethe.training.loop import train
from lethe.training.losses import cross_entropy
from lethe.training.recipe import RecipeParams
from lethe.training.rows import Rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Measure = TypeVar("Measure")


def train_soft_prompt(
    model: PreTrainedModel,
    rows: Rows,
    recipe: RecipeParams,
    tokens: int,
    steps: int,
    measure: Callable[[], Measure],
    work: Path,
    description: str,
) -> Measure:
    """Train `tokens` virtual tokens, which `rows` begin with, and nothing else; return `measure()` with them in place.

    PEFT trains rows of the embedding: the model accepts ids beyond its vocabulary, so forward pass and cache need no
    special case for a prompt. Starts from embeddings of the vocabulary (Lester et al. 2021, section 3.2).
    """
    from peft import TrainableTokensConfig, get_peft_model

    with restored(model), virtual_tokens(model, tokens, recipe.seed) as ids:
        embeddings = model.get_input_embeddings()
        name = next(name for name, module in model.named_modules() if module is embeddings)
        trained: Any = get_peft_model(model, TrainableTokensConfig(token_indices=ids, target_modules=[name]))
        train(trained, rows, recipe, steps, cross_entropy, work, description)
        model.eval()
        return measure()


@contextmanager
def virtual_tokens(model: PreTrainedModel, count: int, seed: int) -> Iterator[list[int]]:
    """Inside the block the model accepts `count` more ids than its vocabulary has, but generates none of them.

    Each starts as the embedding of a token sampled from the vocabulary. Yields the ids.
    """
    import torch

    old: Any = model.get_input_embeddings()
    tied = model.config.tie_word_embeddings
    vocabulary = old.weight.shape[0]
    drawn = random.Random(seed).sample(range(vocabulary), count)
    new = copy.copy(old)  # keeps its class, which may scale the embeddings
    new._parameters = {}
    new.weight = torch.nn.Parameter(torch.cat([old.weight, old.weight[drawn]]).detach())
    new.num_embeddings = vocabulary + count
    model.set_input_embeddings(new)
    model.config.tie_word_embeddings = False  # the head keeps the old rows
    try:
        yield virtual_ids(vocabulary, count)
    finally:
        model.set_input_embeddings(old)
        model.config.tie_word_embeddings = tied


def virtual_ids(vocabulary: int, count: int) -> list[int]:
    """The ids of virtual tokens: those after the vocabulary's."""
    return list(range(vocabulary, vocabulary + count))


def answer_rows(
    prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], tokenizer: PreTrainedTokenizerBase
) -> Rows:
    """Rows of prompt and answer in which only the answer's tokens are supervised."""
    import numpy as np

    width = max(len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True))
    tokens = np.full((len(prompts), width), tokenizer.pad_token_id, dtype=np.int32)
    next_ids = np.full_like(tokens, MASKED)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        end = len(prompt) + len(answer)
        tokens[row, :end] = [*prompt, *answer]
        next_ids[row, len(prompt) - 1 : end - 1] = answer
    length = np.array([len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True)], np.int32)
    return Rows(tokens, next_ids, length, np.ones(len(prompts), dtype=bool))
