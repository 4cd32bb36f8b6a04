"""Attacks with training: a model in memory is trained, measured at some steps, and restored."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lethe.core.errors import StageError
from lethe.models.tokenization import cut_blocks
from lethe.training.adapters import attach
from lethe.training.loop import train
from lethe.training.losses import cross_entropy
from lethe.training.recipe import RecipeParams
from lethe.training.rows import Rows, pad_rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

Measure = TypeVar("Measure")


def passage_rows(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], passage_tokens: int, count: int, side: str, seed: int
) -> Rows:
    """`count` whole passages, sampled from the texts. With the same seed, a larger sample contains the smaller ones.

    Raises StageError if the texts have fewer passages.
    """
    blocks = [block.tokens for text in texts for block in cut_blocks(tokenizer, text, passage_tokens)]
    whole = [tokens for tokens in blocks if len(tokens) == passage_tokens]
    if len(whole) < count:
        raise StageError(
            f"params.yaml: attack: expected {count} {side} passages of {passage_tokens} tokens, got {len(whole)}; "
            "lower passages or training.passage_tokens"
        )
    random.Random(seed).shuffle(whole)
    return pad_rows(whole[:count], [side == "forget"] * count, passage_tokens, tokenizer)


def curve(
    model: PreTrainedModel,
    rows: Rows,
    recipe: RecipeParams,
    steps: Sequence[int],
    measure: Callable[[], Measure],
    work: Path,
    description: str,
) -> dict[int, Measure]:
    """Train the model on the true next tokens of `rows`, measure it at each of `steps`, and restore it.

    The learning rate should be constant, so that the model after 5 of 100 steps is that of a 5-step attack.
    """
    found: dict[int, Measure] = {}

    with restored(model):
        trained: Any = attach(model, recipe.tuning, recipe.lora, recipe.seed)  # adapters are added to `model` itself

        def on_step(step: int) -> None:
            model.eval()
            found[step] = measure()
            model.train()

        train(trained, rows, recipe, max(steps), cross_entropy, work, description, steps, on_step)
        if hasattr(trained, "unload"):
            trained.unload()
    return found


@contextmanager
def restored(model: PreTrainedModel) -> Iterator[None]:
    """Restore the weights after the block, whatever happens to them inside.

    The copy is kept in main memory, so that the GPU need not hold two models. What exists before the block is left out
    of garbage collections inside: Trainer ends with one, which takes a twentieth of a short training of a small model.
    """
    import torch

    kept = {name: weight.detach().to("cpu", copy=True) for name, weight in model.named_parameters()}
    forward = vars(model).get("forward")  # mixed precision wraps it
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        vars(model).pop("forward", None)
        if forward is not None:
            model.forward = forward
        vars(model).pop("peft_config", None)  # left by a removed adapter
        model.zero_grad(set_to_none=True)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                weight.copy_(kept[name])
        model.eval()
