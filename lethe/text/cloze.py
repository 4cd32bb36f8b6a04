"""Cloze prompts: running text cut where a name is due."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from lethe.text.matching import Found, TermFinder
from lethe.text.passages import WORDS, draw, sentence_starts

FEWEST_WORDS = 8  # a shorter prompt calls for no name in particular
REACH_WORDS = 30  # names that the true text has so soon after the cut are references too


class Cloze(NamedTuple):
    """A prompt from a stretch of text; the first reference is the name due."""

    stretch: str
    prompt: str
    references: list[str]
    form: str  # in which the first reference stands there


def cloze_prompts(text: str, finder: TermFinder, words: int) -> list[Cloze]:
    """A prompt for every place within a sentence of the text where a name is due.

    It is the last `words` words before the name, or fewer: it begins after the last mention of that name and, if it
    can, with a sentence. The names of the next words that are not in the prompt are references too.
    """
    starts = [word.start() for word in WORDS.finditer(text)]
    sentences = sentence_starts(text)
    numbers = {start: number for number, start in enumerate(starts) if start not in sentences}
    mentions = defaultdict(list)  # term -> ends of its occurrences
    for hit in finder.find_all(text):
        mentions[hit.term].append(hit.end)
    prompts = []
    for hit in finder.find(text):
        due = numbers.get(hit.start)  # None after a quotation mark or where a sentence starts: there anything may come
        if due is None:
            continue
        last = max((end for end in mentions[hit.term] if end <= hit.start), default=0)
        begin = _begin(starts, sentences, max(due - words, bisect_left(starts, last)), due - FEWEST_WORDS)
        if begin is not None:
            end = starts[due + REACH_WORDS] if due + REACH_WORDS < len(starts) else len(text)
            prompts.append(_cloze(text, begin, hit, end, finder))
    return prompts


def _begin(starts: list[int], sentences: set[int], first: int, last: int) -> int | None:
    """Where a prompt begins whose first word may be number `first` to `last`: best with a sentence."""
    if first > last:
        return None
    return next((start for start in starts[first : last + 1] if start in sentences), starts[first])


def _cloze(text: str, begin: int, due: Found, end: int, finder: TermFinder) -> Cloze:
    prompt = text[begin : due.start].rstrip()
    given = finder.terms_in(prompt)
    following = [hit.term for hit in finder.find(text[due.start : end])]
    references = [name for name in dict.fromkeys([due.term, *following]) if name not in given]
    return Cloze(text, prompt, references, due.form)


def choose(prompts: Sequence[Cloze], limit: int, seed: int) -> list[Cloze]:
    """At most `limit` different prompts in the order of the text, the names due taking turns; drawn by lot."""
    different = list({cloze.prompt: cloze for cloze in prompts}.values())
    turns: Counter[str] = Counter()
    queue = []
    for lot, index in sorted((draw(cloze.prompt, seed), index) for index, cloze in enumerate(different)):
        due = different[index].references[0]
        queue.append((turns[due], lot, index))
        turns[due] += 1
    return [different[index] for index in sorted(index for _, _, index in sorted(queue)[:limit])]


def cloze_rows(chosen: Sequence[Cloze], development: float, seed: int) -> list[dict[str, Any]]:
    """Rows of data/prompts.jsonl without their id. A stretch's prompts fall into one set: the sets share no text."""
    counts = Counter(cloze.stretch for cloze in chosen)
    dealt: set[str] = set()
    taken = 0
    for stretch in sorted(counts, key=lambda text: draw(text, seed)):
        if taken + counts[stretch] / 2 <= development * len(chosen):
            dealt.add(stretch)
            taken += counts[stretch]
    return [
        {"set": "development" if cloze.stretch in dealt else "test", "source": "cloze"}
        | {"prompt": cloze.prompt, "references": cloze.references, "due": cloze.references[0]}
        for cloze in chosen
    ]
