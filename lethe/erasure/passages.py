"""Passages of a text in other text, however it is set: line breaks, case, quotes, hyphens, escapes and tags aside."""

from __future__ import annotations

import base64
import html
import io
import quopri
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import unquote_plus

from lethe.erasure.reading import PACKED, Reader, UnreadError, pieces
from lethe.text.overlap import runs, words_of
from lethe.text.passages import RUN_WORDS

WORD = re.compile(r"[^\W_](?:[\w\u0300-\u036f'’ʼ‘\u00ad‐‑-]*[\w\u0300-\u036f])?")  # a superset of overlap.WORD's words
SPLIT = re.compile(r"(?<=\w)[-‐‑\u00ad][^\S\n]{0,20}\n[^\S\n]{0,80}(?=\w)")  # a word cut at the end of a line
ESCAPE = re.compile(
    r"((?:\\x[0-9a-fA-F]{2})+)|((?:\\[0-3][0-7]{2})+)|\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL
)
TAG = re.compile(r"<[^<>]{0,300}>")
UNSEEN = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")  # characters without a width
CODED = re.compile(r"(?:[A-Za-z0-9+/_-]{60,76}\r?\n){1,400}[A-Za-z0-9+/_-]*={0,2}|[A-Za-z0-9+/_-]{40,}={0,2}")
DIGITS = re.compile(r"(?:[0-9a-fA-F]{2}){24,}")  # text as hexadecimal digits
PERCENT = re.compile(r"%[0-9a-fA-F]{2}")
PRINTABLE = re.compile(r"=(?:[0-9A-F]{2}|\r?\n)")  # quoted-printable, of mails
SLUG = 6  # hyphens in what white space surrounds: words that hyphens separate, as in a file's name
NESTED = 3  # times that escapes are taken away: JSON in JSON
TWICE = re.compile("[ÃÂÐÑ][\u0080-\u00ff\u0152-\u2122]")  # UTF-8 that was read as another encoding and written again
BLANKS = {"n": "\n", "t": "\t", "r": "\r", "b": "", "f": "\f"}
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
    before = ""
    for piece in pieces:
        text = before + piece
        for form in forms(text):
            found |= runs_in(form, asked)
        before = text[-CARRY:]
    return found


def forms(text: str) -> Iterator[str]:
    """The text as it stands; where it has escapes or tags, without them too."""
    if UNSEEN.search(text):
        text = UNSEEN.sub("", text)
    yield text
    for coded in CODED.findall(text):
        yield from decoded(coded)
    for digits in DIGITS.findall(text):
        yield bytes.fromhex(digits).decode(errors="replace")
    if PERCENT.search(text):
        yield unquote_plus(text)
    if PRINTABLE.search(text):
        yield quopri.decodestring(text.encode(errors="replace")).decode(errors="replace")
    if TWICE.search(text):
        yield from (text.encode(coding, "ignore").decode(errors="ignore") for coding in ("latin-1", "cp1252"))
    slugs = [each.replace("-", " ") for each in text.split() if each.count("-") >= SLUG] if "-" in text else []
    if slugs:
        yield "\n\0\n".join(slugs)
    for _ in range(NESTED if "\\" in text else 0):
        text, before = ESCAPE.sub(unescaped, text), text
        if text == before:
            break
        yield text
    if "<" in text or "&" in text:
        yield html.unescape(TAG.sub("", text))
        yield html.unescape(TAG.sub(" ", text))


def decoded(coded: str) -> Iterator[str]:
    """What base64 stands for, of either alphabet: text, also packed."""
    plain = "".join(coded.split()).rstrip("=").translate({ord("-"): "+", ord("_"): "/"})
    with suppress(ValueError, UnreadError):
        content = base64.b64decode(plain + "=" * (-len(plain) % 4))
        yield content.decode(errors="replace")
        if content.startswith((*PACKED, b"x", b"PK")):
            yield from pieces(io.BytesIO(content), Reader(None, left=[1 << 28]), 1)


def unescaped(found: re.Match[str]) -> str:
    """What an escape of JSON, Python or C stands for."""
    if found[1] or found[2]:
        numbers = bytes.fromhex(found[1].replace("\\x", "")) if found[1] else octets(found[2])
        try:
            return numbers.decode()
        except UnicodeDecodeError:
            return numbers.decode("latin-1")
    digits = found[3] or found[4]
    if digits:
        return chr(int(digits, 16)) if int(digits, 16) <= sys.maxunicode else ""
    return BLANKS.get(found[5], found[5])


def octets(escapes: str) -> bytes:
    """The bytes that escapes of three octal digits stand for."""
    return bytes(int(digits, 8) for digits in escapes.split("\\")[1:])


def runs_in(text: str, asked: Wanted) -> set[str]:
    """The runs that one text has. Only stretches of words that occur in what is searched for are looked at closely."""
    least = min(asked.runs, default=0)
    found: set[str] = set()
    for keys in stretches(SPLIT.sub("", text), asked) if least else ():
        for length, own in asked.runs.items():
            if len(keys) >= max(length, least):
                ends = range(length, len(keys) + 1)
                found |= own.intersection([" ".join(keys[end - length : end]) for end in ends])
    return found


def stretches(text: str, asked: Wanted) -> Iterator[list[str]]:
    """The words of every stretch of a text whose words all occur in what is searched for."""
    known: dict[str, list[str]] = {}
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
