"""Continuations, next-token probabilities and perplexity of causal language models, batched by tokens.

With several processes, each computes its share of the batches, and all get the result.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from lethe.core.errors import StageError
from lethe.inference.batching import BATCH_TOKENS, CROWDED, LOOK, batches, entering, look, pools
from lethe.inference.kv_cache import extend, joined, make_room, prefill, shares_beginnings, taken
from lethe.inference.scoring import by_chance, first_probabilities, likeliest, next_ids
from lethe.inference.side_by_side import continue_copies, side_by_side
from lethe.models.conversations import template_text
from lethe.models.distributed import shared
from lethe.models.output_head import Head, headless
from lethe.models.tokenization import leading_ids

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

    from lethe.inference.scoring import Choose

    Settled = Callable[[int, list[int]], bool]  # prompt's number, ids written -> whether more of them matter

# Tensor axes: B prompts or blocks of a batch, T tokens, V vocabulary, d hidden.


class Continuation(NamedTuple):
    """A model's continuation of a prompt, and the probability of the prompt's `wanted` ids as its first token."""

    tokens: list[int]  # without the end of text
    ended: bool  # False: cut by the token limit
    probability: float


def continue_greedily(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    wanted: Sequence[Collection[int]],
    new_tokens: int,
    ends: Collection[int],
    settled: Settled | None = None,
) -> list[Continuation]:
    """The likeliest next token, `new_tokens` times, for every prompt (token ids, not empty).

    wanted: per prompt the ids whose next-token probabilities after the prompt are summed, in float64.
    ends: the ids at which a continuation ends. settled: whether a prompt's continuation may stop where it is, because
    no more ids change what is read from it. Raises StageError if logits are NaN.
    """
    lengths = [len(prompt) + new_tokens for prompt in prompts]
    with headless(model) as head:

        def continued(batch: list[int]) -> dict[int, Continuation]:
            over, own = _over(batch, ends, settled), [prompts[i] for i in batch]
            rows, sums = _continue_pool(model, head, own, [wanted[i] for i in batch], new_tokens, over)
            found = zip(batch, rows, sums.tolist(), strict=True)
            return {i: _until_end(row, ends, probability) for i, row, probability in found}

        done = shared(pools(list(batches(lengths, BATCH_TOKENS))), continued)
    return [done[i] for i in range(len(prompts))]


def sample_continuations(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    copies: int,
    new_tokens: int,
    ends: Collection[int],
    temperature: float,
    seed: int,
    settled: Settled | None = None,
) -> list[list[Continuation]]:
    """`copies` continuations of every prompt, each next token drawn from softmax(logits / temperature).

    A prompt is read once for all its copies. Every draw has a random number of its own, by the seed, the prompt's
    number in the list, the copy and the step: no other prompt, batch, device or process changes it, nor whether other
    continuations have ended. settled: as for continue_greedily. The probability of each continuation is 0.0: none is
    computed.
    """
    import numpy as np
    import torch

    together = copies > 1 and side_by_side(model)
    lengths = [(1 if together else copies) * len(prompt) + copies * new_tokens for prompt in prompts]
    with headless(model) as head:

        def continued(batch: list[int]) -> dict[int, list[Continuation]]:
            owners = [i for i in batch for _ in range(copies)]
            chances = np.concatenate([np.random.default_rng([seed, i]).random((copies, new_tokens)) for i in batch])
            chance = torch.from_numpy(chances).to(model.device)  # float64 [B * copies, new_tokens], in [0, 1)

            def drawn(logits: Tensor, rows: Tensor, steps: Tensor) -> Tensor:
                return by_chance(logits / temperature, chance[rows, steps])

            over, own = _over(owners, ends, settled), [prompts[i] for i in batch]
            if together:
                found = continue_copies(model, head, own, copies, new_tokens, over, drawn)
            else:
                wanted: list[Collection[int]] = [()] * len(batch)
                found, _ = _continue_pool(model, head, own, wanted, new_tokens, over, drawn, copies)
            rows = [_until_end(row, ends, 0.0) for row in found]
            return {i: rows[place * copies : (place + 1) * copies] for place, i in enumerate(batch)}

        cut = list(batches(lengths, BATCH_TOKENS))
        done = shared(cut if together else pools(cut), continued)
    return [done[i] for i in range(len(prompts))]


def prompt_ids(tokenizer: PreTrainedTokenizerFast, prompt: str, chat_template: bool) -> list[int]:
    """A prompt as token ids: the plain text, or a user turn in the tokenizer's chat template.

    Raises StageError if the tokenizer has no template.
    """
    if not chat_template:
        first = leading_ids(tokenizer.backend_tokenizer)  # and no end of text: the text continues
        return [*first, *tokenizer(prompt, add_special_tokens=False)["input_ids"]]
    if tokenizer.chat_template is None:
        raise StageError(
            "params.yaml: evaluate.chat_template: expected false, got true, but the tokenizer has no chat template"
        )
    return chat_ids(tokenizer, [{"role": "user", "content": prompt}])


def chat_ids(tokenizer: PreTrainedTokenizerFast, messages: Sequence[dict[str, str]]) -> list[int]:
    """The token ids of messages in the chat template, up to where the assistant's next message begins.

    Raises StageError as template_text does.
    """
    return list(tokenizer(template_text(tokenizer, messages, answering=True), add_special_tokens=False)["input_ids"])


def texts_after(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Sequence[int]], written: Sequence[Sequence[int]]
) -> list[str]:
    """The text that the `written` ids add to each prompt, including the space before it."""

    @cache  # a prompt has many copies
    def start(prompt: tuple[int, ...]) -> int:
        return len(decoded(tokenizer, prompt))

    pairs = zip(prompts, written, strict=True)
    return [decoded(tokenizer, [*prompt, *ids])[start(tuple(prompt)) :] for prompt, ids in pairs]


def decoded(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """The text of some ids, without special tokens. batch_decode looks at the type of each id, eight times as long."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return str(tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))
    return backend.decode(list(ids), skip_special_tokens=True)


