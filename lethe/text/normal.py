"""Text in one form of line end and letter (\\n, NFC), and the way back to the characters of its file."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import pyarrow as pa

LINE_END = "\r\n?"
EDITS = pa.field("edits", pa.list_(pa.struct([("at", pa.int64()), ("length", pa.int64()), ("was", pa.string())])))
# a column of data/corpus.parquet where any text is not its file's


class Edit(NamedTuple):
    """A place at which the text is not its file's: `length` characters there stand for `was`."""

    at: int  # character of the text
    length: int
    was: str


Edits = Sequence[Edit]


def normal(text: str) -> tuple[str, list[Edit]]:
    """The text with every line end as \\n and in composed letters, and every edit, from left to right."""
    if "\r" not in text and unicodedata.is_normalized("NFC", text):
        return text, []
    parts: list[str] = []
    edits: list[Edit] = []
    done = length = 0
    for match in _varying(text).finditer(text):
        was = match[0]
        plain = "\n" if was[0] == "\r" else unicodedata.normalize("NFC", was)
        if plain != was:
            parts += [text[done : match.start()], plain]
            edits.append(Edit(length + match.start() - done, len(plain), was))
            length, done = edits[-1].at + len(plain), match.end()
    return "".join([*parts, text[done:]]), edits


def _varying(text: str) -> re.Pattern[str]:
    """What normal forms may change: line ends, and a character with all behind it that may join it."""
    joining = "".join(re.escape(sign) for sign in sorted(set(text)) if _joins(sign))
    return re.compile(rf"{LINE_END}|[^\r{joining}]?[{joining}]+" if joining else LINE_END, re.DOTALL)


def _joins(sign: str) -> bool:
    """Whether a character may become part of the one before it, or another one."""
    category = unicodedata.category(sign)
    return category[0] == "M" or "\u1160" <= sign <= "\u11ff" or unicodedata.normalize("NFC", sign) != sign


def within(edits: Edits, start: int, end: int) -> list[Edit]:
    """The edits inside a span of the text, counted from its start."""
    return [edit._replace(at=edit.at - start) for edit in edits if start <= edit.at and edit.at + edit.length <= end]


def original(text: str, edits: Edits) -> str:
    """The characters of the file that a text stands for."""
    parts, done = [], 0
    for edit in edits:
        parts += [text[done : edit.at], edit.was]
        done = edit.at + edit.length
    return "".join([*parts, text[done:]])


def edits_of(row: Mapping[str, Any]) -> list[Edit]:
    """The edits of a row of data/corpus.parquet, none where the table has no such column."""
    return [Edit(**edit) for edit in row.get("edits") or ()]


def in_source(edits: Edits, start: int, end: int) -> tuple[int, int]:
    """A span of the text as one of the source; an edit that it holds in part it has as a whole."""
    return _across([(edit.at, edit.length, len(edit.was)) for edit in edits], start, end)


def in_text(edits: Edits, start: int, end: int) -> tuple[int, int]:
    """A span of the source as one of the text; an edit that it holds in part it has as a whole."""
    shifts = accumulate((len(edit.was) - edit.length for edit in edits), initial=0)
    moved = zip(edits, shifts, strict=False)
    return _across([(edit.at + shift, len(edit.was), edit.length) for edit, shift in moved], start, end)


def _across(changes: Sequence[tuple[int, int, int]], start: int, end: int) -> tuple[int, int]:
    """The span on the other side. changes: (place, length on this side, length on the other), from left to right."""
    places = [place for place, _, _ in changes]
    shifts = list(accumulate((other - own for _, own, other in changes), initial=0))

    def across(place: int, number: int, last: bool) -> int:
        """The place on the other side. number: of the last change that begins before it, -1 for none."""
        if number >= 0 and place < places[number] + changes[number][1]:
            return places[number] + shifts[number] + last * changes[number][2]
        return place + shifts[number + 1]

    return across(start, bisect_right(places, start) - 1, False), across(end, bisect_right(places, end - 1) - 1, True)
