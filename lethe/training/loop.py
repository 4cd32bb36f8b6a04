"""The one training loop: Hugging Face Trainer over rows of (tokens, next_ids, forget), objective x vehicle."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lethe.core.errors import StageError
from lethe.core.stage import is_main_process, need_disk, wait_for_others
from lethe.models.device import local_processes
from lethe.training.losses import DualObjective, Items
from lethe.training.memory_plan import plan_batch, resume_bytes
from lethe.training.recipe import OPTIMISERS, RecipeParams, check_precision
from lethe.training.rows import RowDataset, Rows, WholeSteps, collate, positions, supervised
from lethe.training.sharding import (
    compute_in_bfloat16,
    keep_whole,
    reaching_all,
    shard_on_cpus,
    sharding,
    whole_weights,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel

    from lethe.models.output_head import Head
    from lethe.training.losses import Objective

LOSS_HEADER = ("step", "loss", "learning_rate")
DUAL = "dual"  # in the log: the one number an objective keeps from step to step


def train(
    model: PreTrainedModel,
    rows: Rows,
    recipe: RecipeParams,
    steps: int,
    objective: Objective,
    work: Path,
    description: str,
    at_steps: Sequence[int] = (),
    on_step: Callable[[int], None] = lambda step: None,
    with_base: bool = False,
    layer: int | None = None,
    save: Callable[[int, Mapping[str, Tensor]], None] | None = None,
) -> list[dict[str, float]]:
    """Train `model` in place for `steps` optimiser steps and return its loss curve (columns LOSS_HEADER).

    Resumes from the last whole checkpoint under `work`; a resumed run gives the bytes of an undisturbed one.
    on_step: called after each optimiser step listed in at_steps, by every process. save: called then by the main one,
    with all weights; without it none are sharded. with_base: the objective gets the column BASE_HIDDEN
    from a second pass with the prompt or adapter switched off (vehicles lora and prompt). layer: the objective's hidden
    states are those after this decoder layer; None: the last ones. Raises StageError where loss is not finite, the disk
    too small, or `accelerate config` contradicts the recipe's precision.
    """
    import torch
    from transformers import TrainerCallback

    if recipe.vehicle == "prompt" or save is None or with_base:
        keep_whole(description)
    check_precision(recipe.precision)
    if sharding() and recipe.resume_every and is_main_process():
        print(f"{description}: {sharding()[0]} keeps nothing to resume from, a stopped training starts again")
    if recipe.resume_every and not sharding():
        need_disk(work, resume_bytes(model, recipe.vehicle), f"the resume checkpoints of {description}")

    class AtSteps(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if isinstance(objective, DualObjective):
                share = torch.as_tensor(objective.retain, device=trainer.args.device)
                objective.end_step(float(trainer.accelerator.reduce(share, "sum")))
            if state.global_step in at_steps:
                on_step(state.global_step)
                if save is not None:
                    weights = whole_weights(trainer)  # every process has its part in it
                    if is_main_process():
                        save(state.global_step, weights)

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if isinstance(objective, DualObjective) and state.log_history:
                objective.dual = state.log_history[-1][DUAL]

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            loss = logs.get("loss", 0.0)
            if not math.isfinite(loss):
                raise StageError(
                    f"{description}: found loss {loss} in step {state.global_step}, wanted a number; lower "
                    "learning_rate"
                )

    trainer = make_trainer(model, rows, recipe, steps, objective, work / "trainer", description, with_base, layer)
    trainer.add_callback(AtSteps())
    trainer.train(resume_from_checkpoint=last_whole_checkpoint(work / "trainer"))
    wait_for_others()
    return loss_curve(trainer.state.log_history)


def make_trainer(
    model: PreTrainedModel,
    rows: Rows,
    recipe: RecipeParams,
    steps: int,
    objective: Objective,
    output: Path,
    description: str,
    with_base: bool = False,
    layer: int | None = None,
) -> Any:
    """Hugging Face Trainer with our objective in place of the model's own loss."""
    import torch
    from transformers import PrinterCallback, ProgressCallback, Trainer, TrainingArguments

    from lethe.models.output_head import headless

    prompt = recipe.vehicle == "prompt"

    class ObjectiveTrainer(Trainer):
        loss_is_scaled_for_ga = True  # every objective divides by the items of the whole step

        def _get_num_items_in_batch(self, batch_samples: list[dict[str, Tensor]], device: torch.device) -> Tensor:
            counts = torch.stack([supervised(batch) for batch in batch_samples]).sum(0).to(device)  # int64 [3]
            if self.args.world_size > 1:
                counts = self.accelerator.gather(counts).view(-1, 3).sum(0)
            return counts

        def compute_loss(
            self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Tensor:
            plain, base = self.accelerator.unwrap_model(model), None
            if with_base:
                with headless(plain), self.accelerator.autocast():
                    base = base_hidden_states(plain, inputs, layer)

            def loss_of(hidden: Tensor, head: Head) -> Tensor:
                return objective(positions(inputs, hidden, base), head, Items(*num_items_in_batch))

            loss = loss_at_head(model, plain, inputs, layer, loss_of)
            if isinstance(model, torch.nn.parallel.DistributedDataParallel):
                loss = reaching_all(loss, plain)
            return loss * self.accelerator.num_processes  # gradients are averaged over processes, items are not

        def create_accelerator_and_postprocess(self) -> None:
            super().create_accelerator_and_postprocess()
            if "FSDP" in sharding() and not self.is_fsdp_enabled:
                shard_on_cpus(self.accelerator)
                self.is_fsdp_enabled = True
            if recipe.precision == "bfloat16":
                compute_in_bfloat16(self.accelerator.state)

        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            if self.args.world_size == 1:
                return super()._get_train_sampler(train_dataset)
            return WholeSteps(self.train_dataset, recipe.batch_size, recipe.seed)

        def log(self, logs: dict[str, float], *rest: Any) -> None:
            dual: dict[str, float] = {DUAL: objective.dual} if isinstance(objective, DualObjective) else {}
            super().log(logs | dual, *rest)  # kept in trainer_state.json, from where a resumed run takes it

        def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
            if not prompt:
                return super()._save(output_dir, state_dict)
            save_trainable(self.model, Path(str(output_dir or self.args.output_dir)))

        def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
            if not prompt:
                return super()._load_from_checkpoint(resume_from_checkpoint, model)
            load_trainable(self.model, Path(resume_from_checkpoint))

    class NamedProgress(ProgressCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            super().on_train_begin(args, state, control, **kwargs)
            if self.training_bar is not None:
                self.training_bar.set_description(description)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if self.training_bar is not None and logs and "loss" in logs:
                self.training_bar.set_postfix(loss=f"{float(logs['loss']):.3f}", refresh=False)

    on_gpu = recipe.device != "cpu" and torch.cuda.is_available()
    virtual = getattr(recipe, "prompt").tokens if prompt else 0  # noqa: B009 -- only some recipes have one
    plan = plan_batch(model, (rows.tokens.shape[1] + virtual) * (2 if rows.pairs else 1), recipe, on_gpu)
    arguments = TrainingArguments(
        output_dir=str(output),
        max_steps=steps,
        per_device_train_batch_size=plan.micro_batch,
        gradient_accumulation_steps=plan.accumulation,
        activation_checkpointing=plan.checkpointing,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.schedule,
        warmup_steps=round(recipe.warmup * steps),
        weight_decay=recipe.weight_decay,
        adam_beta1=recipe.adam_betas[0],
        adam_beta2=recipe.adam_betas[1],
        max_grad_norm=recipe.max_grad_norm,
        optim=OPTIMISERS[recipe.optimiser],
        bf16=recipe.precision == "bfloat16" and "DEEPSPEED" not in sharding(),
        use_cpu=not on_gpu,
        seed=recipe.seed,
        data_seed=recipe.seed,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps" if recipe.resume_every and not sharding() else "no",
        save_steps=recipe.resume_every or steps,
        save_total_limit=1,
        report_to=[],
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        ddp_find_unused_parameters=False if local_processes() > 1 else None,
    )
    trainer = ObjectiveTrainer(model=model, args=arguments, train_dataset=RowDataset(rows), data_collator=collate)
    for silenced in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(silenced)
    trainer.add_callback(NamedProgress())
    return trainer


def hidden_states(model: Any, batch: dict[str, Tensor], layer: int | None = None) -> Tensor:
    """[B, T, d]: hidden states of a headless model at the batch's own tokens, those of a soft prompt cut off.

    layer: after which decoder layer, counted from 1; None: the last ones, as the head gets them.
    """
    from lethe.models.output_head import tapped

    inputs = {"input_ids": batch["tokens"], "attention_mask": batch["attention_mask"], "use_cache": False}
    if layer is None:
        hidden = model(**inputs).logits
    else:
        with tapped(model, layer) as taken:
            model(**inputs)
        hidden = taken[-1]
    virtual = hidden.shape[1] - batch["tokens"].shape[1]
    return hidden[:, virtual:] if virtual else hidden


def loss_at_head(
    model: Any, plain: Any, batch: dict[str, Tensor], layer: int | None, loss_of: Callable[[Tensor, Head], Tensor]
) -> Tensor:
    """The loss that `loss_of` makes of hidden states [B, T, d], as in hidden_states, and the head.

    It is taken in the head's place within the model's own forward pass, in full precision: there, and only there, the
    head's weights are whole where they are sharded. plain: the model without what distributes it.
    """
    import torch

    from lethe.models.output_head import Head, headless, tapped

    def at_head(hidden: Tensor) -> Tensor:
        states = taken[-1] if layer else hidden
        virtual = states.shape[1] - batch["tokens"].shape[1]
        with torch.autocast(hidden.device.type, enabled=False):
            return loss_of(states[:, virtual:] if virtual else states, Head(plain.get_output_embeddings()))

    tap: AbstractContextManager[list[Tensor]] = tapped(plain, layer) if layer else nullcontext([])
    with tap as taken, headless(plain, at_head):
        return model(input_ids=batch["tokens"], attention_mask=batch["attention_mask"], use_cache=False).logits


def base_hidden_states(model: Any, batch: dict[str, Tensor], layer: int | None = None) -> Tensor:
    """[B, T, d]: the same of the model with its prompt or adapter switched off, without gradient: no second copy."""
    import torch

    with torch.no_grad(), model.disable_adapter():
        return hidden_states(model, batch, layer)


def save_trainable(model: Any, folder: Path) -> None:
    """The parameters in training, by name: PEFT keeps a prompt's vectors, but not the encoder they come from."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    moved = {name: tensor.detach().cpu() for name, tensor in model.named_parameters() if tensor.requires_grad}
    save_file(moved, folder / "trainable.safetensors")


def load_trainable(model: Any, folder: Path) -> None:
    """Put back what save_trainable wrote."""
    from safetensors.torch import load_file

    model.load_state_dict(load_file(folder / "trainable.safetensors"), strict=False)


def last_whole_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint whose trainer_state.json, which Trainer writes last, is complete."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]), reverse=True)
    for checkpoint in found:
        try:
            json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            continue
        return str(checkpoint)
    return None


def loss_curve(log_history: list[dict[str, float]]) -> list[dict[str, float]]:
    """One row per optimiser step, rounded so that the file is readable."""
    return [
        {
            "step": int(entry["step"]),
            "loss": round(float(entry["loss"]), 5),
            "learning_rate": float(f"{float(entry['learning_rate']):.6g}"),
        }
        for entry in log_history
        if "loss" in entry
    ]
