"""Several continuations of a prompt in one row, side by side: its keys and values are kept and read once for all.

Each step reads one new token of every copy; a mask lets a copy attend to the prompt and to its own tokens only. As rows
of their own, 32 copies would each hold and read the prompt's keys and values.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from lethe.inference.batching import LOOK, look
from lethe.inference.kv_cache import keep_rows, keeps_all_keys, make_room, prefill
from lethe.inference.scoring import first_probabilities, next_ids

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from lethe.inference.scoring import Choose
    from lethe.models.output_head import Head

# Tensor axes: B prompts, C copies of each, K keys, V vocabulary, d hidden.

ALL, NONE, NOBODY = -1, -2, -3  # in place of a copy's number: keys that every copy attends to, or none; no copy


def side_by_side(model: PreTrainedModel) -> bool:
    """Whether the model allows it: rotary positions, which are given, a free mask, and all keys kept in every layer."""
    config: Any = model.config
    rotary = bool(getattr(config, "rope_parameters", None)) and not getattr(config, "alibi", False)
    plain = "forward" not in vars(model) and getattr(config, "_attn_implementation", None) == "sdpa"
    return rotary and plain and keeps_all_keys(model)


def continue_copies(
    model: PreTrainedModel,
    head: Head,
    prompts: Sequence[Sequence[int]],
    copies: int,
    new_tokens: int,
    over: Callable[[int, list[int]], bool],
    choose: Choose,
) -> list[list[int]]:
    """The ids chosen for each of B * copies continuations, those of a prompt one after another.

    over: continuation, its ids so far -> whether it is done; done ones take no further part. choose: logits [N, V],
    continuations and steps int64 [N] -> ids [N, 1].
    """
    import torch

    written: list[list[int]] = [[] for _ in range(len(prompts) * copies)]
    first = torch.arange(len(prompts), device=model.device)[:, None] * copies  # [B, 1]: the number of the first copy
    copy = torch.arange(copies, device=model.device).repeat(len(prompts), 1)  # [B, C]: those still being written
    chosen, done = [], set[int]()
    with torch.inference_mode():
        read = prefill(model, prompts, new_tokens > 1)
        cache, positions = read.cache, read.positions[:, None] - 1
        owner = torch.where(read.mask.bool(), ALL, NONE)  # [B, K]: whose keys they are
        hidden = read.hidden[:, None].expand(-1, copies, -1)  # [B, C, d]
        first_probabilities(model, head, read.hidden, [()] * len(prompts))
        make_room(cache, copies * (new_tokens - 1))
        for step in range(new_tokens):
            numbers, left = first + copy.clamp(min=0), new_tokens - 1 - step
            steps = torch.full_like(numbers, step).flatten()
            tokens = next_ids(head, hidden.flatten(0, 1), choose, numbers.flatten(), steps).view_as(copy)
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
