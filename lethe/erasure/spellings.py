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
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import groupby, islice
from operator import itemgetter
from typing import Any
from urllib.parse import unquote_plus

from lethe.erasure.reading import NUMBERS, Reader, UnreadError, has_numbers, pieces

ESCAPE = re.compile(
    r"((?:\\x[0-9a-fA-F]{2})+)|((?:\\[0-3][0-7]{2})+)|"
    r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|[ux]\{([0-9a-fA-F]{1,6})\}|(.))",
    re.DOTALL,
)
TAG = re.compile(r"<[^<>]{0,2000}>")
TOUCHED = re.compile(r"\w<[^<>]{0,2000}>(?:<[^<>]{0,2000}>){0,8}\w")  # words, or one, on both sides of tags
RUBY = re.compile(r"<r[tp]\b[^<>]{0,200}>[^<>]{0,200}</r[tp]>")
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
DUMPED = re.compile(
    r"^[ \t]*(?:0x)?[0-9a-fA-F]{4,16}:?[ \t]{1,4}((?:[0-9a-fA-F]{2,8}(?:[ \t]{1,2}|$)){1,17})", re.MULTILINE
)
OCTAL = re.compile(r"^[0-7]{7}((?:[ \t]+[0-7]{3}(?:[0-7]{3})?)+)$", re.MULTILINE)  # of od
CELLS = re.compile(r"^[0-7]{7}((?: [ 0-7][ 0-7\\][^\n]){1,16})$", re.MULTILINE)  # of od -c
LITERAL = re.compile(  # between two pieces of a code that is cut into literals, comments or quoted lines
    r"""(?<=[A-Za-z0-9+/=_-]{16})["'\\\s;,][-"',+\\\s#>*/;%]{0,60}?(?:b?["'])?(?=[A-Za-z0-9+/=_-]{4})"""
)
BITS = re.compile(r"(?:[01]{8}\s?){24,}")
PERCENT = re.compile(r"%[0-9a-fA-F]{2}")
PRINTABLE = re.compile(r"=(?:[0-9A-F]{2}|\r?\n)")  # quoted-printable, of mails
RICH = re.compile(r"\\'([0-9a-f]{2})")  # a byte in rich text
COMMAND = re.compile(r"\\[a-zA-Z]{1,20}(?:-?\d{1,10})? ?|[{}]")
ACCENT = re.compile(r"\\([\"'`^~])\{?([A-Za-z])\}?")  # TeX
ACCENTS = {'"': "\u0308", "'": "\u0301", "`": "\u0300", "^": "\u0302", "~": "\u0303"}
STYLE = re.compile(  # colours and links of a terminal
    "\x1b\\[[0-9;]{0,20}[A-Za-z]|\x1b\\][^\x07\x1b\\n]{0,500}(?:\x07|\x1b\\\\)"
)
STRUCK = re.compile(".\b", re.DOTALL)  # letters that were typed twice
SLUG = 6  # hyphens in what white space surrounds: words that hyphens separate, as in a file's name
HUMPS = re.compile(r"(?:[A-Z][a-z]*){7,}")
APART = re.compile(r"(?:\b\w[ \u00a0]){7}")  # letters with spaces between them
COUNTED = re.compile(r"^[ \t]*[#(\[]?\d[\d:.,>\-\t ()\]|]*", re.MULTILINE)  # numbers and times before lines
KEYED = re.compile(r'[:=]\s{0,4}"((?:[^"\\\n]|\\.){1,120})"')  # JSON, attributes: a word an object
LINED = re.compile(r"^[ \t]*-?[ \t]*(\w{1,20}):[ \t]+([^\n\"'{\[]{1,120})$", re.MULTILINE)  # the same of YAML
TAGGED = re.compile(r"(?<=[\w'.,!?\"])[/_|](?:[A-Z]{1,5}\$?|[.,:'`]{1,2})(?=\s|$)")  # a part of speech behind a word
SHOWN = re.compile(r"\(((?:[^()\\\n]|\\.){1,80})\)")  # words of PostScript
SET = re.compile(r"\\[a-zA-Z]{1,20}\*?\{")  # TeX
BRACKETED = re.compile(  # links of wikis and Markdown, of which the words are kept; marks of forums
    r"\[\[(?:[^\[\]|\n]{0,200}\|)?([^\[\]|\n]{1,200})\]\]|\[([^\[\]\n]{1,200})\]\([^()\s]{0,500}\)|"
    r"\[/?[a-zA-Z*]{1,10}(?:=[^\[\]\n]{0,200})?\]"
)
LETTER = re.compile(r"[^\W\d_]")
GAP = re.compile(r" {3,}")
MARKED = re.compile("[\u0300-\u036f]")
DRAWN = re.compile(
    "[\u2460-\u24ff\U0001f110-\U0001f189\u1d00-\u1d2b\ua730\ua731]"
)  # letters in circles, small capitals
SMALL = str.maketrans("ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘǫʀꜱᴛᴜᴠᴡʏᴢ", "abcdefghijklmnopqrstuvwyz")
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
LONG = 200  # characters of a line: a whole passage stands in one
ROWS = 8  # lines of one form
NEAR = 120  # characters, about twenty words
KEYS = ('="', '= "', ':"', ': "')


