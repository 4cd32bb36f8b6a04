"""The gate's criterion of fluency: what unlearning broke in the model's language."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from lethe.evaluation.intervals import Interval, difference
from lethe.evaluation.model_set import is_reference
from lethe.gate.metric_catalogue import FLUENCY, METRICS, number

TURNED = {"value": "value", "low": "high", "high": "low"}  # the ends of 1 - x

Numbers = Mapping[str, Any]  # value, low, high, items


class Loss(NamedTuple):
    """By how much the unlearned model is worse than the worst reference on one measure, from -1 to 1."""

    value: float
    low: float | None
    high: float | None
    items: int  # continuations of the model with fewer
    where: str  # the measure and the reference

    @property
    def note(self) -> str:
        """Where it is, and the interval."""
        return self.where if self.low is None else f"{self.where}; 95 % interval {self.low:.3f} to {self.high:.3f}"


def fluency_loss(familiarity: Mapping[str, Any], of: str = "unlearned") -> Loss | str:
    """The worst loss of a model, or why there is none. familiarity: the report of that name, perhaps of an old version.

    The worst has the highest lower end of its interval: the largest of eight noisy values says little.
    """
    fluency = familiarity.get("fluency")
    if fluency is None:
        return "not measured"
    found = list(losses(fluency["models"], of))
    if found:
        return max(found, key=lambda loss: loss.value if loss.low is None else loss.low)
    missing = [name for name in ("baseline", of) if name not in familiarity["models"]]
    reasons = [f"{name}: {familiarity['absent'].get(name, 'not among the models measured')}" for name in missing]
    return "; ".join(reasons or fluency["absent"].values()) or "not measured"


def spread(familiarity: Mapping[str, Any]) -> list[float]:
    """The worst loss of each retrained model against the baseline and the others; empty with fewer than two."""
    retrained = [name for name in familiarity["models"] if is_reference(name)]
    found = [fluency_loss(familiarity, name) for name in retrained] if len(retrained) > 1 else []
    return [loss.value for loss in found if isinstance(loss, Loss)]


def losses(models: Mapping[str, Mapping[str, Numbers]], of: str = "unlearned") -> Iterator[Loss]:
    """The loss of every measure on a scale from 0 to 1, on the prompts of each side, in the catalogue's order.

    The reference is the worst of the baseline and the retrained models: what they do too, unlearning did not break.
    """
    after = models.get(of, {})
    known = [name for name in models if name != of and (name == "baseline" or is_reference(name))]
    references = {name: models[name] for name in known}
    for name, metric in METRICS.items():
        if metric.group == FLUENCY and metric.share and name in after and name in references.get("baseline", {}):
            less = metric.better == "less"
            others = {model: damage(found[name], less) for model, found in references.items() if name in found}
            worst = max(others, key=lambda model: others[model]["value"])
            before = references[worst][name]["value"]
            where = f"{metric.label}: {number(after[name]['value'])}, {worst} {number(before)}"
            own = Interval(**damage(after[name], less))
            yield Loss(*difference(own, Interval(**others[worst])), where)


def damage(numbers: Numbers, less: bool) -> Numbers:
    """The numbers of a measure turned so that more is worse."""
    if less:
        return numbers
    turned = {end: None if numbers[other] is None else 1 - numbers[other] for end, other in TURNED.items()}
    return {**numbers, **turned}
