"""The metrics of a model from its outputs: a value per item, then one number with its interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from lethe.evaluation.intervals import Interval, bootstrap, mean_difference, mean_interval, rate_interval
from lethe.evaluation.model_set import is_reference
from lethe.inference.scoring import perplexity_of
from lethe.metrics.assistant import chat_values
from lethe.metrics.collect import Material, Readout
from lethe.metrics.membership import (
    MinK,
    auc_interval,
    loss_score,
    min_k_plus_score,
    min_k_score,
    privleak_interval,
    reference_score,
    zlib_score,
)
from lethe.metrics.memorisation import exact_memorisation, extraction_strength, rouge_l
from lethe.metrics.questions import CHOSEN, Question, written_answer
from lethe.metrics.tofu import (
    chosen_probability,
    forget_quality,
    ignorance,
    knowledge,
    model_utility,
    probability,
    truth_ratio,
)

if TYPE_CHECKING:
    from lethe.metrics.collect import Passage, Sentence
    from lethe.metrics.token_scores import Tokenwise


Values = dict[str, dict[str, float]]  # metric -> item -> value

QUESTIONED = ("probability", "truth_ratio", "rouge_l", "knowledge_memorisation")  # of each group
ATTACKS = (
    "mia_loss",
    "mia_zlib",
    "mia_min_k",
    "mia_min_k_plus",
    "mia_privleak",
    "mia_reference",
)  # membership inference
RELATIVE = ("forget_quality", "forget_quality_log10", "privleak", "mia_reference")  # to the retrained model
EXCESSES = (  # of the forget set: how much a model knows beyond the retrained ones
    *("verbatim_memorisation", "extraction_strength", "exact_memorisation", "knowledge_memorisation"),
    *("trivia", "retain_accuracy"),
)
SHARES = ("trivia", "chat_format", "chat_ended", "chat_refusals")  # of items for which something is so or is not
MEMBER, OTHER = "forget", "held-out"  # passages: trained on, and not
SMALLEST_P = 1e-300  # smaller p-values are clipped before the logarithm
REASONS = {
    ("truth_ratio", "trivia", "forget_quality", "forget_quality_log10"): "no target name has another name of its kind",
    tuple(f"retain_{name}" for name in QUESTIONED): "the retain text has no two target names of one kind",
    ("model_utility",): "there are no questions about the retain set",
    (
        "verbatim_memorisation",
        "extraction_strength",
        "exact_memorisation",
    ): "the forget set's training text is too short",
    (
        "held_out_extraction_strength",
        "held_out_exact_memorisation",
    ): "the forget set has too little held-out text",
    ATTACKS: "the forget set has too little held-out text to compare with its training text",
    ("retain_accuracy",): "the retain set has too little held-out text",
    ("privleak",): "there is no held-out forget text, or the AUC of the retrained model is 1",
    ("neighbour_perplexity",): "no prompt has names that can all be replaced by ordinary names",
}


def all_values(
    found: Mapping[str, Readout], material: Material, true_halves: Sequence[str], min_k: MinK
) -> dict[str, Values]:
    """Model -> metric -> item -> value. The reference attack compares every model with the retrained one."""
    values: dict[str, Values] = {}
    reference = found.get("retrained")
    for name, own in found.items():
        of_model: Values = {}
        for group, questions in material.questions.items():
            of_model |= question_values(group, questions, own.answers[group], own.written[group])
        of_model |= trivia_values(material.trivia, own.trivia)
        of_model |= memorised_values(material.members, own.members, true_halves, own.recited)
        of_model |= held_out_values(material.others, own.others)
        of_model |= ability_values(material.ability, own.ability)
        against = [*reference.members, *reference.others] if reference and name != "retrained" else None
        passages = [*material.members, *material.others]
        of_model |= membership_values(passages, [*own.members, *own.others], against, min_k)
        of_model |= neighbour_values(material.sentences, own.sentences)
        values[name] = of_model | chat_values(material.chats, own.replies)
    return values


def question_values(
    group: str, questions: Sequence[Question], answers: Sequence[Mapping[str, float]], written: Sequence[str]
) -> Values:
    """TOFU's and MUSE's metrics of a group of questions; those of the forget set have no prefix."""
    before = "" if group == "forget" else f"{group}_"
    values: Values = {f"{before}{name}": {} for name in QUESTIONED}
    for question, logs, text in zip(questions, answers, written, strict=True):
        chances = {answer: probability(mean_log) for answer, mean_log in logs.items()}
        wrong = [chances[answer] for answer in question.wrong]
        own = chances[question.answer]
        values[f"{before}probability"][question.item] = chosen_probability(own, wrong) if group in CHOSEN else own
        if wrong:
            values[f"{before}truth_ratio"][question.item] = truth_ratio(chances[question.paraphrase], wrong)
        answered = written_answer(question, text)
        values[f"{before}knowledge_memorisation"][question.item] = rouge_l(question.answer, answered).f1
        values[f"{before}rouge_l"][question.item] = rouge_l(
            question.answer, text if question.cloze else answered
        ).recall
    return values


def trivia_values(questions: Sequence[Question], sums: Sequence[Mapping[str, float]]) -> Values:
    """1 if the true name is likelier than another of its kind, 0 if not, 0.5 for a tie.

    sums: log-probability of each whole answer. The mean per token would favour long names, whose later tokens follow
    from the first.
    """
    pairs = [
        (question.item, logs[question.answer], logs[question.wrong[0]])
        for question, logs in zip(questions, sums, strict=True)
    ]
    return {"trivia": {item: 0.5 if true == other else float(true > other) for item, true, other in pairs}}


def membership_values(
    passages: Sequence[Passage], found: Sequence[Tokenwise], reference: Sequence[Tokenwise] | None, min_k: MinK
) -> Values:
    """The score of every membership attack for every passage. reference: the passages under the retrained model."""
    values: Values = {
        "mia_loss": {passage.item: loss_score(own) for passage, own in zip(passages, found, strict=True)},
        "mia_zlib": {passage.item: zlib_score(own, passage.text) for passage, own in zip(passages, found, strict=True)},
        "mia_min_k": {
            passage.item: min_k_score(own, min_k.attack) for passage, own in zip(passages, found, strict=True)
        },
        "mia_min_k_plus": {
            passage.item: min_k_plus_score(own, min_k.plus) for passage, own in zip(passages, found, strict=True)
        },
        "mia_privleak": {
            passage.item: min_k_score(own, min_k.privleak) for passage, own in zip(passages, found, strict=True)
        },
    }
    if reference is not None:
        pairs = zip(passages, found, reference, strict=True)
        values["mia_reference"] = {passage.item: reference_score(own, other) for passage, own, other in pairs}
    return values


def memorised_values(
    passages: Sequence[Passage], found: Sequence[Tokenwise], true_halves: Sequence[str], recited: Sequence[str]
) -> Values:
    """The memorisation metrics of the passages the baseline was trained on.

    true_halves, recited: the second half of each, and the model's continuation of the first.
    """
    items = [passage.item for passage in passages]
    overlaps = [rouge_l(true, written).f1 for true, written in zip(true_halves, recited, strict=True)]
    return {
        "verbatim_memorisation": dict(zip(items, overlaps, strict=True)),
        "extraction_strength": dict(zip(items, (extraction_strength(own.hit) for own in found), strict=True)),
        "exact_memorisation": dict(zip(items, (exact_memorisation(own.hit) for own in found), strict=True)),
    }


def ability_values(passages: Sequence[Passage], found: Sequence[Tokenwise]) -> Values:
    """The share of tokens that a model predicts in held-out retain text, which it cannot have memorised."""
    return {"retain_accuracy": {p.item: exact_memorisation(own.hit) for p, own in zip(passages, found, strict=True)}}


def held_out_values(passages: Sequence[Passage], found: Sequence[Tokenwise]) -> Values:
    """The same two metrics of held-out passages: what they are for text of this kind that was not trained on."""
    items = [passage.item for passage in passages]
    return {
        "held_out_extraction_strength": dict(zip(items, (extraction_strength(own.hit) for own in found), strict=True)),
        "held_out_exact_memorisation": dict(zip(items, (exact_memorisation(own.hit) for own in found), strict=True)),
    }


def neighbour_values(sentences: Sequence[Sentence], found: Sequence[Tokenwise]) -> Values:
    """exp of the mean loss over the tokens of each sentence that belong to no name."""
    values = {}
    for sentence, numbers in zip(sentences, found, strict=True):
        losses = [-float(chosen) for chosen, own in zip(numbers.chosen, sentence.own, strict=True) if own]
        if losses:
            values[sentence.item] = perplexity_of(math.fsum(losses) / len(losses))
    return {"neighbour_perplexity": values}


def all_measures(values: Mapping[str, Values]) -> dict[str, dict[str, Interval]]:
    """Model -> metric -> its number with its interval."""
    measures = {}
    for name, of_model in values.items():
        measures[name] = aggregates(of_model)
        useful = utility(of_model)
        if useful is not None:
            measures[name]["model_utility"] = useful
        if references := others_retrained(values, name):
            measures[name] |= relative(of_model, references)
    return measures


def others_retrained(values: Mapping[str, Values], name: str) -> list[Values]:
    """The values of every retrained model but the one of this name."""
    return [of_model for other, of_model in values.items() if is_reference(other) and other != name]


def all_excesses(values: Mapping[str, Values]) -> dict[str, dict[str, Interval]]:
    """Model -> metric -> how far it lies above the mean of the retrained models, item by item.

    A retrained model is compared with the others, so a metric has none where there is only one.
    """
    found: dict[str, dict[str, Interval]] = {}
    for name, of_model in values.items():
        references = others_retrained(values, name)
        for metric in EXCESSES if references else ():
            items = of_model.get(metric, {})
            if items:
                means = [fmean(reference[metric][item] for reference in references) for item in items]
                interval = bootstrap(mean_difference, list(items.values()), means, paired=True)
                found.setdefault(name, {})[metric] = interval
    return found


def aggregates(values: Values) -> dict[str, Interval]:
    """Metric -> its number, for every metric that has items."""
    found = {}
    for metric, of_items in values.items():
        if metric.startswith("mia_"):
            found[metric] = split_by_membership(of_items)
        elif of_items:
            found[metric] = aggregate(metric, list(of_items.values()))
    return {metric: interval for metric, interval in found.items() if interval is not None}


def aggregate(metric: str, values: Sequence[float]) -> Interval:
    """The mean of the items: of truth ratios after mapping them to 0..1, of perplexities the geometric mean."""
    from scipy.stats import gmean

    if metric == "truth_ratio":
        return mean_interval([ignorance(value) for value in values])
    if metric.endswith("truth_ratio"):
        return mean_interval([knowledge(value) for value in values])
    if metric in SHARES and set(values) <= {0.0, 1.0}:
        return rate_interval([value == 1 for value in values])
    if metric == "neighbour_perplexity":
        return bootstrap(gmean, values)
    return mean_interval(values)


def split_by_membership(scores: Mapping[str, float]) -> Interval | None:
    """The AUC of a membership attack; None unless there are both members and others."""
    members, others = by_membership(scores)
    return auc_interval(members, others) if members and others else None


def by_membership(scores: Mapping[str, float]) -> tuple[list[float], list[float]]:
    """A membership attack's scores of the members and of the others."""
    members = [score for item, score in scores.items() if item.startswith(MEMBER)]
    return members, [score for item, score in scores.items() if item.startswith(OTHER)]


