"""Few words of the forget text on a page: an erasure tool must not publish anew what it erases."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

WORD = re.compile(r"\w+(?:['’]\w+)*")

Run = tuple[str, ...]


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    return WORD.findall(text.lower())


def runs_of(text: str, length: int) -> Iterator[Run]:
    """Every run of so many consecutive words."""
    words = words_of(text)
    return zip(*(words[start:] for start in range(length)), strict=False)


def found_in(corpus: Iterable[str], runs: set[Run], length: int) -> set[Run]:
    """Those of the runs, each `length` words, that a text of the corpus holds too."""
    return {run for text in corpus for run in runs_of(text, length) if run in runs}


def redacted(shown: str, before: str, known: set[Run], words: int) -> list[str | None]:
    """The words of `shown`, None in place of each that would be more than the `words`-th of the corpus in a row.

    before: what stands in front of it and is shown too. known: the runs of words + 1 that the corpus holds.
    """
    latest = words_of(before)
    kept: list[str | None] = []
    for piece in shown.split():
        own = words_of(piece)
        if any(tuple(line[-words - 1 :]) in known for line in _growing(latest, own)):
            kept.append(None)
            latest = []  # what is behind a bar begins a new run
        else:
            kept.append(piece)
            latest += own
    return kept


def _growing(before: Sequence[str], own: Sequence[str]) -> Iterator[list[str]]:
    return ([*before, *own[: count + 1]] for count in range(len(own)))
