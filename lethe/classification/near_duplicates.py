"""Near-duplicates among texts: which belong together because one is a phrase of another or hardly differs from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from lethe.text.matching import WORD

RUN_WORDS = 8  # two texts that share a run of eight words hardly do so by chance

Words = tuple[str, ...]


def groups(texts: Sequence[str]) -> list[int]:
    """For each text the smallest index in its group.

    Two texts are in one group if they share a run of eight words, or if one is, word for word, part of the other; a
    phrase that is part of several longer texts goes with the longest of them. Case and punctuation do not count.
    """
    words = [tuple(WORD.findall(text.lower())) for text in texts]
    root = list(range(len(texts)))
    for one, other in (*shared_runs(words), *phrases(words)):
        join(root, one, other)
    return [find(root, index) for index in range(len(texts))]


def shared_runs(words: Sequence[Words]) -> Iterator[tuple[int, int]]:
    """(first text with a run of eight words, another text with it)."""
    first: dict[Words, int] = {}
    for index, own in enumerate(words):
        for run in runs(own, RUN_WORDS):
            found = first.setdefault(run, index)
            if found != index:
                yield found, index


def phrases(words: Sequence[Words]) -> Iterator[tuple[int, int]]:
    """(a longest text, a text of fewer than eight words that is part of it or equal to it)."""
    short = {own for own in words if 0 < len(own) < RUN_WORDS}
    lengths = sorted({len(own) for own in short})
    holder: dict[Words, int] = {}
    for index in sorted(range(len(words)), key=lambda index: (-len(words[index]), index)):
        for length in lengths:
            for run in runs(words[index], length):
                if run in short and holder.setdefault(run, index) != index and run == words[index]:
                    yield holder[run], index


def runs(words: Words, length: int) -> Iterable[Words]:
    """Every run of `length` words."""
    return (words[start : start + length] for start in range(len(words) - length + 1))


def find(root: list[int], index: int) -> int:
    """The smallest index of the group, paths made short on the way."""
    while root[index] != index:
        root[index] = root[root[index]]
        index = root[index]
    return index


def join(root: list[int], one: int, other: int) -> None:
    """Make two groups one."""
    one, other = find(root, one), find(root, other)
    root[max(one, other)] = min(one, other)
