"""Continuations, next-token probabilities and perplexity of causal language models, batched by tokens.

Of several processes each computes its share of the batches, and all know the result.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any, NamedTuple

from lethe.core.errors import StageError
from lethe.models.checkpoints import Head, headless
from lethe.models.distributed import shared
from lethe.models.tokenization import leading_ids

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

BATCH_TOKENS = 8192  # of one batch, padding and new tokens included: bounds the memory, keeps the cores busy
LOGITS = 1 << 23  # at once: 32 MiB of float32, so the head's part of the work stays small beside the batch

# Tensor axes: B prompts or blocks of a batch, T tokens, V vocabulary, d hidden.


class Continuation(NamedTuple):
    """What a model writes after a prompt, and how much of its first step went to the prompt's `wanted` ids."""

    tokens: list[int]  # what comes before the end of text
    ended: bool  # False: cut by the token limit
    probability: float


class Opening(NamedTuple):
    """One of the likeliest next tokens and, greedily, what follows it; the log-probability of each, in nats."""

    tokens: list[int]
    scores: list[float]


class Expected(NamedTuple):
    """What a model expects after a prompt."""

    scores: list[list[float]]  # per ending the log-probability of each of its tokens after those before it, in nats
    ranks: list[list[int]]  # and its place among all tokens there: 1 is the likeliest
    openings: list[Opening]  # the likeliest first


def continue_greedily(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    wanted: Sequence[Collection[int]],
    new_tokens: int,
    ends: Collection[int],
) -> list[Continuation]:
    """The likeliest next token, `new_tokens` times, for every prompt (token ids, not empty).

    wanted: per prompt the ids whose next-token probabilities after the prompt are added up, in float64.
    ends: the ids at which a continuation ends. Raises StageError where logits are not numbers.
    """
    lengths = [len(prompt) + new_tokens for prompt in prompts]
    with headless(model) as head:

        def continued(batch: list[int]) -> dict[int, Continuation]:
            tokens, mask = pad_left([prompts[i] for i in batch], model.device)
            ids, sums = _continue_batch(model, head, tokens, mask, [wanted[i] for i in batch], new_tokens)
            rows = zip(batch, ids.tolist(), sums.tolist(), strict=True)
            return {i: _until_end(row, ends, probability) for i, row, probability in rows}

        done = shared(list(batches(lengths, BATCH_TOKENS)), continued)
    return [done[i] for i in range(len(prompts))]


def expectations(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    endings: Sequence[Sequence[Sequence[int]]],
    openings: int = 0,
    new_tokens: int = 0,
) -> list[Expected]:
    """How likely each of a prompt's endings is, and its `openings` likeliest continuations, `new_tokens` long.

    A prompt (token ids, not empty) is read once, whatever follows it. endings: one or more per prompt, none empty.
    Raises StageError where logits are not numbers.
    """
    import torch

    longest = [max([new_tokens, *map(len, own)]) for own in endings]
    copies = [max(openings, len(own)) for own in endings]
    lengths = [(len(prompt) + most) * many for prompt, most, many in zip(prompts, longest, copies, strict=True)]
    with headless(model) as head, torch.inference_mode():

        def expected(batch: list[int]) -> dict[int, Expected]:
            read = _read(model, [prompts[i] for i in batch])
            judged = _judge_endings(model, head, read, [endings[i] for i in batch])
            opened = _open(model, head, read, openings, new_tokens) if openings else [[] for _ in batch]
            return {i: Expected(*found, own) for i, found, own in zip(batch, judged, opened, strict=True)}

        done = shared(list(batches(lengths, BATCH_TOKENS)), expected)
    return [done[i] for i in range(len(prompts))]


def continue_by_lot(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    copies: int,
    new_tokens: int,
    ends: Collection[int],
    temperature: float,
    seed: int,
) -> list[list[Continuation]]:
    """`copies` continuations of every prompt, each next token drawn from softmax(logits / temperature).

    A prompt is read once for all its copies; the draws depend on the seed and the prompts asked together, not on how
    many processes share them. The probability of each continuation is 0.0: nothing is added up.
    """
    import numpy as np
    import torch

    lengths = [copies * (len(prompt) + new_tokens) for prompt in prompts]
    with headless(model) as head:

        def continued(batch: list[int]) -> dict[int, list[Continuation]]:
            own = np.random.SeedSequence([seed, batch[0]]).generate_state(1)  # a row of draws for each batch
            chance = torch.Generator(model.device).manual_seed(int(own[0]))

            def drawn(logits: Tensor) -> Tensor:
                return torch.multinomial((logits / temperature).softmax(dim=-1), 1, generator=chance)

            tokens, mask = pad_left([prompts[i] for i in batch], model.device)
            ids, _ = _continue_batch(model, head, tokens, mask, [()] * len(batch), new_tokens, drawn, copies)
            rows = [_until_end(row, ends, 0.0) for row in ids.tolist()]
            return {i: rows[place * copies : (place + 1) * copies] for place, i in enumerate(batch)}

        done = shared(list(batches(lengths, BATCH_TOKENS)), continued)
    return [done[i] for i in range(len(prompts))]


