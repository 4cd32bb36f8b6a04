"""What stands on the report's page, from what the earlier stages found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lethe.evaluation.term_verdicts import VERDICTS
from lethe.report import release_gate as gate
from lethe.report.charts import loss_charts, relearning_charts, request_charts, step_charts, trade_chart
from lethe.report.comparison import attacks_of, groups, relearning
from lethe.report.html import flattened
from lethe.report.inputs import Findings
from lethe.report.samples import side_by_side
from lethe.report.step_table import Row, turned
from lethe.report.term_table import counts


def content(
    found: Findings, demands: Sequence[gate.Demand], rows: Sequence[Row], samples: int, words: int, terms: int
) -> dict[str, Any]:
    """What the template is filled with, but for the label samples and the soft prompt, which lie in model folders.

    rows: of step_table.step_rows. samples: of completions. words: of the text to forget in a row, at the most. terms:
    how many of them are listed.
    """
    return {
        "verdict": gate.sentence(demands),
        "status": gate.status(demands),
        "measured": measured(found.familiarity, found.benchmarks),
        "demands": demands,
        "steps": turned(rows),
        "requests": found.requests,
        "groups": groups(found.measures, found.familiarity, found.benchmarks, found.completions),
        "attacks": attacks_of(found.attacks),
        "terms": found.table[:terms],
        "hidden_terms": len(found.table[terms:]),
        "verdicts": counts(found.table),
        "meanings": VERDICTS,
        "term_numbers": flattened(found.terms),
        "absent": {
            "models": found.familiarity["absent"],
            "metrics": found.measures.get("absent", {}) | found.benchmarks["absent"],
            "attacks": found.attacks.get("absent", {}),
        },
        "words": words,
        "charts": charts(found, rows),
        "completions": side_by_side(found.prompts, found.completions, found.corpus.forget, samples, words),
        "corpus": found.corpus.sizes,
        "details": details(found),
    }


def charts(found: Findings, rows: Sequence[Row]) -> dict[str, Any]:
    """Every chart of the page, by its name in the template."""
    return {
        "trade": trade_chart(rows, "probability_familiarity", "retain_perplexity"),
        "steps": step_charts(rows),
        "requests": request_charts(found.requests),
        "relearning": relearning_charts(relearning(found.attacks)),
        "loss": loss_charts(found.curves),
    }


def details(found: Findings) -> dict[str, list[tuple[str, str]]]:
    """What was run: (name, value) of everything that one may want to look up, by title."""
    return {
        "Dictionary": dictionary_facts(found.dictionary),
        "Labels": flattened(found.labels),
        "Fine-tuning and the files of the unlearned model": flattened(found.finetune),
        "Hashes, parameters and versions that the unlearned model carries": flattened(found.provenance),
        "All parameters": flattened(found.params),
    }


def measured(familiarity: Mapping[str, Any], benchmarks: Mapping[str, Any]) -> str:
    """What the numbers rest on, in one sentence."""
    tasks = ", ".join(f"{count} items of {task}" for task, count in benchmarks["items"].items())
    prompts = f"Measured on {familiarity['prompts']} prompts of the {familiarity['set']} set"
    return f"{prompts} and {tasks}." if tasks else f"{prompts}."


def dictionary_facts(rows: Sequence[Mapping[str, str]]) -> list[tuple[str, str]]:
    """How many anchors of each kind have translations."""
    kinds = {row["anchor"]: row["kind"] for row in rows}
    by_kind = [(f"of kind {kind}", str(list(kinds.values()).count(kind))) for kind in sorted(set(kinds.values()))]
    return [("anchors", str(len(kinds))), ("forms and translations", str(len(rows))), *by_kind]
