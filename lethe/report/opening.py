"""The first screen of the page: the verdict in one sentence, what was forgotten, from which model, and five numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lethe.gate.criteria import LOGARITHMIC, Criterion, status
from lethe.gate.metric_catalogue import number, size

SHORT = 12  # characters of a hash
GENERIC = "generic_labels"  # the objective that replaces names
LIMIT_AT = 60.0  # percent of a bar where its limit stands
UNCHANGED = {"retain_perplexity": 1.0, "model_utility": 1.0}  # their best value; of the others it is 0, of a p-value 1


class Question(NamedTuple):
    """One of the five things that decide; each criterion of the gate answers one of them."""

    title: str
    criteria: tuple[str, ...]
    missed: str  # goes on after `The model has not forgotten the text: `


ABLE = Question(
    "What it cost",
    ("retain_perplexity", "benchmark_loss", "fluency_loss", "model_utility"),
    "it got worse at what it should keep",
)
QUESTIONS = (
    Question(
        "What it says",
        ("completion_familiarity", "probability_familiarity"),
        "it still says what only the text told it",
    ),
    Question("What attacks extract", ("attack_excess",), "attacks still extract it"),
    Question("What it knows", ("memorisation_excess", "trivia_excess", "forget_quality"), "it still knows the text"),
    Question("What gives it away", ("privleak",), "one can still tell that it read the text"),
    ABLE,
)
MEANS = {  # what a value is of, as words after it
    "completion_familiarity": "of the names that it wrote before",
    "probability_familiarity": "of the probability that it gave the names",
    "attack_excess": "more leaks than from a model that never read the text",
    "memorisation_excess": "more by heart than a model that never read the text",
    "trivia_excess": "more names right than a model that never read the text",
    "forget_quality": "chance that models which never read the text differ as much from each other",
    "privleak": "distance from a model that never read the text: 0 gives nothing away, 1 everything",
    "retain_perplexity": "times the perplexity of other text",
    "benchmark_loss": "of a task's answers lost",
    "fluency_loss": "more texts with faults",
    "model_utility": "of its answers about other text are left",
}
LEFT = "of what the model knew before"  # of a criterion that is judged by the share that is left
PLAIN = ("privleak", "retain_perplexity")  # not shown in percent


class Bar(NamedTuple):
    """One of the five numbers. value, limit: as text; at, low, high: percent of the bar, whose limit is at LIMIT_AT."""

    title: str
    name: str  # of the criterion
    value: str
    means: str
    limit: str
    result: str
    note: str
    at: float | None
    low: float | None
    high: float | None


def headline(criteria: Sequence[Criterion]) -> str:
    """The verdict as a sentence for somebody who knows no criterion by its name."""
    missed = [question.missed for question in QUESTIONS if "fail" in results(question, criteria)]
    about_text = {result for question in QUESTIONS if question != ABLE for result in results(question, criteria)}
    able = results(ABLE, criteria)
    found = status(criteria)
    if found == "pass" and "pass" in about_text:
        kept = " and is as able as before" if "pass" in able else "; what it cost was not measured"
        return f"By every criterion that could be measured the model has forgotten the text{kept}."
    if found == "fail" and "fail" in about_text:
        return f"The model has not forgotten the text: {listed(missed)}."
    if found == "fail" and "pass" in about_text and "cannot tell" not in about_text:
        return f"The model has forgotten the text, but {ABLE.missed}."
    if found == "fail":
        return f"Nobody can tell whether the model has forgotten the text, and {ABLE.missed}."
    return "Nobody can tell whether the model has forgotten the text: too little could be measured."


def results(question: Question, criteria: Sequence[Criterion]) -> set[str]:
    """The results of the criteria that answer a question."""
    return {criterion.result for criterion in criteria if criterion.name in question.criteria}


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([*filter(None, [", ".join(words[:-1])]), words[-1]])


def five(criteria: Sequence[Criterion]) -> list[Bar]:
    """For each question the criterion that is furthest beyond its limit or, if none is, nearest to it.

    One that could not be told comes after one that is missed, and one that cannot be measured here last of all.
    """
    found = []
    for question in QUESTIONS:
        own = [criterion for criterion in criteria if criterion.name in question.criteria]
        if own:
            found.append(bar(question, max(own, key=urgency)))
    return found


def urgency(criterion: Criterion) -> tuple[int, float]:
    """By what the criteria of one question are compared."""
    order = ("not measurable", "pass", "cannot tell", "fail")
    return order.index(criterion.result), used(criterion, criterion.value) or 0.0


def bar(question: Question, criterion: Criterion) -> Bar:
    """A criterion as one of the five numbers."""
    value, low, high = (
        (criterion.value, criterion.low, criterion.high) if criterion.met is not None else (None, None, None)
    )
    at, one, other = (placed(criterion, each) for each in (value, low, high))
    return Bar(
        question.title,
        criterion.name,
        shown(criterion, value),
        LEFT if criterion.share else MEANS[criterion.name],
        f"{criterion.bound} {shown(criterion, criterion.allowed)}",
        criterion.result,
        criterion.note,
        at,
        None if one is None or other is None else min(one, other),
        None if one is None or other is None else max(one, other),
    )


def placed(criterion: Criterion, value: float | None) -> float | None:
    """Where a value stands on the bar, in percent of its length."""
    share = used(criterion, value)
    return None if share is None else round(min(100.0, max(0.0, LIMIT_AT * share)), 1)


def used(criterion: Criterion, value: float | None) -> float | None:
    """How much of what the limit allows a value takes: 0 nothing, 1 all of it."""
    if value is None:
        return None
    if criterion.name in LOGARITHMIC and not criterion.share:
        best, taken, room = 0.0, *(-math.log10(max(each, 1e-300)) for each in (value, criterion.allowed))
    else:
        best = 0.0 if criterion.share else UNCHANGED.get(criterion.name, 0.0)
        taken, room = value, criterion.allowed
    if room == best:  # a limit that allows nothing
        return 0.0 if taken <= best else 2.0
    return (taken - best) / (room - best)


def shown(criterion: Criterion, value: float | None) -> str:
    """A value as text: in percent, but for those that are no share."""
    if value is None:
        return ""
    if criterion.name in PLAIN and not criterion.share:
        return number(value)
    percent = round(100 * value, 1) + 0.0
    return f"{percent:g}\u00a0%"


def facts(
    corpus: Sequence[Mapping[str, Any]],
    params: Mapping[str, Any],
    provenance: Mapping[str, Any],
    distilled: Mapping[str, Any],
) -> dict[str, Any]:
    """What was forgotten and what was kept, from which model, into which, and how.

    corpus: the rows of `inputs.Corpus.sizes`. distilled: reports/distil.json.
    """
    sides = {side: [row for row in corpus if row["side"] == side] for side in ("forget", "retain")}
    sums = {side: {of: sum(row[of] for row in rows) for of in ("files", "words")} for side, rows in sides.items()}
    folder = params.get("corpus", {})
    return {
        "forget": sums["forget"] | {"folder": folder.get("forget", "")},
        "retain": sums["retain"] | {"folder": folder.get("retain", "")},
        "model": {"name": name_of(params.get("baseline", {})), "hash": provenance["sha256"].get("baseline", "")},
        "result": {"hash": hash_of(distilled["sha256"])},
        "method": method(params, distilled),
    }


def hash_of(files: Mapping[str, str]) -> str:
    """The SHA-256 of a model's weights, of the first file where there are several."""
    return next((files[name] for name in sorted(files) if name.endswith(".safetensors")), "")


