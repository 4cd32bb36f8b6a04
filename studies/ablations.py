"""Ablations on the embedded default: WHP over three seeds, the paper's two ablations, and a run without retain rows.

python -m studies.ablations [--seeds 0 1 2] [--set test]    writes reports/study/whp.json and prints the table
"""

from __future__ import annotations

import argparse
import json
from statistics import mean, stdev
from typing import Any

from tools.sandbox import PAPER, ROOT, Changes, clone, repro

VARIANTS: dict[str, Changes] = {
    "erased (the default)": {"finetune.checkpoints": []},
    "hard labels, distilled": {"finetune.labels": "hard", "finetune.alpha": 5.0, "finetune.checkpoints": []},
    "soft labels alone": {"distil.steps": 0, "finetune.checkpoints": []},
    "the paper's method": PAPER,
    "anchors only (alpha 0)": PAPER | {"finetune.alpha": 0.0, "finetune.checkpoints": []},
    "bootstrapping only (no dictionary)": PAPER | {"translate.backend": "none", "finetune.checkpoints": []},
    "no retain rows": PAPER | {"finetune.retain_rows": 0.0, "finetune.checkpoints": []},
}
SEEDED = ("baseline", "reinforce", "extract", "translate", "label", "finetune", "distil", "benchmark")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", choices=["test", "development"], default="test", help="which prompts are judged")
    arguments = parser.parse_args()
    project = clone(ROOT / ".scratch/study")
    rows = []
    for variant, changes in VARIANTS.items():
        for seed in arguments.seeds:
            seeds: Changes = {f"{stage}.seed": seed for stage in SEEDED} | {"retrain.seeds": [seed]}
            result = repro(project, seeds | changes | {"evaluate.set": arguments.set}, "evaluate", "benchmark")
            rows.append({"variant": variant, "seed": seed, **measured(result)})
            print(json.dumps(rows[-1]), flush=True)
    study = {"set": arguments.set, "seeds": arguments.seeds, "runs": rows, "summary": summary(rows)}
    folder = ROOT / "reports/study"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"whp-{arguments.set}.json").write_text(json.dumps(study, indent=2) + "\n", encoding="utf-8")
    print(table(study["summary"]))


def measured(result: dict[str, Any]) -> dict[str, float]:
    """The headline metrics, from the reports of one run."""
    familiarity, benchmarks = result["familiarity"], result["benchmarks"]["models"]
    models = familiarity["models"]
    row = {
        "leak_baseline": models["baseline"]["leak"],
        "leak_retrained": models["retrained"]["leak"],
        "leak_unlearned": models["unlearned"]["leak"],
        "completion_ratio": familiarity["ratio"]["completion_familiarity"],
        "probability_ratio": familiarity["ratio"]["probability_familiarity"],
        "perplexity_factor": familiarity["ratio"]["retain_perplexity_factor"],
    }
    for task, before in benchmarks["baseline"].items():
        row[f"{task}_baseline"] = before
        row[f"{task}_drop"] = round(before - benchmarks["unlearned"][task], 4)
    return row


def summary(rows: list[dict[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """{variant: {measure: [mean, standard deviation over seeds]}}."""
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    measures = [key for key in rows[0] if key not in ("variant", "seed")]
    return {
        variant: {measure: _spread([row[measure] for row in rows if row["variant"] == variant]) for measure in measures}
        for variant in variants
    }


def table(summarised: dict[str, dict[str, list[float]]]) -> str:
    """A Markdown table, measures as rows, variants as columns."""
    variants = list(summarised)
    lines = [f"| mean ± standard deviation | {' | '.join(variants)} |", "|---" * (len(variants) + 1) + "|"]
    for measure in summarised[variants[0]]:
        cells = [
            f"{summarised[variant][measure][0]:.3f} ± {summarised[variant][measure][1]:.3f}" for variant in variants
        ]
        lines.append(f"| {measure.replace('_', ' ')} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _spread(values: list[float]) -> list[float]:
    return [round(mean(values), 4), round(stdev(values), 4) if len(values) > 1 else 0.0]


if __name__ == "__main__":
    main()
