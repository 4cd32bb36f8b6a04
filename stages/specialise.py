"""Trains the task model on all labelled texts, and a retrained reference without the forget set.

reads   data/task.parquet  ${specialise.base}  ${specialise.background}
writes  models/task  models/task_retrained  reports/loss/specialise.csv
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import NonNegativeFloat, PositiveFloat, field_validator, model_validator

from lethe.classification.dataset import Labelled, read_task
from lethe.classification.prompts import Asking, check_labels, check_template, write_asking
from lethe.classification.rows import background_rows, concatenated, read_background, split_answers, task_rows
from lethe.core.params import StageParams, read_params
from lethe.core.stage import is_main_process, run, workspace
from lethe.core.tables import write_csv
from lethe.models.checkpoints import load_tokenizer
from lethe.models.config import context_length
from lethe.models.device import prepare
from lethe.models.distributed import one_first
from lethe.pretrained.from_scratch import ScratchParams, initialise, train_tokenizer
from lethe.pretrained.start import Source, fetch_start
from lethe.training.fit import train_folder
from lethe.training.loop import LOSS_HEADER
from lethe.training.losses import cross_entropy
from lethe.training.recipe import RecipeParams, steps_of
from lethe.training.rows import Rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Start(StageParams):
    """The shape and initialisation of a model with `source: scratch`."""

    shape: ScratchParams
    spread: PositiveFloat


class Params(RecipeParams):
    """The task, the base model and its training."""

    template: str
    labels: dict[str, str]
    source: Source
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
            raise ValueError(f"expected a different word for each label, got {twice} twice")
        return labels

    @model_validator(mode="after")
    def _fits_together(self) -> Params:
        if self.source == "hub" and not self.model:
            raise ValueError("model: expected owner/name, got nothing with source hub")
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
                made = partial(from_scratch, params, [row.text for row in rows], background)
                own = Path(params.base)
                fetch_start(
                    params.source, params.model, params.revision, own, "specialise.base", made, work / "fetched"
                )
                (work / "fetched").rename(start)
        asking = Asking(params.template, params.labels)
        retained = [row for row in rows if row.side == "retain"]
        targets = {"task": (work / "models/task", rows), "retrained": (work / "models/task_retrained", retained)}
        curves = {}
        for name, (folder, known) in targets.items():
            tokens = training_rows(start, asking, known, background, params)
            steps = steps_of(len(tokens.length), params.batch_size, params.epochs)
            curves[name] = train_folder(
                start, tokens, params, steps, cross_entropy, device, work / name, folder, f"specialise {folder.name}"
            )
            if is_main_process():
                write_asking(asking, folder)
        write_csv(curves["task"], LOSS_HEADER, work / "reports/loss/specialise.csv")
        losses = " and ".join(f"{curve[-1]['loss']:.3f} ({name})" for name, curve in curves.items())
        print(f"specialise: {len(rows)} rows, {len(retained)} of them in the retain set; loss {losses}")


def from_scratch(
    params: Params, texts: Sequence[str], background: Sequence[str]
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A Llama with random weights, and a tokenizer that encodes the labels' words in few tokens."""
    words = [params.template.replace("{text}", "").replace("{label}", word) for word in params.labels.values()]
    lines = [split_answers(line)[0] for line in background]
    tokenizer = train_tokenizer([*texts, *lines, *words * 10], params.scratch.shape.vocabulary)
    return initialise(params.scratch.shape, tokenizer, params.seed, params.scratch.spread), tokenizer


def training_rows(
    start: Path, asking: Asking, known: Sequence[Labelled], background: Sequence[str], params: Params
) -> Rows:
    """The training rows: every text with its label's word, and `background_share` of the background text."""
    tokenizer = load_tokenizer(start)
    rows = task_rows(tokenizer, asking, known, context_length(start))
    taken, pad = background[: round(len(background) * params.background_share)], tokenizer.pad_token_id
    return concatenated(rows, background_rows(tokenizer, taken, pad, params.background), pad) if taken else rows


if __name__ == "__main__":
    run(main)
