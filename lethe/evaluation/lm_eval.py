"""lm-eval as a function: multiple-choice tasks in, accuracies out, without its logging, dates, timings and paths."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lethe.core.errors import StageError
from lethe.core.params import did_you_mean
from lethe.core.tables import read_jsonl, write_jsonl
from lethe.inference.scoring import expectations

if TYPE_CHECKING:
    from lm_eval.api.task import Task
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


STOCK = {  # task: its yaml below lm_eval/tasks, and the split it is scored on
    "arc_challenge": ("arc/arc_challenge.yaml", "test"),
    "arc_easy": ("arc/arc_easy.yaml", "test"),
    "boolq": ("super_glue/boolq/default.yaml", "validation"),
    "hellaswag": ("hellaswag/hellaswag.yaml", "validation"),
    "openbookqa": ("openbookqa/openbookqa.yaml", "test"),
    "piqa": ("piqa/piqa.yaml", "validation"),
    "winogrande": ("winogrande/default.yaml", "validation"),
}


class Facts(NamedTuple):
    """Facts about a task, the same for every model."""

    items: int
    sha256: str  # of every request and answer
    chance: float  # the accuracy of guessing


def stock_file(name: str) -> str:
    """The name of a stock task's JSON lines file."""
    return f"{name}_{STOCK[name][1]}.jsonl"


def stock_rows(names: Sequence[str], folder: Path, limit: int | None) -> dict[str, list[dict[str, Any]]]:
    """The first `limit` rows of every stock task whose file lies in the folder; the others come from the Hub."""
    if not folder.is_dir():
        raise StageError(
            f"params.yaml: benchmark.data: expected a folder (it may be empty), got {folder}, which does not exist"
        )
    files = {name: folder / stock_file(name) for name in names if name in STOCK}
    return {name: read_jsonl(file, {})[:limit] for name, file in files.items() if file.exists()}


def local_config(name: str) -> dict[str, Any]:
    """The lm-eval config of a task with rows {context, choices, label}.

    Fields are named, not templated: lm-eval compiles a template again for every row.
    """
    return {
        "task": name,
        "output_type": "multiple_choice",
        "test_split": "test",
        "doc_to_text": "context",
        "doc_to_choice": "choices",
        "doc_to_target": "label",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }


def stock_config(name: str) -> dict[str, Any]:
    """The lm-eval config of a stock task that reads a file instead of the Hub."""
    from lm_eval import tasks

    path, split = STOCK[name]
    unused = {f"{part}_split": None for part in ("training", "validation", "test")}
    return unused | {
        "include": str(Path(tasks.__file__).parent / path),
        "task": name,
        "dataset_name": None,
        f"{split}_split": split,
    }


