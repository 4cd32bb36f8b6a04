"""Names in text: words with a capital that the sentence does not require, and runs of them.

"When Dorothy met the Queen of the Field Mice and Toto" holds one run, "Dorothy", and another: "Queen of the Field Mice
and Toto". Small connecting words may stand between the names of a run; the capital of "When" proves nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import pairwise
from sys import intern
from typing import Any, NamedTuple

from lethe.text.languages import DOTLESS
from lethe.text.personal import without_personal_data
from lethe.text.spelling import seen

BROKEN = re.compile(r"(?<=[^\W\d_])-[ \t]*\r?\n[ \t]*(?=([^\W\d_]))")  # a word that a line's end cuts in two
WORD = re.compile(
    r"(?:Mr|Mrs|Ms|Dr|St|Prof|Capt|Rev|Sgt|Lt|Col|Gen|Mme)\.|[A-HJ-Z]\.(?=\s*[A-Z])|[^\W\d_]+(?:[-'’][^\W\d_]+)*"
)
ROMAN = re.compile(r"(?=[IVXLC]{2})(?:X[CL]|L?X{0,3})(?:IX|IV|V?I{0,3})")  # of chapters: II, XIV
SAME_SENTENCE = re.compile(r"[ \t]*,?[ \t]*")  # a line's first word may be verse
SAME_PHRASE = re.compile(r"[ \t]+|[ \t]*\r?\n[ \t]*")
LINE = re.compile(r"[^\n]+")
HEADING_CHARS = 80  # a longer line is no heading
SMALL = frozenset({"of", "and", "the", "a", "upon"})  # capitalised only by a sentence or a heading
ROMANCE = frozenset({"de", "la", "le", "du", "des", "del", "di", "da", "dos", "van", "von", "der", "den", "y", "et"})
CONNECTORS = SMALL | ROMANCE
CONTRACTION = re.compile(r"'(?:s|ll|d|ve|re|m)$", re.IGNORECASE)
ELISION = r"(?:qu|[ldjmtsnc]|(?:d|n|s)ell|(?:d|n)all|all|un)'(?=[^\W\d_]{2})"
JOINED = {  # what an apostrophe joins to a name: a Turkish ending, a French or Italian article
    "tr": re.compile(r"(?<=[^\W\d_])'[^\W\d_]+$"),
    "fr": re.compile(f"^{ELISION}", re.IGNORECASE),
    "it": re.compile(f"^{ELISION}", re.IGNORECASE),
}
ENDED = ("tr",)  # have an apostrophe before the ending of a name and of nothing else
OWNER = "'s"  # a possessive joins two names like a connector
JOINING = CONNECTORS | {OWNER}
MOST_WORDS = 1_000_000  # counted at a time, some 100 bytes each
MOST_RUNS = 500_000  # some 300 bytes each
NAME_SHARE = 0.5  # a word at a sentence's start is a name if this share of its other occurrences has capitals

Run = tuple[tuple[str, bool], ...]  # neighbouring names: word, and whether its capital is its own
Key = tuple[str, ...]  # the words of a run or a part of it in lower case, plurals as singulars


class Side(NamedTuple):
    """Counts from one pass over texts."""

    words: int
    small: Counter[str]  # words without a capital
    capital: Counter[str]  # words, here in lower case, with a capital that is their own
    runs: Counter[Run]


def lower(word: str) -> str:
    """A word in lower case, of the same length, dotted i and dotless i one letter."""
    return word.lower() if word.isascii() else word.translate(DOTLESS).lower()


def read_side(texts: Iterable[str], language: str = "en") -> Side:
    """Words, capitals and runs of names of the texts. A capital at the start of a sentence or line is not its own.

    One text and the counts are held. Between two texts a full table drops its rarest half, so beyond some hundred
    megabytes of prose counts are a little too low; those of common words are exact to a few.
    """
    side = Side(0, Counter(), Counter(), Counter())
    words = sum(read_text(text, side, language) for text in texts)
    return side._replace(words=words)


def read_text(text: str, side: Side, language: str = "en") -> int:
    """Add one text to the side's counts; return its number of words."""
    words = 0
    run: list[tuple[str, bool]] = []
    for word, gap, heading, inflected in read_words(unbroken(text), language):
        words += word != OWNER
        if word[0].islower() and not run:
            side.small[word if word.isascii() else word.translate(DOTLESS)] += 1
            continue
        name, proven = is_name(word), inflected or is_proven(gap, heading)
        if name and proven:
            side.capital[lower(word)] += 1
        elif word[0].islower():
            side.small[word if word.isascii() else word.translate(DOTLESS)] += 1
        if not is_joined(gap) or not (name or (run and word.lower() in JOINING)):
            keep_run(side.runs, run)
            run = []
        if name or run:
            run.append((intern(word), proven))
    keep_run(side.runs, run)
    for counts, most in ((side.small, MOST_WORDS), (side.capital, MOST_WORDS), (side.runs, MOST_RUNS)):
        forget_rare(counts, most)
    return words


