"""More attacks of docs/security.md: how a passage can be set, what archives hide, records that are read in two ways."""

from __future__ import annotations

import base64
import bz2
import gzip
import html
import io
import json
import lzma
import pickle
import re
import struct
import subprocess
import tarfile
import textwrap
import zipfile
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lethe.erasure import passages, reading
from tests.conftest import TINY_TEXT
from tests.custody.test_hostile_files import found
from tests.custody.test_hostile_text import lines

WORDS = TINY_TEXT.split()
BARE = re.findall(r"[\w']+", TINY_TEXT)
CALLED = textwrap.wrap(TINY_TEXT.replace('"', ""), 28)
ROWS = textwrap.wrap(TINY_TEXT, 28)
OTHER = textwrap.wrap("lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor " * 4, 28)
AMID = bytes(range(256)) * 40
DIGITS = TINY_TEXT.encode().hex()
CODE = base64.b64encode(TINY_TEXT.encode()).decode()


def od(how: str) -> bytes:
    return subprocess.run(["od", how], input=TINY_TEXT.encode(), capture_output=True, check=True).stdout


def swapped(size: int) -> str:
    octets = TINY_TEXT.encode() + b"\0" * (-len(TINY_TEXT.encode()) % size)
    digits = [octets[place : place + size][::-1].hex() for place in range(0, len(octets), size)]
    step = 16 // size
    return "\n".join(
        f"{16 * row // step:07x} {' '.join(digits[row : row + step])}" for row in range(0, len(digits), step)
    )


def rows(form: str, own: list[str] = WORDS) -> str:
    return "\n".join(form.format(word, n, html.escape(word)) for n, word in enumerate(own))


SET: dict[str, str] = {
    "words with their kinds": " ".join(f"{word}/NN" for word in WORDS),
    "CoNLL": rows("{1}\t{0}\tx\tPROPN\tNN"),
    "a column of a table": rows("{1},{0},PROPN,0", BARE),
    "two columns of a page": "\n".join(f"{ours:<34}{theirs}" for ours, theirs in zip(ROWS, OTHER, strict=False)),
    "attributes of XML": rows('<String CONTENT="{2}" HPOS="{1}" WC="0.9"/><SP WIDTH="3"/>'),
    "objects of a transcript": json.dumps([{"alternatives": [{"score": "0.9", "content": word}]} for word in WORDS]),
    "YAML": rows("- surface: {0}\n  pos: NN", BARE),
    "an event a word": "\n\n".join(f"data: {json.dumps({'delta': {'content': ' ' + word}})}" for word in WORDS),
    "pieces of words": json.dumps(re.sub(r"\b(\w{3})(?=\w)", r"\1 ##", " ".join(BARE)).split(" ")),
    "pieces with @@": " ".join(word if len(word) < 4 else f"{word[:3]}@@ {word[3:]}" for word in BARE),
    "entities without a width": re.sub(r"(?<=\w)(?=\w)", "&zwnj;", TINY_TEXT),
    "escapes without a width": json.dumps(re.sub(r"(?<=\w)(?=\w)", "\u200b", TINY_TEXT)),
    "marks above and below": "".join(f"{each}\u030a\u0316" if each.isalpha() else each for each in TINY_TEXT),
    "letters in circles": "".join(chr(0x2475 + ord(each.upper())) if each.isalpha() else each for each in TINY_TEXT),
    "small capitals": TINY_TEXT.lower().translate(str.maketrans("aeiot", "ᴀᴇɪᴏᴛ")),
    "hexdump": swapped(2),
    "xxd -e": swapped(4).replace(" ", ": ", 1),
    "literals of base64": "\n".join(f'    "{CODE[n : n + 50]}" +' for n in range(0, len(CODE), 50)),
    "comments of base64": lines(CODE, 76, "# ").decode(),
    "quoted base64": lines(CODE, 50, "> ").decode(),
    "a list of base64": json.dumps([CODE[n : n + 30] for n in range(0, len(CODE), 30)]),
    "literals of digits": "\n".join(f'"{DIGITS[n : n + 50]}"' for n in range(0, len(DIGITS), 50)),
    "PostScript": rows("({0}) show", BARE),
    "TeX": " ".join(f"\\emph{{{word}}}" for word in WORDS),
    "links of a terminal": " ".join(f"\x1b]8;;http://x/\x07{word}\x1b]8;;\x07" for word in WORDS),
    "marks of a forum": " ".join(f"[b]{word}[/b]" for word in WORDS),
    "links of a wiki": " ".join(f"[[{word}|{word}]]" for word in WORDS),
    "links of Markdown": " ".join(f"[{word}](http://x.y/a-b)" for word in WORDS),
    "a diff, line by line": "\n".join(f"-{ours}\n+{theirs}" for ours, theirs in zip(ROWS, OTHER, strict=False)),
    "lines of a log": "\n".join(f"2026-01-01 10:00:{n:02d} INFO app.worker: {row}" for n, row in enumerate(ROWS)),
    "calls with a line each": "\n".join(f'printf("{row}\\n");' for row in CALLED),
    "readings above words": " ".join(f"<ruby>{word}<rt>above</rt></ruby>" for word in WORDS),
    "a notebook": json.dumps({"cells": [{"source": [f"{row}\n" for row in ROWS]}]}, indent=1),
    "a hunk that takes it out": "@@ -1,4 +0,0 @@\n" + "\n".join(f"-{row}" for row in ROWS),
}  # fmt: skip


