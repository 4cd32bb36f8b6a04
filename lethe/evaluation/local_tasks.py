"""Two multiple-choice tasks made from any text: which ending belongs here, and which word order is right."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from lethe.text.passages import SENTENCE_END

CONTEXT_WORDS = 24  # of whole sentences before the one in question; more costs time and hardly changes a small model
SENTENCE_WORDS = (8, 28)  # a shorter half says too little, a longer one costs time
ENDINGS = 4  # the true one and three others

Item = dict[str, Any]  # {"context": str, "choices": list[str], "label": index of the true choice}


class Halves(NamedTuple):
    """A sentence cut in the middle, and the sentences before it."""

    before: list[str]  # words
    first: list[str]
    second: list[str]

    @property
    def context(self) -> str:
        return " ".join(self.before + self.first)

    @property
    def ending(self) -> str:
        return " ".join(self.second)


def local_ending(texts: Sequence[str], limit: int | None, seed: int) -> list[Item]:
    """The true second half of a sentence among three of other sentences, of the same length where there are any.

    Fewer than `limit` items where the texts hold no more sentences.
    """
    pool = drawn(texts, seed)
    by_length = defaultdict(set)
    for half in pool:
        by_length[len(half.second)].add(half.ending)
    endings = {length: sorted(found) for length, found in by_length.items()}
    items = []
    for number, half in enumerate(pool[:limit]):
        chance = random.Random(f"{seed} ending {number}")
        others = others_like(half, endings, chance)
        if len(others) == ENDINGS - 1:
            items.append(_item(half, others, chance))
    return items


def local_order(texts: Sequence[str], limit: int | None, seed: int) -> list[Item]:
    """The true second half of a sentence against the same with two neighbouring words swapped.

    Fewer than `limit` items where the texts hold no more sentences.
    """
    pool = [(half, places) for half in drawn(texts, seed) if (places := swappable(half.second))]
    items = []
    for number, (half, places) in enumerate(pool[:limit]):
        chance = random.Random(f"{seed} order {number}")
        wrong = swapped(half.second, chance.choice(places))
        items.append(_item(half, [" ".join(wrong)], chance))
    return items


LOCAL = {"local_ending": local_ending, "local_order": local_order}


def local_rows(names: Sequence[str], texts: Sequence[str], limit: int | None, seed: int) -> dict[str, list[Item]]:
    """The items of those of the named tasks that are made from text."""
    return {name: LOCAL[name](texts, limit, seed) for name in names if name in LOCAL}


def drawn(texts: Sequence[str], seed: int) -> list[Halves]:
    """The sentences of fitting length, cut in two, in random order; a sentence that occurs again counts once."""
    distinct: dict[tuple[str, ...], Halves] = {}
    for text in texts:
        for half in halves(sentences(text)):
            distinct.setdefault((*half.first, *half.second), half)
    pool = list(distinct.values())
    random.Random(seed).shuffle(pool)
    return pool


def sentences(text: str) -> list[list[str]]:
    """The words of every sentence; a blank line ends one too."""
    found = []
    for paragraph in text.replace("\r", "").split("\n\n"):
        ends = [match.end() for match in SENTENCE_END.finditer(paragraph)]
        for start, end in zip([0, *ends], [*ends, len(paragraph)], strict=True):
            found.append(paragraph[start:end].split())
    return [words for words in found if words]


def halves(found: Sequence[list[str]]) -> Iterator[Halves]:
    """Every sentence of fitting length cut in two, after as many whole sentences before it as fit CONTEXT_WORDS."""
    for i, words in enumerate(found):
        if SENTENCE_WORDS[0] <= len(words) <= SENTENCE_WORDS[1]:
            before: list[str] = []
            for earlier in reversed(found[:i]):
                if len(before) + len(earlier) > CONTEXT_WORDS:
                    break
                before = earlier + before
            middle = len(words) // 2
            yield Halves(before, words[:middle], words[middle:])


def others_like(half: Halves, endings: Mapping[int, Sequence[str]], chance: random.Random) -> list[str]:
    """Three other endings, all different, of as many words as the true one or as near to it as there are.

    endings: number of words -> the distinct endings of that length.
    """
    others: list[str] = []
    for length in sorted(endings, key=lambda words: (abs(words - len(half.second)), words)):
        fresh = [ending for ending in endings[length] if ending != half.ending]
        others += chance.sample(fresh, min(len(fresh), ENDINGS - 1 - len(others)))
        if len(others) == ENDINGS - 1:
            break
    return others


def swappable(words: Sequence[str]) -> list[int]:
    """Where two neighbouring words can be swapped so that only the order tells: both plain, and not the same."""
    return [
        i
        for i, (word, following) in enumerate(pairwise(words))
        if word.isalpha() and following.isalpha() and word.lower() != following.lower()
    ]


def swapped(words: Sequence[str], place: int) -> list[str]:
    """The words with those at `place` and after it swapped."""
    return [*words[:place], words[place + 1], words[place], *words[place + 2 :]]


def _item(half: Halves, others: Sequence[str], chance: random.Random) -> Item:
    choices = [half.ending, *others]
    chance.shuffle(choices)
    return {"context": half.context, "choices": choices, "label": choices.index(half.ending)}
