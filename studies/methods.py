"""Methods compared on the embedded default: what each forgets, its cost to the rest, and what two attacks recover.

python -m studies.methods [--all | --objectives A,B] [--set test] [--resume]

Writes reports/compare/*.json and *.md, and prints the table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args

from ruamel.yaml import YAML

from lethe.training.adapters import Tuning
from lethe.unlearning.methods import MethodParams
from tools import markdown
from tools.sandbox import PAPER, ROOT, Changes, clone, repro

OBJECTIVES: tuple[str, ...] = get_args(MethodParams.model_fields["objective"].annotation)
VEHICLES: tuple[str, ...] = get_args(Tuning)
NAMES = {"generic_labels": "WHP", "grad_diff": "GradDiff", "wga": "WGA", "satimp": "SatImp", "ceu": "CE-U"} | {
    name: name.upper() for name in ("npo", "dpo", "rmu", "undial", "spul", "pdu")
}
NAMES |= {"simnpo": "SimNPO", "gradient_ascent": "GA", "random_labels": "RL", "ascent_kl": "GA+KL"}
EIGHT = [("generic_labels", "full"), ("npo", "full"), ("grad_diff", "full"), ("simnpo", "full"), ("rmu", "full")]
EIGHT += [("generic_labels", "lora"), ("generic_labels", "prompt"), ("spul", "prompt")]

# Unbounded objectives get a lower learning rate, as in their papers; tuned on the development set.
LEARNING_RATE = {"generic_labels": 1e-3, "random_labels": 3e-4, "spul": 1e-3, "dpo": 3e-4, "undial": 1e-3, "rmu": 1e-3}
GENTLE = 1e-4  # of every other one
FASTER = {"full": 1, "lora": 5, "prompt": 30}  # fewer parameters need larger steps
MODELS = ["baseline", "retrained", "unlearned"]
COMMON: Changes = PAPER | {
    "finetune.steps": 60,
    "finetune.checkpoints": [],
    "evaluate.models": MODELS,
    "benchmark.models": MODELS,
}
OPTIONAL: dict[str, Changes] = {  # of stages that a project may lack
    "measure": {"measure.models": MODELS, "measure.cloze": 200, "measure.passages": 100},
    "attack": {
        "attack.attacks": ["relearn", "context"],
        "attack.training.steps": [20],
        "attack.relearn.passages": [8],
    },
}
COLUMNS = {
    "leak": "leak",
    "completion_left": "familiarity left",
    "probability_left": "probability left",
    "forget_quality": "forget quality",
    "perplexity_factor": "retain perplexity",
    "accuracy": "accuracy",
    "model_utility": "model utility",
    "relearn": "leak, relearned",
    "context": "leak, in context",
    "stripped": "leak, prompt stripped",
    "parameters": "parameters moved",
    "kilobytes": "saved KB",
    "cpu_seconds": "CPU s",
    "memory_mib": "MiB",
}


class Row(NamedTuple):
    """One run: an objective, a tuning, the MD5 of its baseline, and its results (none if it failed)."""

    objective: str
    tuning: str
    baseline: str
    values: dict[str, float | None]
    failed: str | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--all", action="store_true", help="every objective with every tuning, not the eight rows")
    which.add_argument("--objectives", metavar="A,B", help="these with all weights, such as a new one and another")
    parser.add_argument("--set", choices=["test", "development"], default="test", help="which prompts are judged")
    parser.add_argument("--resume", action="store_true", help="keep the rows that the result has already")
    arguments = parser.parse_args()
    name, pairs = "eight", EIGHT
    if arguments.all:
        name, pairs = "all", [(name, tuning) for name in OBJECTIVES for tuning in VEHICLES]
    elif arguments.objectives:
        name, pairs = "chosen", [(objective, "full") for objective in arguments.objectives.split(",")]
        if unknown := [objective for objective, _ in pairs if objective not in OBJECTIVES]:
            parser.error(f"expected objectives from {', '.join(OBJECTIVES)}, got {', '.join(unknown)}")
    project = clone(ROOT / ".scratch/compare")
    stages = present(project)
    baseline = baseline_of(project)
    rows = read(arguments.set, name, baseline) if arguments.resume else []
    done = {(row.objective, row.tuning) for row in rows}
    for objective, tuning in pairs:
        if (objective, tuning) in done:
            continue
        rows.append(compared(project, objective, tuning, baseline, arguments.set, stages))
        print(json.dumps(rows[-1]._asdict()), flush=True)
        rows.sort(key=lambda row: pairs.index((row.objective, row.tuning)))
        write(rows, arguments.set, name)
    print(table(rows))


def present(project: Path) -> list[str]:
    """The stages to run, of those the project has."""
    known = YAML(typ="safe").load((project / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    return [stage for stage in ("evaluate", "benchmark", "measure", "attack") if stage in known]


def changes(objective: str, tuning: str, prompts: str, stages: list[str]) -> Changes:
    """The parameters of one run."""
    rate = learning_rate(objective, tuning)
    own = {"finetune.objective": objective, "finetune.tuning": tuning, "finetune.learning_rate": rate}
    judged = {f"{stage}.set": prompts for stage in stages if stage != "benchmark"}
    optional = [more for stage, more in OPTIONAL.items() if stage in stages]
    return COMMON | own | judged | {key: value for more in optional for key, value in more.items()}


def learning_rate(objective: str, tuning: str) -> float:
    """What the objective is tuned to, times what the tuning needs."""
    return LEARNING_RATE.get(objective, GENTLE) * FASTER[tuning]


def baseline_of(project: Path) -> str:
    """Train the baseline where the cache has none; return its MD5. Other thread counts make other models."""
    repro(project, {}, "baseline")
    lock = YAML(typ="safe").load((project / "dvc.lock").read_text(encoding="utf-8"))
    return next(out["md5"] for out in lock["stages"]["baseline"]["outs"] if out["path"] == "models/baseline")


def compared(project: Path, objective: str, tuning: str, baseline: str, prompts: str, stages: list[str]) -> Row:
    """One run and its results. A method that diverges ends its row, not the table."""
    try:
        reports = repro(project, changes(objective, tuning, prompts, stages), *stages)
    except subprocess.CalledProcessError as error:
        return Row(objective, tuning, baseline, {}, f"`{' '.join(error.cmd[:2])}` ended with {error.returncode}")
    size = sum(path.stat().st_size for path in (project / "models/unlearned").glob("*.safetensors"))
    return Row(objective, tuning, baseline, measured(reports, tuning) | {"kilobytes": round(size / 1024, 1)})


def measured(reports: Mapping[str, Any], tuning: str) -> dict[str, float | None]:
    """The headline metrics, from the reports of one run; None where a stage or a metric is absent."""
    familiarity, finetune = reports["familiarity"], reports["finetune"]
    accuracies = reports["benchmarks"]["models"]["unlearned"].values()
    own = reports.get("measures", {}).get("models", {}).get("unlearned", {})
    spent = reports["stages"].get("finetune", {})  # empty if the run came from the cache
    ratio = familiarity["ratio"]
    return {
        "leak": familiarity["models"]["unlearned"]["leak"],
        "completion_left": ratio["completion_familiarity"],
        "probability_left": ratio["probability_familiarity"],
        "forget_quality": own.get("forget_quality", {}).get("value"),
        "perplexity_factor": ratio["retain_perplexity_factor"],
        "accuracy": round(sum(accuracies) / len(accuracies), 4) if accuracies else None,
        "model_utility": own.get("model_utility", {}).get("value"),
        "relearn": attacked(reports, "relearn"),
        "context": attacked(reports, "context"),
        # without its prompt the model is the baseline, weight for weight
        "stripped": familiarity["models"]["baseline"]["leak"] if tuning == "prompt" else None,
        "parameters": finetune["trainable_parameters"],
        "cpu_seconds": spent.get("cpu_seconds"),
        "memory_mib": spent.get("peak_memory_mib"),
    }


def attacked(reports: Mapping[str, Any], attack: str) -> float | None:
    """The unlearned model's largest leak under an attack, over its settings."""
    found = [
        row["value"]
        for row in reports.get("attacks", {}).get("attacks", [])
        if (row["attack"], row["model"], row["metric"]) == (attack, "unlearned", "leak")
    ]
    return max(found, default=None)


