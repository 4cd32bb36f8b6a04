"""Prompts read once: their keys and values, copied for several continuations and extended in place."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any, NamedTuple

from lethe.core.errors import StageError
from lethe.inference.batching import pad_left

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


def make_room(cache: Any, tokens: int) -> None:
    """Preallocate room for `tokens` more in a cache: the library's layers copy all they hold with every token.

    Layers that drop tokens, or hold anything but keys and values, are unchanged. The cache must not be copied
    afterwards, and rows only be taken from it by keep_rows. Does nothing without a cache.
    """
    from transformers.cache_utils import DynamicLayer

    for layer in getattr(cache, "layers", ()):
        if type(layer) is DynamicLayer and layer.is_initialized:
            _make_room(layer, tokens)


def _make_room(layer: Any, tokens: int) -> None:
    rooms = []  # keys, values: [B, heads, T + tokens, d], filled up to T
    for held in (layer.keys, layer.values):
        room = held.new_empty((*held.shape[:2], held.shape[2] + tokens, held.shape[3]))
        room[:, :, : held.shape[2]] = held
        rooms.append(room)

    def update(keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        end = layer.keys.shape[2] + keys.shape[2]
        for room, new in zip(rooms, (keys, values), strict=True):
            room[:, :, layer.keys.shape[2] : end] = new
        layer.keys, layer.values = (room[:, :, :end] for room in rooms)
        return layer.keys, layer.values

    layer.keys, layer.values = (room[:, :, : layer.keys.shape[2]] for room in rooms)
    layer.update = update  # shadows the class's on this instance only


def keep_rows(cache: Any, rows: Tensor, tokens: int) -> None:
    """Make a cache that of these rows of its batch, in this order, repeated where one is; room for `tokens` more.

    By the library's reordering for beams, which every kind of layer has, those with states of a recurrence too. Does
    nothing without a cache.
    """
    if cache is not None:
        cache.reorder_cache(rows)
        make_room(cache, tokens)


class Prefill(NamedTuple):
    """The state of a model after a batch of prompts, from which several continuations can start."""

    cache: Any
    mask: Tensor  # int64 [B, T]
    positions: Tensor  # int64 [B], of the next token
    hidden: Tensor  # [B, d], after the last token


def prefill(model: PreTrainedModel, prompts: Sequence[Sequence[int]]) -> Prefill:
    """Read a batch of prompts, lists of token ids; the model is headless, so its output is hidden states."""
    tokens, mask = pad_left(prompts, model.device)
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    output = model(input_ids=tokens, attention_mask=mask, position_ids=positions, use_cache=True)
    return Prefill(output.past_key_values, mask, positions[:, -1] + 1, output.logits[:, -1])


def repeated(read: Prefill, rows: Tensor) -> Prefill:
    """The prompts with these indices, repeated where an index is repeated; the batch itself is unchanged."""
    cache = deepcopy(read.cache)
    cache.reorder_cache(rows)  # which layers of every kind have
    return Prefill(cache, read.mask[rows], read.positions[rows], read.hidden[rows])


def extend(model: PreTrainedModel, read: Prefill, tokens: Tensor) -> tuple[Tensor, Prefill]:
    """Hidden states [B, T, d] after each of `tokens`, int64 [B, T], and the state of the batch after them."""
    import torch

    mask = torch.cat([read.mask, torch.ones_like(tokens)], dim=1)
    positions = read.positions[:, None] + torch.arange(tokens.shape[1], device=tokens.device)
    output = model(
        input_ids=tokens, attention_mask=mask, position_ids=positions, past_key_values=read.cache, use_cache=True
    )
    return output.logits, Prefill(output.past_key_values, mask, positions[:, -1] + 1, output.logits[:, -1])


def check_numbers(model: PreTrainedModel) -> None:
    """Raise StageError if the model's logits are NaN, as after a training that diverged."""
    import torch

    with torch.inference_mode():
        finite(model, float(model(input_ids=torch.tensor([[0, 1]], device=model.device)).logits.sum()))


def finite(model: PreTrainedModel, number: float) -> float:
    """The number. Raises StageError if it is NaN."""
    check_finite(model, number == number)
    return number


def check_finite(model: PreTrainedModel, finite: bool) -> None:
    """Raise StageError if values computed from the model's logits are not finite."""
    if not finite:
        raise StageError(f"{model.name_or_path}: expected finite logits, got NaN; train it with a lower learning rate")
