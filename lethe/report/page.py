"""The content of the report page, from the reports of the earlier stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lethe.core.tables import COMPARED
from lethe.evaluation.model_set import is_reference
from lethe.evaluation.term_verdicts import VERDICTS
from lethe.gate import criteria as gate
from lethe.gate.definitions import VERDICTS as RULES
from lethe.gate.explanations import defined, of_criterion
from lethe.report.charts import loss_charts, relearning_charts, request_charts, step_charts, trade_off_chart
from lethe.report.comparison import attacks_of, groups, relearning
from lethe.report.html import flattened
from lethe.report.inputs import Findings
from lethe.report.likelihoods import BINS, heat_maps, histograms
from lethe.report.opening import facts, five, headline
from lethe.report.samples import common_grams, side_by_side, whole_continuations
from lethe.report.step_table import Row, transposed
from lethe.report.term_table import counts

OTHER_TEXT = "other text"  # what beginnings of retain text are called


def content(
    found: Findings, criteria: Sequence[gate.Criterion], rows: Sequence[Row], samples: int, words: int, terms: int
) -> dict[str, Any]:
    """The variables of the template, except the label samples and the soft prompt, which need the model folders.

    rows: from step_table.step_rows. samples: number of completions shown. words: most consecutive words of the forget
    text. terms: number of terms listed.
    """
    said = side_by_side(found.prompts, found.completions, found.corpus.forget, samples, words)
    names = {term.anchor for term in found.table}
    kept = whole_continuations(found.continuations, found.corpus.forget, names, samples, words)
    forms = names | {row["form"] for row in found.dictionary}
    lines, attacks = groups(found.measures, found.familiarity, found.benchmarks), attacks_of(found.attacks)
    abouts = [line.about for _, group in lines for line in group] + [attack.about for attack in attacks]
    explained = {about.id for about in [*abouts, *(of_criterion(criterion.name) for criterion in criteria)]}
    return {
        "headline": headline(criteria),
        "verdict": gate.sentence(criteria),
        "status": gate.status(criteria),
        "facts": facts(found.corpus.sizes, found.params, found.provenance, found.distil),
        "five": five(criteria),
        "measured": measured(found.familiarity, found.benchmarks),
        "criteria": [(criterion, of_criterion(criterion.name)) for criterion in criteria],
        "models": shown_models(found.familiarity),
        "references": sum(map(is_reference, found.measures["models"])),
        "steps": transposed(rows),
        "requests": found.requests,
        "broken": found.broken,
        "groups": lines,
        "bins": BINS,
        "histograms": histograms(found.passages, found.measures["models"]),
        "heat": heat_maps(found.tokens, found.corpus.trained, sorted(forms), words),
        "attacks": attacks,
        "definitions": defined(explained),
        "rules": RULES,
        "terms": found.table[:terms],
        "hidden_terms": len(found.table[terms:]),
        "verdicts": counts(found.table),
        "meanings": VERDICTS,
        "term_numbers": flattened(found.terms),
        "absent": {
            "models": found.familiarity["absent"],
            "metrics": found.measures.get("absent", {}) | found.benchmarks["absent"],
            "fluency": found.familiarity.get("fluency", {}).get("absent", {}),
            "attacks": found.attacks.get("absent", {}),
        },
        "words": words,
        "samples": samples,
        "charts": charts(found, rows),
        "said": said,
        "reasons": [*dict.fromkeys(sample["why"] for sample in said), *([OTHER_TEXT] if kept else [])],
        "continuations": kept,
        "common": common_grams(found.continuations, words),
        "corpus": found.corpus.sizes,
        "details": details(found),
    }


def shown_models(familiarity: Mapping[str, Any]) -> list[str]:
    """The models of every table, in their order; the suppressed one only if distillation came after it."""
    return [model for model in COMPARED if model != "suppressed" or model in familiarity["models"]]


def charts(found: Findings, rows: Sequence[Row]) -> dict[str, Any]:
    """Every chart of the page, by its name in the template."""
    return {
        "trade": trade_off_chart(rows, "probability_familiarity", "retain_perplexity"),
        "steps": step_charts(rows),
        "requests": request_charts(found.requests),
        "relearning": relearning_charts(relearning(found.attacks)),
        "loss": loss_charts(found.curves),
    }


def details(found: Findings) -> dict[str, list[tuple[str, str]]]:
    """The provenance section: (name, value) pairs by title."""
    return {
        "Dictionary": dictionary_facts(found.dictionary),
        "Labels": flattened(found.labels),
        "Distillation": flattened(found.distil),
        "Fine-tuning and the files of the unlearned model": flattened(found.finetune),
        "Hashes, parameters and versions recorded with the unlearned model": flattened(found.provenance),
        "All parameters": flattened(found.params),
    }


def measured(familiarity: Mapping[str, Any], benchmarks: Mapping[str, Any]) -> str:
    """What the numbers were measured on, in one sentence."""
    tasks = ", ".join(f"{count} items of {task}" for task, count in benchmarks["items"].items())
    prompts = f"Measured on {familiarity['prompts']} prompts of the {familiarity['set']} set"
    return f"{prompts} and {tasks}." if tasks else f"{prompts}."


def dictionary_facts(rows: Sequence[Mapping[str, str]]) -> list[tuple[str, str]]:
    """Counts of the dictionary: anchors, rows, anchors of each kind."""
    kinds = {row["anchor"]: row["kind"] for row in rows}
    by_kind = [(f"of kind {kind}", str(list(kinds.values()).count(kind))) for kind in sorted(set(kinds.values()))]
    return [("anchors", str(len(kinds))), ("forms and translations", str(len(rows))), *by_kind]