def kinds(pattern: str) -> bytes:
    """A table for `bytes.translate`: a for the characters of a class, a space for any other."""
    return bytes(97 if re.fullmatch(pattern, chr(number)) else 32 for number in range(256))


OF_64, OF_32, VISIBLE = kinds("[A-Za-z0-9+/_-]"), kinds("[A-Z2-7]"), kinds("[!-~]")
LETTERS = bytes(97 if chr(each).isalnum() or each == 63 else 32 if each in b" \xa0" else 46 for each in range(256))


Reading = Callable[[str], Iterator[str]]


def forms(text: str) -> Iterator[str]:
    """The text as it stands, and in every other reading that it suggests, one in another too."""
    every = (coded, escaped, set_apart, laid_out)
    after: dict[Reading, tuple[Reading, ...]] = {
        coded: every,
        escaped: (coded, escaped, set_apart),
        set_apart: (escaped,),
        laid_out: (escaped,),
    }
    waiting: list[tuple[str, int, tuple[Reading, ...]]] = [(UNSEEN.sub("", text), 0, every)]
    seen, left = set[int](), MORE * max(len(text), 1 << 12)
    while waiting:
        form, depth, readings = waiting.pop(0)
        yield form
        for reading in readings if depth < NESTED else ():
            for found in reading(form):
                other = found if found.isascii() else UNSEEN.sub("", found)
                if other and hash(other) not in seen and len(other) <= left:
                    left -= len(other)
                    seen.add(hash(other))
                    waiting.append((other, depth + 1, after[reading]))


def coded(text: str) -> Iterator[str]:
    """What stands for bytes: base64 and its like, digits, numbers."""
    octets = text.encode("latin-1", "replace")  # a look at the kinds of characters is far quicker than the patterns
    for found in CODED.findall(text) if b"a" * 16 in octets.translate(OF_64) else ():
        plain = "".join(found.split()).rstrip("=").translate({ord("-"): "+", ord("_"): "/"})
        yield from contents(base64.b64decode, plain + "=" * (-len(plain) % 4))
    if b"a" * 16 in octets.translate(OF_64):
        yield from (LITERAL.sub("", each) for each in near(LITERAL, text))
    for found in BASE32.findall(text) if b"a" * 24 in octets.translate(OF_32) else ():
        plain = "".join(found.split()).rstrip("=")
        yield from contents(base64.b32decode, plain + "=" * (-len(plain) % 8))
    for found in ASCII85.findall(text) if b"a" * 60 in octets.translate(VISIBLE) else ():
        for decode in (base64.b85decode, base64.a85decode):
            yield from contents(decode, "".join(found.split()).removeprefix("<~").removesuffix("~>"))
    lines = UU.findall(text)
    yield from contents(uudecoded, lines) if len(lines) > 1 else ()
    if has_numbers(text):
        yield from dumped(text)
        for found in DIGITS.findall(text):
            yield from contents(bytes.fromhex, re.sub(r"[\s:,;]", "", found))
        for found in BITS.findall(text):
            yield from contents(bytes, [int(each, 2) for each in re.findall("[01]{8}", found)])
        for match in NUMBERS.finditer(text):
            numbers = [int(each, 0) for each in re.findall(r"0x[0-9a-fA-F]+|\b[1-9]\d*|\b0\b", match[0])]
            if max(numbers, default=0) < 256:
                yield from contents(bytes, numbers)
            if numbers.count(32) * 12 > len(numbers):  # spaces
                yield "".join(chr(each) for each in numbers if each <= sys.maxunicode)


