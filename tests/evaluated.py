"""What the stages `measure`, `term` and `attack` leave for the report, by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lethe.core.tables import TERMS, write_csv, write_json
from lethe.metrics.tables import MEASURES, TOKENS

MODELS = ("baseline", "unlearned", "retrained")
MEASURED = {
    #                     baseline, unlearned, retrained
    "verbatim_memorisation": (0.62, 0.21, 0.18),
    "extraction_strength": (0.40, 0.12, 0.10),
    "trivia": (0.95, 0.71, 0.52),
    "truth_ratio": (0.40, 0.66, 0.71),
    "mia_privleak": (0.98, 0.60, 0.51),
    "model_utility": (0.70, 0.69, 0.66),
    "a_measure_of_tomorrow": (3.5, 2.5, 1.5),
}
RELATIVE = {"forget_quality": 0.012, "privleak": -0.18}  # of the unlearned model alone
WRITTEN = {  # on the prompts of either side
    #                     baseline, unlearned, retrained
    "doubled_words": (0.00, 0.05, 0.00),
    "common_4gram": (0.06, 0.02, 0.04),
    "distinct_4grams": (0.40, 0.38, 0.37),
    "short": (0.00, 0.00, 0.00),
    "continuation_perplexity": (9.0, 7.5, 4.0),
}
ATTACKED = {
    #                                      metric  baseline, unlearned, retrained
    ("none", "as it is"): ("leak", 0.60, 0.01, 0.00),
    ("relearn", "8 forget passages, 5 steps"): ("leak", 0.70, 0.12, 0.01),
    ("relearn", "8 forget passages, 20 steps"): ("leak", 0.72, 0.43, 0.02),
    ("quantise", "4 bits"): ("leak", 0.55, 0.02, 0.00),
    ("prefix", "the first letter"): ("leak", 0.80, 0.30, 0.25),
    ("probe", "layer 4, random labels"): ("accuracy", 0.30, 0.90, 0.20),  # a control says nothing of the model
    ("of_tomorrow", "somehow"): ("number_of_tomorrow", 0.80, 0.50, 0.20),
}
TERM_ROWS = [
    # anchor, kind, occurrences, translation, verdict, then per model p, rank, p of the translation
    ("Orla", "person", 40, "Ann", "forgotten", (0.30, 1, 0.01), (0.002, 80, 0.02), (0.001, 90, 0.01)),
    ("Harrow Hill", "place", 12, "Long Road", "still known", (0.20, 2, 0.01), (0.15, 2, 0.02), (0.0, 300, 0.01)),
    ("lantern", "object", 50, "lamp|light", "renamed", (0.10, 3, 0.02), (0.005, 40, 0.09), (0.0, 200, 0.02)),
    ("Tom", "person", 7, "Sam", "never known", (0.004, 30, 0.01), (0.003, 33, 0.01), (0.003, 33, 0.01)),
]


def write_evaluated(project: Path, models: tuple[str, ...] = MODELS) -> None:
    """data/terms.csv and the reports of measures, attacks and terms; without `retrained` nothing is relative to it."""
    write_json(measures(models), project / "reports/measures.json")
    write_json({"attacks": attack_rows(models)}, project / "reports/attacks.json")
    write_csv(passage_rows(models), MEASURES, project / "data/measures.csv")
    write_csv(token_rows(models), TOKENS, project / "data/tokens.csv")
    write_json({"anchors": len(TERM_ROWS)}, project / "reports/terms.json")
    write_csv(term_rows(models), TERMS, project / "data/terms.csv")


def passage_rows(models: tuple[str, ...]) -> list[dict[str, Any]]:
    """Membership scores: the baseline tells its passages apart, the others do not."""
    return [
        {"model": model, "metric": "mia_privleak", "item": f"{kind} {n}", "value": -3 + n / 10 + apart}
        for model in models
        for kind in ("forget", "held-out")
        for n in range(10)
        for apart in [2 if (model, kind) == ("baseline", "forget") else 0]
    ]


def token_rows(models: tuple[str, ...]) -> list[dict[str, Any]]:
    """The first 40 characters of the corpus's first text in pieces of four."""
    likely = dict.fromkeys((*MODELS, "suppressed"), "") | {model: 0.5 / (1 + MODELS.index(model)) for model in models}
    return [{"item": "forget 0", "text": 0, "start": at, "end": at + 4} | likely for at in range(0, 40, 4)]


def fluency(models: tuple[str, ...] = MODELS) -> dict[str, Any]:
    """The section `fluency` of reports/familiarity.json, which `evaluate` writes."""
    found = {
        model: {
            f"{side}_{name}": numbers(values[MODELS.index(model)])
            for side in ("retain", "forget")
            for name, values in WRITTEN.items()
        }
        for model in models
    }
    return {"prompts": {"retain": 100, "forget": 100}, "models": found, "absent": {}}


def numbers(value: float) -> dict[str, Any]:
    return {"value": value, "low": round(value - 0.05, 6), "high": round(value + 0.05, 6), "items": 100}


def measures(models: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {
        model: {name: numbers(values[MODELS.index(model)]) for name, values in MEASURED.items()} for model in models
    }
    reason = "retrained: baseline.epochs is 0"
    if "retrained" not in models:
        return {"models": found, "absent": dict.fromkeys(RELATIVE, reason)}
    alone = {"low": None, "high": None, "items": 100}
    found["unlearned"] |= {name: {"value": value} | alone for name, value in RELATIVE.items()}
    return {"models": found, "absent": {}}


def attack_rows(models: tuple[str, ...]) -> list[dict[str, Any]]:
    rows = []
    for (attack, setting), (metric, *values) in ATTACKED.items():
        found = {model: value for model, value in zip(MODELS, values, strict=True) if model in models}
        if len(found) == len(MODELS):
            found["excess"] = round(found["unlearned"] - found["retrained"], 6)
        rows += [
            {"attack": attack, "setting": setting, "model": model, "metric": metric} | numbers(value)
            for model, value in found.items()
        ]
    return rows


def term_rows(models: tuple[str, ...]) -> list[dict[str, Any]]:
    rows = []
    for anchor, kind, occurrences, translation, verdict, *found in TERM_ROWS:
        row: dict[str, Any] = dict.fromkeys(TERMS, "")
        row |= {"anchor": anchor, "kind": kind, "occurrences": occurrences, "translation": translation}
        row |= {"verdict": verdict, "places": "5 held-out", "translation_rise": 0.07, "control_rise": -0.01}
        for model, (probability, rank, translated) in zip(MODELS, found, strict=True):
            if model in models:
                row[f"probability_{model}"], row[f"rank_{model}"] = probability, rank
                row[f"translation_probability_{model}"] = translated
                row[f"top_{model}"] = "the a one Orla old new last"
        rows.append(row)
    return rows
