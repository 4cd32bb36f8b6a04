"""Membership inference: scores that predict from token probabilities whether a passage was trained on, and their AUC.

A higher score means more likely a member. Members are passages of the forget set that the baseline was trained on; the
others are held-out passages of the forget set that no model was trained on.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from lethe.core.params import StageParams
from lethe.evaluation.intervals import Interval, auc, bootstrap

if TYPE_CHECKING:
    import numpy as np

    from lethe.metrics.token_scores import Tokenwise

Share = Annotated[float, Field(gt=0, le=1)]
SMALLEST_DEVIATION = 1e-3  # nats; a model certain of one token has deviation 0, and its score would be infinite


class MinK(StageParams):
    """The share of a passage's tokens that count, the least likely ones, of each score that takes one."""

    attack: Share  # Min-K%
    plus: Share  # Min-K%++
    privleak: Share  # PrivLeak: MUSE takes 0.4, the authors of Min-K% 0.2


def loss_score(passage: Tokenwise) -> float:
    """Minus the mean loss per token, nats (Yeom et al. 2018, arXiv 1709.01604)."""
    return float(passage.chosen.mean())


def zlib_score(passage: Tokenwise, text: str) -> float:
    """Minus the mean loss per byte of the compressed text (Carlini et al. 2021, arXiv 2012.07805, section 5.2).

    Text that repeats itself has a low loss in any model, and compresses well.
    """
    return loss_score(passage) / len(zlib.compress(text.encode()))


def reference_score(passage: Tokenwise, reference: Tokenwise) -> float:
    """How much better the model predicts the passage than the reference, nats per token (same paper, section 5.2)."""
    return loss_score(passage) - loss_score(reference)


def min_k_score(passage: Tokenwise, share: float) -> float:
    """Min-K%: the mean log-probability of the least likely tokens (Shi et al. 2024, arXiv 2310.16789)."""
    return mean_of_lowest(passage.chosen, share)


def min_k_plus_score(passage: Tokenwise, share: float) -> float:
    """Min-K%++: the same with log-probabilities standardised by the mean and deviation of the model's own distribution
    (Zhang et al. 2025, arXiv 2404.02936).
    """
    distance = passage.chosen - passage.expected
    return mean_of_lowest(distance / passage.deviation.clip(min=SMALLEST_DEVIATION), share)


def mean_of_lowest(values: np.ndarray, share: float) -> float:
    """The mean of the lowest `share` of the values, at least one. values: [T]."""
    import numpy as np

    count = max(1, int(share * len(values)))
    return float(np.partition(values, count - 1)[:count].mean())


def auc_interval(members: Sequence[float], others: Sequence[float]) -> Interval:
    """The AUC of an attack's scores; members and others are resampled independently."""
    return bootstrap(auc, members, others)


def privleak(found: Any, reference: Any) -> Any:
    """PrivLeak (MUSE, Shi et al. 2024, arXiv 2407.06460): the AUC of the model relative to that of the retrained one.

    found, reference: `auc` of Min-K% scores with MUSE's K. MUSE takes the AUC the other way round, forget passages
    against held-out ones as positives, hence 1 - auc; its sign is kept: 0 is a model that never saw the text, -1 one
    that reveals every member, and above 0 one that reveals the forget passages by finding them less likely. (MUSE
    prints it in per cent.)
    """
    return ((1 - found) - (1 - reference)) / (1 - reference)


def privleak_interval(
    members: Sequence[float],
    others: Sequence[float],
    references: Sequence[tuple[Sequence[float], Sequence[float]]],
) -> Interval | None:
    """PrivLeak of a model's Min-K% scores; a passage is resampled with its score under all models.

    references: scores of members and others under each retrained model; the mean of their AUCs is the reference. None
    if each ranks every member first, as the ratio is then undefined.
    """
    import numpy as np

    scores = [np.asarray(members), np.asarray(others)]
    against = [(np.asarray(member), np.asarray(other)) for member, other in references]

    def of_passages(member: Any, other: Any, axis: int) -> Any:
        member, other = member.astype(int), other.astype(int)
        found = auc(scores[0][member], scores[1][other], axis=axis)
        reference = sum(auc(known[member], unknown[other], axis=axis) for known, unknown in against) / len(against)
        with np.errstate(divide="ignore", invalid="ignore"):
            return privleak(found, reference)

    if all(auc(member, other) == 1 for member, other in against):
        return None
    return bootstrap(of_passages, list(range(len(members))), list(range(len(others))))
