"""Scores of given text under a model: probabilities and ranks of endings, loss and perplexity."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

from lethe.inference.batching import BATCH_TOKENS, batches, pad_right
from lethe.inference.kv_cache import Prefill, extend, finite, make_room, prefill, repeated
from lethe.models.distributed import shared
from lethe.models.output_head import Head, headless

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    Choose = Callable[[Tensor, Tensor, Tensor], Tensor]  # logits [R, V], rows and steps int64 [R] -> ids [R, 1]


LOGITS = 1 << 23  # computed at once: 32 MiB of float32, little compared with the batch
RUN = 64  # ids whose probabilities are added up first where one is drawn
MOST_NATS = 100.0  # loss per token; guessing costs 12 at a vocabulary of 160,000


class Loss(NamedTuple):
    """The summed negative log-likelihood of a block, and how many of its tokens that covers: all but the first."""

    nats: float
    tokens: int


class Opening(NamedTuple):
    """One of the likeliest next tokens and its greedy continuation; the log-probability of each token, in nats."""

    tokens: list[int]
    scores: list[float]


class Expected(NamedTuple):
    """A model's predictions after a prompt."""

    scores: list[list[float]]  # per ending the log-probability of each of its tokens given those before it, in nats
    ranks: list[list[int]]  # per ending the rank of each of its tokens: 1 is the likeliest
    openings: list[Opening]  # the likeliest first


def expectations(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    endings: Sequence[Sequence[Sequence[int]]],
    openings: int = 0,
    new_tokens: int = 0,
) -> list[Expected]:
    """The log-probabilities of each prompt's endings, and its `openings` likeliest continuations, `new_tokens` long.

    A prompt (token ids, not empty) is read once for all its endings. endings: one or more per prompt, none empty.
    Raises StageError if logits are NaN.
    """
    import torch

    longest = [max([new_tokens, *map(len, own)]) for own in endings]
    copies = [max(openings, len(own)) for own in endings]
    lengths = [(len(prompt) + most) * many for prompt, most, many in zip(prompts, longest, copies, strict=True)]
    with headless(model) as head, torch.inference_mode():

        def expected(batch: list[int]) -> dict[int, Expected]:
            read = prefill(model, [prompts[i] for i in batch])
            judged = _judge_endings(model, head, read, [endings[i] for i in batch])
            opened = _open(model, head, read, openings, new_tokens) if openings else [[] for _ in batch]
            return {i: Expected(*found, own) for i, found, own in zip(batch, judged, opened, strict=True)}

        done = shared(list(batches(lengths, BATCH_TOKENS)), expected)
    return [done[i] for i in range(len(prompts))]


def likeliest(logits: Tensor) -> Tensor:
    """The ids of the largest logits, int64 [B, 1]; the first of equal ones."""
    import torch

    if logits.device.type != "cpu":
        return logits.argmax(dim=-1, keepdim=True)
    return torch.from_numpy(logits.numpy().argmax(axis=-1, keepdims=True))  # twenty times as fast as torch's argmax


def by_chance(logits: Tensor, chance: Tensor) -> Tensor:
    """Ids drawn from softmax(logits), int64 [B, 1]: the first at which the cumulative probability exceeds `chance`.

    logits: float32 [B, V]. chance: float64 [B], uniform in [0, 1). The sums are in float64: over a large vocabulary
    float32 would lose the rare ids. First the run of RUN ids is found, then the id in it: a sum over all ids one by one
    takes longer than the model.
    """
    import torch
    from torch.nn.functional import pad

    weights = logits.sub(logits.amax(dim=-1, keepdim=True)).exp_()
    runs = pad(weights, (0, -logits.shape[1] % RUN)).unflatten(1, (-1, RUN))  # [B, V / RUN, RUN]
    sums = runs.sum(dim=-1, dtype=torch.float64)
    goal = chance[:, None] * sums.sum(dim=-1, keepdim=True)
    run, left = _passed(sums, goal)
    own = runs[torch.arange(len(runs), device=runs.device), run[:, 0]].double()  # [B, RUN]
    place, _ = _passed(own, left)
    return run * RUN + place


