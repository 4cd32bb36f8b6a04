"""What a piece of text stands for in other spellings: escapes, markup, codes of bytes, signs that look like letters.

Each reading is given as text; which of them apply the text itself tells.
"""

from __future__ import annotations

import base64
import binascii
import html
import io
import quopri
import re
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any
from urllib.parse import unquote_plus

from lethe.erasure.reading import Reader, UnreadError, pieces

ESCAPE = re.compile(
    r"((?:\\x[0-9a-fA-F]{2})+)|((?:\\[0-3][0-7]{2})+)|"
    r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|[ux]\{([0-9a-fA-F]{1,6})\}|(.))",
    re.DOTALL,
)
TAG = re.compile(r"<[^<>]{0,2000}>")
UNSEEN = re.compile(  # characters without a width, and strokes through letters
    "[\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\u0305\u0332-\u0338\u034f\u115f\u1160\u180b-\u180e\u3164\ufe00-\ufe0f"
    "\uffa0\U000e0000-\U000e01ef]"
)
CODED = re.compile(  # base64, also in lines, indented or not
    r"(?:[A-Za-z0-9+/_-]{16,}+[ \t]*\r?\n[ \t]*){1,400}[A-Za-z0-9+/_-]*={0,2}|[A-Za-z0-9+/_-]{40,}={0,2}"
)
BASE32 = re.compile(r"(?:[A-Z2-7]{24,}+\s*){1,400}={0,6}")
ASCII85 = re.compile(r"[!-~]{60,}(?:\n[!-~]{30,})*")
UU = re.compile(r"^[!-M][ -`]{8,62}$", re.MULTILINE)
UTF7 = re.compile(r"\+[A-Za-z0-9+/]{3,}-?")
DIGITS = re.compile(r"(?:[0-9a-fA-F]{2}[\s:,;]?){24,}")  # bytes as hexadecimal digits, apart or not
DUMPED = re.compile(r"^[ \t]*(?:0x)?[0-9a-fA-F]{4,16}:?[ \t]{1,4}((?:[0-9a-fA-F]{2,8}[ \t]{1,2}){1,17})", re.MULTILINE)
NUMBERS = re.compile(r"(?:(?:0x[0-9a-fA-F]{1,6}|\d{1,6})[\s,;]{1,4}){24,}(?:0x[0-9a-fA-F]{1,6}|\d{1,6})?")
BITS = re.compile(r"(?:[01]{8}\s?){24,}")
PERCENT = re.compile(r"%[0-9a-fA-F]{2}")
PRINTABLE = re.compile(r"=(?:[0-9A-F]{2}|\r?\n)")  # quoted-printable, of mails
RICH = re.compile(r"\\'([0-9a-f]{2})")  # a byte in rich text
COMMAND = re.compile(r"\\[a-zA-Z]{1,20}(?:-?\d{1,10})? ?|[{}]")
ACCENT = re.compile(r"\\([\"'`^~])\{?([A-Za-z])\}?")  # TeX
ACCENTS = {'"': "\u0308", "'": "\u0301", "`": "\u0300", "^": "\u0302", "~": "\u0303"}
STYLE = re.compile("\x1b\\[[0-9;]{0,20}[A-Za-z]")  # colours of a terminal
STRUCK = re.compile(".\b", re.DOTALL)  # letters that were typed twice
SLUG = 6  # hyphens in what white space surrounds: words that hyphens separate, as in a file's name
HUMPS = re.compile(r"(?:[A-Z][a-z]*){7,}")
APART = re.compile(r"(?:\b\w[ \u00a0]){7}")  # letters with spaces between them
COUNTED = re.compile(r"^[ \t]*[#(\[]?\d[\d:.,>\-\t ()\]|]*", re.MULTILINE)  # numbers and times before lines
NAMED = re.compile(r'"(?:word|text|token|surface|form|w|t)"\s*:\s*"((?:[^"\\]|\\.){1,60})"')  # a word an object
MARKS = (("Ġ", "Ċ"), ("▁", "\n"))  # of tokens: how a space and a line feed are written
JOINS = re.compile(r"""["', \[\]]+""")
TWICE = re.compile("[ÃÂÐÑ][\u0080-\u00ff\u0152-\u2122]")  # UTF-8 that was read as another encoding and written again
BLANKS = {"n": "\n", "t": "\t", "r": "\r", "b": "", "f": "\f"}
ALIKE = str.maketrans(  # Cyrillic and Greek letters that look like Latin ones
    "авеѕіјкмонрсԛтухԝһԁӏАВЕЅІЈКМОНРСТУХαβενικορτυχωΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
    "abesijkmonpcqtyxwhdlABESIJKMOHPCTYXabevikoptuxwABEZHIKMNOPTYX",
)
MIXED = re.compile("[A-Za-z][\u0370-\u052f]|[\u0370-\u052f][A-Za-z]")
NESTED = 3  # one in another: JSON in JSON, base64 of base64
MORE = 10  # times the text's own length that all its readings may have


def forms(text: str) -> Iterator[str]:
    """The text as it stands, and in every other reading that it suggests, one in another too."""
    waiting, seen, left = [(UNSEEN.sub("", text), 0)], set[int](), MORE * max(len(text), 1 << 12)
    while waiting:
        form, depth = waiting.pop(0)
        yield form
        for other in readings(form) if depth < NESTED else ():
            if other and hash(other) not in seen and len(other) <= left:
                left -= len(other)
                seen.add(hash(other))
                waiting.append((other, depth + 1))


def readings(text: str) -> Iterator[str]:
    """What the text stands for in each of the spellings that it may be in."""
    yield from coded(text)
    yield from escaped(text)
    yield from set_apart(text)