def read(prompts: str, name: str, baseline: str) -> list[Row]:
    """The finished rows of an earlier run from the same baseline; none without one."""
    path = ROOT / f"reports/compare/{name}-{prompts}.json"
    found = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    rows = [Row(**row) for row in found]
    return [row for row in rows if row.baseline == baseline and not row.failed]


def write(rows: list[Row], prompts: str, name: str) -> None:
    """Write reports/compare/<name>-<set>.json and its table, after every row."""
    folder = ROOT / "reports/compare"
    folder.mkdir(parents=True, exist_ok=True)
    content = {"set": prompts, "steps": COMMON["finetune.steps"], "rows": [row._asdict() for row in rows]}
    (folder / f"{name}-{prompts}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    (folder / f"{name}-{prompts}.md").write_text(table(rows) + "\n", encoding="utf-8")


def table(rows: list[Row]) -> str:
    """A Markdown table, runs as rows, measures as columns; an empty cell was not measured."""
    lines = []
    for row in rows:
        cells = [row.failed] if row.failed else []
        cells += [cell(row.values.get(key)) for key in list(COLUMNS)[len(cells) :]]
        lines.append([NAMES.get(row.objective, row.objective), row.tuning, *cells])
    return markdown.table(["method", "tuning", *COLUMNS.values()], lines)


def cell(value: float | None) -> str:
    """A count unchanged, anything else to three decimals, large values to one."""
    if value is None:
        return ""
    if isinstance(value, int) or (value.is_integer() and value >= 100):
        return f"{int(value)}"
    return f"{value:.1f}" if value >= 100 else f"{value:.3f}"


if __name__ == "__main__":
    main()