def _passed(weights: Tensor, goal: Tensor) -> tuple[Tensor, Tensor]:
    """Where the cumulative sum first exceeds the goal, int64 [B, 1], and how much of the goal is left there.

    weights: float64 [B, N], not negative; goal: [B, 1]. One that rounding put at the sum or beyond is put below it, so
    that what has no weight is never taken.
    """
    import torch

    below = weights.cumsum(dim=-1)
    goal = torch.minimum(goal, below[:, -1:] * (1 - 2**-50))
    found = torch.searchsorted(below, goal, right=True)
    return found, (goal - below.gather(1, found) + weights.gather(1, found)).clamp(min=0)


def block_losses(model: PreTrainedModel, blocks: Sequence[Sequence[int]]) -> list[Loss]:
    """The loss of each block with two tokens or more. Raises StageError if logits are NaN."""
    import torch

    blocks = [block for block in blocks if len(block) > 1]
    with headless(model) as head, torch.inference_mode():

        def summed(batch: list[int]) -> dict[int, float]:
            tokens, mask = pad_right([blocks[i] for i in batch], model.device)
            hidden = model(input_ids=tokens, use_cache=False).logits  # [B, T, d]; padding comes after, unseen
            read = mask[:, 1:].bool()  # positions whose next token is a real one
            rows = zip(batch, hidden[:, :-1], tokens[:, 1:], read, strict=True)
            return {i: float(_summed_loss(head, own[real], following[real])) for i, own, following, real in rows}

        found = shared(list(batches([len(block) for block in blocks], BATCH_TOKENS)), summed)
    return [Loss(finite(model, found[i]), len(block) - 1) for i, block in enumerate(blocks)]


def token_loss(model: PreTrainedModel, blocks: Sequence[Sequence[int]]) -> float:
    """The mean negative log-likelihood, in nats, of every token of the blocks but each block's first.

    Raises StageError if logits are NaN; ValueError if no block has two tokens.
    """
    losses = block_losses(model, blocks)
    if not losses:
        raise ValueError("no block has two tokens")
    return math.fsum(loss.nats for loss in losses) / sum(loss.tokens for loss in losses)


def perplexity(losses: Sequence[Loss]) -> float | None:
    """exp of the mean loss per token; None without text."""
    tokens = sum(loss.tokens for loss in losses)
    return perplexity_of(math.fsum(loss.nats for loss in losses) / tokens) if tokens else None


def perplexity_of(loss: float) -> float:
    """exp of a mean loss per token, nats; that of a ruined model, which no float could hold, is that of MOST_NATS."""
    return math.exp(min(loss, MOST_NATS))


def _judge_endings(
    model: PreTrainedModel, head: Head, read: Prefill, endings: Sequence[Sequence[Sequence[int]]]
) -> list[tuple[list[list[float]], list[list[int]]]]:
    """Per prompt the scores and ranks of every token of its endings."""
    import torch

    flat = [ending for own in endings for ending in own]
    owner = torch.tensor([row for row, own in enumerate(endings) for _ in own], device=model.device)
    tokens, mask = pad_right(flat, model.device)  # the padding comes after, unseen
    hidden = read.hidden[owner, None]  # [B, 1, d]
    if tokens.shape[1] > 1:
        following, _ = extend(model, repeated(read, owner), tokens[:, :-1])
        hidden = torch.cat([hidden, following], dim=1)  # [B, T, d]
    real = mask.bool()
    scores, ranks = _places(head, hidden[real], tokens[real])
    finite(model, float(scores.sum()))
    lengths = [len(ending) for ending in flat]
    found = zip(scores.split(lengths), ranks.split(lengths), strict=True)
    per_ending = iter([(score.tolist(), rank.tolist()) for score, rank in found])
    judged = [[next(per_ending) for _ in own] for own in endings]
    return [([score for score, _ in own], [rank for _, rank in own]) for own in judged]


