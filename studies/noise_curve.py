"""How much noise, and where: damage and relearning of students at one cost, beside plain UNDO and retraining.

python -m studies.noise_curve [--noise 0 0.2 ...]    writes reports/study/noise.json and docs/images/noise.svg

Every student is distilled for as many steps as in params.yaml, from the models of the default run; the development
prompts judge. `rows` is the method of `distil`, `uniform` the same noise everywhere, `UNDO` uniform noise and a teacher
that may say everything.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from tools.sandbox import ROOT, Changes, clone, repro

NOISE = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
WAYS: dict[str, Changes] = {
    "rows": {},
    "uniform": {"distil.spread": 0.0},
    "UNDO": {"distil.spread": 0.0, "distil.filter": False},
}
JUDGED: Changes = {"attack.set": "development", "attack.relearn.passages": [8]}
MODELS = ("baseline", "suppressed", "retrained")  # to compare with
Row = dict[str, Any]  # way, noise, what distil cost, perplexities, leak after 8 relearning passages


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--noise", type=float, nargs="+", default=list(NOISE), metavar="SHARE")
    arguments = parser.parse_args()
    project = clone(ROOT / ".scratch/noise")
    repro(project, JUDGED, "retrain", "finetune", "prompt")
    rows: list[Row] = [{"way": name, **measured(project, name)} for name in MODELS]
    for way, changes in WAYS.items():
        for noise in arguments.noise:
            spread = {"distil.spread": min(0.3, noise, round(1 - noise, 2))} | changes  # of which nothing is cut off
            costs = repro(project, JUDGED | {"distil.noise": noise} | spread, "distil")["stages"]
            cost = costs["distil"]["cpu_seconds"] if "distil" in costs else None
            rows.append({"way": way, "noise": noise, "cpu_seconds": cost, **measured(project, "unlearned")})
            print(json.dumps(rows[-1]), flush=True)
    (ROOT / "reports/study").mkdir(parents=True, exist_ok=True)
    (ROOT / "reports/study/noise.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    draw(rows, ROOT / "docs/images/noise.svg")


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
    from stages.attack import Params, material
    from stages.evaluate import windows

    here = Path.cwd()
    os.chdir(project)
    try:
        params, folder = read_params("attack", Params), Path("models") / name
        corpus, tokenizer = Path("data/corpus.parquet"), load_tokenizer(folder)
        context = context_length(folder) or 512
        texts = {side: [text for text, _ in training_documents(corpus, [side])] for side in ("retain", "forget")}
        prompts = read_prompts(Path("data/prompts.jsonl"), params.set)
        room, work = context - params.new_tokens, project / ".scratch/relearn"
        found = material(prompts, read_names(Path("data/names.csv")), texts, tokenizer, room, work, params)
        model = load_model(folder, prepare(params.device))
        row: Row = {
            f"{side}_perplexity": perplexity(
                block_losses(model, windows(held_out_texts(corpus, side), tokenizer, context))
            )
            for side in texts
        }
        for setting, metric, values in relearn(model, found):
            if metric in ("leak", "leak_curve"):
                row[f"{metric}, {setting.partition(', ')[2]}"] = round(sum(values) / len(values), 4)
    finally:
        os.chdir(here)
    return row


def draw(rows: list[Row], target: Path) -> None:
    """Relearning against damage: a path for each way, its points named by their noise."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams.update({"svg.hashsalt": "noise", "svg.fonttype": "none"})
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    curve = next(key for key in rows[0] if key.startswith("leak_curve"))
    for way in WAYS:
        path = [row for row in rows if row["way"] == way]
        axes.plot(
            [row["retain_perplexity"] for row in path], [row[curve] for row in path], "o-", markersize=4, label=way
        )
        for row in path:
            place = (row["retain_perplexity"], row[curve])
            axes.annotate(f"{row['noise']:g}", place, (4, 4), textcoords="offset points", fontsize=7)
    for row in rows:
        if row["way"] in MODELS:
            place = (row["retain_perplexity"], row[curve])
            axes.plot(*place, "kD", markersize=5)
            axes.annotate(row["way"], place, (6, -3), textcoords="offset points", fontsize=8)
    axes.set_xlabel("perplexity of held-out retain text (log scale)")
    axes.set_xscale("log")
    axes.set_ylabel("leak over 5 to 100 steps of relearning on 8 passages")
    axes.set_ylim(0, 1.02)
    axes.legend(title="noise", frameon=False)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    main()