def utility(values: Values) -> Interval | None:
    """Model utility over all groups of questions except the forget set's; None if none has wrong answers."""
    measured = []
    for metric, ratios in values.items():
        group = metric.removesuffix("truth_ratio")
        if group and group != metric and ratios:
            known = {item: knowledge(ratio) for item, ratio in ratios.items()}
            by_measure = (values[f"{group}probability"], values[f"{group}rouge_l"], known)
            measured.append([[measure[item] for item in ratios] for measure in by_measure])  # those with all three
    return model_utility(measured) if measured else None


def relative(values: Values, references: Sequence[Values]) -> dict[str, Interval]:
    """The metrics that compare a model with the retrained ones, item by item.

    Of several references forget quality is the geometric mean of the p-values, the mean of their logarithms.
    """
    found = {}
    ratios = list(values["truth_ratio"].values())
    if ratios:
        qualities = [forget_quality(ratios, list(reference["truth_ratio"].values())) for reference in references]
        log = fmean(math.log10(max(quality, SMALLEST_P)) for quality in qualities)
        found["forget_quality"] = Interval(qualities[0] if len(qualities) == 1 else 10**log, None, None, len(ratios))
        found["forget_quality_log10"] = Interval(log, None, None, len(ratios))
    own = by_membership(values["mia_privleak"])
    others = [by_membership(reference["mia_privleak"]) for reference in references]
    leak = privleak_interval(*own, others) if all(own) else None
    return found | ({} if leak is None else {"privleak": leak})


def absent_metrics(measures: Mapping[str, Mapping[str, Interval]], no_reference: str) -> dict[str, str]:
    """Metric -> why it is absent for every model. no_reference: why there is no retrained model."""
    missing = {metric: no_reference for metric in RELATIVE if "retrained" not in measures}
    for metrics, reason in REASONS.items():
        missing |= {metric: reason for metric in metrics if metric not in missing}
    return {metric: reason for metric, reason in missing.items() if not any(metric in own for own in measures.values())}


def measure_rows(values: Mapping[str, Values]) -> list[dict[str, Any]]:
    """Rows of data/measures.csv, numbers to six significant digits."""
    return [
        {"model": model, "metric": metric, "item": item, "value": f"{value:.6g}"}
        for model, of_model in values.items()
        for metric, of_items in of_model.items()
        for item, value in of_items.items()
    ]
