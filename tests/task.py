"""A tiny task for tests: whether Orla or Tom liked a thing, and the files that earlier stages would have written."""

from __future__ import annotations

from pathlib import Path

from lethe.classification.dataset import TASK
from lethe.core.tables import write_json, write_parquet
from tests.conftest import TINY_TEXT, set_param, tiny_model, touch_deps

TEMPLATE = "{text} Verdict: {label}"
LABELS = {"1": "liked it", "0": "hated it"}
GENERIC = ["neutral", "unknown"]
TEXT = TINY_TEXT + "Verdict: liked it hated it neutral unknown plums broth figs peas. " * 9


def rows(count: int = 8) -> list[dict]:
    """`count` texts on each side, half of them training rows, both labels in every part."""
    told = []
    for index in range(2 * count):
        who, side = (("Orla", "forget"), ("Tom", "retain"))[index % 2]
        told.append(
            {"row": index, "text": f"{who} ate {('plums', 'broth', 'figs', 'peas')[index // 2 % 4]} on day {index}."}
            | {"label": str(index // 4 % 2), "side": side, "part": ("train", "test")[index // 2 % 2]}
        )
    return told


def task_project(project: Path, stage: str) -> Path:
    """Params for the tiny task, data/task.parquet, and a random model with its task as models/task."""
    for dotted, value in {
        "specialise.template": TEMPLATE,
        "specialise.labels": LABELS,
        "specialise.source": "folder",
        "specialise.base": "models/base",
        "specialise.background": "data/none",
        "specialise.epochs": 2,
        "specialise.batch_size": 4,
        "softprompt.generic": GENERIC,
        "softprompt.start_text": None,
        "softprompt.prompt.start": "vocabulary",
        "softprompt.epochs": 2,
        "softprompt.batch_size": 4,
        "softprompt.prompt.tokens": 3,
    }.items():
        set_param(project, dotted, value)
    write_parquet(rows(), TASK, project / "data/task.parquet", patterns='["(?<!\\\\w)Orla(?!\\\\w)"]')
    tiny_model(project / "models/base", text=TEXT)
    (project / "data/none").mkdir()
    if stage != "specialise":
        for seed, name in enumerate(("task", "task_retrained")):
            folder = tiny_model(project / "models" / name, seed=seed, text=TEXT)
            write_json({"template": TEMPLATE, "labels": LABELS}, folder / "task.json")
    touch_deps(project, stage)
    return project
