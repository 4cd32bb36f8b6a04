"""What erasing costs and what each of its parts buys, on the embedded default.

python -m studies.erasing [seeds] [curve] [parts] [objectives]    writes reports/study/erasing/*.json, prints the tables

seeds        the whole default by seeds 0, 1, 2, judged by the release gate on the test prompts
curve        noise against damage and relearning, beside plain UNDO and retraining; also docs/images/noise.svg
parts        the default with one part left out or replaced
objectives   other objectives, and the same erasing after them

All but `seeds` are judged by the development prompts. The clone of each has the cache of this project.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lethe.attacks.results import CURVE
from lethe.gate.model_catalogue import MODELS
from studies.ablations import SEEDED
from studies.methods import NAMES, learning_rate
from tools import markdown
from tools.sandbox import PAPER, ROOT, Changes, clone, repro, write_result

RESULTS = ROOT / "reports/study/erasing"
Row = dict[str, Any]  # model or variant, CPU-seconds of distil, metrics; None where one was not measured
NOISE = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
WAYS: dict[str, Changes] = {
    "rows": {},
    "uniform": {"distil.spread": 0.0},
    "UNDO": {"distil.spread": 0.0, "distil.filter": False},
}
HARD: Changes = {"finetune.labels": "hard", "finetune.alpha": 5.0}
TITLES = {
    "rows": "most where reinforcement moved the weights",
    "uniform": "the same everywhere",
    "UNDO": "the same everywhere, teacher unfiltered (UNDO)",
}
PARTS: dict[str, Changes] = {
    "the default": {},
    "hard labels": HARD,
    "teacher not filtered": {"distil.filter": False},
    "no fresh rows": {"distil.fresh_rows": False},
    "noise the same everywhere": {"distil.spread": 0.0},
    "no noise": {"distil.noise": 0.0, "distil.spread": 0.0},
}
OBJECTIVES = ("npo", "simnpo", "rmu", "grad_diff")
JUDGED: Changes = {f"{stage}.seed": 0 for stage in SEEDED} | {  # as `seeds` has them, whose models are in the cache
    "attack.set": "development",
    "attack.relearn.passages": [8],
    "measure.set": "development",
    "measure.models": ["retrained", "references", "unlearned"],
    "measure.cloze": 200,
    "measure.passages": 100,
    "finetune.checkpoints": [],
}
MEASURED = ("forget_quality", "privleak", "exact_memorisation", "truth_ratio")
COMPARED = ("baseline", "suppressed", "retrained")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("study", nargs="*", metavar="STUDY", help="seeds, curve, parts, objectives; without any: all")
    arguments = parser.parse_args()
    wanted = arguments.study or list(STUDIES)
    if unknown := [name for name in wanted if name not in STUDIES]:
        parser.error(f"expected names from {', '.join(STUDIES)}, got {', '.join(unknown)}")
    for name in wanted:
        rows: list[Row] = []
        for row in STUDIES[name](clone(ROOT / ".scratch/erasing" / name)):
            print(json.dumps(row), flush=True)
            rows.append(row)
            write_result(rows, RESULTS / f"{name}.json")
        print(table(rows))
        if name == "curve":
            draw(rows, ROOT / "docs/images/noise.svg")


def seeds(project: Path, numbers: Sequence[int] = (0, 1, 2)) -> Iterator[Row]:
    """The release gate of the whole default by each seed."""
    for seed in numbers:
        result = repro(project, {f"{stage}.seed": seed for stage in SEEDED}, "report")
        spent = {stage: cost["cpu_seconds"] for stage, cost in result["stages"].items()}
        yield {"seed": seed, "total_cpu_seconds": round(sum(spent.values())), "cpu_seconds": spent, **result["gate"]}


def curve(project: Path) -> Iterator[Row]:
    """Students with more and more noise, and the models to compare them with."""
    repro(project, JUDGED, "retrain", "finetune", "prompt")
    for name in COMPARED:
        yield {"model": name, **measured(project, name)}
    for way, changes in WAYS.items():
        for noise in NOISE:
            spread = min(0.3, noise, round(1 - noise, 2))  # of which nothing is cut off
            settings = {"distil.noise": noise, "distil.spread": spread} | changes
            yield {"model": way, "noise": noise, **student(project, settings)}


def parts(project: Path) -> Iterator[Row]:
    """The default with one part left out or replaced, and the suppressed and retrained models."""
    repro(project, JUDGED, "retrain", "finetune", "prompt")
    for name in ("suppressed", "retrained"):
        yield {"model": name, **measured(project, name)}
    for name, changes in PARTS.items():
        yield {"model": name, **student(project, changes, "measure")}


def objectives(project: Path) -> Iterator[Row]:
    """Each objective alone, then with the default's erasing after it."""
    for objective in OBJECTIVES:
        own = PAPER | {"finetune.objective": objective, "finetune.learning_rate": learning_rate(objective, "full")}
        own |= {"finetune.steps": 60}
        yield {"model": NAMES[objective], **student(project, own, "measure")}
        yield {"model": f"{NAMES[objective]}, erased", **student(project, own | {"distil.steps": 300}, "measure")}


