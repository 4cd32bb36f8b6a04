"""The documents of a corpus: read from files, deduplicated, and split into training and held-out text."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lethe.core.conversation import Conversation
from lethe.core.errors import StageError
from lethe.text.conversations import is_data
from lethe.text.normal import Edit, in_source, normal, within
from lethe.text.passages import SUFFIXES, draw, passages, read_texts, stripped, text_key

LONGEST = 1 << 22  # characters of a document: the most that a stage reading one at a time holds


HIDDEN, EMPTY, SUFFIX = "hidden", "without text", "of another kind"  # why something is left out


class Source(NamedTuple):
    """One text file, or one line, row, page or chapter of a file; its text may be a Conversation."""

    side: str
    file: str
    text: str  # in NFC, every line end \n
    edits: Sequence[Edit] = ()  # where it is not its file's


class Passage(NamedTuple):
    """A span of a source's text."""

    source: Source
    number: int  # within its source, to recognise neighbours
    start: int
    end: int

    @property
    def text(self) -> str:
        return self.source.text[self.start : self.end]

    @property
    def own(self) -> str:
        """The text without the system messages of a conversation, which many conversations share."""
        text = self.source.text
        if not isinstance(text, Conversation):
            return self.text
        return "\n\n".join(text[turn.start : turn.end] for turn in text.turns if turn.role != "system")


def read_side(folder: Path, side: str) -> tuple[list[Source], Counter[str]]:
    """Every text below the folder that is more than white space, sorted by name, and what is left out: reason -> count.

    Raises StageError naming the folder, file or line that cannot be read.
    """
    if not folder.is_dir():
        allowed = "; it may be empty" if side == "retain" else ""
        raise StageError(f"{folder}: no such folder; expected the {side} text in it{allowed}")
    found = sorted(folder.rglob("*"))
    check_names(folder, found)
    files = [path for path in found if path.is_file()]
    names = {path: path.relative_to(folder).as_posix() for path in files}
    shown = [path for path in files if not any(part.startswith(".") for part in names[path].split("/"))]
    texts = [path for path in shown if path.suffix.lower() in SUFFIXES and is_data(path)]
    known = set(texts)
    read = ((names[path] + line, text) for path in texts for line, text in read_texts(path))
    sources = [Source(side, name, *in_one_form(text)) for name, text in read]
    kept = [source for source in sources if source.text.strip()]
    others = Counter(f"{SUFFIX} ({path.suffix or path.name})" for path in shown if path not in known)
    return kept, others + Counter({HIDDEN: len(files) - len(shown), EMPTY: len(sources) - len(kept)})


def in_one_form(text: str) -> tuple[str, Sequence[Edit]]:
    """The text as `normal` gives it; a conversation's words have that form already."""
    return (text, ()) if isinstance(text, Conversation) else normal(text)


def left_out(counts: Mapping[str, int]) -> str:
    """`left out: 2 of another kind (.png), 1 hidden`, or that nothing is."""
    told = [f"{counts[reason]} {reason}" for reason in sorted(counts) if counts[reason]]
    return f"left out: {', '.join(told) or 'nothing'}"


def check_names(folder: Path, found: Sequence[Path]) -> None:
    """Raise StageError for a link to a folder or to nothing, which would be left out, and a name not in UTF-8."""
    for path in found:
        shown = str(path.relative_to(folder)).encode("utf-8", "backslashreplace").decode()
        if not path.is_symlink() and not path.is_file() and not path.is_dir():
            raise StageError(f"{folder}/{shown}: expected a file or folder, got a device or pipe; take it out")
        if path.is_symlink() and not path.is_file():
            what = "a folder" if path.is_dir() else "nothing"
            raise StageError(
                f"{folder}/{shown}: expected files and folders, got a link to {what}; put a copy in its place"
            )
        if path.is_dir() and not os.access(path, os.R_OK | os.X_OK):
            raise StageError(f"{folder}/{shown}: expected a folder that can be read, got one without the permission")
        if any("\udc80" <= sign <= "\udcff" for sign in path.name):
            raise StageError(f"{folder}/{shown}: expected a file name in UTF-8, got another encoding; rename it")


def cut(source: Source, passage_chars: int) -> list[Passage]:
    """The passages of a source that are more than white space. A conversation is one passage, however long."""
    if isinstance(source.text, Conversation):
        return [Passage(source, 0, 0, len(source.text))]
    spans = enumerate(passages(source.text, passage_chars))
    cuts = [Passage(source, number, *stripped(source.text, *span)) for number, span in spans]
    return [passage for passage in cuts if passage.start < passage.end]


def without_duplicates(found: Sequence[Passage]) -> list[Passage]:
    """The first of each set of passages that differ in white space only; forget text comes first."""
    first: dict[str, Passage] = {}
    for passage in found:
        first.setdefault(text_key(passage.text), passage)
    return list(first.values())


def choose_held_out(kept: Sequence[Passage], alike: Sequence[bool], share: float, seed: int) -> set[int]:
    """Indices of the passages to hold out: `share` of each side's, at least one if there are two.

    A passage is chosen by the hash of its text, so the choice hardly changes when files are added.
    """
    chosen: set[int] = set()
    for side in ("forget", "retain"):
        own = [index for index, passage in enumerate(kept) if passage.source.side == side]
        wanted = min(max(1, round(share * len(own))), len(own) - 1) if share and own else 0
        drawn = sorted((draw(kept[index].text, seed), index) for index in own if not alike[index])
        chosen.update(index for _, index in drawn[:wanted])
    return chosen


def documents(kept: Sequence[Passage], held_out: set[int]) -> list[dict[str, Any]]:
    """Rows of CORPUS: runs of neighbouring passages of one source in the same split, of at most LONGEST characters."""
    runs: list[tuple[str, list[Passage]]] = []
    for index, passage in enumerate(kept):
        part = "held_out" if index in held_out else "train"
        if runs and runs[-1][0] == part and follows(runs[-1][1], passage):
            runs[-1][1].append(passage)
        else:
            runs.append((part, [passage]))
    return [
        {"document": number, "side": first.source.side, "part": part, "file": first.source.file}
        | spanned(first.source, first.start, last.end)
        | turns_of(first.source.text)
        for number, (part, (first, *_, last)) in enumerate((part, [run[0], *run]) for part, run in runs)
    ]


def turns_of(text: str) -> dict[str, Any]:
    """The column TURNS of a conversation's row; nothing for plain text."""
    return {"turns": [turn._asdict() for turn in text.turns]} if isinstance(text, Conversation) else {}


def spanned(source: Source, start: int, end: int) -> dict[str, Any]:
    """A span of a source's text as columns of CORPUS: start and end count its file's own characters."""
    own_start, own_end = in_source(source.edits, start, end) if source.edits else (start, end)
    edits = [edit._asdict() for edit in within(source.edits, start, end)] if source.edits else None
    return {"start": own_start, "end": own_end, "text": source.text[start:end]} | ({"edits": edits} if edits else {})


def follows(run: Sequence[Passage], passage: Passage) -> bool:
    """Whether nothing but white space lies between the run and the passage, and the two are not too long together."""
    last = run[-1]
    near = passage.source is last.source and passage.number == last.number + 1
    return near and passage.end - run[0].start <= LONGEST