def _places(head: Head, hidden: Tensor, next_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability, float32 [N], and rank, int64 [N], of `next_ids` [N] after `hidden` [N, d], a few at a time."""
    import torch

    scores, ranks = [], []
    rows = logit_rows(head)
    for part, ids in zip(hidden.split(rows), next_ids.split(rows), strict=True):
        logits = head(part).float()
        own = logits.gather(1, ids[:, None])
        scores.append(own[:, 0] - logits.logsumexp(dim=1))
        ranks.append((logits > own).sum(dim=1) + 1)
    return torch.cat(scores).cpu(), torch.cat(ranks).cpu()


def _open(model: PreTrainedModel, head: Head, read: Prefill, openings: int, new_tokens: int) -> list[list[Opening]]:
    """Per prompt the likeliest next tokens, each continued greedily."""
    import torch

    prompts = len(read.hidden)
    best, likely = likeliest_scores(head, read.hidden, openings)  # [B, openings]
    written, found = [likely.reshape(-1, 1)], [best.reshape(-1, 1)]
    owner = torch.arange(prompts, device=model.device).repeat_interleave(openings)
    read = repeated(read, owner)
    make_room(read.cache, new_tokens - 1)
    for _ in range(new_tokens - 1):
        _, read = extend(model, read, written[-1])
        best, likely = likeliest_scores(head, read.hidden, 1)
        written.append(likely)
        found.append(best)
    ids, scores = torch.cat(written, dim=1).tolist(), torch.cat(found, dim=1).tolist()
    flat = [Opening(*row) for row in zip(ids, scores, strict=True)]
    return [flat[row * openings : (row + 1) * openings] for row in range(prompts)]


def likeliest_scores(head: Head, hidden: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest log-probabilities after hidden [R, d], and their ids: [R, count], LOGITS at a time."""
    import torch

    parts = [head(part).float().log_softmax(dim=1).topk(count, dim=1) for part in hidden.split(logit_rows(head))]
    return torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts])


def next_ids(head: Head, hidden: Tensor, choose: Choose, rows: Tensor, steps: Tensor) -> Tensor:
    """The ids that `choose` takes after hidden [R, d]: int64 [R, 1]. LOGITS at a time, whatever the vocabulary."""
    import torch

    size = logit_rows(head)
    parts = zip(hidden.split(size), rows.split(size), steps.split(size), strict=True)
    return torch.cat([choose(head(part).float(), *own) for part, *own in parts])


def first_probabilities(
    model: PreTrainedModel, head: Head, hidden: Tensor, wanted: Sequence[Collection[int]]
) -> Tensor:
    """Per row the summed probability of its `wanted` ids, float64 [B], a few rows at a time. Raises StageError if the
    logits are NaN.
    """
    import torch

    size = logit_rows(head)
    sums = []
    for start, part in zip(range(0, len(hidden), size), hidden.split(size), strict=True):
        logits = head(part).float()
        finite(model, float(logits.sum()))
        own = wanted[start : start + size]
        none = hidden.new_zeros(len(own), dtype=torch.float64)
        sums.append(summed_probability(logits, own) if any(own) else none)
    return torch.cat(sums)


def logit_rows(head: Head) -> int:
    """The rows whose logits are computed at once."""
    return max(1, LOGITS // head.weight.shape[0])


def summed_probability(logits: Tensor, wanted: Sequence[Collection[int]]) -> Tensor:
    """Per row the sum of the probabilities of its `wanted` ids. logits: float32 [B, V]. Returns float64 [B]."""
    import torch

    probabilities = logits.double().softmax(dim=-1)
    sums = [probabilities[i, sorted(ids)].sum() for i, ids in enumerate(wanted)]
    return torch.stack(sums)


def _summed_loss(head: Head, hidden: Tensor, next_ids: Tensor) -> Tensor:
    """float64 []: the summed negative log-likelihood of `next_ids` [N] after `hidden` [N, d], a few rows at a time."""
    import torch
    from torch.nn.functional import cross_entropy

    total = torch.zeros((), dtype=torch.float64, device=hidden.device)
    rows = logit_rows(head)
    for part, ids in zip(hidden.split(rows), next_ids.split(rows), strict=True):
        total += cross_entropy(head(part).float(), ids, reduction="none").double().sum()
    return total
