"""The task model: a base trained to answer every labelled text, and beside it one that never saw the forget side.

reads   data/task.parquet  ${specialise.base}  ${specialise.background}
writes  models/task  models/task_retrained  reports/loss/specialise.csv
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import NonNegativeFloat, PositiveFloat, field_validator, model_validator

from lethe.classification.dataset import Labelled, read_task
from lethe.classification.prompts import (
    Asking,
    answer_tokens,
    background_rows,
    check_labels,
    check_length,
    check_template,
    question_rows,
    questions,
    together,
    unmarked,
    write_asking,
)
from lethe.core.errors import StageError
from lethe.core.params import StageParams, read_params
from lethe.core.stage import SCRATCH, is_main_process, run, workspace
from lethe.core.tables import write_csv
from lethe.models.checkpoints import absent_reason, load_tokenizer, save_model
from lethe.models.device import prepare
from lethe.models.distributed import one_first
from lethe.models.tokenization import context_length
from lethe.pretrained.from_scratch import ScratchParams, initialise, train_tokenizer
from lethe.training.fit import train_folder
from lethe.training.loop import LOSS_HEADER
from lethe.training.losses import cross_entropy
from lethe.training.recipe import RecipeParams, steps_of
from lethe.training.rows import Rows


class Start(StageParams):
    """What `source: scratch` initialises, beside its shape."""

    shape: ScratchParams
    spread: PositiveFloat


class Params(RecipeParams):
    """The task, the base, and how it is trained."""

    template: str
    labels: dict[str, str]
    source: Literal["scratch", "folder", "hub"]
    base: str
    model: str | None
    revision: str | None
    scratch: Start
    background: str
    epochs: PositiveFloat
    background_share: NonNegativeFloat

    @field_validator("template")
    @classmethod
    def _template_has_its_places(cls, template: str) -> str:
        check_template(template)
        return template

    @field_validator("labels")
    @classmethod
    def _each_label_has_its_word(cls, labels: dict[str, str]) -> dict[str, str]:
        words = list(labels.values())
        twice = next((word for word in words if words.count(word) > 1), None)
        if twice is not None:
            raise ValueError(f"found {twice} twice, wanted another word for each label")
        return labels

    @model_validator(mode="after")
    def _fits_together(self) -> Params:
        if self.source == "hub" and not self.model:
            raise ValueError("model: found nothing with source hub, wanted owner/name")
        return self


def main() -> None:
    params = read_params("specialise", Params)
    device = prepare(params.device)
    with workspace("specialise", resumable=True) as work:
        rows = [row for row in read_task(Path("data/task.parquet")) if row.part == "train"]
        check_labels(rows, params.labels)
        background = read_background(Path(params.background))
        start = work / "start"
        with one_first():
            if not start.exists():
                fetch_start(params, [row.text for row in rows], background, work / "fetched")
                (work / "fetched").rename(start)
        retained = [row for row in rows if row.side == "retain"]
        targets = {"task": (work / "models/task", rows), "retrained": (work / "models/task_retrained", retained)}
        curves = {}
        for name, (folder, known) in targets.items():
            taught = token_rows(start, known, background, params)
            steps = steps_of(len(taught.length), params.batch_size, params.epochs)
            curves[name] = train_folder(
                start, taught, params, steps, cross_entropy, device, work / name, folder, f"specialise {folder.name}"
            )
            if is_main_process():
                write_asking(Asking(params.template, params.labels), folder)
        write_csv(curves["task"], LOSS_HEADER, work / "reports/loss/specialise.csv")
        told = " and ".join(f"{curve[-1]['loss']:.3f} ({name})" for name, curve in curves.items())
        print(f"specialise: {len(rows)} rows, {len(retained)} of them retained; loss {told}")


def read_background(path: Path) -> list[str]:
    """Lines of other text the model learns beside the table, each with answers in [brackets]; empty lines left out.

    A folder, or a table, stands for none.
    """
    if path.suffix != ".txt":
        return []
    try:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise StageError(f"{path}: not UTF-8, wanted a UTF-8 text file") from None


def fetch_start(params: Params, texts: Sequence[str], background: Sequence[str], folder: Path) -> None:
    """Write the model before any training on the task into `folder`."""
    if params.source == "hub":
        from lethe.pretrained.hub import fetch_model

        kept = SCRATCH / "hub" / str(params.revision)
        fetch_model(str(params.model), params.revision, kept)
        shutil.copytree(kept, folder, copy_function=os.link, dirs_exist_ok=True)
    elif params.source == "folder":
        copy_base(Path(params.base), folder)
    else:
        import torch

        words = [params.template.replace("{text}", "").replace("{label}", word) for word in params.labels.values()]
        told = [unmarked(line)[0] for line in background]
        tokenizer = train_tokenizer([*texts, *told, *words * 10], params.scratch.shape.vocabulary)
        model = initialise(params.scratch.shape, tokenizer, params.seed, params.scratch.spread)
        save_model(model, tokenizer, folder, torch.float32)


def copy_base(source: Path, folder: Path) -> None:
    """Copy a model folder: config, tokenizer, safetensors. Raises StageError if there is none."""
    if not (source / "config.json").exists():
        reason = absent_reason(source) if source.is_dir() else None
        found = f"holds no model: {reason}" if reason else "found no config.json, wanted a model folder"
        raise StageError(f"{source}: {found}; see specialise.base")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for pattern in ("*.json", "*.safetensors", "tokenizer.model", "merges.txt"):
        for path in sorted(source.glob(pattern)):
            shutil.copyfile(path, folder / path.name)


def token_rows(start: Path, known: Sequence[Labelled], background: Sequence[str], params: Params) -> Rows:
    """The training rows: every known text with its label's word, and `background_share` of the background text."""
    tokenizer = load_tokenizer(start)
    ids = answer_tokens(tokenizer, params.template, list(params.labels.values()))
    asked = questions(tokenizer, params.template, known, [ids[params.labels[row.label]] for row in known])
    context = context_length(start)
    if context:
        check_length(asked, known, context, "the model's context; shorten the text or the template")
    pad = tokenizer.pad_token_id
    rows = question_rows(asked, [row.side == "forget" for row in known], pad)
    taken = background[: round(len(background) * params.background_share)]
    if not taken:
        return rows
    return together(rows, background_rows(tokenizer, taken, pad, params.background), pad)


if __name__ == "__main__":
    run(main)
