"""How each anchor is used in the text, a few anchors at a time, and a sample of text to find ordinary names in."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence

from lethe.dictionary.entity_types import Context, Rule, Usage, context_at, spread, usage
from lethe.dictionary.entries import Terms, finder_of
from lethe.text.matching import TermFinder

CONTEXTS = 400  # of an anchor, for its kind and gender
HELD = 100_000  # contexts at a time, some 600 bytes each; one more reading of the text for every so many
RETAIN_CHARS = 8_000_000  # of retain text searched for ordinary names


def retain_sample(texts: Iterable[str]) -> list[str]:
    """At most about RETAIN_CHARS of the texts, spread evenly, each without line breaks."""
    lengths = [len(text) for text in texts]
    most = len(lengths) * RETAIN_CHARS // max(1, sum(lengths))
    chosen = set(spread(range(len(lengths)), max(1, most)))
    return [" ".join(text.split()) for number, text in enumerate(texts) if number in chosen]


def read_uses(
    terms: Terms, texts: Iterable[str], rules: Sequence[Rule], kept: int, whole: Mapping[str, str] | None = None
) -> tuple[dict[str, Usage], dict[str, list[Context]]]:
    """How every anchor is used in at most CONTEXTS contexts, and `kept` of these, all spread evenly.

    whole: form of an alias -> the same of the longest name, as which it counts there (the Lion is no other number of
    the Cowardly Lion). The texts are read once to count, and once more for every HELD contexts, so that no more are
    held at a time.
    """
    finder = finder_of(terms)
    counts = Counter(hit.term for text in texts for hit in finder.find(text))
    uses: dict[str, Usage] = {}
    shown: dict[str, list[Context]] = {}
    for anchors in groups(terms, {anchor: min(CONTEXTS, counts[anchor]) for anchor in terms}, HELD):
        contexts = find_contexts(texts, finder, {anchor: counts[anchor] for anchor in anchors})
        for anchor, found in contexts.items():
            same = [one._replace(form=(whole or {}).get(one.form, one.form)) for one in found]
            uses[anchor] = usage(anchor, terms[anchor], same, rules)
            shown[anchor] = spread(found, kept)
    return uses, shown


def groups(items: Iterable[str], sizes: Mapping[str, int], most: int) -> Iterator[list[str]]:
    """The items in their order, in groups of one, or of several whose sizes add up to at most `most`."""
    group: list[str] = []
    size = 0
    for item in items:
        if group and size + sizes[item] > most:
            yield group
            group, size = [], 0
        group.append(item)
        size += sizes[item]
    if group:
        yield group


def find_contexts(texts: Iterable[str], finder: TermFinder, counts: Mapping[str, int]) -> dict[str, list[Context]]:
    """Of each of these anchors at most CONTEXTS contexts, spread evenly. counts: how often it occurs in the texts."""
    wanted = {anchor: deque(spread(range(count), CONTEXTS)) for anchor, count in counts.items() if count}
    seen = Counter[str]()
    contexts: dict[str, list[Context]] = {anchor: [] for anchor in counts}
    for text in texts if wanted else ():
        for hit in finder.find(text):
            if hit.term in wanted:
                if wanted[hit.term][0] == seen[hit.term]:
                    contexts[hit.term].append(context_at(text, hit.start, hit.end))
                    wanted[hit.term].popleft()
                    if not wanted[hit.term]:
                        del wanted[hit.term]
                seen[hit.term] += 1
    return contexts
