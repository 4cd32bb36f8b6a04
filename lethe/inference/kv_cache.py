"""Prompts read once: their keys and values, copied for several continuations and extended in place."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from lethe.core.errors import StageError
from lethe.inference.batching import common_beginning, pad_left
from lethe.models.config import text_part
from lethe.models.output_head import close, tolerance

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

SAVED = 512  # tokens: a batch's common beginning is read once if that saves as many
TRIED = ([5, 9, 3], ([7], [4, 11, 6]))  # a beginning, and what follows it in two rows

_shares: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


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


def prefill(model: PreTrainedModel, prompts: Sequence[Sequence[int]], cached: bool = True) -> Prefill:
    """Read a batch of prompts, lists of token ids; the model is headless, so its output is hidden states.

    What all of them begin with is read once, where the model allows it and it saves enough.
    """
    begun = common_beginning(prompts)
    if begun * (len(prompts) - 1) < SAVED or not shares_beginnings(model):
        begun = 0
    return read_after(model, prompts, begun, cached)


def read_after(model: PreTrainedModel, prompts: Sequence[Sequence[int]], begun: int, cached: bool = True) -> Prefill:
    """The state after the prompts, of which the first `begun` tokens, the same in all, are read once."""
    import torch

    tokens, mask = pad_left([prompt[begun:] for prompt in prompts], model.device)
    cache = None
    if begun:
        beginning = torch.tensor([list(prompts[0][:begun])], device=model.device)
        cache = model(input_ids=beginning, use_cache=True).past_key_values
        cache.reorder_cache(torch.zeros(len(prompts), dtype=torch.long, device=model.device))
        mask = torch.cat([mask.new_ones(len(prompts), begun), mask], dim=1)
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    output = model(
        input_ids=tokens,
        attention_mask=mask,
        position_ids=positions[:, begun:],
        past_key_values=cache,
        use_cache=cached,
    )
    return Prefill(output.past_key_values, mask, positions[:, -1] + 1, output.logits[:, -1])


def shares_beginnings(model: PreTrainedModel) -> bool:
    """Whether rows may go on from one reading of their beginning, with padding between it and what follows.

    Not in windows, which count the padding, nor after states of a recurrence, which it changes. Tried once a model.
    """
    if model not in _shares:
        _shares[model] = keeps_all_keys(model) and _as_alone(model)
    return _shares[model]


def keeps_all_keys(model: PreTrainedModel) -> bool:
    """Whether the model's cache holds the keys and values of all tokens in every layer, and nothing else."""
    from transformers.cache_utils import DynamicCache, DynamicLayer

    layers = DynamicCache(config=text_part(model.config)).layers
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


def _as_alone(model: PreTrainedModel) -> bool:
    """Whether rows after a common beginning get what they get alone; an architecture may place tokens by the mask."""
    import torch
    from transformers import DynamicCache

    beginning, rows = TRIED
    prompts = [[*beginning, *row] for row in rows]
    with torch.inference_mode():
        read = read_after(model, prompts, len(beginning))
        if not isinstance(read.cache, DynamicCache) or read.cache.get_seq_length() != read.mask.shape[1]:
            return False  # nothing is kept, or a soft prompt too
        alone = [
            model(input_ids=torch.tensor([prompt], device=model.device)).logits[0, -1].float() for prompt in prompts
        ]
    return close(read.hidden.float(), torch.stack(alone), tolerance(model.dtype))


def taken(read: Prefill, rows: Tensor, tokens: int) -> Prefill:
    """The batch's rows with these indices, in place of all, repeated where an index is; room for `tokens` more."""
    keep_rows(read.cache, rows, tokens)
    return Prefill(read.cache, read.mask[rows], read.positions[rows], read.hidden[rows])


def joined(one: Prefill, other: Prefill) -> Prefill:
    """The rows of both in one batch, padded on the left to the same width; room has to be made anew.

    Only for models that share beginnings, whose rows may have padding anywhere.
    """
    import torch
    from torch.nn.functional import pad

    parts = [(read, int(read.mask.any(dim=0).nonzero()[0])) for read in (one, other)]  # columns that are padding in all
    width = max(read.mask.shape[1] - start for read, start in parts)

    def both(held: Sequence[Tensor]) -> Tensor:  # [B, heads, T, d] each
        cut = [each[:, :, start:] for each, (_, start) in zip(held, parts, strict=True)]
        return torch.cat([pad(each, (0, 0, width - each.shape[2], 0)) for each in cut])

    for layer, more in zip(one.cache.layers, other.cache.layers, strict=True):
        vars(layer).pop("update", None)  # of the room that was
        layer.keys, layer.values = both([layer.keys, more.keys]), both([layer.values, more.values])
    masks = [pad(read.mask[:, start:], (width - read.mask.shape[1] + start, 0)) for read, start in parts]
    rest = zip(one[2:], other[2:], strict=True)
    return Prefill(one.cache, torch.cat(masks), *(torch.cat(pair) for pair in rest))


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
