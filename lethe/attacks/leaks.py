"""Which prompts make a model give the forget side away, one answer or several to each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from lethe.core.errors import StageError
from lethe.evaluation.familiarity import NameMatcher, judge, without_cut_word
from lethe.evaluation.prompts import Prompt
from lethe.inference.decoding import Continuation, continue_greedily, end_ids, sample_continuations, texts_after

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

LEAK = 2  # the lowest grade that counts as a leak


class Leaks(NamedTuple):
    """Per prompt: whether the likeliest completion leaks, and how likely a name begins right after the prompt."""

    leak: list[bool]
    probability: list[float]


def greedy_leaks(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[Prompt],
    matcher: NameMatcher,
    new_tokens: int,
    forced: Sequence[str] = (),
) -> Leaks:
    """What the model gives away to each prompt.

    forced: per prompt the start of the answer, where its tokens already hold one; judged with what follows it.
    """
    tokens, content = [prompt.tokens for prompt in prompts], [prompt.content for prompt in prompts]
    found = continue_greedily(model, tokens, content, new_tokens, end_ids(model, tokenizer))
    leak = judged(tokenizer, prompts, found, matcher, forced or [""] * len(prompts))
    return Leaks(leak, [continuation.probability for continuation in found])


def sampled_leaks(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[Prompt],
    matcher: NameMatcher,
    new_tokens: int,
    completions: int,
    temperature: float,
    seed: int,
) -> list[list[bool]]:
    """Per prompt whether each of `completions` sampled ones leaks."""
    tokens, ends = [prompt.tokens for prompt in prompts], end_ids(model, tokenizer)
    found = sample_continuations(model, tokens, completions, new_tokens, ends, temperature, seed)
    asked = [prompt for prompt in prompts for _ in range(completions)]
    flat = [continuation for several in found for continuation in several]
    leak = judged(tokenizer, asked, flat, matcher, [""] * len(asked))
    return [leak[i : i + completions] for i in range(0, len(leak), completions)]


def judged(
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[Prompt],
    found: Sequence[Continuation],
    matcher: NameMatcher,
    forced: Sequence[str],
) -> list[bool]:
    """Whether the rule finds a name in each answer that the prompt does not hold."""
    tokens = [prompt.tokens for prompt in prompts]
    texts = texts_after(tokenizer, tokens, [continuation.tokens for continuation in found])
    leaks = []
    for prompt, continuation, start, text in zip(prompts, found, forced, texts, strict=True):
        answer = start + (text if continuation.ended else without_cut_word(text))
        leaks.append((judge(prompt.text, prompt.references, answer, matcher).grade or 0) >= LEAK)
    return leaks


def check_room(prompts: Sequence[Prompt], room: int, attack: str) -> None:
    """Raise StageError for the first prompt that an attack makes too long for the model's context."""
    for prompt in prompts:
        if len(prompt.tokens) > room:
            raise StageError(
                f"params.yaml: attack.attacks: {attack} makes prompt {prompt.id} {len(prompt.tokens)} tokens long; "
                f"expected at most {room}, the model's context less attack.new_tokens; lower prompt.words or what the "
                "attack adds"
            )