def coded(text: str) -> Iterator[str]:
    """What stands for bytes: base64 and its like, digits, numbers."""
    for found in CODED.findall(text):
        plain = "".join(found.split()).rstrip("=").translate({ord("-"): "+", ord("_"): "/"})
        yield from contents(base64.b64decode, plain + "=" * (-len(plain) % 4))
    for found in BASE32.findall(text):
        plain = "".join(found.split()).rstrip("=")
        yield from contents(base64.b32decode, plain + "=" * (-len(plain) % 8))
    for found in ASCII85.findall(text):
        for decode in (base64.b85decode, base64.a85decode):
            yield from contents(decode, "".join(found.split()).removeprefix("<~").removesuffix("~>"))
    lines = UU.findall(text)
    yield from contents(uudecoded, lines) if len(lines) > 1 else ()
    if dumped := DUMPED.findall(text):
        yield from contents(bytes.fromhex, "".join("".join(row.split()) for row in dumped))
    for found in DIGITS.findall(text):
        yield from contents(bytes.fromhex, re.sub(r"[\s:,;]", "", found))
    for found in BITS.findall(text):
        yield from contents(bytes, [int(each, 2) for each in re.findall("[01]{8}", found)])
    for found in NUMBERS.finditer(text):
        numbers = [int(each, 0) for each in re.findall(r"0x[0-9a-fA-F]+|\b[1-9]\d*|\b0\b", found[0])]
        if max(numbers, default=0) < 256:
            yield from contents(bytes, numbers)
        yield "".join(chr(each) for each in numbers if each <= sys.maxunicode)


def contents(decode: Any, given: Any) -> Iterator[str]:
    """The bytes that something stands for, as text in every reading of a file."""
    with suppress(ValueError, UnreadError, OverflowError):
        content = decode(given)
        yield from pieces(io.BytesIO(content), Reader(None, left=[1 << 28]), 1) if content else ()


def uudecoded(lines: list[str]) -> bytes:
    """Lines of uuencode as bytes; one that is none is left out."""
    found = []
    for line in lines:
        with suppress(binascii.Error):
            found.append(binascii.a2b_uu(line))
    return b"".join(found)


def several(pattern: re.Pattern[str], text: str) -> bool:
    """Whether a pattern is there three times: one alone is seldom what it looks like, and every reading costs time."""
    return sum(1 for _ in islice(pattern.finditer(text), 3)) == 3


def escaped(text: str) -> Iterator[str]:
    """The text without escapes, entities and tags."""
    if several(PERCENT, text):
        yield unquote_plus(text)
    if several(PRINTABLE, text):
        yield quopri.decodestring(text.encode(errors="replace")).decode(errors="replace")
    if several(UTF7, text):
        yield UTF7.sub(lambda found: found[0].encode().decode("utf-7", "ignore"), text)
    if TWICE.search(text):
        yield from (text.encode(coding, "ignore").decode(errors="ignore") for coding in ("latin-1", "cp1252"))
    if "\\" in text:
        yield ESCAPE.sub(unescaped, text).encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # pairs
        if RICH.search(text):
            yield COMMAND.sub("", RICH.sub(lambda found: bytes.fromhex(found[1]).decode("cp1252", "replace"), text))
        if ACCENT.search(text):
            accented = ACCENT.sub(lambda found: found[2] + ACCENTS[found[1]], text.replace("\\ss{}", "ß"))
            yield unicodedata.normalize("NFC", accented)
    if "<" in text or "&" in text:
        yield html.unescape(TAG.sub("", text))
        yield html.unescape(TAG.sub(" ", text))
    if "\x1b" in text:
        yield STYLE.sub("", text)
    if "\b" in text:
        yield STRUCK.sub("", text)


def set_apart(text: str) -> Iterator[str]:
    """The words of a text that stand in another way than with spaces between them, or in other letters."""
    slugs = [
        each.replace("-", " ").replace("_", " ") for each in text.split() if each.count("-") + each.count("_") >= SLUG
    ]
    if slugs:
        yield "\n\0\n".join(slugs)
    if humps := HUMPS.findall(text):
        yield "\n\0\n".join(re.sub("(?<=[A-Za-z])(?=[A-Z])", " ", each) for each in humps)
    if APART.search(text):
        yield re.sub(r"(?<=\b\w)[ \u00a0](?=\w\b)", "", text)
    if len(COUNTED.findall(text)) >= SLUG:
        yield COUNTED.sub(" ", text)
    if len(words := NAMED.findall(text)) > SLUG:
        yield " ".join(words)
    for space, line in MARKS:
        if text.count(space) >= SLUG:
            yield JOINS.sub("", text).replace(space, " ").replace(line, "\n")
            yield text.replace(space, " ")
    if MIXED.search(text):
        yield text.translate(ALIKE)


def unescaped(found: re.Match[str]) -> str:
    """What an escape of JSON, Python or C stands for."""
    if found[1] or found[2]:
        numbers = bytes.fromhex(found[1].replace("\\x", "")) if found[1] else octets(found[2])
        try:
            return numbers.decode()
        except UnicodeDecodeError:
            return numbers.decode("latin-1")
    digits = found[3] or found[4] or found[5]
    if digits:
        return chr(int(digits, 16)) if int(digits, 16) <= sys.maxunicode else ""
    return BLANKS.get(found[6], found[6])


def octets(escapes: str) -> bytes:
    """The bytes that escapes of three octal digits stand for."""
    return bytes(int(digits, 8) for digits in escapes.split("\\")[1:])
