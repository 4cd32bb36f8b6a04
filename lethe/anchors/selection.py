"""Anchors: terms with their scores, their selection, and their table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lethe.anchors.candidates import Candidate, count_forms, in_order
from lethe.core.errors import StageError
from lethe.core.tables import read_csv
from lethe.text.matching import WORD, same_name, surface_forms, term_finder

NAMED = 5  # of the dropped terms, in the stage's sentence


class Anchor(NamedTuple):
    """A term, its first form the anchor; keyness and rise in nats where they were measured."""

    forms: tuple[str, ...]
    times: int
    keyness: float | None = None
    rise: float | None = None


class Dropped(NamedTuple):
    """A term that is no anchor, and the parameter of extract that keeps it from being one."""

    term: Anchor
    reason: str


def with_rises(found: Iterable[Candidate], rises: dict[str, float]) -> list[Anchor]:
    """The candidates as anchors; a term that the blocks always cut in two has no rise."""
    return [Anchor(*term, rises.get(term.forms[0])) for term in found]


def best(anchors: Sequence[Anchor], minimum_rise: float, maximum: int) -> list[Anchor]:
    """The highest scores among the anchors, without those that measurably rise too little."""
    risen = [anchor for anchor in anchors if anchor.rise is None or anchor.rise >= minimum_rise]
    return sorted(risen, key=lambda anchor: (-score(anchor), anchor.forms))[:maximum]


def left_out(anchors: Iterable[Anchor], kept: Sequence[Anchor], minimum_rise: float) -> list[Dropped]:
    """Those of the anchors that `best` has not kept: they rise too little, or are too many."""
    chosen = set(kept)
    return [
        Dropped(anchor, "maximum_anchors" if anchor.rise is None or anchor.rise >= minimum_rise else "minimum_rise")
        for anchor in anchors
        if anchor not in chosen
    ]


def score(anchor: Anchor) -> float:
    """Confidence in an anchor: log(count) x (keyness + rise).

    Both are log ratios: how much more frequent than elsewhere, and how much more probable after reinforcement. The
    models weigh no more than the text: a weak model must not overrule clear evidence in the text.
    """
    keyness, rise = anchor.keyness or 0.0, anchor.rise or 0.0
    return math.log(1 + anchor.times) * (keyness + min(max(rise, -keyness), keyness))


def read_anchors(path: Path) -> list[str]:
    """The column `anchor`. Raises StageError for an empty cell, a repetition or a cell without a word."""
    anchors = [row["anchor"] for row in read_csv(path, ("anchor",), unique=("anchor",), filled=("anchor",))]
    first: dict[str, str] = {}
    for anchor in anchors:
        if not WORD.search(anchor) or "|" in anchor:
            raise StageError(f"{path}: expected an anchor with a letter or digit and without |, got {anchor!r}")
        if (other := first.setdefault(same_name(anchor), anchor)) != anchor:
            raise StageError(f"{path}: expected {other} once, got it again in another spelling, {anchor}")
    return anchors


def counted(terms: dict[str, list[str]], texts: Iterable[str]) -> list[Anchor]:
    """Each term with its forms in the texts, its anchor first, and how often they occur (perhaps never).

    terms: anchor -> its spellings. A form that is itself a term belongs to that term.
    """
    forms = {form: anchor for anchor, given in terms.items() for term in given for form in surface_forms(term)}
    forms |= {term: anchor for anchor, given in terms.items() for term in given}
    written = count_forms(forms, texts)
    return [
        Anchor(tuple(dict.fromkeys((anchor, *in_order(written[anchor])))), written[anchor].total()) for anchor in terms
    ]


def recounted(anchors: Sequence[Anchor], texts: Iterable[str]) -> list[Anchor]:
    """The anchors with their occurrences among themselves alone, as label finds them: those in a longer term that was
    dropped are an anchor's again.
    """
    finder = term_finder({anchor.forms[0]: anchor.forms for anchor in sorted(anchors, key=lambda one: one.forms)})
    found = Counter(hit.term for text in texts for hit in finder.find(text))
    return [anchor._replace(times=found[anchor.forms[0]]) for anchor in anchors]


def rows(anchors: Iterable[Anchor]) -> list[dict[str, Any]]:
    """Rows of ANCHORS, sorted; what was not measured is an empty cell."""
    return [{"anchor": anchor.forms[0]} | cells(anchor) for anchor in sorted(anchors, key=lambda anchor: anchor.forms)]


def dropped_rows(dropped: Iterable[Dropped]) -> list[dict[str, Any]]:
    """Rows of DROPPED, sorted."""
    ordered = sorted(dropped, key=lambda one: one.term.forms)
    return [{"term": one.term.forms[0]} | cells(one.term) | {"reason": one.reason} for one in ordered]


def cells(anchor: Anchor) -> dict[str, Any]:
    """The columns that both tables have."""
    return {
        "forms": "|".join(anchor.forms),
        "count": anchor.times,
        "keyness": "" if anchor.keyness is None else round(anchor.keyness, 4),
        "rise": "" if anchor.rise is None else round(anchor.rise, 4),
    }


def told(dropped: Sequence[Dropped]) -> str:
    """How many terms were dropped and the most frequent ones by name, as the end of a sentence; nothing if none was."""
    if not dropped:
        return ""
    frequent = sorted(dropped, key=lambda one: (-one.term.times, one.term.forms))[:NAMED]
    named = ", ".join(f"{one.term.forms[0]} ({one.term.times} times, {one.reason})" for one in frequent)
    more = f" and {len(dropped) - NAMED} more" if len(dropped) > NAMED else ""
    return f"; {len(dropped)} dropped (data/dropped.csv): {named}{more}"
