"""Groups of near-duplicate texts: one is part of the other, or they share a run of words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from lethe.text.matching import WORD

RUN_WORDS = 8  # a run of eight shared words is hardly chance

Words = tuple[str, ...]


def groups(texts: Sequence[str]) -> list[int]:
    """For each text the smallest index in its group.

    Two texts are in one group if they share a run of eight words, or if one is part of the other word for word; a
    phrase that is part of several longer texts joins the longest of them. Case and punctuation are ignored.
    """
    words = [tuple(WORD.findall(text.lower())) for text in texts]
    root = list(range(len(texts)))
    for one, other in (*shared_runs(words), *phrases(words)):
        join(root, one, other)
    return [find(root, index) for index in range(len(texts))]


def shared_runs(words: Sequence[Words]) -> Iterator[tuple[int, int]]:
    """Pairs (first text with a run of eight words, another text with that run)."""
    first: dict[Words, int] = {}
    for index, own in enumerate(words):
        for run in runs(own, RUN_WORDS):
            found = first.setdefault(run, index)
            if found != index:
                yield found, index


def phrases(words: Sequence[Words]) -> Iterator[tuple[int, int]]:
    """Pairs (longest text that contains it, text of fewer than eight words)."""
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
    """The smallest index of the group, with path compression."""
    while root[index] != index:
        root[index] = root[root[index]]
        index = root[index]
    return index


def join(root: list[int], one: int, other: int) -> None:
    """Merge two groups."""
    one, other = find(root, one), find(root, other)
    root[max(one, other)] = min(one, other)