def write_task(config: dict[str, Any], rows: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Write a task's rows and its config, a yaml file that names them; `folder` is absolute."""
    name = config["task"]
    split = config.get("test_split") or config["validation_split"]
    write_jsonl((dict(row) for row in rows), folder / f"{name}.jsonl")
    files = {"data_files": {split: str(folder / f"{name}.jsonl")}, "cache_dir": str(folder / "cache")}
    whole = config | {"dataset_path": "json", "dataset_kwargs": files}
    (folder / f"{name}.yaml").write_text(json.dumps(whole), encoding="utf-8")  # JSON is YAML


def load_tasks(names: Sequence[str], folder: Path) -> dict[str, Task]:
    """The tasks by name: those written to `folder`, the others from the Hub. A group's name gives all its tasks.

    Raises StageError for a name that lm-eval does not know, a task that does not load or is not multiple choice.
    """
    from lm_eval import tasks

    written = {path.stem for path in folder.glob("*.yaml")}
    ours = tasks.TaskManager(include_path=str(folder), include_defaults=False)
    found: dict[str, Task] = {}
    for name in names:
        if name in written:
            found |= _load(ours, name, name)
        elif name in STOCK:
            found |= _load(ours, str(Path(tasks.__file__).parent / STOCK[name][0]), name)
        else:
            found |= _load(every_task(name), name, name)
    return found


def every_task(name: str) -> Any:
    """lm-eval's index of all its tasks, which takes seconds to read. Raises StageError if `name` is not in it."""
    from lm_eval.tasks import TaskManager

    with quiet():
        manager = TaskManager()
    if name not in manager.task_index:
        near = did_you_mean(name, [*manager.all_tasks, "local_ending", "local_order"])
        raise StageError(f"params.yaml: benchmark.tasks: expected local_* or a task of lm-eval, got {name}{near}")
    return manager


def _load(manager: Any, what: str, name: str) -> dict[str, Task]:
    try:
        with quiet():
            found = manager.load([what])["tasks"]
    except Exception as error:  # any error of lm-eval, datasets or the Hub client for a missing or malformed data set
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        file = (
            f" (expected {stock_file(name)} in the folder benchmark.data, or the Hub's copy)" if name in STOCK else ""
        )
        raise StageError(f"benchmark: the data of {name} did not load{file}: {reason}") from error
    for task in found.values():
        if task.OUTPUT_TYPE != "multiple_choice" or "acc" not in task.aggregation():
            raise StageError(
                f"params.yaml: benchmark.tasks: expected a multiple-choice task, got {name}, which is "
                f"{task.OUTPUT_TYPE}"
            )
    return found


def facts(task: Task, limit: int | None) -> Facts:
    """How many items a task has, their hash, and the accuracy of guessing."""
    with quiet():
        task.build_all_requests(limit=limit, rank=0, world_size=1)
        items = [list(group) for _, group in groupby(task.instances, key=lambda instance: instance.doc_id)]
        check_answers(task, items)
        asked = [([list(request.args) for request in item], task.doc_to_target(item[0].doc)) for item in items]
    sha256 = hashlib.sha256(json.dumps(asked, ensure_ascii=False).encode()).hexdigest()
    chance = sum(1 / len(item) for item in items) / len(items)
    return Facts(len(items), sha256, chance)


def check_answers(task: Task, items: Sequence[Sequence[Any]]) -> None:
    """Raise StageError for an item without a right answer: no model could choose it, and none would lose accuracy."""
    for number, item in enumerate(items):
        doc = item[0].doc  # where the texts before a common ending are the choices, lm-eval keeps the label elsewhere
        gold = task.doc_to_text(doc) if getattr(task, "multiple_input", False) else task.doc_to_target(doc)
        for answer in gold if isinstance(gold, list) else [gold]:
            if isinstance(answer, str):
                choices = task.doc_to_choice(doc)
                answer = int(answer) if answer.isdigit() else choices.index(answer) if answer in choices else -1
            if not isinstance(answer, int) or not 0 <= answer < len(item):
                raise StageError(
                    f"benchmark: {task.config.task}: item {number}: expected a label from 0 to {len(item) - 1}, got "
                    f"{gold!r}; use rows with labels"
                )


def accuracy(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    name: str,
    task: Task,
    limit: int | None,
    most: int | None,
) -> float:
    """The model's accuracy on a task. most: maximum tokens of a text; None: the model's own limit.

    Calls `evaluate`, not `simple_evaluate`, which starts git and a dozen tools to describe the machine.
    """
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM

    with quiet():
        wrapped: Any = HFLM(pretrained=model, tokenizer=tokenizer, max_length=most)
        wrapped._loglikelihood_tokens = lambda requests, **_: likelihoods(model, requests, wrapped.max_length)
        loaded = {"tasks": {name: task}, "groups": {}, "group_map": {}}
        results = evaluate(lm=wrapped, task_dict=loaded, limit=limit, bootstrap_iters=0, log_samples=False)
    return results["results"][name]["acc,none"]


def likelihoods(
    model: PreTrainedModel, requests: Sequence[tuple[Any, list[int], list[int]]], most: int
) -> list[tuple[float, bool]]:
    """Per request the log-likelihood of its continuation, in nats, and whether it is the likeliest token by token.

    Replaces lm-eval's own, which reads an item's context once for every choice and holds the logits of all its
    tokens. requests: (anything, context, continuation), token ids; a text is cut on the left to `most` + 1 tokens.
    Raises StageError for a continuation that leaves no token for its context.
    """
    longest = max((len(continuation) for _, _, continuation in requests), default=0)
    if longest > most:
        raise StageError(
            f"benchmark: expected answers of at most {most} tokens, the model's context, got one of {longest}"
        )
    asked: dict[tuple[int, ...], list[int]] = {}  # context -> the requests that continue it
    for number, (_, context, continuation) in enumerate(requests):
        kept = [*context, *continuation][-(most + 1) :]
        asked.setdefault(tuple(kept[: len(kept) - len(continuation)]), []).append(number)
    endings = [[requests[number][2] for number in numbers] for numbers in asked.values()]
    found = expectations(model, list(asked), endings)
    answers = {
        number: (math.fsum(scores), all(rank == 1 for rank in ranks))
        for numbers, one in zip(asked.values(), found, strict=True)
        for number, scores, ranks in zip(numbers, one.scores, one.ranks, strict=True)
    }
    return [answers[number] for number in range(len(requests))]


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the logs, prints and progress bars of lm-eval and datasets; their errors are still raised."""
    import datasets

    datasets.disable_progress_bars()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
        yield
