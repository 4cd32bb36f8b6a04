"""What the likelihood of passages gives away: membership scores as histograms, and passages word by word."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, groupby
from typing import Any, NamedTuple

from lethe.core.tables import COMPARED
from lethe.gate.metric_catalogue import METRICS, number
from lethe.text.matching import TermFinder

MEMBER, OTHER = "forget ", "held-out "  # how the names of passages in data/measures.csv begin
FIRST = "mia_privleak"  # the score that is shown first
BINS = 32
WIDE, HIGH = 256, 64  # units of a histogram's drawing
LEVELS = (0.5, 0.1, 0.01, 0.001)  # the least probability of each colour of a heat map but the palest
WORD = re.compile(r"\S+")


class Panel(NamedTuple):
    """One model's histogram. members, others: how many passages score at least the left edge of each bin."""

    model: str
    auc: str
    members: list[int]
    others: list[int]
    area: str  # path of the members' bars, filled
    outline: str  # of the others', a line


class Histogram(NamedTuple):
    """One membership score under every model, on one scale. start: the bin that tells the baseline's passages best."""

    name: str
    label: str
    low: float
    high: float
    start: int
    panels: list[Panel]


class Cell(NamedTuple):
    """A word of a heat map. text: None where the page does not show it; level: from 0, unlikely, to 4, likely."""

    text: str | None
    letters: int
    level: int
    likely: str


class Column(NamedTuple):
    """A passage as one model reads it. names, others: geometric mean probability of the names and of other words."""

    model: str
    cells: list[Cell]
    names: str
    others: str


def histograms(rows: Iterable[Mapping[str, str]], measures: Mapping[str, Mapping[str, Any]]) -> list[Histogram]:
    """Every membership score that has trained and held-out passages.

    rows: of data/measures.csv. measures: model -> metric -> numbers of reports/measures.json.
    """
    scores: dict[str, dict[str, dict[str, float]]] = {}
    for row in rows:
        if row["metric"].startswith("mia_") and row["model"] in COMPARED:
            scores.setdefault(row["metric"], {}).setdefault(row["model"], {})[row["item"]] = float(row["value"])
    made = [histogram(name, by_model, measures) for name, by_model in scores.items()]
    return sorted(filter(None, made), key=lambda found: found.name != FIRST)


def histogram(
    name: str, by_model: Mapping[str, Mapping[str, float]], measures: Mapping[str, Mapping[str, Any]]
) -> Histogram | None:
    """One score; None where one kind of passage is missing."""
    values = [value for scores in by_model.values() for value in scores.values()]
    low, high = min(values), max(values)
    high = high if high > low else low + 1
    panels = []
    for model in (model for model in COMPARED if model in by_model):
        members, others = (binned(by_model[model], kind, low, high) for kind in (MEMBER, OTHER))
        if not sum(members) or not sum(others):
            return None
        found = measures.get(model, {}).get(name, {})
        tallest = max(max(count) / sum(count) for count in (members, others))
        area, outline = (steps([count / sum(own) / tallest for count in own]) for own in (members, others))
        cuts = from_the_right(members), from_the_right(others)
        panels.append(Panel(model, number(found.get("value")), *cuts, area, outline))
    label = METRICS[name].label.partition(",")[0] if name in METRICS else name
    return Histogram(name, label, low, high, best_cut(panels[0]), panels)


def binned(scores: Mapping[str, float], kind: str, low: float, high: float) -> list[int]:
    """How many passages of a kind fall into each of BINS equal bins."""
    counts = [0] * BINS
    for item, value in scores.items():
        if item.startswith(kind):
            counts[min(BINS - 1, int(BINS * (value - low) / (high - low)))] += 1
    return counts


def from_the_right(counts: Sequence[int]) -> list[int]:
    """How many are in each bin or to the right of it, and none beyond the last."""
    return [*list(accumulate(reversed(counts)))[::-1], 0]


def best_cut(panel: Panel) -> int:
    """The bin from which on the most members and the fewest others lie, in shares of each."""
    members, others = panel.members, panel.others
    return max(range(BINS + 1), key=lambda cut: members[cut] / members[0] - others[cut] / others[0])


def steps(heights: Sequence[float]) -> str:
    """The outline of bars, heights from 0 to 1, as a path from the lower left to the lower right corner."""
    width = WIDE / len(heights)
    tops = "".join(
        f"V{round(HIGH * (1 - height), 1):g}H{(place + 1) * width:g}" for place, height in enumerate(heights)
    )
    return f"M0 {HIGH}{tops}V{HIGH}"


def heat_maps(
    rows: Sequence[Mapping[str, str]], texts: Sequence[str], forms: Iterable[str], words: int
) -> list[tuple[str, list[Column]]]:
    """(passage, a column for each model) of every passage in data/tokens.csv.

    texts: the training documents of the forget set. forms: the names, of which the page shows up to `words` words in a
    row. Every other word is a bar.
    """
    finder = TermFinder({form: form for form in forms})
    found = []
    for item, group in groupby(rows, key=lambda row: row["item"]):
        own = list(group)
        text, start = texts[int(own[0]["text"])], int(own[0]["start"])
        passage = text[start : int(own[-1]["end"])]
        places = [(word.start(), word.end()) for word in WORD.finditer(passage)]
        hits = finder.find(passage)
        named = {
            index for index, (begin, end) in enumerate(places) for hit in hits if begin < hit.end and hit.start < end
        }
        visible = in_short_runs(named, len(places), words)
        models = [model for model in COMPARED if own[0][model]]
        columns = [
            column(model, passage, places, likely(own, model, text, start, places), named, visible) for model in models
        ]
        found.append((item, columns))
    return found


def in_short_runs(named: set[int], count: int, words: int) -> set[int]:
    """The named words, without those that would be more than `words` in a row."""
    shown: set[int] = set()
    run = 0
    for index in range(count):
        run = run + 1 if index in named else 0
        if 0 < run <= words:
            shown.add(index)
    return shown


def likely(
    rows: Sequence[Mapping[str, str]], model: str, text: str, start: int, places: Sequence[tuple[int, int]]
) -> list[float]:
    """The probability of every word: the product of those of its tokens. A token belongs where its last letter lies."""
    found = [1.0] * len(places)
    for row in rows:
        letters = text[int(row["start"]) : int(row["end"])].rstrip()
        last = int(row["start"]) - start + len(letters) - 1
        for index, (begin, end) in enumerate(places):
            if begin <= last < end:
                found[index] *= float(row[model])
    return found


def column(
    model: str,
    passage: str,
    places: Sequence[tuple[int, int]],
    chances: Sequence[float],
    named: set[int],
    visible: set[int],
) -> Column:
    """A passage under one model."""
    cells = [
        Cell(
            passage[begin:end] if index in visible else None,
            end - begin,
            sum(chance >= least for least in LEVELS),
            number(chance),
        )
        for index, ((begin, end), chance) in enumerate(zip(places, chances, strict=True))
    ]
    sides = ([chance for index, chance in enumerate(chances) if (index in named) is wanted] for wanted in (True, False))
    return Column(model, cells, *(number(geometric_mean(side)) for side in sides))


def geometric_mean(chances: Sequence[float]) -> float | None:
    """The geometric mean, None of nothing; a probability of 0 counts as 1e-300."""
    logs = [math.log(max(chance, 1e-300)) for chance in chances]
    return math.exp(math.fsum(logs) / len(logs)) if logs else None
