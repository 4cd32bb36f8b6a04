"""Hugging Face Trainer with an objective in place of the model's own loss, over several processes or one.

Import it inside the function that trains: its classes extend those of transformers, which takes seconds to import.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback, TrainingArguments

from lethe.core.errors import StageError
from lethe.core.stage import is_main_process
from lethe.models.device import local_processes
from lethe.models.output_head import headless
from lethe.training import memory_plan
from lethe.training.forward import base_hidden_states, loss_at_head
from lethe.training.losses import DualObjective, Items
from lethe.training.recipe import OPTIMISERS, RecipeParams
from lethe.training.rows import RowDataset, Rows, WholeSteps, collate, positions, supervised
from lethe.training.sharding import (
    compute_in_bfloat16,
    reaching_all,
    recomputes,
    shard_on_cpus,
    sharding,
    whole_weights,
)

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from lethe.models.output_head import Head
    from lethe.training.losses import Objective

DUAL = "dual"  # in the log: the dual variable of an objective


class Job(NamedTuple):
    """What is trained and how; the names are those of lethe.training.loop.train."""

    rows: Rows
    recipe: RecipeParams
    steps: int
    objective: Objective
    description: str
    with_base: bool = False
    layer: int | None = None


class ObjectiveTrainer(Trainer):
    """Trainer of a Job. Its checkpoints of a soft prompt hold only the trained parameters."""

    loss_is_scaled_for_ga = True  # every objective divides by the items of the whole step

    def __init__(self, model: PreTrainedModel, job: Job, arguments: TrainingArguments) -> None:
        self.job, self.keeps_all = job, job.recipe.tuning != "prompt"
        super().__init__(model=model, args=arguments, train_dataset=RowDataset(job.rows), data_collator=collate)

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Tensor]], device: torch.device) -> Tensor:
        counts = torch.stack([supervised(batch) for batch in batch_samples]).sum(0).to(device)  # int64 [3]
        if self.args.world_size > 1:
            counts = self.accelerator.gather(counts).view(-1, 3).sum(0)
        return counts

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """The objective's loss on a micro-batch, a scalar; the sum over a step's micro-batches is the step's loss."""
        plain, base = self.accelerator.unwrap_model(model), None
        if self.job.with_base:
            with headless(plain), self.accelerator.autocast():
                base = base_hidden_states(plain, inputs, self.job.layer)

        def loss_of(hidden: Tensor, head: Head) -> Tensor:
            return self.job.objective(positions(inputs, hidden, base), head, Items(*num_items_in_batch))

        loss = loss_at_head(model, plain, inputs, self.job.layer, loss_of)
        if isinstance(model, torch.nn.parallel.DistributedDataParallel):
            loss = reaching_all(loss, plain)
        return loss * self.accelerator.num_processes  # gradients are averaged over processes, items are not

    def create_accelerator_and_postprocess(self) -> None:
        """As in Trainer, with shards on the CPU too, and float32 wherever sharding would round."""
        super().create_accelerator_and_postprocess()
        if "FSDP" in sharding() and not self.is_fsdp_enabled:
            shard_on_cpus(self.accelerator)
            self.is_fsdp_enabled = True
        if self.job.recipe.precision == "bfloat16":
            compute_in_bfloat16(self.accelerator.state)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self.args.world_size == 1:
            return super()._get_train_sampler(train_dataset)
        return WholeSteps(self.train_dataset, self.job.recipe.batch_size, self.job.recipe.seed)

    def log(self, logs: dict[str, float], *rest: Any) -> None:
        """As in Trainer, with an objective's dual variable, which is resumed from trainer_state.json."""
        objective = self.job.objective
        dual: dict[str, float] = {DUAL: objective.dual} if isinstance(objective, DualObjective) else {}
        super().log(logs | dual, *rest)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        if self.keeps_all:
            return super()._save(output_dir, state_dict)
        save_trainable(self.model, Path(str(output_dir or self.args.output_dir)))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if self.keeps_all:
            return super()._load_from_checkpoint(resume_from_checkpoint, model)
        load_trainable(self.model, Path(resume_from_checkpoint))


