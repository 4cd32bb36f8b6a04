"""Plain text: read from files, cut into passages, sampled by hash, compared with other text."""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from lethe.core.errors import StageError
from lethe.text.conversations import ROWS, read_rows
from lethe.text.formats import NO_TEXT, READERS, decoded, missing, read_format
from lethe.text.matching import WORD
from lethe.text.spelling import ONE_BY_ONE

if TYPE_CHECKING:
    import numpy as np

SUFFIXES = (".txt", ".md", *ROWS, *(suffix for suffix in READERS if suffix not in ROWS))
KINDS = f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
WORDS = re.compile(rf"[{ONE_BY_ONE}]|[^\s{ONE_BY_ONE}]+")  # without spaces between words every character is one
RUN_WORDS = 8  # a shared run of eight words is hardly ever chance
PARTS = 16  # of the hashes, sorted one at a time
SENTENCE_END = re.compile(r"(?<!\bMr)(?<!\bDr)(?<!\bSt)(?<!\bMrs)[.!?…।؟۔]['\"’”»)\]_]*\s+|[。！？]['\"’”」』）]*\s*")
BREAKS = (re.compile(r"\n[ \t\r]*\n\s*"), SENTENCE_END, re.compile(r"\n"), re.compile(r"\s+"))  # the best kind first


def read_texts(path: Path) -> list[tuple[str, str]]:
    """(":row" or "", text) of each text in the file, as it is there; a Conversation where a row is one."""
    suffix = path.suffix.lower()
    if suffix in ROWS:
        found = read_rows(path)
    else:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise StageError(f"{path}: expected a file that can be read, got: {error.strerror}") from None
        found = texts_in(suffix, content, str(path))
    for line, text in found:
        if strange := NO_TEXT.search(text):
            raise StageError(f"{path}{line}: expected UTF-8 text, got U+{ord(strange[0]):04X}, which no text contains")
    return found


def texts_in(suffix: str, content: bytes, where: str) -> list[tuple[str, str]]:
    """The same of a file's bytes, JSON lines apart."""
    if suffix not in READERS:
        return [("", decoded(content, where))]
    if problem := missing(suffix):
        raise StageError(f"{where}: {problem}")
    return read_format(suffix, content, where)


def passages(text: str, passage_chars: int) -> list[tuple[int, int]]:
    """Spans of at most `passage_chars` that tile the text: whole paragraphs where they fit.

    A longer paragraph is cut at the end of a sentence, else of a line, else between two words.
    """
    spans = []
    start = 0
    while len(text) - start > passage_chars:
        end = _last_break(text, start, start + passage_chars)
        spans.append((start, end))
        start = end
    return [*spans, (start, len(text))] if start < len(text) else spans


def sentence_starts(text: str) -> set[int]:
    """Where sentences begin: at the start, after a sentence's end and after a blank line."""
    ends = [match.end() for kind in BREAKS[:2] for match in kind.finditer(text)]
    return {len(text) - len(text.lstrip()), *ends}


def stripped(text: str, start: int, end: int) -> tuple[int, int]:
    """The span without the white space at its two ends."""
    inner = text[start:end]
    return start + len(inner) - len(inner.lstrip()), end - len(inner) + len(inner.rstrip())


def text_key(text: str) -> str:
    """A hash that is equal for texts that differ in white space only."""
    return hashlib.sha256(" ".join(text.split()).encode()).hexdigest()


def draw(text: str, seed: int) -> str:
    """A pseudo-random key of a text, independent of all other texts."""
    return hashlib.sha256(f"{seed} {text_key(text)}".encode()).hexdigest()


def shared_runs(texts: Iterable[str]) -> list[float]:
    """For each text, the share of its runs of eight words (case and punctuation aside) that another text has too.

    A text of fewer than eight words has no runs and shares nothing. Time is linear in the words except for sorting the
    64-bit hashes of their runs; a word takes 12 bytes of memory, and some more while PARTS parts are sorted.
    """
    import numpy as np

    runs, counts = _run_hashes(texts)
    owners = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    shared = np.zeros(len(counts), np.int64)
    for part in range(PARTS):
        own = runs % PARTS == part  # equal hashes lie in one part
        shared += _shared_by_owner(runs[own], owners[own], len(counts))
    return [float(share) for share in shared / np.maximum(counts, 1)]


def _shared_by_owner(hashes: np.ndarray, owners: np.ndarray, texts: int) -> np.ndarray:
    """How many of each text's hashes occur in another text. hashes: uint64 [runs]; owners: ascending."""
    import numpy as np

    order = np.argsort(hashes, kind="stable")
    hashes, owners = hashes[order], owners[order]
    # equal hashes are now adjacent and, as the sort is stable, in the order of their owners
    first = np.flatnonzero(np.concatenate([[True][: len(hashes)], hashes[1:] != hashes[:-1]]))
    ends = np.append(first, len(hashes))[1:]
    elsewhere = np.repeat(owners[first] != owners[ends - 1], ends - first)
    return np.bincount(owners[elsewhere], minlength=texts)


def _run_hashes(texts: Iterable[str]) -> tuple[np.ndarray, list[int]]:
    """uint64 [runs]: one hash per run of eight words, text by text; and how many each text has."""
    import numpy as np

    numbers: dict[str, int] = {}
    runs, counts = array("Q"), []
    for text in texts:
        words = [numbers.setdefault(word, len(numbers) + 1) for word in WORD.findall(text.lower())]
        mixed = _mix(np.array(words, dtype=np.uint64))
        count = max(0, len(mixed) - RUN_WORDS + 1)
        hashes = np.zeros(count, dtype=np.uint64)
        for position in range(RUN_WORDS):
            hashes = _mix(hashes + mixed[position : position + count])
        runs.frombytes(hashes.tobytes())
        counts.append(count)
    return np.frombuffer(runs, np.uint64), counts


def _mix(values: np.ndarray) -> np.ndarray:
    """splitmix64: spreads uint64 values over all 64 bits, so that sums of them hardly ever collide."""
    import numpy as np

    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _last_break(text: str, start: int, limit: int) -> int:
    """Where the best kind of break that text[start:limit] holds ends for the last time; the limit if it holds none."""
    for kind in BREAKS:
        ends = [match.end() for match in kind.finditer(text, start, limit)]
        if ends:
            return ends[-1]
    return limit