def likeliest(logits: Tensor) -> Tensor:
    """The ids of the largest logits, int64 [B, 1]; the first of equal ones."""
    import torch

    if logits.device.type != "cpu":
        return logits.argmax(dim=-1, keepdim=True)
    return torch.from_numpy(logits.numpy().argmax(axis=-1, keepdims=True))  # twenty times as fast as torch's own


def token_loss(model: PreTrainedModel, blocks: Sequence[Sequence[int]]) -> float:
    """The mean negative log-likelihood, in nats, of every token of the blocks but each block's first.

    Raises StageError where logits are not numbers; ValueError if no block has two tokens.
    """
    import torch

    blocks = [block for block in blocks if len(block) > 1]
    count = sum(len(block) - 1 for block in blocks)
    if not count:
        raise ValueError("no block has two tokens")
    with headless(model) as head, torch.inference_mode():

        def summed(batch: list[int]) -> dict[int, float]:
            tokens, mask = pad_right([blocks[i] for i in batch], model.device)
            hidden = model(input_ids=tokens, use_cache=False).logits  # [B, T, d]; padding comes after, unseen
            read = mask[:, 1:].bool()  # positions whose next token is a real one
            return {batch[0]: float(_summed_loss(head, hidden[:, :-1][read], tokens[:, 1:][read]))}

        parts = list(batches([len(block) for block in blocks], BATCH_TOKENS))
        found = shared(parts, summed)
    total = 0.0
    for part in parts:  # in their order: the last bits of a sum depend on it
        total += found[part[0]]
    return _checked(model, total) / count


def prompt_ids(tokenizer: PreTrainedTokenizerFast, prompt: str, chat_template: bool) -> list[int]:
    """A prompt as token ids: as it is, or as a user's turn in the tokenizer's chat template.

    Raises StageError if the tokenizer has no template.
    """
    if not chat_template:
        first = leading_ids(tokenizer.backend_tokenizer)  # and nothing behind: the text goes on
        return [*first, *tokenizer(prompt, add_special_tokens=False)["input_ids"]]
    if tokenizer.chat_template is None:
        raise StageError(
            "params.yaml: evaluate.chat_template: found true, but the tokenizer has no chat template, wanted false"
        )
    turn = [{"role": "user", "content": prompt}]
    encoded: Any = tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=True)
    return encoded["input_ids"]


def texts_after(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Sequence[int]], written: Sequence[Sequence[int]]
) -> list[str]:
    """The text that the `written` ids add to each prompt's ids, with the space before it."""

    def decoded(rows: Sequence[Sequence[int]]) -> list[str]:
        return tokenizer.batch_decode(
            [list(row) for row in rows], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )

    whole = decoded([[*prompt, *ids] for prompt, ids in zip(prompts, written, strict=True)])
    return [text[len(prompt) :] for text, prompt in zip(whole, decoded(prompts), strict=True)]


def end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The ids at which this model ends a text; a chat model's generation config may name several."""
    listed = model.generation_config.eos_token_id if model.generation_config else None
    ends = {tokenizer.eos_token_id, *(listed if isinstance(listed, list) else [listed])}
    return {end for end in ends if end is not None}


def batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices of rows of similar length, the longest first, so that rows x longest stays within `budget` tokens.

    A row longer than the budget is a batch of its own.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    start = 0
    while start < len(order):
        rows = max(1, budget // max(1, lengths[order[start]]))
        yield order[start : start + rows]
        start += rows


def pad_left(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """int64 [B, T] tokens ending together, and int64 [B, T] mask: 1 where a token is real."""
    return _padded(rows, device, left=True)


def pad_right(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """int64 [B, T] tokens beginning together, and int64 [B, T] mask: 1 where a token is real."""
    return _padded(rows, device, left=False)


def _padded(rows: Sequence[Sequence[int]], device: torch.device, left: bool) -> tuple[Tensor, Tensor]:
    import torch

    width = max(len(row) for row in rows)
    tokens = torch.zeros(len(rows), width, dtype=torch.long)  # which id pads is no matter: the mask hides it
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for i, row in enumerate(rows):
        real = slice(width - len(row), width) if left else slice(0, len(row))
        tokens[i, real] = torch.tensor(row)
        mask[i, real] = 1
    return tokens.to(device), mask.to(device)


def _continue_batch(
    model: PreTrainedModel,
    head: Head,
    tokens: Tensor,
    mask: Tensor,
    wanted: Sequence[Collection[int]],
    new_tokens: int,
    choose: Callable[[Tensor], Tensor] = likeliest,
    copies: int = 1,
) -> tuple[Tensor, Tensor]:
    """Ids chosen, int64 [B * copies, new_tokens], and probabilities of the `wanted` ids at the first step, float64 [B].

    choose: logits [B * copies, V] -> ids [B * copies, 1]. The copies of a prompt come one after another.
    """
    import torch

    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    written, cache = [], None
    with torch.inference_mode():
        for step in range(new_tokens):
            output = model(
                input_ids=tokens,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=new_tokens > 1,
            )
            cache = output.past_key_values
            logits = head(output.logits[:, -1]).float()  # [B, V]
            if step == 0:
                _checked(model, float(logits.sum()))
                sums = summed_probability(logits, wanted)
                if copies > 1:
                    if cache is not None:
                        cache.batch_repeat_interleave(copies)
                    logits, mask, positions = (each.repeat_interleave(copies, 0) for each in (logits, mask, positions))
                make_room(cache, new_tokens - 1)
            tokens = choose(logits)
            written.append(tokens)
            mask = torch.cat([mask, torch.ones_like(tokens)], dim=1)
            positions = positions[:, -1:] + 1
    return torch.cat(written, dim=1), sums


def make_room(cache: Any, tokens: int) -> None:
    """Let a cache take `tokens` more in place: the library's layers copy all they hold with every token.

    Layers that forget or hold something else than keys and values stay as they are. The cache is not to be copied or
    reordered from here on. Does nothing without a cache.
    """
    from transformers.cache_utils import DynamicLayer

    for layer in getattr(cache, "layers", ()):
        if type(layer) is DynamicLayer and layer.is_initialized:
            _make_room(layer, tokens)


def _make_room(layer: Any, tokens: int) -> None:
    rooms = []  # keys, values: [B, heads, T + tokens, d], filled as far as the layer's own
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


class _Read(NamedTuple):
    """A batch of prompts as the model has read them: what several continuations of each go on from."""

    cache: Any
    mask: Tensor  # int64 [B, T]
    positions: Tensor  # int64 [B], of the next token
    hidden: Tensor  # [B, d], after the last token


def _read(model: PreTrainedModel, prompts: Sequence[Sequence[int]]) -> _Read:
    tokens, mask = pad_left(prompts, model.device)
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    output = model(input_ids=tokens, attention_mask=mask, position_ids=positions, use_cache=True)
    return _Read(output.past_key_values, mask, positions[:, -1] + 1, output.logits[:, -1])


def _copies(read: _Read, rows: Tensor) -> _Read:
    """The prompts with these numbers, each as often as it is named; the batch itself stays as it is."""
    cache = deepcopy(read.cache)
    cache.batch_select_indices(rows)
    return _Read(cache, read.mask[rows], read.positions[rows], read.hidden[rows])


def _go_on(model: PreTrainedModel, read: _Read, tokens: Tensor) -> tuple[Tensor, _Read]:
    """Hidden states [B, T, d] after each of `tokens`, int64 [B, T], and the batch as it is read then."""
    import torch

    mask = torch.cat([read.mask, torch.ones_like(tokens)], dim=1)
    positions = read.positions[:, None] + torch.arange(tokens.shape[1], device=tokens.device)
    output = model(
        input_ids=tokens, attention_mask=mask, position_ids=positions, past_key_values=read.cache, use_cache=True
    )
    return output.logits, _Read(output.past_key_values, mask, positions[:, -1] + 1, output.logits[:, -1])


def _judge_endings(
    model: PreTrainedModel, head: Head, read: _Read, endings: Sequence[Sequence[Sequence[int]]]
) -> list[tuple[list[list[float]], list[list[int]]]]:
    """Per prompt the scores and the ranks of every token of its endings."""
    import torch

    flat = [ending for own in endings for ending in own]
    owner = torch.tensor([row for row, own in enumerate(endings) for _ in own], device=model.device)
    tokens, mask = pad_right(flat, model.device)  # the padding comes after, unseen
    hidden = read.hidden[owner, None]  # [B, 1, d]
    if tokens.shape[1] > 1:
        following, _ = _go_on(model, _copies(read, owner), tokens[:, :-1])
        hidden = torch.cat([hidden, following], dim=1)  # [B, T, d]
    real = mask.bool()
    scores, ranks = _places(head, hidden[real], tokens[real])
    _checked(model, float(scores.sum()))
    lengths = [len(ending) for ending in flat]
    found = zip(scores.split(lengths), ranks.split(lengths), strict=True)
    per_ending = iter([(score.tolist(), rank.tolist()) for score, rank in found])
    judged = [[next(per_ending) for _ in own] for own in endings]
    return [([score for score, _ in own], [rank for _, rank in own]) for own in judged]


def _places(head: Head, hidden: Tensor, next_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability, float32 [N], and rank, int64 [N], of `next_ids` [N] after `hidden` [N, d], a few at a time."""
    import torch

    scores, ranks = [], []
    rows = max(1, LOGITS // head.weight.shape[0])
    for part, ids in zip(hidden.split(rows), next_ids.split(rows), strict=True):
        logits = head(part).float()
        own = logits.gather(1, ids[:, None])
        scores.append(own[:, 0] - logits.logsumexp(dim=1))
        ranks.append((logits > own).sum(dim=1) + 1)
    return torch.cat(scores).cpu(), torch.cat(ranks).cpu()


def _open(model: PreTrainedModel, head: Head, read: _Read, openings: int, new_tokens: int) -> list[list[Opening]]:
    """Per prompt its likeliest next tokens, each continued greedily."""
    import torch

    prompts = len(read.hidden)
    best = head(read.hidden).float().log_softmax(dim=1).topk(openings, dim=1)  # [B, openings]
    written, found = [best.indices.reshape(-1, 1)], [best.values.reshape(-1, 1)]
    owner = torch.arange(prompts, device=model.device).repeat_interleave(openings)
    read = _copies(read, owner)
    make_room(read.cache, new_tokens - 1)
    for _ in range(new_tokens - 1):
        _, read = _go_on(model, read, written[-1])
        likeliest = head(read.hidden).float().log_softmax(dim=1).max(dim=1, keepdim=True)
        written.append(likeliest.indices)
        found.append(likeliest.values)
    ids, scores = torch.cat(written, dim=1).tolist(), torch.cat(found, dim=1).tolist()
    flat = [Opening(*row) for row in zip(ids, scores, strict=True)]
    return [flat[row * openings : (row + 1) * openings] for row in range(prompts)]


def summed_probability(logits: Tensor, wanted: Sequence[Collection[int]]) -> Tensor:
    """Per row the sum of the probabilities of its `wanted` ids. logits: float32 [B, V]. Returns float64 [B]."""
    import torch

    probabilities = logits.double().softmax(dim=-1)
    sums = [probabilities[i, sorted(ids)].sum() for i, ids in enumerate(wanted)]
    return torch.stack(sums)


def _until_end(row: list[int], ends: Collection[int], probability: float) -> Continuation:
    cut = next((i for i, token in enumerate(row) if token in ends), None)
    return Continuation(row[:cut], cut is not None, probability)


def _summed_loss(head: Head, hidden: Tensor, next_ids: Tensor) -> Tensor:
    """float64 []: the summed negative log-likelihood of `next_ids` [N] after `hidden` [N, d], a few rows at a time."""
    import torch
    from torch.nn.functional import cross_entropy

    total = torch.zeros((), dtype=torch.float64, device=hidden.device)
    rows = max(1, LOGITS // head.weight.shape[0])
    for part, ids in zip(hidden.split(rows), next_ids.split(rows), strict=True):
        total += cross_entropy(head(part).float(), ids, reduction="none").double().sum()
    return total


def check_numbers(model: PreTrainedModel) -> None:
    """Raise StageError if the model's logits are not numbers, as after a training that ran away."""
    import torch

    with torch.inference_mode():
        _checked(model, float(model(input_ids=torch.tensor([[0, 1]], device=model.device)).logits.sum()))


def _checked(model: PreTrainedModel, number: float) -> float:
    if number != number:
        raise StageError(f"{model.name_or_path}: its logits hold NaN, wanted numbers; lower the learning rate it had")
    return number
