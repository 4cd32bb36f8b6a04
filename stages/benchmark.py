"""How well each model still does on multiple-choice tasks that have nothing to do with the forget side.

reads   data/corpus.parquet  ${benchmark.data}  models/baseline  models/retrained  models/unlearned  models/checkpoints
writes  reports/benchmarks.json
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import PositiveInt

from lethe.core.corpus import held_out_texts
from lethe.core.errors import StageError
from lethe.core.params import StageParams, read_params
from lethe.core.stage import run, workspace
from lethe.core.tables import read_jsonl, write_json
from lethe.evaluation.lm_eval import (
    STOCK,
    accuracy,
    facts,
    load_tasks,
    local_config,
    stock_config,
    stock_file,
    write_task,
)
from lethe.evaluation.local_tasks import SENTENCE_WORDS, local_ending, local_order
from lethe.evaluation.model_set import Device, Models, Names, Precision, dtype_named, measured
from lethe.inference.kv_cache import check_numbers
from lethe.models.checkpoints import load_model, load_tokenizer
from lethe.models.config import context_length
from lethe.models.device import prepare
from lethe.models.soft_prompts import virtual_tokens

if TYPE_CHECKING:
    import torch

LOCAL = {"local_ending": local_ending, "local_order": local_order}
TOO_LITTLE = "held-out retain text has too few sentences of {} to {} words".format(*SENTENCE_WORDS)


class Params(StageParams):
    models: Models
    tasks: Names
    data: str
    limit: PositiveInt | None
    precision: Precision
    device: Device
    seed: int


def main() -> None:
    params = read_params("benchmark", Params)
    with workspace("benchmark") as work:
        device = prepare(params.device)
        folders = {"baseline": Path("models/baseline"), "retrained": Path("models/retrained")}
        folders |= {"unlearned": Path("models/unlearned"), "checkpoints": Path("models/checkpoints")}
        models = measured(params.models, folders)
        rows = local_rows(params, held_out_texts(Path("data/corpus.parquet"), "retain"))
        absent = {name: TOO_LITTLE for name, items in rows.items() if not items}
        names = [name for name in params.tasks if name not in absent]
        rows |= stock_rows(names, Path(params.data), params.limit)
        if set(names) <= set(rows):
            os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}  # read when lm-eval is imported
        task_folder = (work / "tasks").resolve()
        task_folder.mkdir()
        for name in names:
            if name in rows:
                write_task(local_config(name) if name in LOCAL else stock_config(name), rows[name], task_folder)
        tasks = load_tasks(names, task_folder)
        known = {name: facts(task, params.limit) for name, task in tasks.items()}
        present = models.present if tasks else {}
        scores = score(present, folders["baseline"], tasks, params, device)
        report = {
            "items": {name: found.items for name, found in known.items()},
            "samples_sha256": {name: found.sha256 for name, found in known.items()},
            "chance": {name: round(found.chance, 6) for name, found in known.items()},
            "models": scores,
            "absent": models.absent | absent,
        }
        write_json(report, work / "reports/benchmarks.json")
        print(sentence(report))


def local_rows(params: Params, texts: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """The items of the tasks made from held-out text."""
    return {name: LOCAL[name](texts, params.limit, params.seed) for name in params.tasks if name in LOCAL}


def stock_rows(names: Sequence[str], folder: Path, limit: int | None) -> dict[str, list[dict[str, Any]]]:
    """The first `limit` rows of every stock task whose file lies in the folder; the others come from the Hub."""
    if not folder.is_dir():
        raise StageError(f"params.yaml: benchmark.data: found no folder {folder}, wanted one; it may hold no files")
    files = {name: folder / stock_file(name) for name in names if name in STOCK}
    return {name: read_jsonl(file, {})[:limit] for name, file in files.items() if file.exists()}


def score(
    models: Mapping[str, Path],
    baseline: Path,
    tasks: Mapping[str, Any],
    params: Params,
    device: torch.device,
) -> dict[str, dict[str, float]]:
    """Model -> task -> accuracy. Each model is loaded once."""
    from tqdm import tqdm

    tokenizer, context = load_tokenizer(baseline), context_length(baseline)
    if context:
        context -= max(map(virtual_tokens, models.values()), default=0)  # the same text for every model
    scores: dict[str, dict[str, float]] = {}
    with tqdm(total=len(models) * len(tasks), desc="benchmark", unit="task") as bar:
        for model_name, folder in models.items():
            model = load_model(folder, device, dtype_named(params.precision))
            check_numbers(model)
            scores[model_name] = {}
            for name, task in tasks.items():
                found = accuracy(model, tokenizer, name, task, params.limit, context)
                scores[model_name][name] = round(found, 6)
                bar.update()
            del model  # before the next is loaded: two may not fit the card
    return scores


def sentence(report: Mapping[str, Any]) -> str:
    """The one printed line: before -> after."""
    shown = {name: scores for name, scores in report["models"].items() if name in ("baseline", "unlearned")}
    parts = []
    for task, items in report["items"].items():
        steps = " -> ".join(f"{name} {scores[task]:.3f}" for name, scores in shown.items())
        parts.append(f"{task} {steps} ({items} items, chance {report['chance'][task]:.2f})")
    return f"benchmark: {', '.join(parts) or 'no task could be built'}"


if __name__ == "__main__":
    run(main)
