"""95 % confidence intervals: how far a number would move with other items of the same kind; the same for every stage.

A single item has no interval, nor has a statistic that is undefined for some resamples: low and high are then None.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

CONFIDENCE = 0.95
RESAMPLES = 1000  # of the bootstrap; the ends of an interval vary by about a twentieth of its width
SEED = 0  # of the resampling alone, independent of every other seed


class Interval(NamedTuple):
    """A measured number, the 95 % interval around it, and how many items it comes from."""

    value: float
    low: float | None
    high: float | None
    items: int

    def row(self) -> dict[str, Any]:
        """`{"value": .., "low": .., "high": .., "items": ..}`, numbers to six significant digits."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        shown = {name: None if number is None else float(f"{number:.6g}") for name, number in numbers.items()}
        return shown | {"items": self.items}


def interval_rows(found: Mapping[str, Interval]) -> dict[str, dict[str, Any]]:
    """Metric -> its number and interval as a report has them."""
    return {metric: interval.row() for metric, interval in found.items()}


def mean_interval(values: Sequence[float]) -> Interval:
    """The mean of the items and its bootstrap interval. Raises ValueError without items."""
    import numpy as np

    return bootstrap(np.mean, values)


def bootstrap(statistic: Callable[..., Any], *samples: Sequence[float], paired: bool = False) -> Interval:
    """`statistic(*samples)` and its percentile bootstrap interval (Efron and Tibshirani 1993, chapter 13).

    statistic: takes one array per sample and the keyword `axis`, along which it reduces them.
    samples: resampled independently, or together if `paired` (the same items under two measures); `items` is the size
    of the smallest. Raises ValueError for a sample without items.
    """
    import numpy as np
    from scipy import stats

    arrays = [np.asarray(sample, dtype=np.float64) for sample in samples]
    fewest = min(len(array) for array in arrays)
    if not fewest:
        raise ValueError("a sample without items has no statistic")
    value = float(statistic(*arrays, axis=-1))
    if fewest < 2:
        return Interval(value, None, None, fewest)
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter(
            "ignore", stats.DegenerateDataWarning
        )  # for undefined resamples, which the result shows too
        found = stats.bootstrap(
            arrays,
            statistic,
            n_resamples=RESAMPLES,
            batch=max(1, (1 << 22) // max(len(array) for array in arrays)),  # 32 MiB of float64 at once
            vectorized=True,
            paired=paired,
            confidence_level=CONFIDENCE,
            method="percentile",
            rng=SEED,
        )
    low, high = map(float, found.confidence_interval)
    defined = math.isfinite(low) and math.isfinite(high)
    return Interval(value, low if defined else None, high if defined else None, fewest)


def difference(one: Interval, other: Interval) -> Interval:
    """one - other, with the interval of Newcombe 1998 (Statistics in Medicine 17, method 10) for rates and of Zou and
    Donner 2008 (Statistics in Medicine 27) for any statistic.

    It combines the two intervals, so that 0 of 100 against 0 of 100 is not `0 to 0`. It assumes independent samples;
    the same prompts are correlated, so the interval is conservative.
    """
    value, items = one.value - other.value, min(one.items, other.items)
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return Interval(value, None, None, items)
    below = math.hypot(one.value - one.low, other.high - other.value)
    above = math.hypot(one.high - one.value, other.value - other.low)
    return Interval(value, value - below, value + above, items)


def mean_difference(one: Any, other: Any, axis: int) -> Any:
    """mean(one) - mean(other) along an axis of numpy arrays."""
    return one.mean(axis=axis) - other.mean(axis=axis)


def auc(higher: Any, lower: Any, axis: int = -1) -> Any:
    """The probability that a score of `higher` is above one of `lower`, ties counting half; 0.5 is chance.

    higher, lower: [..., N] and [..., M], reduced along the last axis. The area under the ROC curve, by ranks (Mann and
    Whitney 1947).
    """
    import numpy as np
    from scipy.stats import rankdata

    higher, lower = np.asarray(higher), np.asarray(lower)
    n, m = higher.shape[-1], lower.shape[-1]
    ranks = rankdata(np.concatenate([higher, lower], axis=-1), axis=-1)  # ties: their mean rank
    return (ranks[..., :n].sum(axis=axis) - n * (n + 1) / 2) / (n * m)


def rate_interval(hits: Sequence[float]) -> Interval:
    """The share of hits among items of 0 or 1 (False or True), and its Wilson score interval (Wilson 1927).

    A bootstrap of a hundred misses would give `0 to 0`, although the true rate may be three in a hundred.
    """
    from scipy import stats

    if not hits:
        raise ValueError("a sample without items has no rate")
    found = stats.binomtest(sum(map(bool, hits)), len(hits))
    low, high = found.proportion_ci(CONFIDENCE, method="wilson")
    return Interval(float(found.statistic), float(low), float(high), len(hits))