def student(project: Path, changes: Changes, *targets: str) -> Row:
    """The unlearned model of the default with these changes, measured, and what its distillation cost."""
    result = repro(project, JUDGED | changes, "prompt", "retrain", "distil", *targets)
    row: Row = {"cpu_seconds": result["stages"].get("distil", {}).get("cpu_seconds"), **measured(project, "unlearned")}
    if "measure" in targets:
        values = result["measures"]["models"]["unlearned"]
        row |= {name: values.get(name, {}).get("value") for name in MEASURED}
    return row


def measured(project: Path, name: str) -> Row:
    """Perplexities of one model of the project, and its leak over the steps of relearning."""
    from lethe.attacks.suite import relearn
    from lethe.core.corpus import held_out_texts, training_documents
    from lethe.core.params import read_params
    from lethe.core.tables import read_prompts
    from lethe.evaluation.prompts import read_names
    from lethe.inference.scoring import block_losses, perplexity
    from lethe.models.checkpoints import load_model, load_tokenizer
    from lethe.models.config import context_length
    from lethe.models.device import prepare
    from stages.attack import SIDES, Params, material
    from stages.evaluate import windows

    here = Path.cwd()
    os.chdir(project)
    try:
        params, folder = read_params("attack", Params), Path("models") / name
        corpus, tokenizer = Path("data/corpus.parquet"), load_tokenizer(folder)
        context = context_length(folder) or 512
        texts = {side: [text for text, _ in training_documents(corpus, [side])] for side in SIDES}
        prompts = read_prompts(Path("data/prompts.jsonl"), params.set)
        room, work = context - params.new_tokens, Path(".scratch/relearn")
        found = material(prompts, read_names(Path("data/names.csv")), texts, tokenizer, room, work, params)
        model = load_model(folder, prepare(params.device))
        row: Row = {}
        for side in SIDES:
            losses = block_losses(model, windows(held_out_texts(corpus, side), tokenizer, context))
            row[f"{side}_perplexity"] = perplexity(losses)
        for setting, metric, values in relearn(model, found):
            if metric in ("leak", CURVE):
                name = CURVE if metric == CURVE else f"leak after {setting.rpartition(', ')[2]}"
                row[name] = round(sum(values) / len(values), 4)
    finally:
        os.chdir(here)
    return row


def table(rows: Sequence[Row]) -> str:
    """A Markdown table of the numbers of all rows; a cell that was not measured is empty."""
    shown = [{key: value for key, value in row.items() if not isinstance(value, dict | list)} for row in rows]
    columns = list(dict.fromkeys(key for row in shown for key in row))
    titles = [key.replace("_", " ") for key in columns]
    return markdown.table(titles, [[row.get(key) for key in columns] for row in shown])


def draw(rows: Sequence[Row], target: Path) -> None:
    """Relearning against damage: a path for each way, its points named by their noise."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams.update({"svg.hashsalt": "noise", "svg.fonttype": "none"})
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for number, way in enumerate(dict.fromkeys(row["model"] for row in rows if "noise" in row)):
        path = [row for row in rows if row["model"] == way]
        places = [row["retain_perplexity"] for row in path], [row[CURVE] for row in path]
        (line,) = axes.plot(*places, "o-", markersize=4, label=TITLES[way])
        for row in path:
            place, away = (row["retain_perplexity"], row[CURVE]), (-14 if number == 1 else 4, -9 if number == 1 else 4)
            axes.annotate(
                f"{row['noise']:g}", place, away, textcoords="offset points", fontsize=7, color=line.get_color()
            )
    for row in rows:
        if row["model"] in COMPARED:
            place = (row["retain_perplexity"], row[CURVE])
            own = MODELS[row["model"]]
            axes.plot(*place, own.marker, color=own.light, markersize=own.points)
            axes.annotate(row["model"], place, (6, -3), textcoords="offset points", fontsize=8)
    axes.set_xlabel("perplexity of held-out retain text (log scale)")
    axes.set_xscale("log")
    axes.set_xticks([6, 8, 10, 20, 40], labels=["6", "8", "10", "20", "40"])
    axes.minorticks_off()
    axes.set_ylabel("leak over 5 to 100 steps of relearning on 8 passages")
    axes.set_ylim(0, 1.02)
    axes.legend(title="noise (share of fresh weights)", frameon=False, fontsize=8)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, metadata={"Date": None, "Creator": None})


STUDIES: dict[str, Callable[[Path], Iterator[Row]]] = {
    "seeds": seeds,
    "curve": curve,
    "parts": parts,
    "objectives": objectives,
}


if __name__ == "__main__":
    main()
