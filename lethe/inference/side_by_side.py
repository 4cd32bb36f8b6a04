"""Several continuations of a prompt in one row, side by side: its keys and values are kept and read once for all.

Each step reads one new token of every copy; a mask lets a copy attend to the prompt and to its own tokens only. As rows
of their own, 32 copies would each hold and read the prompt's keys and values.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from lethe.inference.batching import LOOK, look
from lethe.inference.kv_cache import finite, keep_rows, make_room

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from lethe.models.output_head import Head

# Tensor axes: B prompts, C copies of each, K keys, V vocabulary, d hidden.

ALL, NONE, NOBODY = -1, -2, -3  # in place of a copy's number: keys that every copy attends to, or none; no copy


def side_by_side(model: PreTrainedModel) -> bool:
    """Whether the model allows it: rotary positions, which are given, a free mask, and all keys kept in every layer."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    config: Any = model.config
    rotary = bool(getattr(config, "rope_parameters", None)) and not getattr(config, "alibi", False)
    plain = "forward" not in vars(model) and getattr(config, "_attn_implementation", None) == "sdpa"
    layers = DynamicCache(config=config).layers
    return rotary and plain and bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


def continue_copies(
    model: PreTrainedModel,
    head: Head,
    tokens: Tensor,
    mask: Tensor,
    copies: int,
    new_tokens: int,
    over: Callable[[int, list[int]], bool],
    choose: Callable[[Tensor, Tensor, int], Tensor],
) -> list[list[int]]:
    """The ids chosen for each of B * copies continuations, those of a prompt one after another.

    tokens, mask: the prompts, padded left. over: continuation, its ids so far -> whether it is done; done ones take no
    further part. choose: logits [N, V], continuations int64 [N], step -> ids [N, 1].
    """
    import torch

    written: list[list[int]] = [[] for _ in range(len(tokens) * copies)]
    first = torch.arange(len(tokens), device=tokens.device)[:, None] * copies  # [B, 1]: the number of the first copy
    copy = torch.arange(copies, device=tokens.device).repeat(len(tokens), 1)  # [B, C]: those still being written
    owner = torch.where(mask.bool(), ALL, NONE)  # [B, K]: whose keys they are
    chosen, done = [], set[int]()
    with torch.inference_mode():
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        output = model(input_ids=tokens, attention_mask=mask, position_ids=positions, use_cache=new_tokens > 1)
        cache, positions = output.past_key_values, positions[:, -1:]
        hidden = output.logits[:, -1:].expand(-1, copies, -1)  # [B, C, d]
        finite(model, float(head(hidden[:, 0]).sum()))
        make_room(cache, copies * (new_tokens - 1))
        for step in range(new_tokens):
            numbers, left = first + copy.clamp(min=0), new_tokens - 1 - step
            tokens = choose(head(hidden).float().flatten(0, 1), numbers.flatten(), step).view_as(copy)
            chosen.append(tokens.flatten()[:, None])
            if not left or len(chosen) == LOOK:
                real = (copy != NOBODY).flatten()
                look(numbers.flatten()[real].tolist(), [ids[real] for ids in chosen], written, done, over)
                chosen.clear()
                if not left or len(done) == len(written):
                    break
                kept, places, copy = _staying(numbers, copy, done)
                if len(kept) < len(owner):
                    keep_rows(cache, kept, copy.shape[1] * left)
                tokens = tokens[kept].gather(1, places)
                first, owner, positions = first[kept], owner[kept], positions[kept]
            owner, positions = torch.cat([owner, copy], dim=1), positions + 1
            seen = (owner[:, None] == ALL) | (owner[:, None] == copy[:, :, None])  # bool [B, C, K]
            hidden = model(
                input_ids=tokens,
                attention_mask=seen[:, None],
                position_ids=positions.expand_as(copy),
                past_key_values=cache,
                use_cache=True,
            ).logits
    return written


def _staying(numbers: Tensor, copy: Tensor, done: Collection[int]) -> tuple[Tensor, Tensor, Tensor]:
    """The prompts with a copy that is not done, the places of those copies, and their numbers, padded with NOBODY."""
    import torch

    rows = [
        [
            (place, own)
            for place, (number, own) in enumerate(zip(*pair, strict=True))
            if own != NOBODY and number not in done
        ]
        for pair in zip(numbers.tolist(), copy.tolist(), strict=True)
    ]
    kept = [i for i, row in enumerate(rows) if row]
    width = max(len(rows[i]) for i in kept)
    padded = [rows[i] + [(0, NOBODY)] * (width - len(rows[i])) for i in kept]
    both = torch.tensor(padded, device=copy.device)  # [B, C, 2]
    return torch.tensor(kept, device=copy.device), both[..., 0], both[..., 1]
