"""Whether a model knows the forget set at all: how often it says a name of it where the text does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from lethe.anchors.candidates import find_terms, is_titled
from lethe.core.conversation import Conversation
from lethe.inference.decoding import continue_greedily, end_ids, prompt_ids, texts_after
from lethe.models.config import context_of
from lethe.text.cloze import choose, cloze_prompts, question_prompts
from lethe.text.matching import name_finder

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

CHARS = 2_000_000  # of each set that is searched for names
COUNT, KEYNESS = 2, 2.0  # as extract asks by default
PROMPTS = 60
FEWEST = 10  # with fewer prompts nothing is said
WORDS = 40  # of the text before the name
NEW_TOKENS = 12
ANSWER_TOKENS = 48  # to a question: an answer says the name somewhere
WINDOW = 2048  # tokens, for a model without a limited context
HARDLY = 0.1  # share of the prompts


class Known(NamedTuple):
    """Of `asked` prompts from the training text, after how many the model says a name that only this text has."""

    said: int
    asked: int

    def sentence(self) -> str:
        """What a person should know of it before anything is unlearned; empty if there were too few prompts."""
        if self.asked < FEWEST:
            return ""
        told = f"the baseline says a name of the forget set after {self.said} of {self.asked} pieces of its text"
        if self.said >= HARDLY * self.asked:
            return told
        return (
            f"warning: {told}: it hardly knows the forget set, so there is little to unlearn and little to measure; "
            "train it on the text first (baseline.epochs) or take a model that knows it"
        )


def prior_knowledge(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, forget: Iterable[str], retain: Iterable[str], seed: int
) -> Known:
    """Greedy continuations of at most PROMPTS pieces of the forget texts, each cut where a name comes next.

    Of a conversation it is the question, in the chat template, whose answer has a name. A name counts if the retain
    texts lack it and the prompt does not give it. Texts without such names (in a script
    without capitals, say) give no prompts.
    """
    own, other = first(forget), first(retain)
    names = {term.forms[0] for term in find_terms(own, other, COUNT, KEYNESS).candidates if is_titled(term.forms[0])}
    finder = name_finder(names)
    pieces = (
        question_prompts(text, finder) if isinstance(text, Conversation) else cloze_prompts(text, finder, WORDS)
        for text in own
    )
    found = choose([cloze for own_pieces in pieces for cloze in own_pieces], PROMPTS, seed)
    if len(found) < FEWEST:
        return Known(0, len(found))
    length = NEW_TOKENS if all(cloze.form for cloze in found) else ANSWER_TOKENS
    room = (context_of(model.config) or WINDOW) - length
    prompts = [prompt_ids(tokenizer, cloze.prompt, chat_template=not cloze.form)[-room:] for cloze in found]
    wanted: list[Sequence[int]] = [()] * len(prompts)
    written = continue_greedily(model, prompts, wanted, length, end_ids(model, tokenizer))
    texts = texts_after(tokenizer, prompts, [continuation.tokens for continuation in written])
    said = [finder.terms_in(text) - finder.terms_in(cloze.prompt) for text, cloze in zip(texts, found, strict=True)]
    return Known(sum(map(bool, said)), len(found))


def first(texts: Iterable[str]) -> list[str]:
    """Whole texts until CHARS are read, the last of them cut."""
    found, room = [], CHARS
    for text in texts:
        found.append(text if len(text) <= room else text[:room])
        room -= len(text)
        if room <= 0:
            break
    return found