def dumped(text: str) -> Iterator[str]:
    """The bytes of a dump: by hexadecimal digits, also of words with the last byte first, or by octal ones."""
    if rows := [row.split() for row in DUMPED.findall(text)]:
        words = [word for row in rows for word in row if len(word) % 2 == 0]
        yield from contents(bytes.fromhex, "".join(words))
        if sum(len(word) in (4, 8) for word in words) > 0.5 * len(words):
            yield from contents(b"".join, [bytes.fromhex(word)[::-1] for word in words])
    if octal := [word for row in OCTAL.findall(text) for word in row.split()]:
        yield from contents(b"".join, [(int(word, 8) & 0xFFFF).to_bytes(len(word) // 3, "little") for word in octal])


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


def near(pattern: re.Pattern[str], text: str) -> Iterator[str]:
    """The stretches of a text in which a pattern is there again and again: elsewhere it changes little."""
    start = end = count = 0
    for found in pattern.finditer(text):
        if count and found.start() - end > NEAR:
            yield from [text[max(0, start - NEAR) : end + NEAR]] if count > 2 else ()
            count = 0
        start = found.start() if not count else start
        end, count = found.end(), count + 1
    yield from [text[max(0, start - NEAR) : end + NEAR]] if count > 2 else ()


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
        bare = RUBY.sub("", text) if "<r" in text else text
        yield html.unescape(TAG.sub(" ", bare))
        if TOUCHED.search(bare):
            yield html.unescape(TAG.sub("", bare))
    if "\x1b" in text:
        yield STYLE.sub("", text)
    if "\b" in text:
        yield STRUCK.sub("", text)


def set_apart(text: str) -> Iterator[str]:
    """The words of a text that stand in another way than with spaces between them, or in other letters."""
    slugs = [
        each.replace("-", " ").replace("_", " ")
        for each in text.split()
        if len(each) > 2 * SLUG and each.count("-") + each.count("_") >= SLUG
    ]
    if slugs:
        yield "\n\0\n".join(slugs)
    if humps := HUMPS.findall(text):
        yield "\n\0\n".join(re.sub("(?<=[A-Za-z])(?=[A-Z])", " ", each) for each in humps)
    if b" a a a a a a" in text.encode("latin-1", "replace").translate(LETTERS) and APART.search(text):
        yield re.sub(r"(?<=\b\w)[ \u00a0](?=\w\b)", "", text)
    if len(COUNTED.findall(text)) >= SLUG:
        yield COUNTED.sub(" ", text)
    for space, line in MARKS:
        if text.count(space) >= SLUG:
            yield JOINS.sub("", text).replace(space, " ").replace(line, "\n")
            yield text.replace(space, " ")
    if text.count("##") >= SLUG or text.count("@@ ") >= SLUG:  # pieces of words
        yield re.sub(r"""["', \[\]]{0,8}##""", "", text).replace("@@ ", "")
    if text.isascii():
        return
    if MIXED.search(text):
        yield text.translate(ALIKE)
    if several(MARKED, decomposed := unicodedata.normalize("NFD", text)):
        yield MARKED.sub("", decomposed)
    if several(DRAWN, text):
        yield unicodedata.normalize("NFKC", text).translate(SMALL)


def laid_out(text: str) -> Iterator[str]:
    """The words of a text that other words stand among: in columns, behind keys, within marks, in lines of one form."""
    lines = [line for line in text.split("\n") if line.strip()] if text.count("\n") >= ROWS else []
    yield from columns(text, lines)
    yield from stripped(lines)
    signs = [line[1:] for line in lines if line.startswith("-")], [line[1:] for line in lines if line.startswith("+")]
    if min(map(len, signs)) >= SLUG:  # of a diff
        yield "\n\0\n".join(map("\n".join, signs))
    if cells := CELLS.findall(text):
        yield "".join(cell(row[place : place + 4]) for row in cells for place in range(0, len(row), 4))
    found: dict[str, list[str]] = {}
    for match in KEYED.finditer(text) if sum(map(text.count, KEYS)) > SLUG else ():
        key = text[max(0, match.start() - 26) : match.start()].replace('"', " ").rsplit(None, 1)[-1:]
        found.setdefault(key[0] if key else "", []).append(match[1])
    for word, value in LINED.findall(text):
        found.setdefault(word, []).append(value)
    if named := [own for own in found.values() if len(own) > SLUG]:
        yield "\n\0\n".join(("" if " " in {each[0] for each in own} else " ").join(own) for own in named)
    yield from (TAGGED.sub("", each) for each in near(TAGGED, text))
    if text.count("(") > SLUG and len(shown := SHOWN.findall(text)) > SLUG:
        yield " ".join(shown)
    if "\\" in text:
        yield from (COMMAND.sub("", each) for each in near(SET, text))
    if "[" in text:
        yield from (BRACKETED.sub(lambda found: found[1] or found[2] or "", each) for each in near(BRACKETED, text))


def columns(text: str, lines: list[str]) -> Iterator[str]:
    """The columns of what stands in rows: of a table in text, or of a page."""
    for mark in ("\t", ",", "|", ";", "   "):
        if text.count(mark) < ROWS or len(lines) < ROWS:
            continue
        counted = [(len(GAP.findall(line.strip())) if mark == "   " else line.count(mark), line) for line in lines]
        for count, group in groupby(counted, key=itemgetter(0)):
            own = [line for _, line in group] if 0 < count < 64 else []
            rows = [GAP.split(line.strip()) if mark == "   " else line.split(mark) for line in own if len(own) >= ROWS]
            read = [" ".join(column) for column in zip(*rows, strict=True)]
            if read := [each for each in read if LETTER.search(each)]:
                yield "\n\0\n".join(read)


def stripped(lines: list[str]) -> Iterator[str]:
    """Lines in a row without what all of them begin and end with, as those of a log; numbers aside."""
    group: list[str] = []
    ends = ["", ""]
    for line, masked in zip((*lines, ""), (*re.sub(r"\d", "0", "\n".join(lines)).split("\n"), ""), strict=False):
        both = [masked, masked[::-1]]
        alike = group and any(ours[:2] == theirs[:2] for ours, theirs in zip(ends, both, strict=True))
        kept = list(map(shared, ends, both)) if alike else ends
        if alike and any(len(each.strip()) > 1 for each in kept):
            group.append(line)
            ends = kept
            continue
        if len(group) >= ROWS and sum(map(len, group)) < LONG * len(group):
            start, end = (len(re.sub(r"\w+$", "", each)) for each in ends)
            yield "\n".join(each[start : len(each) - end] for each in group)
        group, ends = [line], both


def shared(one: str, other: str) -> str:
    """What two texts begin with."""
    return one[: next((n for n, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), len(other))]


def cell(four: str) -> str:
    """A character of od -c."""
    sign = four[1:].strip() or " "
    return BLANKS.get(sign[1:], sign[1:]) if sign.startswith("\\") else chr(int(sign, 8)) if len(sign) == 3 else sign


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
