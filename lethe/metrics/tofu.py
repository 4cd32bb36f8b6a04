"""TOFU's metrics of a model's answers (Maini et al. 2024, arXiv 2401.06121, section 2.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lethe.evaluation.intervals import Interval, bootstrap

LEAST_LOG = -300.0  # nats per token, far below what any model but a ruined one gives


def probability(mean_log: float) -> float:
    """P(answer | question) ** (1 / tokens of the answer), so that long answers are comparable with short ones.

    mean_log: mean log-probability per token, nats. Below LEAST_LOG a float would be 0 and no ratio of it exist.
    """
    return math.exp(max(mean_log, LEAST_LOG))


def chosen_probability(answer: float, wrong: Sequence[float]) -> float:
    """The right answer's probability normalised over all answers, as in TOFU for real authors and world facts.

    answer, wrong: `probability` of each.
    """
    return answer / (answer + math.fsum(wrong))


def truth_ratio(answer: float, wrong: Sequence[float]) -> float:
    """The mean probability of the wrong answers divided by the right one's: near 0 if the model knows it, 1 if not.

    answer: `probability` of the paraphrased answer where there is one; wrong: of each wrong answer, not empty. The
    arithmetic mean of the paper (its published code uses the geometric mean).
    """
    return math.fsum(wrong) / len(wrong) / answer


def ignorance(ratio: float) -> float:
    """A truth ratio of a forget question as a number to average: 1 if right and wrong are equally likely, else less."""
    return min(ratio, 1 / ratio) if ratio > 0 else 0.0


def knowledge(ratio: float) -> float:
    """A truth ratio of any other question: max(0, 1 - ratio), the higher the better (section 2.2)."""
    return max(0.0, 1 - ratio)


def forget_quality(ratios: Sequence[float], reference: Sequence[float]) -> float:
    """The p-value of the two-sample Kolmogorov-Smirnov test between the truth ratios of the two models.

    Near 0: distinguishable; above 0.05: not (section 2.2). It has no interval: a p-value estimates no quantity.
    """
    from scipy.stats import ks_2samp

    return float(ks_2samp(ratios, reference).pvalue)


def model_utility(groups: Sequence[Sequence[Sequence[float]]]) -> Interval:
    """The harmonic mean over groups of questions and their measures (section 2.2): 0 if any of them is 0.

    groups: [groups][measures][questions], TOFU's being probability, ROUGE-L and `knowledge` of the truth ratio. A
    question is resampled with all its measures.
    """
    import numpy as np
    from scipy.stats import hmean

    arrays = [np.asarray(group, dtype=np.float64) for group in groups]  # [measures, questions] each

    def of_questions(*drawn: Any, axis: int) -> Any:
        means = [array[:, rows.astype(int)].mean(axis=axis) for array, rows in zip(arrays, drawn, strict=True)]
        return hmean(np.concatenate(means), axis=0)

    return bootstrap(of_questions, *(list(range(array.shape[1])) for array in arrays))
