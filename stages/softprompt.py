"""Unlearns the forget side of the task: by default with a soft prompt before frozen weights (SPUL).

reads   data/task.parquet  models/task
writes  models/softprompt  reports/softprompt.json  reports/loss/softprompt.csv
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field, PositiveFloat, model_validator

from lethe.classification.dataset import Labelled, read_task
from lethe.classification.prompts import Asking, answer_tokens, check_length, question_rows, questions, read_asking
from lethe.core.params import read_params
from lethe.core.stage import is_main_process, run, workspace
from lethe.core.tables import write_csv, write_json
from lethe.models.checkpoints import load_model, load_tokenizer, save_model
from lethe.models.device import prepare
from lethe.models.output_head import frozen_head
from lethe.models.soft_prompts import save_prompt
from lethe.models.tokenization import context_length
from lethe.training.adapters import PromptParams, attach, check_prompt_room, merge, trainable_parameters
from lethe.training.loop import LOSS_HEADER, train
from lethe.training.recipe import RecipeParams, steps_of
from lethe.training.rows import Rows, joined
from lethe.unlearning.answer_reference import answer_columns, bits_sha256
from lethe.unlearning.methods import Method, MethodParams, chosen
from lethe.unlearning.prefix_tuning import attach_prefix
from lethe.unlearning.reference import paired

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

TASK = Path("models/task")


class Params(RecipeParams, MethodParams):
    """Which objective, by which vehicle, with which words in place of the labels to forget."""

    prompt: PromptParams
    layers: Literal["input", "every"]
    start_text: str | None
    generic: Annotated[list[str], Field(min_length=1)]
    forget_share: Annotated[float, Field(gt=0, le=1)]
    epochs: PositiveFloat

    @model_validator(mode="after")
    def _prefix_is_a_kind_of_prompt(self) -> Params:
        if self.layers == "every" and (self.vehicle != "prompt" or self.prompt.encoder):
            raise ValueError("layers: found every, wanted it only with vehicle prompt and prompt.encoder 0")
        if self.layers == "every" and self.objective == "rmu":
            raise ValueError("layers: found every with objective rmu, wanted input")
        plain = self.vehicle == "prompt" and self.layers == "input" and not self.prompt.encoder
        if self.start_text and not plain:
            raise ValueError("start_text: found one, wanted null, or vehicle prompt, layers input and prompt.encoder 0")
        return self


class Trained(NamedTuple):
    """What a training leaves: the loss curve, and what the report says of the vehicle."""

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
        taught = token_rows(tokenizer, asking, known, method, params)
        done = unlearn(Path("models/task"), taught, params, device, work, work / "models/softprompt")
        if not is_main_process():
            return
        write_csv(done.curve, LOSS_HEADER, work / "reports/loss/softprompt.csv")
        forgotten = sum(row.side == "forget" for row in known)
        facts = {"objective": params.objective, "vehicle": vehicle_name(params), "generic": params.generic}
        facts |= {"rows": {"forget": forgotten, "retain": len(known) - forgotten}} | done.facts
        write_json(facts, work / "reports/softprompt.json")
        first, last = done.curve[0]["loss"], done.curve[-1]["loss"]
        print(
            f"softprompt: {facts['vehicle']} of {facts['trainable_parameters']} parameters, {params.objective} loss "
            f"{first:.3f} -> {last:.3f} in {len(done.curve)} steps"
        )


def vehicle_name(params: Params) -> str:
    """prompt (vectors before the input), prefix (keys and values in every layer), lora or full; never mixed up."""
    return "prefix" if params.layers == "every" else params.vehicle


def with_share(rows: Sequence[Labelled], share: float, seed: int) -> list[Labelled]:
    """All retain rows and a share of the forget rows drawn by lot, at least one, in their order."""
    forget = [index for index, row in enumerate(rows) if row.side == "forget"]
    wanted = max(1, round(share * len(forget)))
    kept = set(np.random.default_rng(seed).permutation(forget)[:wanted].tolist())
    return [row for index, row in enumerate(rows) if row.side == "retain" or index in kept]


def token_rows(
    tokenizer: PreTrainedTokenizerFast, asking: Asking, known: Sequence[Labelled], method: Method, params: Params
) -> Rows:
    """Training rows: forget texts with the answers the method wants, then retain texts with their own labels.

    One generic word is drawn for each forget text, once. Raises StageError for a word that spells no token, a text
    too long for the model, or a prompt that leaves a text no room.
    """
    words = answer_tokens(tokenizer, asking.template, [*asking.labels.values(), *params.generic])
    forget = [row for row in known if row.side == "forget"]
    retain = [row for row in known if row.side == "retain"] if method.retain else []
    pad = tokenizer.pad_token_id
    drawn = np.random.default_rng(params.seed).integers(0, len(params.generic), len(forget))
    true = questions(tokenizer, asking.template, forget, [words[asking.labels[row.label]] for row in forget])
    generic = questions(tokenizer, asking.template, forget, [words[params.generic[i]] for i in drawn])
    kept = questions(tokenizer, asking.template, retain, [words[asking.labels[row.label]] for row in retain])
    longest = max(len(question.prompt) + len(question.answer) for question in (*true, *generic, *kept))
    context = context_length(TASK)
    if params.vehicle == "prompt":
        check_prompt_room(params.prompt, longest, context, "softprompt")
    elif context:
        check_length([*generic, *kept], [*forget, *retain], context, "the model's context")
    width = longest - 1
    sets = [question_rows(own, [side] * len(own), pad, width) for own, side in ((generic, True), (true, True))]
    wanted = sets[method.labels == "true"]  # for random labels generic words: that is the paper's RL
    if method.labels == "pairs":
        wanted = paired(sets[1], sets[0])
    return joined(wanted, question_rows(kept, [False] * len(kept), pad, width)) if kept else wanted


def unlearn(task: Path, rows: Rows, params: Params, device: torch.device, work: Path, target: Path) -> Trained:
    """Train the vehicle on the rows and write its folder: a prompt's vectors alone, else a plain model."""
    import torch

    model = load_model(task, device, getattr(torch, params.weights))
    width, moves_head = model.config.hidden_size, params.vehicle == "full"
    method = chosen(params, width, params.seed, frozen_head(model) if moves_head else None)
    columns = answer_columns(model, rows, method)
    before = bits_sha256(model)
    if params.layers == "every":
        model = attach_prefix(model, params.prompt, params.seed)
    else:
        model = attach(model, params.vehicle, params.lora, params.seed, params.prompt)
    if params.start_text:
        start_from(model, load_tokenizer(task), params.start_text)
    moved = trainable_parameters(model)
    steps = steps_of(
        len(rows.length) - (int(rows.forget.sum()) // 2 if rows.pairs else 0), params.batch_size, params.epochs
    )
    given = rows._replace(columns={**rows.columns, **columns})
    curve = train(model, given, params, steps, method.objective, work, "softprompt", layer=method.layer)
    facts: dict[str, Any] = {"trainable_parameters": moved}
    if params.vehicle == "prompt":
        facts["start"] = "text" if params.start_text else "random" if params.prompt.encoder else params.prompt.start
    if params.vehicle != "prompt":
        if is_main_process():
            save_model(merge(model), load_tokenizer(task), target, getattr(torch, params.save_dtype))
        return Trained(curve, facts)
    if bits_sha256(model.base_model) != before:
        raise RuntimeError("the weights moved while only a soft prompt was in training")
    if is_main_process():
        save_prompt(model, load_tokenizer(task), target, task)
        facts |= {"saved_numbers": saved_numbers(target), "weights_sha256": before, "weights_untouched": True}
    return Trained(curve, facts)


def start_from(model: Any, tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    """Let a soft prompt start from the embeddings of a text (Lester et al. 2021), repeated or cut to its length.

    A start, no more: training moves the vectors wherever it likes.
    """
    import torch

    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    vectors = model.prompt_encoder["default"].embedding.weight  # [p, d]
    repeated = [ids[place % len(ids)] for place in range(len(vectors))]
    with torch.no_grad():
        vectors.copy_(model.get_input_embeddings().weight[torch.tensor(repeated, device=vectors.device)])


def saved_numbers(folder: Path) -> int:
    """How many numbers a prompt's folder holds: p x d."""
    from safetensors import safe_open

    with safe_open(folder / "adapter_model.safetensors", "pt") as stored:
        return sum(stored.get_tensor(name).numel() for name in stored.keys())  # noqa: SIM118 -- not a mapping


if __name__ == "__main__":
    run(main)
