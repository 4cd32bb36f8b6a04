"""What became of a term: forgotten, only suppressed, renamed, still known, or never known.

Whether a model has learnt to say a term's translation instead of it is not told by how often it says the translation
where the term is due: an unlearned model says ordinary names more often everywhere. So the rise there is compared with
the rise of the same words where other terms of the kind are due.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, variance
from typing import NamedTuple

VERDICTS = {
    "forgotten": "hardly said any more, on a log scale nearer to a model that never read the text than the baseline",
    "suppressed": "hardly said any more, but not shown to be as unlikely as for a model that never read the text",
    "renamed": "hardly said any more; in its place, and only there, the model has come to say its translation",
    "still known": "more is left of what the text taught than the limit permits",
    "never known": "the baseline hardly expects it more than a model that never read the text",
    "never due": "no place to measure it",
}
CERTAIN = 2.5  # standard errors; of a hundred terms that are not renamed, fewer than one exceeds them


class Limits(NamedTuple):
    """known: probability; remaining, renamed: shares."""

    known: float
    remaining: float
    renamed: float


class Rise(NamedTuple):
    """A mean difference of probabilities over places, and the variance of that mean."""

    mean: float
    variance: float


def rise(after: Sequence[float], before: Sequence[Sequence[float]]) -> Rise:
    """How much likelier something is for one model than for whichever of the others gives it most.

    after: its probability at each place; before: the same of each other model.
    """
    most = max(before, key=fmean)
    gaps = [now - then for now, then in zip(after, most, strict=True)]
    return Rise(fmean(gaps), variance(gaps) / len(gaps) if len(gaps) > 1 else math.inf)


def is_renamed(due: Rise, elsewhere: Rise | None, lost: float, share: float) -> bool:
    """Whether more than this share of the probability that a term lost went to its translation, and only there.

    due: of the translation where the term is due; elsewhere: where others are (None: nowhere, taken as no rise at all).
    The difference has to exceed CERTAIN standard errors (Welch).
    """
    there = elsewhere or Rise(0.0, 0.0)
    excess = due.mean - there.mean
    return excess > share * lost and excess > CERTAIN * math.sqrt(due.variance + there.variance)


def verdict(probability: Mapping[str, float], due: Rise | None, elsewhere: Rise | None, limits: Limits) -> str:
    """What became of a term that is due somewhere. probability: of baseline, unlearned and, if there is one, retrained.

    The first rule that holds, where before, after and never are the three models' probabilities (never: 0 without a
    retrained model):

    never known    before - never < known
    still known    after - never > remaining * (before - never)
    renamed        its translation rose where it is due, see is_renamed
    forgotten      after <= sqrt(before * never): at least half of the way down in nats; never without a retrained model
    suppressed     any other
    """
    before, after, never = probability["baseline"], probability["unlearned"], probability.get("retrained", 0.0)
    if before - never < limits.known:
        return "never known"
    if after - never > limits.remaining * (before - never):
        return "still known"
    if due is not None and is_renamed(due, elsewhere, before - after, limits.renamed):
        return "renamed"
    middle = math.sqrt(before) * math.sqrt(never)  # the root of their product would be 0 for the tiniest
    reached = "retrained" in probability and after <= middle
    return "forgotten" if reached else "suppressed"
