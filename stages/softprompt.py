"""Unlearns the forget set of the task, by default with a soft prompt and frozen weights (SPUL).

reads   data/task.parquet  models/task
writes  models/softprompt  reports/softprompt.json  reports/loss/softprompt.csv
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field, PositiveFloat, model_validator

from lethe.classification.dataset import read_task
from lethe.classification.prompts import read_asking
from lethe.classification.unlearning_rows import unlearning_rows, with_share
from lethe.core.params import read_params
from lethe.core.stage import is_main_process, run, workspace
from lethe.core.tables import write_csv, write_json
from lethe.models.checkpoints import load_model, load_tokenizer, save_model
from lethe.models.config import context_length, shape_of
from lethe.models.device import prepare
from lethe.models.output_head import frozen_head
from lethe.models.saved_change import bits_sha256
from lethe.models.soft_prompts import save_prompt, saved_numbers
from lethe.training.adapters import attach, merge, start_from, trainable_parameters
from lethe.training.loop import LOSS_HEADER, train
from lethe.training.recipe import steps_of
from lethe.training.rows import Rows
from lethe.unlearning.methods import UnlearningParams, chosen
from lethe.unlearning.prefix_tuning import attach_prefix
from lethe.unlearning.reference import answer_columns

if TYPE_CHECKING:
    import torch


class Params(UnlearningParams):
    """The objective, the tuning and the generic words that replace the labels to forget."""

    layers: Literal["input", "every"]
    start_text: str | None
    generic: Annotated[list[str], Field(min_length=1)]
    forget_share: Annotated[float, Field(gt=0, le=1)]
    epochs: PositiveFloat

    @model_validator(mode="after")
    def _prefix_is_a_kind_of_prompt(self) -> Params:
        if self.layers == "every" and (self.tuning != "prompt" or self.prompt.encoder):
            raise ValueError("layers: expected input, got every (which needs tuning prompt and prompt.encoder 0)")
        if self.layers == "every" and self.objective == "rmu":
            raise ValueError("layers: expected input with objective rmu, got every")
        plain = self.tuning == "prompt" and self.layers == "input" and not self.prompt.encoder
        if self.start_text and not plain:
            raise ValueError(
                "start_text: expected null, got a text (which needs tuning prompt, layers input and prompt.encoder 0)"
            )
        return self


class Trained(NamedTuple):
    """The result of a training: the loss curve, and facts about the tuning for the report."""

    curve: list[dict[str, float]]
    facts: dict[str, Any]


def main() -> None:
    params = read_params("softprompt", Params)
    device = prepare(params.device)
    with workspace("softprompt", resumable=True) as work:
        rows = [row for row in read_task(Path("data/task.parquet")) if row.part == "train"]
        known, asking = with_share(rows, params.forget_share, params.seed), read_asking(Path("models/task"))
        tokenizer = load_tokenizer(Path("models/task"))
        method = chosen(params, 1, params.seed)
        context = context_length(Path("models/task"))
        tokens = unlearning_rows(tokenizer, asking, known, method, params, params.generic, context)
        done = unlearn(Path("models/task"), tokens, params, device, work, work / "models/softprompt")
        if not is_main_process():
            return
        write_csv(done.curve, LOSS_HEADER, work / "reports/loss/softprompt.csv")
        forgotten = sum(row.side == "forget" for row in known)
        facts = {"objective": params.objective, "tuning": tuning_name(params), "generic": params.generic}
        facts |= {"rows": {"forget": forgotten, "retain": len(known) - forgotten}} | done.facts
        write_json(facts, work / "reports/softprompt.json")
        first, last = done.curve[0]["loss"], done.curve[-1]["loss"]
        print(
            f"softprompt: {facts['tuning']} of {facts['trainable_parameters']} parameters, {params.objective} loss "
            f"{first:.3f} -> {last:.3f} in {len(done.curve)} steps"
        )


def tuning_name(params: Params) -> str:
    """prompt (vectors before the input), prefix (keys and values in every layer), lora or full."""
    return "prefix" if params.layers == "every" else params.tuning


def unlearn(task: Path, rows: Rows, params: Params, device: torch.device, work: Path, target: Path) -> Trained:
    """Train on the rows and write the model folder: for a prompt its vectors alone, else a plain model."""
    import torch

    model = load_model(task, device, getattr(torch, params.weights))
    width, moves_head = shape_of(model.config).hidden, params.tuning == "full"
    method = chosen(params, width, params.seed, frozen_head(model) if moves_head else None)
    columns = answer_columns(model, rows, method)
    before = bits_sha256(model)
    if params.layers == "every":
        model = attach_prefix(model, params.prompt, params.seed)
    else:
        model = attach(model, params.tuning, params.lora, params.seed, params.prompt)
    if params.start_text:
        start_from(model, load_tokenizer(task), params.start_text)
    moved = trainable_parameters(model)
    steps = steps_of(
        len(rows.length) - (int(rows.forget.sum()) // 2 if rows.pairs else 0), params.batch_size, params.epochs
    )
    given = rows._replace(columns={**rows.columns, **columns})
    curve = train(model, given, params, steps, method.objective, work, "softprompt", layer=method.layer)
    facts: dict[str, Any] = {"trainable_parameters": moved}
    if params.tuning == "prompt":
        facts["start"] = "text" if params.start_text else "random" if params.prompt.encoder else params.prompt.start
    if params.tuning != "prompt":
        if is_main_process():
            save_model(merge(model), load_tokenizer(task), target, getattr(torch, params.save_dtype))
        return Trained(curve, facts)
    if bits_sha256(model.base_model) != before:
        raise RuntimeError("the weights changed while only a soft prompt was trained")
    if is_main_process():
        save_prompt(model, load_tokenizer(task), target, task)
        facts |= {"saved_numbers": saved_numbers(target), "weights_sha256": before, "weights_untouched": True}
    return Trained(curve, facts)


if __name__ == "__main__":
    run(main)