def end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The ids that end a text of this model; a chat model's generation config may list several."""
    listed = model.generation_config.eos_token_id if model.generation_config else None
    ends = {tokenizer.eos_token_id, *(listed if isinstance(listed, list) else [listed])}
    return {end for end in ends if end is not None}


def _continue_pool(
    model: PreTrainedModel,
    head: Head,
    prompts: Sequence[Sequence[int]],
    wanted: Sequence[Collection[int]],
    new_tokens: int,
    over: Callable[[int, list[int]], bool],
    choose: Choose = lambda logits, rows, steps: likeliest(logits),
    copies: int = 1,
) -> tuple[list[list[int]], Tensor]:
    """Ids chosen for each of B * copies rows, and probabilities of the `wanted` ids at the first step, float64 [B].

    prompts: the longest first. Done rows leave, a few steps late, and the next prompts enter in their place, where the
    model allows it. over: row, its ids so far -> whether it is done; a row has at most `new_tokens` ids and no fewer
    than it needs. choose: logits [R, V], rows and steps int64 [R] -> ids [R, 1]. The copies of a prompt come one after
    another.
    """
    import torch

    written: list[list[int]] = [[] for _ in range(len(prompts) * copies)]
    sums: list[Tensor] = []
    chosen: list[Tensor] = []
    done, going, entered = set[int](), list[int](), 0  # rows; those being written; how many prompts have entered
    read: Any = None
    with torch.inference_mode():
        while going or entered < len(prompts):
            lengths = [len(prompt) + new_tokens for prompt in prompts[entered:]]
            width = read.mask.shape[1] + new_tokens if going else 0
            many = entering(lengths, len(going), width, copies, BATCH_TOKENS)
            if many and (not going or shares_beginnings(model)):
                own = slice(entered, entered + many)
                new = prefill(model, prompts[own], new_tokens > 1)
                sums.append(first_probabilities(model, head, new.hidden, wanted[own]))
                if copies > 1:
                    new = taken(new, torch.arange(many, device=model.device).repeat_interleave(copies), 0)
                read, entered = joined(read, new) if going else new, own.stop
                make_room(read.cache, new_tokens - 1)
                going += range(own.start * copies, own.stop * copies)
            rows, steps = torch.tensor([(row, len(written[row])) for row in going], device=model.device).T
            for ahead in range(min(LOOK, new_tokens - int(steps.max()))):
                if ahead:
                    _, read = extend(model, read, chosen[-1])
                chosen.append(next_ids(head, read.hidden, choose, rows, steps + ahead))
            last = chosen[-1]
            look(going, chosen, written, done, lambda row, ids: len(ids) >= new_tokens or over(row, ids))
            staying = [place for place, row in enumerate(going) if row not in done]
            if staying and (
                len(staying) < CROWDED * len(going) or any(len(written[row]) == new_tokens for row in going)
            ):
                kept, going = torch.tensor(staying, device=model.device), [going[place] for place in staying]
                left = new_tokens - min(len(written[row]) for row in going)
                last, read = last[kept], taken(read, kept, left)
            going = going if staying else []
            if going:
                _, read = extend(model, read, last)
    return written, torch.cat(sums)


def _over(owners: Sequence[int], ends: Collection[int], settled: Settled | None) -> Callable[[int, list[int]], bool]:
    """Whether a row of a batch is done, by its ids so far. owners: row -> the number of its prompt."""

    def over(row: int, ids: list[int]) -> bool:
        ended = not ends_apart(ids)
        return ended or (settled is not None and settled(owners[row], ids))

    ends_apart = set(ends).isdisjoint
    return over


def _until_end(row: list[int], ends: Collection[int], probability: float) -> Continuation:
    cut = next((i for i, token in enumerate(row) if token in ends), None)
    return Continuation(row[:cut], cut is not None, probability)
