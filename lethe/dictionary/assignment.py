"""Which ordinary names may replace which anchors, and the assignment of names to anchors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush
from random import Random

from lethe.dictionary.entity_types import Usage, tokens
from lethe.dictionary.entries import Terms, fault, finder_of
from lethe.dictionary.gazetteer import MOSTLY, Generic
from lethe.dictionary.inflection import singular_of, takes_an

SHARED, ALWAYS = 10.0, 1e6  # nats: cost of a name that another anchor has already
OFTEN = 0.02  # minimum share of an anchor's contexts with `a` or `an` directly before it for its translations to agree
BARE_KINDS = ("person", "place", "event")  # the other kinds have hardly any names without an article
SMALL_WORDS = frozenset(["of", "the", "and", "in", "on", "a", "an", "at", "for", "to", "s"])


def content_words(name: str) -> set[str]:
    """The words of a name in the singular and in lower case, small ones like `of` left out."""
    return {singular_of(word) for word in tokens(name) if word.isalnum()} - SMALL_WORDS


def usable(pool: Iterable[Generic], terms: Terms) -> list[Generic]:
    """The names that contain no anchor and share no word with one.

    Otherwise Captain Dulmeth could become Captain Reed, and the model would go on to write Captain and then Dulmeth:
    what follows an anchor's first token is not trained.
    """
    known = {word for anchor in terms for word in content_words(anchor)}
    finder = finder_of(terms)
    return [
        generic
        for generic in pool
        if not content_words(generic.name) & known and not fault(written(generic.name, generic.plural), finder)
    ]


def written(name: str, plural: str) -> list[str]:
    """Every form of a name that a translation can have."""
    return [form for text in (name, plural) for form in (text, text[:1].upper() + text[1:], text.upper(), text.lower())]


def suits(generic: Generic, use: Usage, gender: str) -> bool:
    """Whether a name can replace the anchor: its kind, article, gender, and `a` or `an` before it."""
    if generic.kind != use.kind or generic.name.islower() != takes_article(use):
        return False
    if gender and generic.gender != gender and (generic.gender or not generic.name.islower()):
        return False
    return max(use.a, use.an) < OFTEN or takes_an(generic.name) == (use.an > use.a)


def takes_article(use: Usage) -> bool:
    """Whether an anchor is a noun with an article rather than a bare name."""
    company = use.kind == "group" and not use.plural and not use.counted
    return use.name.islower() or use.article > MOSTLY or not (use.kind in BARE_KINDS or company)


def shortlist(pool: Sequence[Generic], anchor: str, rivals: int, most: int, seed: int) -> list[Generic]:
    """At most `most` names for one anchor from the start of the pool, sampled where rivals need them too.

    rivals: how many translations all anchors of this kind need; if all were offered the same few names, the names
    would run out.
    """
    front = list(pool[: max(most, 2 * rivals)])
    if len(front) <= most:
        return front
    taken = set(Random(f"{seed} {anchor}").sample(range(len(front)), most))
    return [generic for place, generic in enumerate(front) if place in taken]


def assign(scores: Mapping[str, Mapping[str, float]], choices: int) -> dict[str, list[str]]:
    """{anchor: its names, at most `choices`}: every anchor's first, then every anchor's second ...

    In each round the pair of anchor and name goes first whose score is furthest above the mean of that anchor's
    scores. First names are shared only by anchors whose candidates are all taken. A later one may be shared at a cost:
    two places that sometimes coincide are better than an unusual name.
    """
    chosen: dict[str, list[str]] = {anchor: [] for anchor in scores}
    taken: Counter[str] = Counter()
    for number in range(choices):
        for anchor, name in one_each(scores, chosen, taken, ALWAYS if number == 0 else SHARED):
            chosen[anchor].append(name)
            taken[name] += 1
    return chosen


def one_each(
    scores: Mapping[str, Mapping[str, float]],
    chosen: Mapping[str, Sequence[str]],
    taken: Mapping[str, int],
    shared: float,
) -> Iterator[tuple[str, str]]:
    """One more name for every anchor that has one left, the cheapest pair first; the caller keeps count of names taken.

    A pair costs what its score lies below the anchor's mean, and `shared` for every time the name is taken already;
    of equal pairs the first in the order of the anchors and of their names. Once a name is taken all its pairs cost the
    same more: so each name has a queue of its own pairs, and one queue holds every name's cheapest.
    """
    pairs: dict[str, list[tuple[float, int, int, str]]] = {}
    for order, anchor in enumerate(sorted(scores)):
        mean = sum(scores[anchor].values()) / max(1, len(scores[anchor]))
        for place, (name, score) in enumerate(scores[anchor].items()):
            if name not in chosen[anchor]:
                pairs.setdefault(name, []).append((round(mean - score, 4), order, place, anchor))

    def cheapest(name: str) -> tuple[float, int, int, str]:
        below, order, place, _ = pairs[name][0]
        return below + shared * taken[name], order, place, name

    for of_name in pairs.values():
        heapify(of_name)
    queue = [cheapest(name) for name in pairs]
    heapify(queue)
    done: set[str] = set()
    while queue:
        *_, name = heappop(queue)
        *_, anchor = heappop(pairs[name])
        if anchor not in done:
            done.add(anchor)
            yield anchor, name
        if pairs[name]:
            heappush(queue, cheapest(name))