def name_of(baseline: Mapping[str, Any]) -> str:
    """The model that `baseline` started from, in words."""
    source = baseline.get("source")
    if source == "hub":
        return f"{baseline.get('model')} at revision {str(baseline.get('revision'))[:SHORT]}"
    if source == "folder":
        return str(baseline.get("folder"))
    return "a small model trained from nothing by this project"


def weights(folder: Path) -> dict[str, str]:
    """The number of parameters and the bytes of a model's weights; empty where it has no safetensors."""
    from safetensors import safe_open

    count = held = 0
    for path in sorted(folder.glob("*.safetensors")):
        held += path.stat().st_size
        with safe_open(path, "numpy") as file:
            count += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    return {"parameters": amount(count) if held else "", "size": size(held) if held else ""}


def amount(count: int) -> str:
    """A large number in words: `1.2 million`, `7 billion`."""
    for unit, name in ((1e9, "billion"), (1e6, "million")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count:,}"


def method(params: Mapping[str, Any], distilled: Mapping[str, Any]) -> str:
    """How the model was made to forget, in words."""
    finetune = params.get("finetune", {})
    objective = str(finetune.get("objective", ""))
    does = "to say ordinary words in place of its names" if objective == GENERIC else "against the text"
    steps = [f"trained {does} ({objective.replace('_', ' ')}, {finetune.get('steps')} steps)"]
    steps += [f"then erased from the weights ({distilled['steps']} steps)"] if distilled.get("steps") else []
    return ", ".join(steps)


def thousands(count: float | None) -> str:
    """A count with spaces between thousands that no line break separates: `66 153`."""
    return "" if count is None else f"{count:,}".replace(",", "\u202f")
