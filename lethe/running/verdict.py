"""The first verdict of a run: what `evaluate` says of the unlearned model, long before the release gate."""

from __future__ import annotations

from pathlib import Path

from lethe.core.tables import read_json
from lethe.evaluation.model_set import format_change

STAGE = "evaluate"
REPORT = Path("reports/familiarity.json")


def first_verdict(report: Path) -> str:
    """Leak, familiarity that remains, and perplexity, in one sentence."""
    found = read_json(report)
    models, parts = found["models"], []
    for metric, digits in (("leak", 3), ("retain_perplexity", 2)):
        shown = {
            name: "none" if own.get(metric) is None else f"{own[metric]:.{digits}f}" for name, own in models.items()
        }
        parts.append(format_change(metric, shown))
    left = found["ratio"].get("completion_familiarity")
    if left is not None:
        parts.insert(1, f"familiarity {left:.2f} (baseline 1, retrained 0)")
    return f"first verdict: {'; '.join(parts)}"
