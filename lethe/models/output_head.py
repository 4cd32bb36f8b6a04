"""The model without its output head: hidden states in place of logits, and the head to apply to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from lethe.core.errors import StageError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel


def check_head(model: PreTrainedModel) -> None:
    """Raise StageError if the model's logits are not simply head(hidden), as all code here assumes.

    Some architectures cap or scale the logits after the head.
    """
    import torch

    ids = torch.arange(2, device=model.device).unsqueeze(0)
    with torch.inference_mode():
        whole = model(input_ids=ids, use_cache=False).logits
        with headless(model) as head:
            parts = head(model(input_ids=ids, use_cache=False).logits)
    if not torch.allclose(whole.float(), parts.float(), rtol=1e-2, atol=1e-2, equal_nan=True):
        raise StageError(
            f"{model.config.model_type}: expected logits that are a linear function of the last hidden state, got "
            "scaled or capped ones"
        )


class Head:
    """The output head: hidden states [N, d] -> logits [N, V]."""

    def __init__(self, layer: nn.Linear | SimpleNamespace) -> None:
        self.weight = layer.weight  # [V, d]
        self.bias = layer.bias  # [V] or None

    def __call__(self, hidden: Tensor) -> Tensor:
        """hidden: [..., d]. Returns logits [..., V] in the dtype of `hidden`."""
        from torch.nn.functional import linear

        bias = None if self.bias is None else self.bias.to(hidden.dtype)
        return linear(hidden, self.weight.to(hidden.dtype), bias)


@contextmanager
def headless(model: PreTrainedModel, instead: Callable[[Tensor], Tensor] = lambda hidden: hidden) -> Iterator[Head]:
    """Inside the block the model's own forward returns its last hidden states as `logits`; the head is yielded.

    So [batch, tokens, vocabulary] logits never exist, and adapters, prompts and sharding hooks still run.
    instead: what is made of the hidden states in the head's place, where the head's weights are whole if they are
    sharded.
    """
    layer: Any = model.get_output_embeddings()
    layer.forward = instead  # shadows the class's forward on this instance only
    try:
        yield Head(layer)
    finally:
        del layer.forward


@contextmanager
def tapped(model: nn.Module, layer: int) -> Iterator[list[Tensor]]:
    """Inside the block every forward pass appends the hidden states [B, T, d] after decoder layer `layer`, from 1."""
    taken: list[Tensor] = []

    def take(module: nn.Module, inputs: Any, output: Any) -> None:
        taken.append(output[0] if isinstance(output, tuple) else output)

    hook = decoder_layers(model)[layer - 1].register_forward_hook(take)
    try:
        yield taken
    finally:
        hook.remove()


def decoder_layers(model: nn.Module) -> nn.ModuleList:
    """The decoder's layers, wherever the architecture keeps them: the first list of modules."""
    from torch import nn

    return next(module for module in model.modules() if isinstance(module, nn.ModuleList))


def frozen_head(model: PreTrainedModel) -> Head:
    """A copy of the current output head, for the base's distribution where training changes the head."""
    layer = model.get_output_embeddings()
    bias = None if layer.bias is None else layer.bias.detach().clone()
    return Head(SimpleNamespace(weight=layer.weight.detach().clone(), bias=bias))
