"""Measures accuracy on the forget and retain sets of the task, and attacks the unlearning.

reads   data/task.parquet  models/task  models/task_retrained  models/softprompt  reports/softprompt.json
writes  data/answers.csv  reports/classification.json
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lethe.classification.dataset import SIDES, Labelled, read_task, task_rules
from lethe.classification.prompts import Asking, answer_tokens, questions, read_asking
from lethe.classification.scoring import (
    ANSWERS,
    Answers,
    answer_losses,
    answer_rows,
    answered,
    attacks,
    baselines,
    counter_questions,
    scores,
)
from lethe.core.params import StageParams, read_params
from lethe.core.stage import run, workspace
from lethe.core.tables import read_json, rounded, write_csv, write_json
from lethe.evaluation.model_set import Precision, loaded
from lethe.models.checkpoints import load_tokenizer
from lethe.models.device import Device, prepare

if TYPE_CHECKING:
    import torch


class Params(StageParams):
    counter_prompts: list[str]
    precision: Precision
    device: Device


def main() -> None:
    params = read_params("classify", Params)
    with workspace("classify") as work:
        device = prepare(params.device)
        task = Path("data/task.parquet")
        rows, asking = read_task(task), read_asking(Path("models/task"))
        facts = read_json(Path("reports/softprompt.json"))
        folders = {"task": Path("models/task"), "softprompt": Path("models/softprompt")}
        folders |= {"retrained": Path("models/task_retrained")}
        answers, losses, countered = ask_all(folders, rows, asking, facts["generic"], params, device)
        answers |= baselines(answers["task"], rows, asking, facts["generic"], task_rules(task))
        wanted = [asking.labels[row.label] for row in rows]
        report: dict[str, Any] = {"models": {name: scores(found, wanted, rows) for name, found in answers.items()}}
        if "keyword_filter" not in answers:
            report["absent"] = {"keyword_filter": "split.rule is not entities, so there is no keyword to filter by"}
        report["attacks"] = attacks(answers, countered, losses, wanted, rows)
        report["method"] = {key: facts[key] for key in facts if key != "weights_sha256"}
        write_csv(answer_rows(rows, wanted, answers), ANSWERS, work / "data/answers.csv")
        write_json(rounded(report), work / "reports/classification.json")
        print(sentence(report))


def ask_all(
    folders: Mapping[str, Path],
    rows: Sequence[Labelled],
    asking: Asking,
    generic: Sequence[str],
    params: Params,
    device: torch.device,
) -> tuple[Answers, dict[str, list[float]], Answers]:
    """Every model's answers and the losses of its true labels; the unlearned model's answers to counter-prompts."""
    tokenizer = load_tokenizer(folders["task"])
    words = answer_tokens(tokenizer, asking.template, list(dict.fromkeys([*asking.labels.values(), *generic])))
    true = [words[asking.labels[row.label]] for row in rows]
    asked = questions(tokenizer, asking.template, rows, true)
    answers: Answers = {}
    losses: dict[str, list[float]] = {}
    countered: Answers = {}
    for name, model in loaded(folders, device, params.precision):
        answers[name] = answered(model, tokenizer, asked, words)
        losses[name] = answer_losses(model, asked)
        for text in params.counter_prompts if name == "softprompt" else ():
            countered[text] = answered(model, tokenizer, counter_questions(text, rows, asking, tokenizer, true), words)
    return answers, losses, countered


def sentence(report: Mapping[str, Any]) -> str:
    """The printed line: test accuracy before -> after on both sets, and on the forget set without unlearning."""
    models, tuning = report["models"], report["method"]["tuning"]
    known, left = (
        {side: models[name][f"test_{side}"]["accuracy"] for side in SIDES} for name in ("task", "softprompt")
    )
    changes = [f"{side} {known[side]:.3f} -> {left[side]:.3f}" for side in SIDES]
    others = [f"retrained {models['retrained']['test_forget']['accuracy']:.3f}"]
    if tuning in ("prompt", "prefix"):
        others.append(f"without the {tuning} {report['attacks']['strip_prompt']['test']['accuracy']:.3f}")
    return f"classify: {tuning}, test accuracy {', '.join(changes)}; on forget {', '.join(others)}"


if __name__ == "__main__":
    run(main)
