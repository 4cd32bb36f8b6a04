"""Passages of a text in other text, however it is set: line breaks, case, quotes, hyphens, escapes and tags aside."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from lethe.erasure.spellings import forms
from lethe.text.overlap import runs, words_of
from lethe.text.passages import RUN_WORDS

WORD = re.compile(r"[^\W_](?:[\w\u0300-\u036f'’ʼ‘\u00ad‐‑-]*[\w\u0300-\u036f])?")  # a superset of overlap.WORD's words
SPLIT = re.compile(r"(?<=\w)[-‐‑\u00ad][^\S\n]{0,20}\n[^\S\n]{0,80}(?=\w)")  # a word cut at the end of a line
MOST = 100_000  # different words that are remembered
CARRY = 2_000  # characters of one piece that are read again with the next: more than eight words


LEGACY = (
    *("cp1252", "cp850", "mac-roman", "cp1250", "iso8859-2", "cp1251", "koi8-r", "cp866", "cp1253", "iso8859-7"),
    *("cp1254", "cp1255", "cp1256", "cp874", "shift_jis", "euc_jp", "gb18030", "big5", "euc_kr"),
)  # as they were in use before UTF-8


class Wanted(NamedTuple):
    """What is searched for: {length: runs of so many words} and all words that occur in them."""

    runs: dict[int, set[str]]
    words: frozenset[str]

    @property
    def total(self) -> int:
        """How many different runs."""
        return sum(map(len, self.runs.values()))


def wanted(texts: Iterable[str]) -> Wanted:
    """The runs of eight words of the texts; a text of fewer words is one run."""
    found: dict[int, set[str]] = {}
    words: set[str] = set()
    for text in texts:
        own = words_of(text)
        length = min(RUN_WORDS, len(own))
        if length:
            found.setdefault(length, set()).update(runs(own, length))
            words.update(word.key for word in own)
    return Wanted(found, frozenset(words))


def codings_of(asked: Wanted) -> tuple[str, ...]:
    """The encodings beside UTF-8 in which these words may be written: none where all of them are plain ASCII."""
    letters = {letter for word in asked.words for letter in word if not letter.isascii()}
    if not letters:
        return ()

    def known(coding: str) -> bool:
        return sum(bool(letter.encode(coding, "ignore")) for letter in letters) > 0.5 * len(letters)

    wide = ("utf-16-le", "utf-16-be") if any(letter > "\xff" for letter in letters) else ()
    return (*wide, *filter(known, LEGACY))


def passages_in(pieces: Iterable[str], asked: Wanted) -> set[str]:
    """The runs that occur in a text given in pieces, also across two of them. Holds two pieces, never the text."""
    found: set[str] = set()
    known: dict[str, list[str]] = {}
    before = ""
    for piece in pieces:
        text = before + piece
        for form in forms(text):
            found |= runs_in(form, asked, known)
            if len(known) > MOST:
                known.clear()
        before = text[-CARRY:]
    return found


def runs_in(text: str, asked: Wanted, known: dict[str, list[str]]) -> set[str]:
    """The runs that one text has. Only stretches of words that occur in what is searched for are looked at closely.

    known: words as they stand -> as they are compared, none where they do not occur in it; it grows.
    """
    least = min(asked.runs, default=0)
    found: set[str] = set()
    for keys in stretches(SPLIT.sub("", text), asked, known) if least else ():
        for length, own in asked.runs.items():
            if len(keys) >= max(length, least):
                ends = range(length, len(keys) + 1)
                found |= own.intersection([" ".join(keys[end - length : end]) for end in ends])
    return found


def stretches(text: str, asked: Wanted, known: dict[str, list[str]]) -> Iterator[list[str]]:
    """The words of every stretch of a text whose words all occur in what is searched for."""
    keys: list[str] = []
    for word in WORD.findall(text):
        own = known.get(word)
        if own is None:
            own = [each.key for each in words_of(word)]
            known[word] = own = own if asked.words.issuperset(own) else []
        if own:
            keys += own
        elif keys:
            yield keys
            keys = []
    yield keys


def share(found: Sequence[str] | set[str], asked: Wanted) -> float:
    """How much of what is searched for was found."""
    return len(found) / asked.total if asked.total else 0.0