@pytest.mark.parametrize("how", [*SET, "-c", "-o", "-tx1", "-to1"])
def test_a_passage_is_found_however_it_is_laid_out(how: str) -> None:
    assert found(SET[how].encode() if how in SET else od(how), TINY_TEXT) > 0.8


def zipped(*members: tuple[str, bytes], remark: bytes = b"") -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, held in members:
            archive.writestr(name, held)
        archive.comment = remark
    return content.getvalue()


def left_out() -> bytes:
    """A zip archive whose own list leaves out its first file."""
    whole = zipped(("a.txt", TINY_TEXT.encode()), ("b.txt", b"x"))
    start, end = whole.index(b"PK\1\2"), whole.index(b"PK\5\6")
    kept = whole[start + 46 + len("a.txt") : end]
    return whole[:start] + kept + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, len(kept), start, 0)


def tarred(name: str, content: bytes, remark: str = "") -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", pax_headers={"comment": remark} if remark else {}) as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return made.getvalue()


def table(**columns: object) -> bytes:
    content = io.BytesIO()
    pq.write_table(pa.table(columns), content)
    return content.getvalue()


def named_gzip() -> bytes:
    content = io.BytesIO()
    with gzip.GzipFile(TINY_TEXT.replace("\n", " "), "wb", fileobj=content) as stream:
        stream.write(b"x")
    return content.getvalue()


