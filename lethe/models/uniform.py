"""One way to call every architecture: padding on the left and caches work as a Llama's do, or the model is refused."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from lethe.core.errors import StageError
from lethe.models.config import context_of, text_part
from lethe.models.output_head import close, tolerance

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

Forward = Callable[..., Any]
PADDED = ([0, 0, 7, 11, 5], [4, 9, 3, 8, 6])  # rows to try a model with, the first padded
REREAD = ("git", "hrm_text", "moshi")  # model types whose caches are wrong, though of keys and values alone
SPARSE = ("deepseek_v32",)  # model types whose batches differ from a row alone once tokens are left out
ZEROED = ("youtu",)  # model types of which the library sets a padding token's embedding to zero whenever it loads one
FOLLOWING = ([10, 12], [13, 2], [6, 7])  # after rows 1, 0 and 0 of them


class Inputs(NamedTuple):
    """What a model is called with: ids [B, T] or their embeddings [B, T, d], and the mask [B, T] of all so far."""

    read: Tensor
    mask: Tensor


class Reread:
    """In place of a cache: all that was read, to be read again with what follows."""

    def __init__(self, seen: Inputs) -> None:
        self.seen = seen

    def get_seq_length(self) -> int:
        return self.seen.read.shape[1]

    def reorder_cache(self, rows: Tensor) -> None:
        """As the library's caches do it."""
        self.seen = Inputs(*(each[rows] for each in self.seen))


def uniform(model: PreTrainedModel) -> PreTrainedModel:
    """The model, called as any other: attention_mask, position_ids, past_key_values, and all of them in its output.

    Caches of keys and values are what the code here expects. Others (convolutions, recurrences, states under other
    names) are extended token by token; where that is not right either, nothing is cached: slower, the same numbers.
    Raises StageError if even then padding changes them, or if the library does not load what was saved.
    """
    refuse_wrong(text_part(model.config))
    takes, plain = set(inspect.signature(model.forward).parameters), model.forward
    name = next((each for each in ("past_key_values", "cache_params") if each in takes), None)
    wrong = model.config.model_type in REREAD
    if {"past_key_values", "position_ids"} <= takes and only_keys_and_values(model) and not wrong:
        return model
    ways: list[Forward] = [plain, stepwise(plain, takes, name)] if name and not wrong else []
    for way in [*ways, rereading(plain, takes)]:
        vars(model).pop("forward", None)
        if way != plain:
            model.forward = way  # type: ignore[method-assign]  # shadows the class's forward on this instance only
        if as_alone(model):
            return model
    raise StageError(f"{model.config.model_type}: expected logits that padding does not change, got others")


def refuse_wrong(config: Any) -> None:
    """Raise StageError for what the library itself computes wrongly, whoever calls it."""
    kind = config.model_type
    if kind in ZEROED and config.pad_token_id is not None:
        raise StageError(
            f"{kind}: expected weights as they were saved, got 0 for the embedding of the padding token, as the library"
            " loads it; set pad_token_id to null in config.json"
        )
    if kind in SPARSE and config.index_topk < (context_of(config) or config.index_topk + 1):
        raise StageError(
            f"{kind}: expected batches and caches that change no number, got others beyond index_topk, "
            f"{config.index_topk} tokens, in the library; set max_position_embeddings to as many in config.json"
        )


def only_keys_and_values(model: PreTrainedModel) -> bool:
    """Whether the library's cache for this model holds keys and values of tokens, and nothing else."""
    from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

    layers = DynamicCache(config=text_part(model.config)).layers
    return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)


def as_alone(model: PreTrainedModel) -> bool:
    """Whether rows in a padded batch, continued from its cache in another order, get the logits that they get alone."""
    import torch

    def tensor(rows: Any) -> Tensor:
        return torch.tensor(rows, device=model.device)

    tokens, following, order = tensor(PADDED), tensor(FOLLOWING), tensor([1, 0, 0])
    mask = (tokens > 0).long()
    places = (mask.cumsum(dim=1) - 1).clamp(min=0)
    after = places[order, -1:] + 1 + torch.arange(following.shape[1], device=model.device)
    whole = torch.cat([mask[order], torch.ones_like(following)], dim=1)
    try:
        with torch.inference_mode():
            first = model(input_ids=tokens, attention_mask=mask, position_ids=places, use_cache=True)
            first.past_key_values.reorder_cache(order)
            found = model(
                input_ids=following, attention_mask=whole, position_ids=after, past_key_values=first.past_key_values,
                use_cache=True,
            ).logits  # fmt: skip
            for row, source in enumerate(order.tolist()):
                alone = torch.cat([tokens[source][mask[source] > 0], following[row]])[None]
                wanted = model(input_ids=alone, use_cache=False).logits[0]
                if not close(found[row].float(), wanted[-2:].float(), tolerance(wanted.dtype)):
                    return False
    except torch.OutOfMemoryError:
        raise
    except Exception:  # each architecture fails in its own way
        return False
    return True


