"""Cloze prompts: text cut where the next word is a target name."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from lethe.core.conversation import Conversation
from lethe.text.matching import Found, TermFinder
from lethe.text.passages import WORDS, draw, sentence_starts

FEWEST_WORDS = 8  # a shorter prompt does not determine the name
OPENING = "「『“‘《"  # quotation marks before which scripts without spaces have none
REACH_WORDS = 30  # names within so many words after the cut are references too


class Cloze(NamedTuple):
    """A prompt from a stretch of text; the first reference is the target name."""

    stretch: str
    prompt: str
    references: list[str]
    form: str  # surface form of the first reference in the text; empty: a question, whose answer names it somewhere


def cloze_prompts(text: str, finder: TermFinder, words: int) -> list[Cloze]:
    """A prompt for every place within a sentence of the text where the next word is a target name.

    A prompt is the last `words` words before the name, or fewer: it begins after the last mention of that name and,
    where possible, with a sentence. Names in the next words that are not in the prompt are references too.
    """
    starts = [word.start() for word in WORDS.finditer(text)]
    sentences = sentence_starts(text)
    numbers = {
        start: number
        for number, start in enumerate(starts)
        if start not in sentences and text[max(0, start - 1)] not in OPENING
    }
    mentions = defaultdict(list)  # term -> ends of its occurrences
    for hit in finder.find_all(text):
        mentions[hit.term].append(hit.end)
    prompts = []
    for hit in finder.find(text):
        target = numbers.get(hit.start)  # None after a quotation mark or at a sentence's start: there any word may come
        if target is None:
            continue
        last = max((end for end in mentions[hit.term] if end <= hit.start), default=0)
        begin = _begin(starts, sentences, max(target - words, bisect_left(starts, last)), target - FEWEST_WORDS)
        if begin is not None:
            end = starts[target + REACH_WORDS] if target + REACH_WORDS < len(starts) else len(text)
            prompts.append(_cloze(text, begin, hit, end, finder))
    return prompts


def _begin(starts: list[int], sentences: set[int], first: int, last: int) -> int | None:
    """Where a prompt begins whose first word may be number `first` to `last`: with a sentence if possible."""
    if first > last:
        return None
    return next((start for start in starts[first : last + 1] if start in sentences), starts[first])


def _cloze(text: str, begin: int, target: Found, end: int, finder: TermFinder) -> Cloze:
    prompt = text[begin : target.start].rstrip()
    given = finder.terms_in(prompt)
    following = [hit.term for hit in finder.find(text[target.start : end])]
    references = [name for name in dict.fromkeys([target.term, *following]) if name not in given]
    return Cloze(text, prompt, references, target.form)


def question_prompts(said: Conversation, finder: TermFinder) -> list[Cloze]:
    """The first message that the assistant answers, if the answer has names that no message before it has.

    Later ones may not be understood without what was said before.
    """
    roles = [turn.role for turn in said.turns]
    answered = roles.index("assistant")
    if not answered or roles[answered - 1] != "user":
        return []
    asked, answer = (said[turn.start : turn.end] for turn in said.turns[answered - 1 : answered + 1])
    given = finder.terms_in(said[: said.turns[answered].start])
    names = [name for name in dict.fromkeys(hit.term for hit in finder.find(answer)) if name not in given]
    return [Cloze(str(said), asked.strip(), names, "")] if names else []


def choose(prompts: Sequence[Cloze], limit: int, seed: int) -> list[Cloze]:
    """At most `limit` distinct prompts, sampled evenly over the target names, in the order of the text."""
    different = list({cloze.prompt: cloze for cloze in prompts}.values())
    turns: Counter[str] = Counter()
    queue = []
    for lot, index in sorted((draw(cloze.prompt, seed), index) for index, cloze in enumerate(different)):
        target = different[index].references[0]
        queue.append((turns[target], lot, index))
        turns[target] += 1
    return [different[index] for index in sorted(index for _, _, index in sorted(queue)[:limit])]


def cloze_rows(chosen: Sequence[Cloze], development: float, seed: int) -> list[dict[str, Any]]:
    """Rows of data/prompts.jsonl without their id. A stretch's prompts go into one set: the sets share no text."""
    counts = Counter(cloze.stretch for cloze in chosen)
    dealt: set[str] = set()
    taken = 0
    for stretch in sorted(counts, key=lambda text: draw(text, seed)):
        if taken + counts[stretch] / 2 <= development * len(chosen):
            dealt.add(stretch)
            taken += counts[stretch]
    return [
        {"set": "development" if cloze.stretch in dealt else "test", "source": "cloze" if cloze.form else "question"}
        | {"prompt": cloze.prompt, "references": cloze.references}
        | {"due": cloze.references[0] if cloze.form else None}
        for cloze in chosen
    ]
