"""Continuations, next-token probabilities and perplexity of causal language models, batched by tokens.

Of several processes each computes its share of the batches, and all know the result.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lethe.core.errors import StageError
from lethe.inference.batching import BATCH_TOKENS, batches, pad_left
from lethe.inference.kv_cache import finite, make_room
from lethe.inference.scoring import likeliest, summed_probability
from lethe.models.distributed import shared
from lethe.models.output_head import Head, headless
from lethe.models.tokenization import leading_ids

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

# Tensor axes: B prompts or blocks of a batch, T tokens, V vocabulary, d hidden.


class Continuation(NamedTuple):
    """What a model writes after a prompt, and how much of its first step went to the prompt's `wanted` ids."""

    tokens: list[int]  # what comes before the end of text
    ended: bool  # False: cut by the token limit
    probability: float


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


def sample_continuations(
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


def prompt_ids(tokenizer: PreTrainedTokenizerFast, prompt: str, chat_template: bool) -> list[int]:
    """A prompt as token ids: as it is, or as a user's turn in the tokenizer's chat template.

    Raises StageError if the tokenizer has no template.
    """
    if not chat_template:
        first = leading_ids(tokenizer.backend_tokenizer)  # and nothing behind: the text goes on
        return [*first, *tokenizer(prompt, add_special_tokens=False)["input_ids"]]
    if tokenizer.chat_template is None:
        raise StageError(
            "params.yaml: evaluate.chat_template: expected false, got true, but the tokenizer has no chat template"
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
                finite(model, float(logits.sum()))
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


def _until_end(row: list[int], ends: Collection[int], probability: float) -> Continuation:
    cut = next((i for i, token in enumerate(row) if token in ends), None)
    return Continuation(row[:cut], cut is not None, probability)
