"""Forward passes without the output head: hidden states at a batch's tokens, and a loss taken in the head's place."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from lethe.models.output_head import Head


def hidden_states(model: Any, batch: dict[str, Tensor], layer: int | None = None) -> Tensor:
    """[B, T, d]: hidden states of a headless model at the batch's own tokens, without those of a soft prompt.

    layer: after which decoder layer, counted from 1; None: the last ones, as the head gets them.
    """
    from lethe.models.output_head import tapped

    inputs = {"input_ids": batch["tokens"], "attention_mask": batch["attention_mask"], "use_cache": False}
    if layer is None:
        hidden = model(**inputs).logits
    else:
        with tapped(model, layer) as taken:
            model(**inputs)
        hidden = taken[-1]
    virtual = hidden.shape[1] - batch["tokens"].shape[1]
    return hidden[:, virtual:] if virtual else hidden


def loss_at_head(
    model: Any, plain: Any, batch: dict[str, Tensor], layer: int | None, loss_of: Callable[[Tensor, Head], Tensor]
) -> Tensor:
    """The loss that `loss_of` computes from hidden states [B, T, d], as in hidden_states, and the head.

    It is computed in the head's place within the model's own forward pass, in full precision: only there are the
    head's weights whole if they are sharded. plain: the model without the wrapper that distributes it.
    """
    import torch

    from lethe.models.output_head import Head, finish_of, headless, tapped

    finish = finish_of(plain)

    def at_head(hidden: Tensor) -> Tensor:
        states = taken[-1] if layer else hidden
        virtual = states.shape[1] - batch["tokens"].shape[1]
        with torch.autocast(hidden.device.type, enabled=False):
            return loss_of(states[:, virtual:] if virtual else states, Head(plain.get_output_embeddings(), finish))

    tap: AbstractContextManager[list[Tensor]] = tapped(plain, layer) if layer else nullcontext([])
    with tap as taken, headless(plain, at_head):
        return model(input_ids=batch["tokens"], attention_mask=batch["attention_mask"], use_cache=False).logits


def base_hidden_states(model: Any, batch: dict[str, Tensor], layer: int | None = None) -> Tensor:
    """[B, T, d]: the same with the prompt or adapter switched off, without gradient; needs no second copy."""
    import torch

    with torch.no_grad(), model.disable_adapter():
        return hidden_states(model, batch, layer)
