"""Unlearning a real book: The Wizard of Oz, by a small model trained on it and on other books.

python -m studies.book DATA [--smoke]    writes reports/book/result.json and prints the table for docs/results.md

The parameters are presets/book.yaml. DATA is a folder with books/oz.txt, books/pride.txt, text/tinystories.txt and the
files of lm_eval/ that data/benchmarks/README.md names. --smoke takes a few pages of them and the pretrained model
models/stories260K, and writes no result: it tests the whole chain in minutes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lethe.evaluation.lm_eval import STOCK, stock_file
from lethe.gate.metric_catalogue import number
from lethe.report.step_table import METRICS
from tools import markdown
from tools.sandbox import ROOT, Changes, clone, failures_in, repro, run, write_result

PRESET = "presets/book.yaml"
RESULT = ROOT / "reports/book/result.json"
TEXTS = {
    "books/oz.txt": "data/forget/oz.txt",
    "books/pride.txt": "data/retain/pride.txt",
    "text/tinystories.txt": "data/retain/tinystories.txt",
}
ITEMS = {f"lm_eval/{stock_file(task)}": f"data/benchmarks/{stock_file(task)}" for task in STOCK}
MODEL = {"models/stories260K": "models/stories260K"}
SMOKE_CHARS = 50_000  # of each text
SMOKE: Changes = {
    "baseline.source": "folder",
    "baseline.folder": "models/stories260K",
    "baseline.epochs": 3,
    "baseline.block_tokens": 512,
    "block.tokens": 512,
    "reinforce.epochs": 2,
    "translate.contexts": 2,
    "translate.candidates": 8,
    "finetune.steps": 6,
    "finetune.checkpoints": [2],
    "distil.steps": 4,
    "prompt.cloze": 40,
    "evaluate.new_tokens": 8,
    "benchmark.limit": 10,
}
COLUMNS = {"baseline": "before", "suppressed": "suppressed", "unlearned": "erased", "retrained": "never read it"}
MEASURES = METRICS | {"forget_perplexity": "Forget perplexity"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("data", type=Path, metavar="DATA", help="folder of the books and benchmark items")
    parser.add_argument("--smoke", action="store_true", help="a few pages and a pretrained model, in minutes")
    arguments = parser.parse_args()
    check_data(arguments.data, arguments.smoke)
    project = clone(ROOT / ".scratch" / ("book-smoke" if arguments.smoke else "book"))
    with failures_in(project):
        result = forget_book(project, arguments.data, arguments.smoke)
    if not arguments.smoke:
        result["stages"] = earlier_costs(RESULT) | result["stages"]
        write_result(result, RESULT)
    print(table(result))


def check_data(data: Path, smoke: bool) -> None:
    """Exit with one line if the folder lacks anything."""
    for name in [*TEXTS, *ITEMS, *(MODEL if smoke else {})]:
        if not (data / name).exists():
            sys.exit(f"error: {data / name}: no such file; expected the folder of real material: make book DATA=...")


def forget_book(project: Path, data: Path, smoke: bool) -> dict[str, Any]:
    """Copy the material into a clone of the project, run the pipeline there and return its results and costs."""
    for source, target in TEXTS.items():
        text = (data / source).read_text(encoding="utf-8")
        write_text(project / target, text[:SMOKE_CHARS] if smoke else text)
    for source, target in ITEMS.items():
        shutil.copyfile(data / source, project / target)
    if smoke:
        for source, target in MODEL.items():
            shutil.copytree(data / source, project / target, copy_function=shutil.copyfile)
    reports = repro(project, SMOKE if smoke else {}, "report", base=PRESET)
    run(["lethe", "result"], project)
    return measured(reports)


def write_text(path: Path, text: str) -> None:
    """Write a file, and create its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def measured(reports: Mapping[str, Any]) -> dict[str, Any]:
    """The results of the run, from the reports of all stages."""
    familiarity, benchmarks = reports["familiarity"], reports["benchmarks"]
    return {
        **{key: familiarity[key] for key in ("set", "prompts", "names", "models", "ratio")},
        "benchmarks": {key: benchmarks[key] for key in ("items", "chance", "models")},
        **{key: reports[key] for key in ("gate", "terms", "attacks") if key in reports},
        "stages": reports["stages"],
    }


def earlier_costs(path: Path) -> dict[str, Any]:
    """What the stages cost in the last run: a stage restored from the cache has no cost in this one."""
    return json.loads(path.read_text(encoding="utf-8"))["stages"] if path.exists() else {}


def table(result: Mapping[str, Any]) -> str:
    """A Markdown table, measures as rows, models as columns, and a line on the verdict and the cost."""
    models, benchmarks = result["models"], result["benchmarks"]
    rows = [[name, *(number(models.get(model, {}).get(key)) for model in COLUMNS)] for key, name in MEASURES.items()]
    for task, items in benchmarks["items"].items():
        name = f"{task} ({items} items, chance {benchmarks['chance'][task]:.2f})"
        rows.append([name, *(number(benchmarks["models"].get(model, {}).get(task)) for model in COLUMNS)])
    shown = markdown.table([f"{result['prompts']} {result['set']} prompts", *COLUMNS.values()], rows)
    return "\n\n".join([shown, verdict(result["ratio"]), cost(result["stages"])])


def verdict(ratio: Mapping[str, float | None]) -> str:
    """How much of the way from `never read it` to `before` is left, and the cost to the rest."""
    left, probability, rise = (
        number(ratio[key]) or "not measured"
        for key in ("completion_familiarity", "probability_familiarity", "retain_perplexity_factor")
    )
    return f"Left of the familiarity: completion {left}, probability {probability}; retain perplexity x {rise}."


def cost(stages: Mapping[str, Mapping[str, float]]) -> str:
    """CPU seconds by stage, most expensive first, and the peak memory."""
    seconds = {stage: spent["cpu_seconds"] for stage, spent in stages.items()}
    parts = [f"{stage} {spent:.0f}" for stage, spent in sorted(seconds.items(), key=lambda item: -item[1])]
    memory = max((spent["peak_memory_mib"] for spent in stages.values()), default=0) / 1024
    return f"CPU seconds: {sum(seconds.values()):.0f} ({', '.join(parts)}); largest stage {memory:.1f} GiB."


if __name__ == "__main__":
    main()