def streamed() -> bytes:
    content = io.BytesIO()
    batch = pa.record_batch({"text": [TINY_TEXT]})
    with pa.ipc.new_stream(content, batch.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as stream:
        stream.write_batch(batch)
    return content.getvalue()


def array(values: object) -> bytes:
    content = io.BytesIO()
    np.save(content, np.array(values))
    return content.getvalue()


TEXT = TINY_TEXT.encode()
HIDDEN: dict[str, Callable[[], bytes]] = {
    "UTF-16 amid other data": lambda: AMID + TINY_TEXT.encode("utf-16-le") + AMID,
    "UTF-16 at an odd place, big-endian": lambda: AMID + b"\7" + TINY_TEXT.encode("utf-16-be") + AMID,
    "UTF-32 amid other data": lambda: AMID + TINY_TEXT.encode("utf-32-le") + AMID,
    "a file that a zip's list leaves out": left_out,
    "the remark of a zip": lambda: zipped(("a", b"x"), remark=TEXT),
    "behind a zip": lambda: zipped(("a", b"x")) + TEXT,
    "behind a damaged file of a zip": lambda: zipped(("a", b"one"), ("b", gzip.compress(TEXT))).replace(b"one", b"two"),
    "the name that gzip keeps": named_gzip,
    "behind gzip": lambda: gzip.compress(b"x") + TEXT,
    "behind xz": lambda: lzma.compress(b"x") + TEXT,
    "behind bzip2": lambda: bz2.compress(b"x") + TEXT,
    "two streams of xz": lambda: lzma.compress(b"x") + lzma.compress(TEXT),
    "a second tar": lambda: tarred("a", b"x") + tarred("b", gzip.compress(TEXT)),
    "the remark of a tar": lambda: tarred("a", b"x", TINY_TEXT),
    "behind a tar": lambda: tarred("a", b"x") + TEXT,
    "xz amid other data": lambda: b"!<arch>\n" + lzma.compress(TEXT) + b"\n",
    "bzip2 amid other data": lambda: b"!<arch>\n" + bz2.compress(TEXT) + b"\n",
    "the name of a column": lambda: table(**{TINY_TEXT: [1.0]}),
    "gzip in a table": lambda: table(a=[gzip.compress(TEXT)]),
    "UTF-16 in a table": lambda: table(a=[TINY_TEXT.encode("utf-16-le")]),
    "behind a table": lambda: table(a=[1.0]) + TEXT,
    "a stream of Arrow, packed": streamed,
    "an array of letters": lambda: array([TINY_TEXT]),
    "an array of words": lambda: array([word.encode() for word in WORDS]),
    "pickled words": lambda: pickle.dumps(WORDS),
    "a notebook in a zip in a zip": lambda: zipped(("a", zipped(("b", SET["a notebook"].encode())))),
}  # fmt: skip


@pytest.mark.parametrize("how", HIDDEN)
def test_a_passage_is_found_wherever_a_file_hides_it(how: str) -> None:
    asked, why = passages.wanted([TINY_TEXT]), ""
    got: set[str] = set()
    stream = reading.pieces(io.BytesIO(HIDDEN[how]()), reading.Reader(None))
    try:
        for piece in stream:
            got |= passages.passages_in([piece], asked)
    except reading.UnreadError as error:
        why = str(error)
    assert passages.share(got, asked) > (0.4 if how == "an array of words" else 0.8)  # where words fill their places
    assert bool(why) == (how in ("behind a damaged file of a zip", "behind a table"))  # and what is broken is told


@pytest.mark.parametrize(
    "start", [b"ORC", b"Obj\1", b"PARE", b"12345678DUCK", bytes(60) + b"BOOKMOBI", b"\xff\6\0\0sNaPpY"]
)
def test_what_is_packed_in_a_way_that_is_not_known_is_told(start: bytes) -> None:
    with pytest.raises(reading.UnreadError, match="packed in a way that is not unpacked here"):
        list(reading.pieces(io.BytesIO(start + AMID), reading.Reader(None)))


@pytest.mark.parametrize("kind", ["<u2", "<u4", "<i8", "JSON"])
def test_token_ids_in_any_file(kind: str) -> None:
    known = [*dict.fromkeys(WORDS), *(f"other{n}" for n in range(900))]
    ids = [known.index(word) for word in WORDS] * 2
    reader = reading.Reader(lambda own: " ".join(known[each] for each in own), vocabulary=len(known))
    content = json.dumps({"ids": ids}).encode() if kind == "JSON" else array(np.array(ids, kind))
    asked = passages.wanted([TINY_TEXT])
    assert passages.share(passages.passages_in(reading.pieces(io.BytesIO(content), reader), asked), asked) == 1.0
    weights = np.random.default_rng(0).normal(size=1 << 12).astype(np.float32).tobytes()
    assert not any(reading.ids_amid(weights, reader))


def test_what_is_no_table_and_no_markup_suggests_no_readings() -> None:
    numbers = "\n".join(",".join(str((7919 * row + each) % 1000) for each in range(20)) for row in range(2_000))
    markup = " ".join(f'<a href="/x/{n}" class="c">word</a> and&nbsp;more<br/>\n' for n in range(4_000))
    assert sum(map(len, passages.forms(numbers))) < 2 * len(numbers)
    assert sum(map(len, passages.forms(markup))) < 4 * len(markup)
