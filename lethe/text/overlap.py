"""A passage found again in other text, though it was reformatted: other line breaks, quotes, hyphens or case."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from lethe.text.passages import RUN_WORDS

LETTERS = "[^\\W_\u0300-\u036f][^\\W_]*[\u0300-\u036f]*"
JOINED = "(?:['’ʼ‘]|[-‐‑\u00ad](?:[ \\t]*\\r?\\n[ \\t]*)?)"  # an apostrophe; a hyphen, perhaps at the end of a line
WORD = re.compile(f"(?:{LETTERS})+(?:{JOINED}(?:{LETTERS})+)*")
SIGNS = re.compile(r"[\W_]+")


class Word(NamedTuple):
    """A word without case, accents' encoding, hyphens and apostrophes, and its characters in the text."""

    key: str
    start: int
    end: int


def words_of(text: str) -> list[Word]:
    """The words of a text, normalised, with their places."""
    found = ((match[0], *match.span()) for match in WORD.finditer(text))
    return [
        Word(SIGNS.sub("", unicodedata.normalize("NFKC", word)).casefold(), start, end) for word, start, end in found
    ]


def runs(words: Sequence[Word], length: int) -> list[str]:
    """Every run of `length` words, as one string."""
    keys = [word.key for word in words]
    return [" ".join(keys[place : place + length]) for place in range(len(keys) - length + 1)]


def covered(words: Sequence[Word], others: set[str], length: int) -> list[bool]:
    """For each word whether it lies in a run of `length` words that is among the others."""
    marks = [False] * len(words)
    for place, run in enumerate(runs(words, length)):
        if run in others:
            marks[place : place + length] = [True] * length
    return marks


def spans(words: Sequence[Word], marks: Sequence[bool]) -> list[tuple[int, int]]:
    """The characters (start, end) of each stretch of marked words."""
    stretches = groupby(zip(words, marks, strict=True), key=lambda pair: pair[1])
    marked = [[word for word, _ in stretch] for is_marked, stretch in stretches if is_marked]
    return [(stretch[0].start, stretch[-1].end) for stretch in marked]


def common(passage: str, texts: Sequence[str]) -> tuple[float, list[list[tuple[int, int]]]]:
    """The share of the passage's words that the texts have too, and where, text by text.

    Common are runs of eight words, of a shorter passage the whole of it.
    """
    asked = words_of(passage)
    length = min(RUN_WORDS, len(asked))
    if not length:
        return 0.0, [[] for _ in texts]
    wanted = set(runs(asked, length))
    found, there = [], set()
    for text in texts:
        words = words_of(text)
        there.update(wanted.intersection(runs(words, length)))
        found.append(spans(words, covered(words, wanted, length)))
    return sum(covered(asked, there, length)) / len(asked), found
