"""How right each model still is on the forget and the retain side of the task, and how easily that is got round.

reads   data/task.parquet  models/task  models/task_retrained  models/softprompt  reports/softprompt.json
writes  data/answers.csv  reports/classification.json
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lethe.classification.dataset import PARTS, SIDES, Labelled, read_task, task_rules
from lethe.classification.forget_split import mentions
from lethe.classification.prompts import Asking, Question, answer_tokens, questions, read_asking
from lethe.classification.scoring import accuracy, answer_losses, answered, auc, share_interval, weighted_f1
from lethe.core.params import StageParams, read_params
from lethe.core.stage import run, workspace
from lethe.core.tables import read_json, write_csv, write_json
from lethe.evaluation.model_set import Device, Precision, dtype_named
from lethe.models.checkpoints import load_model, load_tokenizer
from lethe.models.device import prepare

if TYPE_CHECKING:
    import torch

ANSWERS = ("row", "side", "part", "label", "task", "softprompt", "retrained", "keyword_filter", "constant")
Answers = dict[str, list[str]]  # who answers -> the word for each row


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
            report["absent"] = {"keyword_filter": "split.rule is not entities: there is no string to look for"}
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
    for name, folder in folders.items():
        model = load_model(folder, device, dtype_named(params.precision))
        answers[name] = answered(model, tokenizer, asked, words)
        losses[name] = answer_losses(model, asked)
        for text in params.counter_prompts if name == "softprompt" else ():
            countered[text] = answered(model, tokenizer, countering(text, rows, asking, tokenizer, true), words)
        del model  # before the next is loaded: two may not fit the card
    return answers, losses, countered


def countering(text: str, rows: Sequence[Labelled], asking: Asking, tokenizer: Any, true: Any) -> list[Question]:
    """The forget rows' questions with a sentence in front that asks to disregard what came before."""
    own = [index for index, row in enumerate(rows) if row.side == "forget"]
    led = [rows[i]._replace(text=f"{text} {rows[i].text}") for i in own]
    return questions(tokenizer, asking.template, led, [true[i] for i in own])


def baselines(
    known: Sequence[str], rows: Sequence[Labelled], asking: Asking, generic: Sequence[str], patterns: Sequence[str]
) -> Answers:
    """Two that need no training: the task model behind a filter of the entity list, and the most frequent label.

    The filter is absent where no entity list drew the line.
    """
    train = Counter(row.label for row in rows if (row.side, row.part) == ("retain", "train"))
    constant = asking.labels[min(train, key=lambda label: (-train[label], label))]
    found = {"constant": [constant] * len(rows)}
    if patterns:
        pairs = zip(rows, known, strict=True)
        found["keyword_filter"] = [generic[0] if mentions(row.text, patterns) else word for row, word in pairs]
    return found


def scores(found: Sequence[str], wanted: Sequence[str], rows: Sequence[Labelled]) -> dict[str, dict[str, Any]]:
    """{train_retain ...: accuracy with its 95 % interval, weighted F1, items}, in the order of the paper's tables."""
    told = {}
    for part in PARTS:
        for side in reversed(SIDES):
            own = [index for index, row in enumerate(rows) if (row.side, row.part) == (side, part)]
            told[f"{part}_{side}"] = score([found[i] for i in own], [wanted[i] for i in own])
    return told


def score(found: Sequence[str], wanted: Sequence[str]) -> dict[str, Any]:
    """Accuracy with its 95 % interval, weighted F1, items."""
    share = accuracy(found, wanted)
    low, high = share_interval(share, len(wanted))
    return {
        "accuracy": share,
        "low": low,
        "high": high,
        "weighted_f1": weighted_f1(found, wanted),
        "items": len(wanted),
    }


def attacks(
    answers: Answers,
    countered: Answers,
    losses: Mapping[str, Sequence[float]],
    wanted: Sequence[str],
    rows: Sequence[Labelled],
) -> dict[str, Any]:
    """Ways round the unlearning, by the forget rows.

    strip_prompt: accuracy once the prompt is taken off (the task model itself: a prompt changes no weight).
    counter_prompt: accuracy with a sentence in front of the text. membership: how well the loss of the true label tells
    training rows from test rows (area under the curve; 0.5: not at all).
    """
    places = {part: [i for i, row in enumerate(rows) if (row.side, row.part) == ("forget", part)] for part in PARTS}
    forget = [i for i, row in enumerate(rows) if row.side == "forget"]
    found: dict[str, Any] = {"strip_prompt": {}, "counter_prompt": {}, "membership": {}}
    for part, own in places.items():
        found["strip_prompt"][part] = score([answers["task"][i] for i in own], [wanted[i] for i in own])
    for text, words in countered.items():
        held = dict(zip(forget, words, strict=True))
        found["counter_prompt"][text] = {
            part: score([held[i] for i in own], [wanted[i] for i in own]) for part, own in places.items()
        }
    for name, loss in losses.items():
        found["membership"][name] = auc([loss[i] for i in places["train"]], [loss[i] for i in places["test"]])
    return found


def answer_rows(rows: Sequence[Labelled], wanted: Sequence[str], answers: Answers) -> list[dict[str, Any]]:
    """Rows of data/answers.csv; an answer outside the task's words is an empty cell."""
    names = ANSWERS[4:]
    return [
        {"row": row.row, "side": row.side, "part": row.part, "label": wanted[i]}
        | {name: answers[name][i] if name in answers else "" for name in names}
        for i, row in enumerate(rows)
    ]


def rounded(value: Any) -> Any:
    """Every number of a report to six decimals."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return round(value, 6) if isinstance(value, float) else value


def sentence(report: Mapping[str, Any]) -> str:
    """The one printed line: test accuracy before -> after on both sides, and what gets round it on the forget side."""
    models, vehicle = report["models"], report["method"]["vehicle"]
    known, left = (
        {side: models[name][f"test_{side}"]["accuracy"] for side in SIDES} for name in ("task", "softprompt")
    )
    told = [f"{side} {known[side]:.3f} -> {left[side]:.3f}" for side in SIDES]
    beside = [f"retrained {models['retrained']['test_forget']['accuracy']:.3f}"]
    if vehicle in ("prompt", "prefix"):
        beside.append(f"without the {vehicle} {report['attacks']['strip_prompt']['test']['accuracy']:.3f}")
    return f"classify: {vehicle}, test accuracy {', '.join(told)}; on forget {', '.join(beside)}"


if __name__ == "__main__":
    run(main)
