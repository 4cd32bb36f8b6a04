"""Spelling: text as it is compared, whatever Unicode offers for the same letters, and the way back to it."""

from __future__ import annotations

import re
import unicodedata
from array import array
from collections.abc import Sequence
from typing import NamedTuple


def _class(categories: Sequence[str]) -> str:
    """The characters of these Unicode categories in the basic plane, as ranges of a character class."""
    codes = [code for code in range(0x300, 0xFFFF) if unicodedata.category(chr(code)) in categories]
    starts = [code for code, before in zip(codes, [-1, *codes], strict=False) if code != before + 1]
    ends = [code for code, after in zip(codes, [*codes[1:], -1], strict=True) if code != after - 1]
    return "".join(f"\\u{start:04x}-\\u{end:04x}" for start, end in zip(starts, ends, strict=True))


MARKS = _class(("Mn", "Mc"))  # accents on their own, vowel signs: parts of a word, though no letters
ONE_BY_ONE = "\u3005-\u3007\u3040-\u309f\u3400-\u9fff\uf900-\ufaff\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff"
# Han, hiragana, Thai, Lao, Burmese, Khmer: no space between words, so every character is one
KATAKANA = "\u30a1-\u30fa\u30fc-\u30ff"

HIDDEN = (  # no width: soft hyphens, joiners, marks of direction, selectors of a glyph
    "\u00ad\u034f\u061c\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\U000e0000-\U000e01ef"
)
VOWELS = "\u0591-\u05bd\u05bf\u05c1\u05c2\u0610-\u061a\u0640\u064b-\u0652\u0670"  # pointing of Hebrew, Arabic; tatweel
STRESS = "(?<=[\u0400-\u052f])\u0301"
CLOSE = f"{ONE_BY_ONE}{KATAKANA}"
WRAP = f"(?<=[{CLOSE}])\\r?\\n[ \\t\u3000]*(?=[{CLOSE}])"  # a line's end where words have no space between them
DROPPED = f"\u00ad[ \\t]*\\r?\\n[ \\t]*|[{HIDDEN}{VOWELS}]+|{STRESS}|{WRAP}"
LIGATURES = "\ufb00-\ufb06\ufb1d-\ufb4f\ufb50-\ufdff\ufe70-\ufefc\uff65-\uffdc\u0132\u0133\u01c4-\u01cc"
# with the forms that Arabic and Hebrew letters take in a word, as PDFs have them
TWOFOLD = "\u0958-\u095f\u09dc-\u09df\u0a33-\u0a5e\u0b5c\u0b5d"  # of India: letters that NFC has in two characters
VARYING = re.compile(f"{DROPPED}|[^\\W_][{MARKS}]+|[\u1100-\u11ff]+|[{LIGATURES}]+|[{TWOFOLD}]")
APOSTROPHES = "\u2019\u2018\u201b\u02bb\u02bc\u02bd\u02b9\u055a\u05f3\ua78b\ua78c\uff07\u2032\u00b4`"
HYPHENS = "\u2010\u2011\u2012\u2043\u2212\ufe63\uff0d"
FULL_WIDTH = (*range(0xFF10, 0xFF1B), 0xFF20, *range(0xFF21, 0xFF3B), *range(0xFF41, 0xFF5B), 0xFF0B, 0xFF0E)
LETTER_LIKE = (0x17F, *range(0x2102, 0x214A), *range(0x24B6, 0x24EA), *range(0x1D400, 0x1D800))
COMPATIBLE = (*range(0x1F70, 0x1F7E), *range(0xF900, 0xFADA), *range(0x2F800, 0x2FA1E))  # Greek and Han of two codes

ALIKE = str.maketrans(
    {**dict.fromkeys(APOSTROPHES, "'"), **dict.fromkeys(HYPHENS, "-"), "\u05f4": '"'}
    | {
        code: unicodedata.normalize("NFKC", chr(code))
        for code in (*FULL_WIDTH, *LETTER_LIKE, *COMPATIBLE)
        if len(unicodedata.normalize("NFKC", chr(code))) == 1
    }
)  # each a character for a character


class Seen(NamedTuple):
    """A text as it is compared; places[i]: the character of the source where its character i begins, None: itself."""

    text: str
    places: array[int] | None

    def span(self, start: int, end: int) -> tuple[int, int]:
        """A span of it as one of the source; what is not compared behind the last character belongs to no span."""
        if self.places is None or start == end:
            return start, end
        places = self.places
        return places[2 * start], places[2 * end - 1]


def seen(text: str) -> Seen:
    """The text in composed letters, without invisible characters, with one kind of apostrophe and hyphen."""
    if text.isascii() and "`" not in text:
        return Seen(text, None)
    text = text.translate(ALIKE)
    parts: list[str] = []
    places = array("q")  # of every character two: where it begins in the source, and where it ends
    done = 0
    for match in VARYING.finditer(text):
        plain = _plain(match[0])
        if plain != match[0]:
            _keep(parts, places, text[done : match.start()], done)
            _put(parts, places, plain, *match.span())
            done = match.end()
    if not done:
        return Seen(text, None)
    _keep(parts, places, text[done:], done)
    return Seen("".join(parts), places)


def plain(text: str) -> str:
    """The text as it is compared, on one line: the spelling in which names are listed."""
    return " ".join(seen(text).text.split())


def _plain(part: str) -> str:
    kept = re.sub(DROPPED, "", part) if part.strip() else ""
    return unicodedata.normalize("NFKC" if re.match(f"[{LIGATURES}]", kept) else "NFC", kept)


def _keep(parts: list[str], places: array[int], text: str, start: int) -> None:
    """Append text that stays as it is."""
    parts.append(text)
    for place in range(start, start + len(text)):
        places.extend((place, place + 1))


def _put(parts: list[str], places: array[int], text: str, start: int, end: int) -> None:
    """Append what stands for the source's characters from start to end."""
    parts.append(text)
    for _ in text:
        places.extend((start, end))