def stepwise(plain: Forward, takes: set[str], name: str) -> Forward:
    """A forward pass with the model's own cache, which its argument `name` takes, extended token by token."""

    def forward(
        input_ids: Tensor | None = None, attention_mask: Tensor | None = None, position_ids: Tensor | None = None,
        past_key_values: Any = None, inputs_embeds: Tensor | None = None, **others: Any,
    ) -> Any:  # fmt: skip
        import torch

        kind = "input_ids" if inputs_embeds is None else "inputs_embeds"
        read: Any = input_ids if inputs_embeds is None else inputs_embeds
        width = read.shape[1] if past_key_values is None else 1  # tokens at a time
        outputs = []
        for end in range(width, read.shape[1] + 1, width):
            new, seen = slice(end - width, end), end - read.shape[1]
            mask = attention_mask[:, :seen] if attention_mask is not None and seen else attention_mask
            if mask is not None and name == "cache_params":
                mask = mask[:, -width:]  # recurrences alone take the mask of what is new
            given = {
                "attention_mask": mask,
                "position_ids": None if position_ids is None else position_ids[:, new],
                kind: read[:, new],
                name: past_key_values,
            }
            output = plain(**{key: value for key, value in given.items() if key in takes}, **others)
            past_key_values = output.get(name)
            outputs.append(output)
        output = outputs[-1]
        if len(outputs) > 1:
            output.logits = torch.cat([each.logits for each in outputs], dim=1)
        output.past_key_values = past_key_values
        return output

    return forward


def rereading(plain: Forward, takes: set[str]) -> Forward:
    """A forward pass without any cache, of rows with as much padding on the left at a time, and without it."""

    def forward(
        input_ids: Tensor | None = None, attention_mask: Tensor | None = None, position_ids: Tensor | None = None,
        past_key_values: Reread | None = None, inputs_embeds: Tensor | None = None, use_cache: bool = False,
        **others: Any,
    ) -> Any:  # fmt: skip
        import torch

        name = "input_ids" if inputs_embeds is None else "inputs_embeds"
        new: Any = input_ids if inputs_embeds is None else inputs_embeds
        read = new if past_key_values is None else torch.cat([past_key_values.seen.read, new], dim=1)
        mask = read.new_ones(read.shape[:2], dtype=torch.long) if attention_mask is None else attention_mask
        padding = (mask.cumsum(dim=1) == 0).sum(dim=1)  # on the left, int64 [B]
        logits: Any = None
        states: list[Any] = []
        for much in padding.unique().tolist():
            rows = (padding == much).nonzero()[:, 0]
            given = {name: read[rows, much:], "attention_mask": mask[rows, much:], "use_cache": False}
            output = plain(**{key: value for key, value in given.items() if key in takes}, **others)
            if len(rows) == len(read) and not much:
                logits, states = output.logits, list(output.get("hidden_states") or ())
                break
            logits = placed(logits, output.logits, rows, read)
            found = output.get("hidden_states") or ()
            pairs = zip(states or [None] * len(found), found, strict=True)
            states = [placed(old, own, rows, read) for old, own in pairs]
        recent = slice(read.shape[1] - new.shape[1], None)
        output.logits = logits[:, recent] if logits.ndim else logits  # they may be replaced by a loss
        if states:
            output.hidden_states = tuple(each[:, recent] for each in states)
        output.past_key_values = Reread(Inputs(read, mask)) if use_cache else None
        return output

    return forward


def placed(whole: Tensor | None, found: Tensor, rows: Tensor, read: Tensor) -> Tensor:
    """`whole` [B, T, ...], zeros at first, with what was found for some rows at their last positions."""
    if whole is None:
        whole = found.new_zeros((*read.shape[:2], *found.shape[2:]))
    whole[rows, read.shape[1] - found.shape[1] :] = found
    return whole
