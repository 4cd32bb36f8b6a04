"""Erasing after SPUL's objective: the demo's table, all weights, then noise and distillation on the retain rows.

python -m studies.erasing_task [--seeds 0 1 2]    writes reports/study/erasing/task.json and prints the table

Each model answers the test rows, and again after some steps of training on a quarter of the forget rows: what comes
back for the others is what was only suppressed. The pipeline has no stage for this; the study calls what the stage
`distil` calls.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from tools import markdown
from tools.sandbox import ROOT, Changes, clone, failures_in, repro, write_result

if TYPE_CHECKING:
    import torch

    from lethe.classification.dataset import Labelled
    from lethe.classification.prompts import Asking

RESULT = ROOT / "reports/study/erasing/task.json"
SUPPRESSED: Changes = {
    "softprompt.objective": "spul",
    "softprompt.tuning": "full",
    "softprompt.learning_rate": 1e-3,
    "softprompt.weight_decay": 0.0,
}
ERASED: Changes = {"distil.steps": 400, "distil.batch_size": 32, "distil.noise": 0.6, "distil.spread": 0.0}
RELEARN = (0, 5, 20)  # steps of relearning
RELEARN_SHARE = 0.25  # of the training rows to forget
RELEARN_RATE = 1e-3
MODELS = {"task": "before", "softprompt": "suppressed", "erased": "erased", "task_retrained": "retrained"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    project = clone(ROOT / ".scratch/erasing-task")
    rows: list[dict[str, Any]] = []
    with failures_in(project):
        for seed in arguments.seeds:
            seeded = {f"{stage}.seed": seed for stage in ("split", "specialise", "softprompt", "distil")}
            repro(project, SUPPRESSED | ERASED | seeded, "classify")
            for row in measured(project):
                print(json.dumps({"seed": seed} | row), flush=True)
                rows.append({"seed": seed} | row)
                write_result(rows, RESULT)
    print(table(rows))


def measured(project: Path) -> Iterator[dict[str, Any]]:
    """Test accuracy of each model of the project after each number of relearning steps."""
    from lethe.classification.dataset import read_task
    from lethe.classification.prompts import read_asking
    from lethe.core.params import read_params
    from lethe.models.device import prepare
    from stages.distil import Params

    here = Path.cwd()
    os.chdir(project)
    try:
        params = read_params("distil", Params)
        device = prepare(params.device)
        rows, asking = read_task(Path("data/task.parquet")), read_asking(Path("models/task"))
        work = Path(".scratch/erasing-task")
        folders = {name: Path("models") / name for name in MODELS} | {"erased": work / "erased"}
        erase(rows, asking, params, device, work, folders["erased"])
        for name, folder in folders.items():
            for steps in RELEARN:
                taught = folder
                if steps:
                    taught = work / f"{name}-{steps}"
                    relearn(folder, rows, asking, params, steps, device, work / f"run-{name}-{steps}", taught)
                yield {"model": MODELS[name], "steps": steps} | accuracies(taught, rows, asking, device)
    finally:
        os.chdir(here)


def erase(
    rows: Sequence[Labelled], asking: Asking, params: Any, device: torch.device, work: Path, target: Path
) -> None:
    """Distil models/softprompt into its noised copy on the retain rows: every token of them, question and answer."""
    import numpy as np

    from lethe.classification.prompts import answer_tokens, questions
    from lethe.classification.rows import supervised_rows
    from lethe.distillation.noise import Noise
    from lethe.distillation.student import Sources, distil
    from lethe.distillation.vocabulary import name_filter, unseen_ids
    from lethe.models.checkpoints import load_tokenizer
    from lethe.models.config import vocabulary_size

    task, tokenizer = Path("models/task"), load_tokenizer(Path("models/task"))
    known = [row for row in rows if row.part == "train" and row.side == "retain"]
    words = answer_tokens(tokenizer, asking.template, list(asking.labels.values()))
    asked = questions(tokenizer, asking.template, known, [words[asking.labels[row.label]] for row in known])
    spelled = [[*question.prompt, *question.answer] for question in asked]
    given = supervised_rows(
        spelled, [range(1, len(ids)) for ids in spelled], [False] * len(spelled), tokenizer.pad_token_id
    )
    # the answer's last token is read nowhere, and said
    unseen = np.setdiff1d(unseen_ids(given, tokenizer, vocabulary_size(task)), given.next_ids)
    banned = name_filter(given, [], unseen, vocabulary_size(task))
    sources, noise = Sources(Path("models/softprompt"), task, task), Noise(params.noise, params.spread, params.seed)
    distil(sources, given, banned, unseen, noise, params, params.steps, device, work, target)


def relearn(
    folder: Path,
    rows: Sequence[Labelled],
    asking: Asking,
    params: Any,
    steps: int,
    device: torch.device,
    work: Path,
    target: Path,
) -> None:
    """Train a copy of the model on true answers of some forget rows."""
    from lethe.classification.rows import task_rows
    from lethe.models.checkpoints import load_tokenizer
    from lethe.training.fit import train_folder
    from lethe.training.losses import cross_entropy

    forget = [row for row in rows if row.part == "train" and row.side == "forget"]
    some = forget[: round(RELEARN_SHARE * len(forget))]
    given = task_rows(load_tokenizer(folder), asking, some, None)
    recipe = params.model_copy(update={"learning_rate": RELEARN_RATE, "schedule": "constant", "resume_every": 0})
    work.mkdir(parents=True, exist_ok=True)
    train_folder(folder, given, recipe, steps, cross_entropy, device, work, target, "relearn")


def accuracies(folder: Path, rows: Sequence[Labelled], asking: Asking, device: torch.device) -> dict[str, float]:
    """Accuracy of a model on the test rows of each side."""
    from lethe.classification.prompts import answer_tokens, questions
    from lethe.classification.scoring import answered
    from lethe.models.checkpoints import load_model, load_tokenizer

    model, tokenizer = load_model(folder, device), load_tokenizer(folder)
    words = answer_tokens(tokenizer, asking.template, list(asking.labels.values()))
    found = {}
    for side in ("forget", "retain"):
        own = [row for row in rows if row.part == "test" and row.side == side]
        wanted = [asking.labels[row.label] for row in own]
        asked = questions(tokenizer, asking.template, own, [words[word] for word in wanted])
        given = answered(model, tokenizer, asked, words)
        found[side] = round(mean(answer == word for answer, word in zip(given, wanted, strict=True)), 4)
    return found


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: a row per model, means over seeds: forget accuracy after each number of steps, and retain accuracy."""
    lines = []
    for model in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == model]
        forget = [mean(row["forget"] for row in own if row["steps"] == steps) for steps in RELEARN]
        shares = [*forget, mean(row["retain"] for row in own if row["steps"] == 0)]
        lines.append([model, *(f"{share:.3f}" for share in shares)])
    titles = ["model", *(f"forget, {steps} steps" for steps in RELEARN), "retain"]
    return markdown.table(titles, lines)


if __name__ == "__main__":
    main()