def unbroken(text: str) -> str:
    """The text in plain spelling, names that a line's end cuts in two put together, without personal data."""
    whole = BROKEN.sub(lambda found: "" if found[1].islower() and begins_name(found) else found[0], seen(text).text)
    return without_personal_data(whole)


def begins_name(found: re.Match[str]) -> bool:
    """Whether the word before a line's end has a capital; well-known, cut at its hyphen, has none."""
    start = found.start()
    while start and found.string[start - 1].isalpha():
        start -= 1
    return found.string[start].isupper()


def forget_rare(counts: Counter[Any], most: int) -> None:
    """Of more than `most` entries drop those that are no more frequent than the median."""
    if len(counts) > most:
        median = sorted(counts.values())[len(counts) // 2]
        for key in [key for key, count in counts.items() if count <= median]:
            del counts[key]


def read_words(text: str, language: str = "en") -> Iterator[tuple[str, str | None, bool, bool]]:
    """(word, gap to the previous word, whether it is in a heading, whether an ending is joined as to names alone); the
    gap of the first word is None.
    """
    end = 0
    joined = JOINED.get(language, CONTRACTION)
    for line in LINE.finditer(text):
        heading = is_heading(line[0])
        for match in WORD.finditer(text, line.start(), line.end()):
            word = match[0].replace("’", "'")
            bare = joined.sub("", word) if "'" in word else word
            yield bare, text[end : match.start()] if end else None, heading, bare != word and language in ENDED
            if bare != word and word.lower() == bare.lower() + OWNER:
                yield OWNER, "", False, False
            end = match.end()


def is_joined(gap: str | None) -> bool:
    """Whether only space or one line break separates a word from the previous one."""
    return gap in ("", " ") or bool(gap and SAME_PHRASE.fullmatch(gap))


def is_proven(gap: str | None, heading: bool) -> bool:
    """Whether the capital of a word after this gap is its own: within a sentence and in no heading."""
    return gap is not None and not heading and bool(SAME_SENTENCE.fullmatch(gap))


def is_heading(line: str) -> bool:
    """Whether Every Longer Word of a short line has a capital and no full stop or comma ends it."""
    line = line.strip()
    if not 0 < len(line) <= HEADING_CHARS or not (line[-1].isalnum() or line[-1] in ")]'’"):
        return False
    words = WORD.findall(line)
    return len(words) > 1 and words[0][0].isupper() and not any(word[0].islower() and len(word) > 4 for word in words)


def is_name(word: str) -> bool:
    """Whether the word has a capital that could make it a name."""
    return word[0].isupper() and word.lower() not in SMALL and word not in ("I", "O") and not ROMAN.fullmatch(word)


def keep_run(runs: Counter[Run], run: list[tuple[str, bool]]) -> None:
    """Count a run without the connectors at its end. A run or heading in all capitals counts as no name."""
    while run and not is_name(run[-1][0]):
        run.pop()
    shouted = len(run) > 1 and all(word.isupper() for word, _ in run)
    if run and not shouted:
        runs[tuple(run)] += 1


def mostly_name(word: str, side: Side, known: Collection[str]) -> bool:
    """Whether a word is a name at a sentence's start: it has capitals elsewhere too, or it is no known word."""
    capital, small = side.capital[lower(word)], side.small[lower(word)]
    if not capital + small:
        return lower(word) not in known
    return capital >= NAME_SHARE * (capital + small)


def name_runs(side: Side, singular: dict[str, str], known: Collection[str]) -> Counter[Key]:
    """The runs as keys, without the words that have a capital only because they begin a sentence or a line.

    singular: plural -> singular; known: words of the language, which are not names just because they are rare here.
    """
    pairs = Counter[tuple[str, str]]()
    for run, count in side.runs.items():
        for (word, proven), (follower, _) in pairwise(item for item in run if is_name(item[0])):
            pairs[word, follower] += count * proven
    runs = Counter[Key]()
    for run, count in side.runs.items():
        for part in proven_parts(run, lambda word: mostly_name(word, side, known), pairs):
            runs[tuple(intern(singular.get(lower(word), lower(word))) for word in part)] += count
    return runs


def proven_parts(
    run: Run, trusted: Callable[[str], bool], pairs: Counter[tuple[str, str]]
) -> Iterator[tuple[str, ...]]:
    """The parts of a run between words whose capital proves nothing: "When Dorothy" -> "Dorothy".

    Such a word stays where it is mostly a name, or where the pair it begins was seen inside a sentence.
    """
    part: list[str] = []
    followers = [""]  # the next name after each word, from the last word on
    for word, _ in reversed(run[1:]):
        followers.append(word if is_name(word) else followers[-1])
    for (word, proven), follower in zip(run, reversed(followers), strict=True):
        if not is_name(word) or proven or trusted(word) or pairs[word, follower] > 1:
            part.append(word)
        else:
            yield from trimmed(part)
            part = []
    yield from trimmed(part)


def trimmed(part: list[str]) -> list[tuple[str, ...]]:
    """The part without connectors at its two ends; nothing if no name is left."""
    names = [place for place, word in enumerate(part) if is_name(word)]
    return [tuple(part[names[0] : names[-1] + 1])] if names else []
