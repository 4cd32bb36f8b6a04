"""Which prompts make a model leak the forget set, with one completion or several for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from lethe.core.errors import StageError
from lethe.evaluation.familiarity import NameMatcher, graded, judge, without_cut_word
from lethe.evaluation.prompts import Prompt
from lethe.inference.decoding import Continuation, continue_greedily, end_ids, sample_continuations, texts_after
from lethe.text.matching import WORD

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

LEAK = 2  # the lowest grade that counts as a leak
UNREADABLE = "\ufffd"  # what a tokenizer writes for the beginning of a character


class Leaks(NamedTuple):
    """Per prompt: whether the greedy completion leaks, and the probability that a name begins after the prompt."""

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
    """The leaks of the model's greedy completions.

    forced: per prompt the start of the answer that its tokens already end with, if any; judged with the completion.
    """
    tokens, content = [prompt.tokens for prompt in prompts], [prompt.content for prompt in prompts]
    started, ends = forced or [""] * len(prompts), end_ids(model, tokenizer)
    found = continue_greedily(
        model, tokens, content, new_tokens, ends, stop_at_leak(tokenizer, prompts, matcher, started)
    )
    leak = judged(tokenizer, prompts, found, matcher, started)
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
    """Per prompt whether each of `completions` sampled completions leaks."""
    tokens, ends = [prompt.tokens for prompt in prompts], end_ids(model, tokenizer)
    stop = stop_at_leak(tokenizer, prompts, matcher, [""] * len(prompts))
    found = sample_continuations(model, tokens, completions, new_tokens, ends, temperature, seed, stop)
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
    """Whether each answer contains, by the rule judge, a name that its prompt does not."""
    tokens = [prompt.tokens for prompt in prompts]
    texts = texts_after(tokenizer, tokens, [continuation.tokens for continuation in found])
    leaks = []
    for prompt, continuation, start, text in zip(prompts, found, forced, texts, strict=True):
        answer = start + (text if continuation.ended else without_cut_word(text))
        leaks.append((judge(prompt.text, prompt.references, answer, matcher).grade or 0) >= LEAK)
    return leaks


def stop_at_leak(
    tokenizer: PreTrainedTokenizerFast, prompts: Sequence[Prompt], matcher: NameMatcher, forced: Sequence[str]
) -> Callable[[int, list[int]], bool]:
    """Whether the answer to a prompt, by its number and the ids written so far, leaks whatever is written after them.

    Only answers with an id by which a name begins are read. The others go on, which changes nothing: to read them all
    would cost more than it saves.
    """
    longest = max((len(WORD.findall(form)) for form in matcher.forms), default=0)

    def settled(i: int, ids: list[int]) -> bool:
        if prompts[i].content.isdisjoint(ids):
            return False
        [text] = texts_after(tokenizer, [prompts[i].tokens], [ids])
        return leaks_for_good(prompts[i].text, forced[i] + text, matcher, longest)

    return settled


def leaks_for_good(prompt: str, answer: str, matcher: NameMatcher, longest: int) -> bool:
    """Whether an answer cut anywhere leaks, and still does with any text after it.

    More text can only make a name part of a longer one (that the prompt gives, or that is an ordinary word), or change
    a word that the cut divides. So as many whole words must follow the name as the longest form has, `longest`.
    """
    whole = without_cut_word(answer.rstrip(UNREADABLE))
    words = [word.start() for word in WORD.finditer(whole)]
    if len(words) <= longest:
        return False
    grades = graded(prompt, whole, matcher)
    named = (found.term for found in matcher.exact.find(whole) if found.end <= words[-longest])
    return any(grades.get(name, 0) >= LEAK for name in named)


def check_room(prompts: Sequence[Prompt], room: int, attack: str) -> None:
    """Raise StageError for the first prompt that an attack makes too long for the model's context."""
    for prompt in prompts:
        if len(prompt.tokens) > room:
            raise StageError(
                f"params.yaml: attack.attacks: {attack} makes prompt {prompt.id} {len(prompt.tokens)} tokens long; "
                f"expected at most {room}, the model's context less attack.new_tokens; lower prompt.words or what the "
                "attack adds"
            )
