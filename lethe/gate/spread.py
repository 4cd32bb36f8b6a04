"""How far retrained models differ among themselves, and how far from them another one would lie."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from statistics import fmean, stdev

from lethe.evaluation.intervals import CONFIDENCE


def left_out(statistic: Callable[[str, list[str]], float | None], references: list[str]) -> list[float]:
    """The statistic of each reference against the others; empty unless there are at least two.

    statistic: of a model and the names of the references it is compared with.
    """
    if len(references) < 2:
        return []
    found = [statistic(name, [other for other in references if other != name]) for name in references]
    return [value for value in found if value is not None]


def reach(spread: list[float]) -> float | None:
    """How large the statistic of one more retrained model may be, at 95 % confidence; None of fewer than two values.

    The upper end of the one-sided prediction interval of a normal distribution, mean + t s sqrt(1 + 1/k), with t the
    95 % quantile of Student's distribution with k - 1 degrees of freedom (Hahn and Meeker 1991, section 4.7).
    """
    from scipy.stats import t

    count = len(spread)
    if count < 2:
        return None
    return fmean(spread) + float(t.ppf(CONFIDENCE, count - 1)) * stdev(spread) * math.sqrt(1 + 1 / count)


def reach_either_way(deviations: list[float]) -> float | None:
    """How far one more retrained model may lie from the mean of k others, on either side, at 95 % confidence; None of
    fewer than two.

    deviations: of each from the mean of the k - 1 others, which is k / (k - 1) times that from the mean of all.
    Returned is half the width of the two-sided prediction interval, t s sqrt(1 + 1/k), t the 97.5 % quantile. Sizes
    without their signs are not normal: `reach` of them would hold one more model only nine times of ten.
    """
    from scipy.stats import t

    count = len(deviations)
    if count < 2:
        return None
    s = stdev(deviations) * (count - 1) / count
    return float(t.ppf((1 + CONFIDENCE) / 2, count - 1)) * s * math.sqrt(1 + 1 / count)


def mean_of(values: Mapping[str, float], names: list[str]) -> float | None:
    """The mean over those of the models that have a value; None if none has."""
    found = [values[name] for name in names if name in values]
    return fmean(found) if found else None
