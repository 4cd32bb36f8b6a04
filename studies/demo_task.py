"""Soft prompts on the demo's table: before the input or in every layer, by initialisation and by length.

python -m studies.demo_task [--seeds 0 1 2]    writes reports/study/tastes.json and prints the table

The goal is forget accuracy at least 40 points lower and retain accuracy at most 3 points lower. A row
names its tuning: `prompt` is SPUL's, before the input embeddings; `prefix` has keys and values in every layer.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from tools import markdown
from tools.sandbox import ROOT, Changes, clone, failures_in, repro, write_result

VARIANTS: dict[str, Changes] = {
    "as in params.yaml": {},
    "10 vectors": {"softprompt.prompt.tokens": 10},
    "30 vectors": {"softprompt.prompt.tokens": 30},
    "learning rate 1e-2": {"softprompt.learning_rate": 1e-2},
    "with the paper's encoder": {"softprompt.prompt.encoder": 128, "softprompt.prompt.start": "random"},
    "started from a notice": {"softprompt.start_text": "ABBOT FARROW IDONY MERRICK."},
    "base with a quarter of the notices": {"specialise.background_share": 0.25},
    "base without notices": {"specialise.background_share": 0.0},
    "every layer": {"softprompt.layers": "every"},
    "every layer, base without notices": {"softprompt.layers": "every", "specialise.background_share": 0.0},
}
HEADER = ("variant", "tuning", "numbers", "forget before", "forget after", "retain before", "retain after")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    project = clone(ROOT / ".scratch/tastes")
    with failures_in(project):
        rows = list(results(project, arguments.seeds))
    write_result({"seeds": arguments.seeds, "runs": rows}, ROOT / "reports/study/tastes.json")
    print(table(rows))


def results(project: Path, seeds: Sequence[int]) -> Iterator[dict[str, Any]]:
    """One row per variant and seed: test accuracy on both sides, before and after."""
    for variant, changes in VARIANTS.items():
        for seed in seeds:
            seeded = {f"{stage}.seed": seed for stage in ("split", "specialise", "softprompt")}
            yield {"variant": variant, "seed": seed} | measured(repro(project, changes | seeded, "classify"))


def measured(found: Mapping[str, Any]) -> dict[str, Any]:
    """The row's numbers, from the reports of one run."""
    report = found["classification"]
    row: dict[str, Any] = {"tuning": report["method"]["tuning"], "numbers": report["method"]["saved_numbers"]}
    for side in ("forget", "retain"):
        for when, model in (("before", "task"), ("after", "softprompt")):
            row[f"{side} {when}"] = report["models"][model][f"test_{side}"]["accuracy"]
    return row


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a row per variant, means over seeds."""
    lines = []
    for variant in dict.fromkeys(row["variant"] for row in rows):
        own = [row for row in rows if row["variant"] == variant]
        shares = [f"{mean(row[name] for row in own):.3f}" for name in HEADER[3:]]
        lines.append([variant, own[0]["tuning"], own[0]["numbers"], *shares])
    return markdown.table(HEADER, lines)


if __name__ == "__main__":
    main()
