"""The release gate: the criteria that the unlearned model has to meet, and whether the measured values meet them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, NonNegativeFloat

from lethe.core.params import StageParams
from lethe.gate.evidence import Evidence, all_evidence
from lethe.gate.spread import reach, reach_either_way

Share = Annotated[float, Field(ge=0, le=1)]
Status = Literal["pass", "fail", "cannot tell"]
Result = Literal["pass", "fail", "cannot tell", "not measurable"]
EXIT_CODES: dict[Status, int] = {"pass": 0, "fail": 3, "cannot tell": 1}


class GateParams(StageParams):
    """The threshold of every criterion; null turns the criterion off."""

    completion_familiarity: NonNegativeFloat | None
    probability_familiarity: NonNegativeFloat | None
    retain_perplexity: NonNegativeFloat | None
    benchmark_loss: Share | None
    fluency_loss: Share | None
    model_utility: NonNegativeFloat | None
    memorisation_excess: Share | None
    trivia_excess: Share | None
    attack_excess: Share | None
    forget_quality: Share | None
    privleak: NonNegativeFloat | None
    share_left: Share | None


class Criterion(NamedTuple):
    """One criterion for the unlearned model, judged.

    limit: from params.yaml. allowed: the limit, or more where retrained models differ from each other by more. low,
    high: 95 % interval of the value. met: None where nobody can tell, or where nothing can be measured here; note then
    says why. share: judged by the share of the baseline's that is left, for want of a retrained model.
    """

    name: str
    what: str
    bound: Literal["at most", "at least"]
    limit: float
    allowed: float
    value: float | None
    low: float | None
    high: float | None
    result: Result
    note: str
    share: bool = False

    @property
    def met(self) -> bool | None:
        return {"pass": True, "fail": False}.get(self.result)


DESCRIPTIONS = {
    "completion_familiarity": "Familiarity (completion) remaining (retrained 0, baseline 1)",
    "probability_familiarity": "Familiarity (probability) remaining (retrained 0, baseline 1)",
    "retain_perplexity": "Perplexity of held-out retain text, relative to baseline",
    "benchmark_loss": "Accuracy loss on the worst benchmark",
    "fluency_loss": "Fluency loss over baseline and retrained, worst metric",
    "model_utility": "Model utility, relative to baseline",
    "memorisation_excess": "Memorisation excess over retrained, worst metric",
    "trivia_excess": "Two-choice trivia excess over retrained",
    "attack_excess": "Extraction attack excess over retrained, worst attack",
    "forget_quality": "Forget quality (p-value)",
    "privleak": "PrivLeak, absolute value",
}
JUDGED = ("familiarity", "benchmarks", "measures", "attacks")  # the reports, in the order of `criteria`
AT_LEAST = ("model_utility", "forget_quality")
LOGARITHMIC = ("forget_quality",)  # p-values differ by factors
EITHER_WAY = ("privleak",)  # a retrained model lies on either side of the others


def criteria(
    gate: GateParams,
    familiarity: Mapping[str, Any],
    benchmarks: Mapping[str, Any],
    measures: Mapping[str, Any],
    attacks: Mapping[str, Any],
) -> list[Criterion]:
    """Every criterion of the gate, judged; the other arguments are the reports of these names."""
    found = all_evidence(familiarity, benchmarks, measures, attacks)
    limits = {name: limit for name, limit in gate if name in DESCRIPTIONS and limit is not None}
    return [judged(name, limit, found[name], gate.share_left) for name, limit in limits.items()]


def judged(name: str, limit: float, found: Evidence, share_left: float | None) -> Criterion:
    """A criterion with its result.

    A pass counts only if the baseline, which knows the forget set, would not pass as well, and if there are enough
    items to tell the two models apart. share_left: the limit where no retrained model is there to compare with; None:
    nobody can tell then.
    """
    what, bound = DESCRIPTIONS[name], bound_of(name)
    if found.share and share_left is None:
        found = Evidence(None, found.note)
    if found.share and share_left is not None:
        subject = what.partition(" excess")[0].partition(",")[0].partition(" (")[0]
        what, bound, limit = f"{subject}: share of the baseline's that is left", "at most", share_left
    allowed = limit if found.share else allowed_of(name, limit, found.spread)
    value, low, high = (None if number is None else rounded(number) for number in (found.value, found.low, found.high))

    def meets(number: float) -> bool:
        return number >= allowed if bound == "at least" else number <= allowed

    result: Result = "cannot tell"
    note = found.note
    if found.unmeasurable or (found.baseline is not None and meets(rounded(found.baseline))):
        result = "not measurable"
        note = found.unmeasurable or f"the baseline meets it too, with {found.baseline:.3g}"
    elif value is not None and not meets(value):
        result = "fail"
    elif value is not None and found.told:
        result = "pass"
    elif value is not None:
        note = f"{found.items} items are too few to tell"
    return Criterion(name, what, bound, limit, rounded(allowed), value, low, high, result, note, found.share)


def rounded(number: float) -> float:
    """To six significant digits, so that 0.5 - 0.48 is 0.02 and not a hair more, and a tiny p-value is not 0."""
    return float(f"{number:.6g}")


def bound_of(name: str) -> Literal["at most", "at least"]:
    """Whether the limit of a criterion is an upper or a lower bound."""
    return "at least" if name in AT_LEAST else "at most"


def allowed_of(name: str, limit: float, spread: Sequence[float]) -> float:
    """The limit, or what one more retrained model might reach if that is further.

    spread: the criterion's value for each retrained model against the others, with its sign.
    """
    if name in LOGARITHMIC:
        furthest = reach([-math.log10(max(value, 1e-300)) for value in spread])
        return limit if furthest is None else min(limit, 10**-furthest)
    furthest = reach_either_way(list(spread)) if name in EITHER_WAY else reach(list(spread))
    return limit if furthest is None else max(limit, furthest)


def status(judged: Sequence[Criterion]) -> Status:
    """The verdict on all criteria."""
    return verdict([criterion.result for criterion in judged])


def verdict(results: Sequence[Result]) -> Status:
    """One missed criterion fails the gate; without one, a criterion that nobody can tell leaves it open.

    Criteria that cannot be measured here are left out, as long as at least half of all can.
    """
    if "fail" in results:
        return "fail"
    enough = 2 * results.count("pass") >= len(results) > 0
    return "pass" if enough and "cannot tell" not in results else "cannot tell"


def sentence(judged: Sequence[Criterion]) -> str:
    """The result of the gate on one line, as the report, `lethe result` and `lethe gate` print it."""
    if not judged:
        return "release gate: CANNOT TELL (no criterion is set)"
    by_result: dict[Result, list[str]] = {"pass": [], "fail": [], "cannot tell": [], "not measurable": []}
    for criterion in judged:
        by_result[criterion.result].append(criterion.name.replace("_", " "))
    missed, unknown, beyond = by_result["fail"], by_result["cannot tell"], by_result["not measurable"]
    told = len(judged) - len(unknown) - len(beyond)
    without = f"; not measurable here: {', '.join(beyond)}" if beyond else ""
    found = status(judged)
    if found == "fail":
        unmeasured = f"; {len(unknown)} not measured" if unknown else ""
        return f"release gate: FAIL ({len(missed)} of {told} criteria): {', '.join(missed)}{unmeasured}{without}"
    if found == "pass":
        return f"release gate: PASS (all {told} criteria{without})"
    return f"release gate: CANNOT TELL ({len(unknown)} of {len(judged)} criteria not measured{without})"


def metric(judged: Sequence[Criterion]) -> dict[str, Any]:
    """Content of reports/gate.json: how many criteria have each result, the value behind each, the results, where
    something else than the limit of params.yaml was allowed, how much, and which were judged by the share that is left.
    """
    results = [criterion.result for criterion in judged]
    counts = {
        "met": results.count("pass"),
        "missed": results.count("fail"),
        "unmeasured": results.count("cannot tell"),
        "unmeasurable": results.count("not measurable"),
    }
    told = [criterion for criterion in judged if criterion.met is not None]
    values = {criterion.name: criterion.value for criterion in told}
    allowed = {criterion.name: criterion.allowed for criterion in told if criterion.allowed != criterion.limit}
    named = {criterion.name: criterion.result for criterion in judged}
    shares = [criterion.name for criterion in judged if criterion.share]
    beside = ({"allowed": allowed} if allowed else {}) | ({"shares": shares} if shares else {})
    return counts | values | beside | {"results": named}
