"""The verdict on a term: forgotten, suppressed, renamed, still known or never known.

A model has renamed a term if it learnt to generate the term's translation in its place. How often it generates the
translation there does not show this: an unlearned model generates ordinary names more often everywhere. So the rise at
the term's target positions is compared with the rise of the same words at the positions of other terms (control).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, variance
from typing import NamedTuple

NO_TARGET = "no target position"
VERDICTS = {
    "forgotten": "improbable, and on a log scale nearer to the retrained model than to the baseline",
    "suppressed": "improbable, but not shown to be as improbable as for the retrained model",
    "renamed": "improbable; its translation became likelier at its positions, and only there",
    "still known": "more of its probability remains than the limit permits",
    "never known": "hardly more probable for the baseline than for the retrained model",
    NO_TARGET: "it is nowhere the next word, so it was not measured",
}
CERTAIN = 2.5  # standard errors; exceeded by fewer than one in a hundred terms that are not renamed


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
    """The rise of a probability in one model over the highest of the other models.

    after: the probability at each place; before: the same for each other model.
    """
    most = max(before, key=fmean)
    gaps = [now - then for now, then in zip(after, most, strict=True)]
    return Rise(fmean(gaps), variance(gaps) / len(gaps) if len(gaps) > 1 else math.inf)


def is_renamed(target: Rise, control: Rise | None, lost: float, share: float) -> bool:
    """Whether more than this share of the probability that a term lost went to its translation, and only there.

    target: the translation's rise at the term's positions; control: at the positions of other terms (None: no such
    positions, counted as no rise). The difference has to exceed CERTAIN standard errors (Welch).
    """
    other = control or Rise(0.0, 0.0)
    excess = target.mean - other.mean
    return excess > share * lost and excess > CERTAIN * math.sqrt(target.variance + other.variance)


def verdict(probability: Mapping[str, float], target: Rise | None, control: Rise | None, limits: Limits) -> str:
    """The verdict on a term with a target position. probability: model -> mean, of baseline, unlearned and retrained.

    The first rule that holds, where before, after and never are the three models' probabilities (never: 0 without a
    retrained model):

    never known    before - never < known
    still known    after - never > remaining * (before - never)
    renamed        its translation rose at its target positions, see is_renamed
    forgotten      after <= sqrt(before * never): at least half of the way down in nats; never without a retrained model
    suppressed     any other
    """
    before, after, never = probability["baseline"], probability["unlearned"], probability.get("retrained", 0.0)
    if before - never < limits.known:
        return "never known"
    if after - never > limits.remaining * (before - never):
        return "still known"
    if target is not None and is_renamed(target, control, before - after, limits.renamed):
        return "renamed"
    middle = math.sqrt(before) * math.sqrt(never)  # the root of their product would be 0 for the tiniest
    reached = "retrained" in probability and after <= middle
    return "forgotten" if reached else "suppressed"
