"""The likelihood a model gives to a text in which one name has been replaced by another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from lethe.models.distributed import shared
from lethe.models.output_head import Head, headless

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BATCH_TOKENS = 8192  # of one forward pass, padding included
HEAD_VALUES = 1 << 23  # logits held at a time: 32 MiB in float32


class Frame(NamedTuple):
    """A text with a gap: what comes before and after the name."""

    before: str
    after: str


class Row(NamedTuple):
    """One name in one frame: the ids after those that all names of the frame share, and how many are not scored."""

    result: tuple[int, int]  # frame, name
    ids: list[int]  # begins with the last given token
    given: int  # at least 1


class Group(NamedTuple):
    """All names of one frame: the ids they share, read by the model once, and the rest of each."""

    shared: list[int]
    rows: list[Row]


def log_likelihoods(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    frames: Sequence[Frame],
    names: Sequence[Sequence[str]],
    desc: str,
) -> list[list[float]]:
    """For each frame and each of its names log p(name, after | before), summed over tokens.

    A sum, not a mean per token: the names of a frame share the text around them, so the sums are log-probabilities of
    whole texts and comparable for any number of tokens. A mean would favour long names, whose later tokens follow
    from their first.
    """
    import torch
    from tqdm import tqdm

    scores = [[0.0] * len(of_frame) for of_frame in names]
    groups = [group(tokenizer, number, *pair) for number, pair in enumerate(zip(frames, names, strict=True))]
    with torch.inference_mode(), headless(model) as head:

        def judged(batch: list[Group]) -> dict[tuple[int, int], float]:
            return dict(zip(*judge(model, head, batch), strict=True))

        found = shared(list(batched(groups)), judged, partial(tqdm, desc=desc, unit="batch"))
    for (frame, name), score in found.items():
        scores[frame][name] = score
    return scores


def group(tokenizer: PreTrainedTokenizerBase, number: int, frame: Frame, names: Sequence[str]) -> Group:
    """The frame tokenised as a whole with each name.

    A token that holds the space before the name belongs to the name. The very first token is given, never scored.
    """
    whole = tokenizer([frame.before + name + frame.after for name in names], return_offsets_mapping=True)
    start = len(frame.before.rstrip())
    firsts = [
        max(1, next(place for place, (_, end) in enumerate(offsets) if end > start))
        for offsets in whole["offset_mapping"]
    ]
    ids = whole["input_ids"]
    shared = min(firsts) - 1  # the state after the last given token is needed, so it is read with the name
    while any(other[:shared] != ids[0][:shared] for other in ids):
        shared -= 1
    rows = [
        Row((number, name), row[shared:], first - shared)
        for name, (row, first) in enumerate(zip(ids, firsts, strict=True))
    ]
    return Group(ids[0][:shared], rows)


def batched(groups: Sequence[Group]) -> Iterator[list[Group]]:
    """Groups whose shared parts have equal length and need no padding, about BATCH_TOKENS at a time."""
    ordered = sorted(groups, key=lambda group: len(group.shared))
    for _, equals in groupby(ordered, key=lambda group: len(group.shared)):
        batch: list[Group] = []
        tokens = 0
        for group in equals:
            size = len(group.rows) * max(len(row.ids) for row in group.rows)
            if batch and tokens + size > BATCH_TOKENS:
                yield batch
                batch, tokens = [], 0
            batch.append(group)
            tokens += size
        yield batch


def judge(model: PreTrainedModel, head: Head, batch: Sequence[Group]) -> tuple[list[tuple[int, int]], list[float]]:
    """(frame, name) and score of every row of a batch."""
    import torch

    rows = [row for group in batch for row in group.rows]
    owner = [number for number, group in enumerate(batch) for _ in group.rows]
    cache = None
    if batch[0].shared:
        shared = torch.tensor([group.shared for group in batch], device=model.device)  # [groups, shared tokens]
        cache = model(input_ids=shared, use_cache=True).past_key_values
        cache.reorder_cache(torch.tensor(owner, device=model.device))
    ids, scored = padded(rows, model.device)
    # padding is on the right, which causal attention never sees: no mask
    hidden = model(input_ids=ids, past_key_values=cache, use_cache=cache is not None).logits  # [B, T, d]
    return [row.result for row in rows], sums(hidden, head, ids, scored)


def padded(rows: Sequence[Row], device: torch.device) -> tuple[Tensor, Tensor]:
    """ids [B, T], padded on the right with 0, and which of them are scored."""
    import torch

    length = torch.tensor([len(row.ids) for row in rows]).unsqueeze(1)  # [B, 1]
    given = torch.tensor([row.given for row in rows]).unsqueeze(1)
    width = int(length.max())
    place = torch.arange(width).unsqueeze(0)  # [1, T]
    ids = torch.tensor([row.ids + [0] * (width - len(row.ids)) for row in rows])
    return ids.to(device), ((place < length) & (place >= given)).to(device)


def sums(hidden: Tensor, head: Head, ids: Tensor, scored: Tensor) -> list[float]:
    """Per row the sum of log p(token | all before it) over the scored tokens.

    hidden: [B, T, d]; ids, scored: [B, T].
    """
    import torch

    before = hidden[:, :-1][scored[:, 1:]]  # [N, d]: the states that predict the scored tokens; column 0 never is
    target = ids[scored]  # [N]
    owner = scored.nonzero()[:, 0]
    total = torch.zeros(len(ids), dtype=torch.float64, device=ids.device)
    step = max(1, HEAD_VALUES // head.weight.shape[0])
    for start in range(0, len(target), step):
        part = slice(start, start + step)
        logits = head(before[part]).float()  # [step, V]
        found = logits.gather(1, target[part].unsqueeze(1)).squeeze(1) - logits.logsumexp(dim=1)
        total.index_add_(0, owner[part], found.double())
    return total.tolist()