class DualSteps(TrainerCallback):
    """Steps of an objective with a dual variable; a resumed training takes its value from the log."""

    def __init__(self, trainer: ObjectiveTrainer, objective: DualObjective) -> None:
        self.trainer, self.objective = trainer, objective

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.log_history:
            self.objective.dual = state.log_history[-1][DUAL]

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        share = torch.as_tensor(self.objective.retain, device=self.trainer.args.device)
        self.objective.end_step(float(self.trainer.accelerator.reduce(share, "sum")))


class AtSteps(TrainerCallback):
    """Calls on_step after each of `at_steps`, then save with all weights."""

    def __init__(
        self,
        trainer: ObjectiveTrainer,
        at_steps: Collection[int],
        on_step: Callable[[int], None],
        save: Callable[[int, Mapping[str, Tensor]], None] | None,
    ) -> None:
        self.trainer, self.at_steps, self.on_step, self.save = trainer, at_steps, on_step, save

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step not in self.at_steps:
            return
        self.on_step(state.global_step)
        if self.save is not None:
            weights = whole_weights(self.trainer)  # every process takes part
            if is_main_process():
                self.save(state.global_step, weights)


class FiniteLoss(TrainerCallback):
    """Raises StageError at the first loss that is not finite."""

    def __init__(self, description: str) -> None:
        self.description = description

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        loss = logs.get("loss", 0.0)
        if not math.isfinite(loss):
            raise StageError(
                f"{self.description}: expected a finite loss, got {loss} in step {state.global_step}; lower "
                "learning_rate"
            )


class NamedProgress(ProgressCallback):
    """A progress bar that says what is trained and the loss of the last step."""

    def __init__(self, description: str) -> None:
        super().__init__()
        self.description = description

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        super().on_train_begin(args, state, control, **kwargs)
        if self.training_bar is not None:
            self.training_bar.set_description(self.description)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if self.training_bar is not None and logs and "loss" in logs:
            self.training_bar.set_postfix(loss=f"{float(logs['loss']):.3f}", refresh=False)


def make_trainer(model: PreTrainedModel, job: Job, output: Path) -> ObjectiveTrainer:
    """The trainer of a job, its batch cut for this machine. output: the folder of its resume checkpoints."""
    on_gpu = job.recipe.device != "cpu" and torch.cuda.is_available()
    plan = memory_plan.plan_batch(model, item_tokens(job), job.recipe, on_gpu)
    trainer = ObjectiveTrainer(model, job, training_arguments(job.recipe, job.steps, plan, output, on_gpu))
    for silenced in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(silenced)
    trainer.add_callback(NamedProgress(job.description))
    return trainer


def item_tokens(job: Job) -> int:
    """The tokens of one item of a batch, a row or a pair, including a soft prompt before each row."""
    virtual = getattr(job.recipe, "prompt").tokens if job.recipe.tuning == "prompt" else 0  # noqa: B009 -- only some have one
    return (job.rows.tokens.shape[1] + virtual) * (2 if job.rows.pairs else 1)


def training_arguments(
    recipe: RecipeParams, steps: int, plan: memory_plan.BatchPlan, output: Path, on_gpu: bool
) -> TrainingArguments:
    """The recipe as Trainer's arguments: every step logged, the last checkpoint kept, no external reporting."""
    return TrainingArguments(
        output_dir=str(output),
        max_steps=steps,
        per_device_train_batch_size=plan.micro_batch,
        gradient_accumulation_steps=plan.accumulation,
        activation_checkpointing=plan.checkpointing and not recomputes(),
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


def save_trainable(model: Any, folder: Path) -> None:
    """Save the trained parameters, by name: PEFT saves a prompt's vectors, but not the encoder they come from."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    moved = {name: tensor.detach().cpu() for name, tensor in model.named_parameters() if tensor.requires_grad}
    save_file(moved, folder / "trainable.safetensors")


def load_trainable(model: Any, folder: Path) -> None:
    """Restore what save_trainable wrote."""
    from safetensors.torch import load_file

    model.load_state_dict(load_file(folder / "trainable.safetensors"), strict=False)
