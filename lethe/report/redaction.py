"""Redaction of the forget text on a page: an erasure tool must not republish what it erases."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

WORD = re.compile(r"\w+(?:['’]\w+)*")

Run = tuple[str, ...]


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
    """The words of `shown`, None for each that would complete a run of more than `words` words of the corpus.

    before: the text in front of it, shown too. known: the runs of words + 1 that occur in the corpus.
    """
    latest = words_of(before)
    kept: list[str | None] = []
    for piece in shown.split():
        own = words_of(piece)
        if any(tuple(line[-words - 1 :]) in known for line in _growing(latest, own)):
            kept.append(None)
            latest = []  # a new run begins after a bar
        else:
            kept.append(piece)
            latest += own
    return kept


def _growing(before: Sequence[str], own: Sequence[str]) -> Iterator[list[str]]:
    return ([*before, *own[: count + 1]] for count in range(len(own)))
