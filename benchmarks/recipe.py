"""The whole recipe of WHP (reinforce, label, finetune), compared with GradDiff and NPO run to the same familiarity.

python -m benchmarks.recipe CASE    prints one line of JSON; `make bench` runs all cases

In a clone with the default's corpus, baseline and prompts. Every method trains all weights from the same baseline with
the learning rate of studies/methods.py, keeps checkpoints, and is judged at each on the development prompts.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.subprocess_case import one_case
from lethe.evaluation.familiarity import remaining
from studies.methods import GENTLE, LEARNING_RATE, NAMES
from tools.sandbox import PAPER, ROOT, Changes, change_params, clone, run

LIMIT = 1.1  # of retain perplexity, times the baseline's: what report.gate lets through
NOTE = f"""
CPU seconds on one core from a given baseline until a method leaves as little as WHP does at its end,
on the development prompts: for WHP reinforce, label and finetune; for the others finetune, the preparation of reference
columns included. Evaluation, imports and the saving of models are left out. *left*: of the way from a model that never
read the corpus (0) to the baseline (1), by completions or by the probability of the targets. The cost to the
rest: perplexity on held-out retain text, times the baseline's, and the mean accuracy of the benchmarks. A
method that does not get there is shown at its last step. The second table shows how far each gets before the rest
is harmed: its checkpoint with the least left of those whose retain perplexity is at most {LIMIT} times the baseline's.
One run each."""
WHP, OTHERS = "generic_labels", ("grad_diff", "npo")
METRICS = {"completion_left": "completion_familiarity", "probability_left": "probability_familiarity"}
LEAST = {"step": "step", "CPU s": "cpu_s", "completions left": "completion_left"}  # title -> key
LEAST |= {"probability left": "probability_left", "retain perplexity": "perplexity_factor"}
DICTIONARY = ("extract", "translate")
BEFORE_TINY = ("corpus", "baseline", "retrain", "block", "reinforce", "extract", "prompt")
JUDGED: Changes = {
    "evaluate.set": "development",
    "evaluate.models": ["baseline", "retrained", "checkpoints", "unlearned"],
    "benchmark.models": ["baseline", "checkpoints", "unlearned"],
}
Row = dict[str, Any]  # of one checkpoint: step, cpu_s, what is left, what the rest lost


class Case(NamedTuple):
    """Which project, and how far the methods are run."""

    tiny: bool
    steps: dict[str, int]  # of finetune, by objective
    every: int  # steps between checkpoints


CASES = {"embedded default": Case(False, {WHP: 120, "grad_diff": 300, "npo": 300}, 5)}
QUICK = {"tiny": Case(True, {WHP: 4, "grad_diff": 4, "npo": 4}, 2)}


def measure(case: Case) -> dict[str, Any]:
    """What every method took to reach WHP's result, and what was left and lost at each of its checkpoints."""
    with tempfile.TemporaryDirectory() as folder:
        project = tiny_project(Path(folder) / "tiny") if case.tiny else default_project()
        change_params(project, JUDGED)
        spent = {stage: clocked(project, stage)["cpu_s"] for stage in ("reinforce", *DICTIONARY, "label")}
        before = spent["reinforce"] + spent["label"]
        methods = {WHP: walked(project, WHP, case, before)}
        goal = {metric: methods[WHP][-1][metric] for metric in METRICS}
        arrivals = {WHP: arrived(project, methods[WHP], goal)}
        for objective in OTHERS:
            methods[objective] = walked(project, objective, case, 0.0)
            arrivals[objective] = arrived(project, methods[objective], goal)
        return {
            "forget_tokens": forget_tokens(project),
            "stages_cpu_s": spent,
            "goal": goal,
            "baseline_accuracy": accuracies(project)["baseline"],
            "arrivals": arrivals,
            "checkpoints": methods,
        }


def default_project() -> Path:
    """A clone with the default's data and models, from the DVC cache where they are in it."""
    project = clone(ROOT / ".scratch/recipe")
    run(["dvc", "repro", "retrain", "prompt"], project)
    return project


def tiny_project(folder: Path) -> Path:
    """The tests' tiny project, run up to its prompts."""
    from tests import tiny

    project = tiny.make(folder)
    for stage in BEFORE_TINY:
        in_project(project, f"stages.{stage}")
    return project


