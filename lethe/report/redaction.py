"""Redaction of the forget text on a page: an erasure tool must not republish what it erases."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from lethe.text.matching import TermFinder

WORD = re.compile(r"\w+(?:['’]\w+)*")

Run = tuple[str, ...]
Kind = Literal["text", "leak", "bar"]


class Part(NamedTuple):
    """Neighbouring words of a text that look alike; of a bar only their number is known."""

    kind: Kind
    text: str
    words: int


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    return WORD.findall(text.lower())


def runs_of(text: str, length: int) -> Iterator[Run]:
    """Every run of `length` consecutive words."""
    words = words_of(text)
    return zip(*(words[start:] for start in range(length)), strict=False)


def found_in(corpus: Iterable[str], runs: set[Run], length: int) -> set[Run]:
    """The runs, `length` words each, that occur in a text of the corpus."""
    return {run for text in corpus for run in runs_of(text, length) if run in runs}


def redacted(shown: str, before: str, known: set[Run], words: int) -> list[str | None]:
    """The words of `shown`, None for each that would continue a run of `words` words of the corpus.

    A recited passage is shown up to its first `words` words, however long it is: what a bar covers counts as read.
    before: the text in front of it, shown too. known: the runs of words + 1 that occur in the corpus.
    """
    latest = words_of(before)
    kept: list[str | None] = []
    for piece in shown.split():
        own = words_of(piece)
        recited = any(tuple(line[-words - 1 :]) in known for line in _growing(latest, own))
        kept.append(None if recited else piece)
        latest += own
    return kept


def parts_of(words: Sequence[str | None], leaked: Collection[int] = ()) -> list[Part]:
    """Words as the parts that a page shows: text, leaked names and bars, each as long as it can be.

    leaked: the places of words that belong to a leaked name.
    """
    parts: list[Part] = []
    for place, word in enumerate(words):
        kind: Kind = "bar" if word is None else "leak" if place in leaked else "text"
        if parts and parts[-1].kind == kind:
            parts[-1] = Part(kind, " ".join(filter(None, (parts[-1].text, word))), parts[-1].words + 1)
        else:
            parts.append(Part(kind, word or "", 1))
    return parts


def leaked_words(text: str, names: Collection[str]) -> set[int]:
    """The places, among the words that white space separates, of those that belong to one of the names."""
    spans = [(found.start, found.end) for found in TermFinder({name: name for name in names}).find(text)]
    places = enumerate(re.finditer(r"\S+", text))
    return {place for place, word in places for start, end in spans if word.start() < end and start < word.end()}


def _growing(before: Sequence[str], own: Sequence[str]) -> Iterator[list[str]]:
    return ([*before, *own[: count + 1]] for count in range(len(own)))
