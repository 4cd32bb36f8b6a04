"""Measures accuracy on multiple-choice tasks that are unrelated to the forget set.

reads   data/corpus.parquet  ${benchmark.data}  models/baseline  models/retrained  models/references
        models/suppressed  models/unlearned  models/checkpoints
writes  reports/benchmarks.json
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import PositiveInt

from lethe.core.corpus import held_out_texts
from lethe.core.params import Seed, StageParams, read_params
from lethe.core.stage import run, workspace
from lethe.core.tables import rounded, write_json
from lethe.evaluation.lm_eval import (
    accuracy,
    facts,
    load_tasks,
    local_config,
    stock_config,
    stock_rows,
    write_task,
)
from lethe.evaluation.local_tasks import LOCAL, SENTENCE_WORDS, local_rows
from lethe.evaluation.model_set import Measured, Models, Names, Precision, loaded, measured
from lethe.inference.kv_cache import check_numbers
from lethe.models.checkpoints import load_tokenizer
from lethe.models.config import context_length
from lethe.models.device import Device, prepare

if TYPE_CHECKING:
    import torch

TOO_SHORT = "the held-out retain text has too few sentences of {} to {} words".format(*SENTENCE_WORDS)


class Params(StageParams):
    models: Models
    tasks: Names
    data: str
    limit: PositiveInt | None
    precision: Precision
    device: Device
    seed: Seed


def main() -> None:
    params = read_params("benchmark", Params)
    with workspace("benchmark") as work:
        device = prepare(params.device)
        models = measured(params.models)
        rows = local_rows(
            params.tasks, held_out_texts(Path("data/corpus.parquet"), "retain"), params.limit, params.seed
        )
        absent = {name: TOO_SHORT for name, items in rows.items() if not items}
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
        report = {
            "items": {name: found.items for name, found in known.items()},
            "samples_sha256": {name: found.sha256 for name, found in known.items()},
            "chance": {name: found.chance for name, found in known.items()},
            "models": score(models, tasks, params, device) if tasks else {},
            "absent": models.absent | absent,
        }
        write_json(rounded(report), work / "reports/benchmarks.json")
        print(sentence(report))


def score(
    models: Measured, tasks: Mapping[str, Any], params: Params, device: torch.device
) -> dict[str, dict[str, float]]:
    """Model -> task -> accuracy. Each model is loaded once."""
    from tqdm import tqdm

    tokenizer = load_tokenizer(models.baseline)
    context = models.context(0) if context_length(models.baseline) else None
    scores: dict[str, dict[str, float]] = {}
    with tqdm(total=len(models.present) * len(tasks), desc="benchmark", unit="task") as bar:
        for model_name, model in loaded(models.present, device, params.precision):
            check_numbers(model)
            scores[model_name] = {}
            for name, task in tasks.items():
                scores[model_name][name] = accuracy(model, tokenizer, name, task, params.limit, context)
                bar.update()
    return scores


def sentence(report: Mapping[str, Any]) -> str:
    """The printed line: before -> after."""
    shown = {name: scores for name, scores in report["models"].items() if name in ("baseline", "unlearned")}
    parts = []
    for task, items in report["items"].items():
        steps = " -> ".join(f"{name} {scores[task]:.3f}" for name, scores in shown.items())
        parts.append(f"{task} {steps} ({items} items, chance {report['chance'][task]:.2f})")
    return f"benchmark: {', '.join(parts) or 'no task could be built'}"


if __name__ == "__main__":
    run(main)