def in_project(project: Path, module: str, *arguments: str) -> str:
    """The output of a module of the project's own code."""
    environment = os.environ | {"PYTHONPATH": f"{project}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=project, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def clocked(project: Path, stage: str) -> dict[str, Any]:
    """What a stage's work took."""
    return json.loads(in_project(project, "benchmarks.stage_timer", stage).splitlines()[-1])


def walked(project: Path, objective: str, case: Case, before: float) -> list[Row]:
    """A method's checkpoints in order. before: CPU seconds spent before its finetune."""
    steps = case.steps[objective]
    own = PAPER | {"finetune.objective": objective, "finetune.tuning": "full", "finetune.steps": steps}
    own |= {"finetune.checkpoints": list(range(case.every, steps, case.every))}
    change_params(project, own | {"finetune.learning_rate": LEARNING_RATE.get(objective, GENTLE)})
    until = clocked(project, "finetune")["until"]
    until["unlearned"] = until.pop("suppressed")  # nothing is distilled: a copy
    in_project(project, "stages.distil")
    in_project(project, "stages.evaluate")
    report = json.loads((project / "reports/familiarity.json").read_text(encoding="utf-8"))
    return rows_of(report["models"], until, steps, before)


def rows_of(models: Mapping[str, Any], until: Mapping[str, float], steps: int, before: float) -> list[Row]:
    """A row per checkpoint, the unlearned model the last.

    models: name -> its numbers in reports/familiarity.json. until: name -> CPU seconds of finetune so far.
    """
    names = [name for name in models if name.startswith("step-")] + ["unlearned"]
    rows = []
    for name in names:
        step = steps if name == "unlearned" else int(name.removeprefix("step-"))
        row: Row = {"model": name, "step": step, "cpu_s": round(before + until[name], 2), "leak": models[name]["leak"]}
        for key, metric in METRICS.items():
            row[key] = remaining(*(models[one][metric] for one in ("baseline", "retrained", name)))
        ends = (models[one]["retain_perplexity"] for one in (name, "baseline"))
        row["perplexity_factor"] = ratio_of(*ends)
        rows.append({key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()})
    return rows


def ratio_of(value: float | None, to: float | None) -> float | None:
    return value / to if value is not None and to else None


def arrived(project: Path, rows: Sequence[Row], goal: Mapping[str, float | None]) -> dict[str, Row]:
    """Per metric the checkpoint at which a method reaches WHP's result, or its last, with its accuracy."""
    found = {metric: arrival(rows, metric, wanted) for metric, wanted in goal.items()}
    keep = {row["model"] for row in found.values()}
    for folder in (project / "models/checkpoints").glob("step-*"):
        if folder.name not in keep:
            shutil.rmtree(folder)
    in_project(project, "stages.benchmark")
    known = accuracies(project)
    return {metric: row | {"accuracy": known[row["model"]]} for metric, row in found.items()}


def arrival(rows: Sequence[Row], metric: str, goal: float | None) -> Row:
    """The first row that has no more left than the goal, reached; or the last row, not reached."""
    for row in rows:
        if goal is not None and row[metric] is not None and row[metric] <= goal:
            return row | {"reached": True}
    return rows[-1] | {"reached": False}


def accuracies(project: Path) -> dict[str, float | None]:
    """The mean accuracy of each model over the benchmarks; None where there are none."""
    report = json.loads((project / "reports/benchmarks.json").read_text(encoding="utf-8"))
    return {
        name: round(sum(scores.values()) / len(scores), 4) if scores else None
        for name, scores in report["models"].items()
    }


def forget_tokens(project: Path) -> int:
    """The number of tokens in the forget blocks."""
    from lethe.core.tables import read_parquet

    table, _ = read_parquet(project / "data/blocks.parquet", ("length",))
    return int(table["length"].to_numpy().sum())


def harmless(rows: Sequence[Row]) -> Row | None:
    """The row with the least left, by probability, of those within the limit; None if every one is beyond it."""
    within = [row for row in rows if row["perplexity_factor"] is not None and row["perplexity_factor"] <= LIMIT]
    known = [row for row in within if row["probability_left"] is not None]
    return min(known, key=lambda row: row["probability_left"], default=None)


def page(cases: dict[str, Any]) -> str:
    """For each case what is counted, arrivals, and how far each method comes without harm."""
    from tools.markdown import table

    header = ["until as little is left by", "method", "step", "CPU s", "CPU ms per forget token", "to WHP"]
    header += ["completions left", "probability left", "retain perplexity", "accuracy"]
    parts = []
    for name, found in cases.items():
        goal, spent = found["goal"], found["stages_cpu_s"]
        rows = [arrival_cells(found, metric, objective) for metric in METRICS for objective in found["arrivals"]]
        dictionary = sum(spent[stage] for stage in DICTIONARY)
        parts += [
            f"{name}: {found['forget_tokens']} forget tokens; WHP leaves {goal['completion_left']} by completions and "
            f"{goal['probability_left']} by probabilities; the baseline's accuracy is {found['baseline_accuracy']}. "
            f"Of WHP's seconds reinforce takes {spent['reinforce']} and label {spent['label']}; its dictionary "
            f"(extract and translate) takes {dictionary:.1f} more, which are not counted here.",
            table(header, rows),
            table(["method", *LEAST], [harmless_cells(*pair) for pair in found["checkpoints"].items()]),
        ]
    return "\n\n".join(parts)


def harmless_cells(objective: str, rows: Sequence[Row]) -> list[Any]:
    """One line of the second table."""
    row = harmless(rows)
    return [NAMES[objective], *(row[key] if row else None for key in LEAST.values())]


def arrival_cells(found: Mapping[str, Any], metric: str, objective: str) -> list[Any]:
    """One line of the table."""
    row, whp = found["arrivals"][objective][metric], found["arrivals"][WHP][metric]
    step = row["step"] if row["reached"] else f"{row['step']}, not reached"
    per_token = round(1000 * row["cpu_s"] / found["forget_tokens"], 3)
    lost = [row[key] for key in ("completion_left", "probability_left", "perplexity_factor", "accuracy")]
    lead = [metric.partition("_")[0], NAMES[objective], step, row["cpu_s"], per_token]
    return [*lead, round(row["cpu_s"] / whp["cpu_s"], 2), *lost]


if __name__ == "__main__":
    one_case(CASES | QUICK, measure)
