"""The one training loop: Hugging Face Trainer over rows of (tokens, next_ids, forget), objective x vehicle."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from lethe.core.errors import StageError
from lethe.core.params import StageParams
from lethe.core.stage import is_main_process, need_disk, wait_for_others
from lethe.core.tables import MASKED
from lethe.models.device import local_processes
from lethe.training.adapters import LoraParams, Vehicle

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from lethe.models.checkpoints import Head
    from lethe.training.losses import Objective, Positions

LOSS_HEADER = ("step", "loss", "learning_rate")
CPU_TOKENS = 8192  # tokens of one micro-batch on the CPU
OPTIMISERS = {"adamw": "adamw_torch_fused", "adamw_8bit": "adamw_bnb_8bit"}  # our names: transformers'
MOMENTS = {"adamw": 8, "adamw_8bit": 2}  # bytes of Adam's two for each number in training
Precision = Literal["float32", "bfloat16"]
Weights = Literal["float32", "bfloat16", "nf4"]
SaveDtype = Literal["float32", "float16", "bfloat16"]
Device = Literal["auto", "cpu", "cuda"]


class RecipeParams(StageParams):
    """How a model is trained, but for how long."""

    vehicle: Vehicle
    lora: LoraParams
    weights: Weights
    learning_rate: PositiveFloat
    batch_size: PositiveInt
    schedule: Literal["linear", "cosine", "constant"]
    warmup: float = Field(ge=0, lt=1)
    weight_decay: NonNegativeFloat
    adam_betas: list[float] = Field(min_length=2, max_length=2)
    optimiser: Literal["adamw", "adamw_8bit"]
    max_grad_norm: PositiveFloat
    precision: Precision
    save_dtype: SaveDtype
    resume_every: NonNegativeInt
    device: Device
    seed: int

    @model_validator(mode="after")
    def _full_training_needs_float32(self) -> RecipeParams:
        if self.vehicle == "full" and self.weights != "float32":
            raise ValueError(
                f"weights: found {self.weights} with vehicle full, wanted float32 (small steps vanish in weights of "
                "fewer bits) or vehicle lora"
            )
        return self

    @model_validator(mode="after")
    def _rounded_weights_need_adapters(self) -> RecipeParams:
        if self.vehicle == "prompt" and self.weights == "nf4":
            raise ValueError(
                "weights: found nf4 with vehicle prompt, wanted float32 or bfloat16: a prompt belongs to the very "
                "weights it was trained before, an adapter is folded into the whole ones"
            )
        return self

    @model_validator(mode="after")
    def _a_prompt_needs_its_section(self) -> RecipeParams:
        if self.vehicle == "prompt" and not hasattr(self, "prompt"):
            raise ValueError("vehicle: found prompt, wanted full or lora: this stage writes weights, a prompt has none")
        return self


class Rows(NamedTuple):
    """What is trained on. next_ids are already shifted: next_ids[n, t] is wanted after tokens[n, :t + 1]."""

    tokens: np.ndarray  # int32 [N, T]
    next_ids: np.ndarray  # int32 [N, T], MASKED where there is no target
    length: np.ndarray  # int32 [N], real tokens of each row, the rest is padding
    forget: np.ndarray  # bool [N]
    columns: Mapping[str, np.ndarray] = MappingProxyType({})  # name -> [N, T, ...]: what an objective needs beside
    pairs: bool = False  # whether forget rows come in pairs, 2n with 2n + 1, before all retain rows


Row = tuple["np.ndarray", "np.ndarray", int, bool, dict[str, "np.ndarray"]]  # one of Rows
DUAL = "dual"  # in the log: the one number an objective keeps from step to step
EMPTY = -1  # in place of a row's number: a row of which nothing counts
COLUMN = "column."  # before the name of a column in a collated batch


def steps_of(rows: int, batch_size: int, epochs: float) -> int:
    """Optimiser steps that make `epochs` passes; the last, smaller batch of an epoch counts."""
    return round(-(-rows // batch_size) * epochs)


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

    from lethe.training.losses import PrimalDual

    if recipe.vehicle == "prompt" or save is None or with_base:
        keep_whole(description)
    check_precision(recipe.precision)
    if sharding() and recipe.resume_every and is_main_process():
        print(f"{description}: {sharding()[0]} keeps nothing to resume from, a stopped training starts again")
    if recipe.resume_every and not sharding():
        need_disk(work, resume_bytes(model, recipe.vehicle), f"the resume checkpoints of {description}")

    class AtSteps(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if isinstance(objective, PrimalDual):
                share = torch.as_tensor(objective.retain, device=trainer.args.device)
                objective.end_step(float(trainer.accelerator.reduce(share, "sum")))
            if state.global_step in at_steps:
                on_step(state.global_step)
                if save is not None:
                    weights = whole_weights(trainer)  # every process has its part in it
                    if is_main_process():
                        save(state.global_step, weights)

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if isinstance(objective, PrimalDual) and state.log_history:
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

    from lethe.models.checkpoints import headless
    from lethe.training.losses import Items, PrimalDual

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
            dual = {DUAL: objective.dual} if isinstance(objective, PrimalDual) else {}
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


class WholeSteps:
    """An epoch's rows in the order in which a single process takes them, and EMPTY until its last step is a whole one.

    Processes take turns at the micro-batches. Left to itself accelerate would fill the last ones up with rows of the
    beginning, which then count twice.
    """

    def __init__(self, rows: Any, batch_size: int, seed: int) -> None:
        from accelerate.data_loader import SeedableRandomSampler

        self.order = SeedableRandomSampler(rows, data_seed=seed)
        self.fill = -len(rows) % batch_size

    def __iter__(self) -> Iterator[int]:
        yield from self.order
        yield from [EMPTY] * self.fill

    def __len__(self) -> int:
        return len(self.order) + self.fill

    def set_epoch(self, epoch: int) -> None:
        self.order.set_epoch(epoch)


class RowDataset:
    """Rows as torch's DataLoader wants them: by index, those of a pair always together."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.pairs = int(rows.forget.sum()) // 2 if rows.pairs else 0

    def __len__(self) -> int:
        return len(self.rows.length) - self.pairs

    def __getitem__(self, index: int) -> list[Row]:
        if index == EMPTY:
            tokens, next_ids, _, _, columns = self.row(0)
            return [(tokens, next_ids * 0 + MASKED, 1, False, columns)]
        own = [2 * index, 2 * index + 1] if index < self.pairs else [index + self.pairs]
        return [self.row(i) for i in own]

    def row(self, i: int) -> Row:
        tokens, next_ids, length, forget, columns, _ = self.rows
        own = {name: column[i] for name, column in columns.items()}
        return tokens[i], next_ids[i], int(length[i]), bool(forget[i]), own


def collate(items: list[list[Row]]) -> dict[str, Tensor]:
    """Stack rows and cut the padding that no row of the batch needs; `item` tells rows of one pair from others.

    A column comes under its name after COLUMN.
    """
    import numpy as np
    import torch

    batch = [row for rows in items for row in rows]
    length = torch.tensor([row[2] for row in batch])
    width = int(length.max())
    columns = {
        COLUMN + name: torch.from_numpy(np.stack([row[4][name][:width] for row in batch])) for name in batch[0][4]
    }
    return {
        "tokens": torch.from_numpy(np.stack([row[0][:width] for row in batch])).long(),
        "next_ids": torch.from_numpy(np.stack([row[1][:width] for row in batch])).long(),
        "attention_mask": (torch.arange(width) < length.unsqueeze(1)).long(),
        "forget": torch.tensor([row[3] for row in batch]),
        "item": torch.tensor([i for i, rows in enumerate(items) for _ in rows]),
        **columns,
    }


def joined(forget: Rows, retain: Rows) -> Rows:
    """Forget rows, then retain rows; a column of the forget rows is zero for the others."""
    import numpy as np

    fields = zip(forget[:4], retain[:4], strict=True)
    tokens, next_ids, length, is_forget = (np.concatenate(both) for both in fields)
    columns = {
        name: np.concatenate([column, np.zeros((len(retain.length), *column.shape[1:]), column.dtype)])
        for name, column in forget.columns.items()
    }
    return Rows(tokens, next_ids, length, is_forget, columns, forget.pairs)


def supervised(batch: dict[str, Tensor]) -> Tensor:
    """Of a collated batch, as Items wants them: int64 [3], supervised forget and retain positions, forget items."""
    import torch

    per_row = (batch["next_ids"] != MASKED).sum(dim=1)
    forget, retain = per_row[batch["forget"]], per_row[~batch["forget"]]
    items = torch.unique(batch["item"][batch["forget"] & (per_row > 0)])
    return torch.stack([forget.sum(), retain.sum(), torch.tensor(len(items))])


def hidden_states(model: Any, batch: dict[str, Tensor], layer: int | None = None) -> Tensor:
    """[B, T, d]: hidden states of a headless model at the batch's own tokens, those of a soft prompt cut off.

    layer: after which decoder layer, counted from 1; None: the last ones, as the head gets them.
    """
    from lethe.models.checkpoints import tapped

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

    from lethe.models.checkpoints import Head, headless, tapped

    def at_head(hidden: Tensor) -> Tensor:
        states = taken[-1] if layer else hidden
        virtual = states.shape[1] - batch["tokens"].shape[1]
        with torch.autocast(hidden.device.type, enabled=False):
            return loss_of(states[:, virtual:] if virtual else states, Head(plain.get_output_embeddings()))

    tap: AbstractContextManager[list[Tensor]] = tapped(plain, layer) if layer else nullcontext([])
    with tap as taken, headless(plain, at_head):
        return model(input_ids=batch["tokens"], attention_mask=batch["attention_mask"], use_cache=False).logits


def reaching_all(loss: Tensor, model: Any) -> Tensor:
    """The same loss, with a gradient of 0 where a parameter in training has none.

    DDP waits for the gradients of all, and the rows of one process may not reach each.
    """
    moved = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return loss + sum(parameter.flatten()[0] for parameter in moved) * 0.0


def base_hidden_states(model: Any, batch: dict[str, Tensor], layer: int | None = None) -> Tensor:
    """[B, T, d]: the same of the model with its prompt or adapter switched off, without gradient: no second copy."""
    import torch

    with torch.no_grad(), model.disable_adapter():
        return hidden_states(model, batch, layer)


def positions(batch: dict[str, Tensor], hidden: Tensor, base: Tensor | None = None) -> Positions:
    """The supervised positions of a collated batch. hidden, base: [B, T, d]."""
    from lethe.training.losses import BASE_HIDDEN, Positions

    wanted = batch["next_ids"] != MASKED  # bool [B, T]
    forget = batch["forget"].unsqueeze(1).expand_as(wanted)
    item = batch["item"].unsqueeze(1).expand_as(wanted)
    columns = {name.removeprefix(COLUMN): batch[name][wanted] for name in batch if name.startswith(COLUMN)}
    if base is not None:
        columns[BASE_HIDDEN] = base[wanted]
    return Positions(hidden[wanted], batch["next_ids"][wanted], forget[wanted], item[wanted], columns)


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


def true_next_ids(tokens: np.ndarray, length: np.ndarray) -> np.ndarray:
    """The true next token of every position: int32 [N, T]; MASKED at the last real token and in the padding."""
    import numpy as np

    next_ids = np.full_like(tokens, MASKED)
    next_ids[:, :-1] = tokens[:, 1:]
    next_ids[np.arange(tokens.shape[1]) >= length[:, None] - 1] = MASKED
    return next_ids


class BatchPlan(NamedTuple):
    """How the global batch is cut for this machine. micro_batch x accumulation x processes = batch_size."""

    micro_batch: int
    accumulation: int
    checkpointing: bool


def plan_batch(model: PreTrainedModel, block_tokens: int, recipe: RecipeParams, on_gpu: bool) -> BatchPlan:
    """The largest micro-batch that fits, with gradient checkpointing only where one row would not fit without it.

    Raises StageError if the processes cannot share the global batch evenly, or the card is too small for one row.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    share, left_over = divmod(recipe.batch_size, processes)
    if left_over:
        raise StageError(
            f"params.yaml: batch_size: found {recipe.batch_size} for {processes} processes, wanted a multiple of them"
        )
    if not on_gpu:
        return fit_rows(share, CPU_TOKENS // block_tokens, checkpointing=False)
    import torch

    from lethe.training.adapters import trainable_parameters

    free = torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    moved = trainable_parameters(model) / (processes if sharding() else 1)
    whole, recomputed = activation_bytes(model.config, block_tokens, recipe.vehicle, recipe.precision)
    weights = sum(parameter.numel() for parameter in model.parameters())
    copies = 0 if "FSDP" in sharding() else autocast_bytes(weights, recipe.weights, recipe.precision)
    return fit_card(share, free - copies, (4 + MOMENTS[recipe.optimiser]) * moved, whole, recomputed)


def fit_card(share: int, free: float, training: float, whole: float, recomputed: float) -> BatchPlan:
    """The plan for a card with `free` bytes beside the weights.

    training: bytes of gradients and optimiser moments. whole, recomputed: of one row's activations, see
    activation_bytes. An eighth or so of what is left stays free. Raises StageError if not even one row fits.
    """
    if free < training + recomputed:
        raise StageError(
            f"params.yaml: batch_size: found {free / 1e9:.1f} GB free on the card beside the weights, wanted "
            f"{(training + recomputed) / 1e9:.1f} GB for gradients, moments and one row; try vehicle lora, or more "
            "cards by `accelerate config`"
        )
    budget = 0.85 * (free - training)
    if budget >= whole:
        return fit_rows(share, int(budget // whole), checkpointing=False)
    return fit_rows(share, int(budget // recomputed), checkpointing=True)


def activation_bytes(
    config: Any, block_tokens: int, vehicle: Vehicle = "full", precision: Precision = "bfloat16"
) -> tuple[int, int]:
    """Bytes of activations one row needs for its backward pass: as a whole, and with gradient checkpointing.

    What autograd keeps per token of a Llama layer, h hidden and i intermediate, under bfloat16 autocast:
    full    4 float32 [h], the two residuals and what their norms make of them: 16h; 6 bfloat16 [h], the inputs of
            q, k, v, of gate and up, of o, and norms' outputs: 12h; q, k, v: 6h; together 34h.
            4 bfloat16 [i], gate, its silu, up and their product: 8i
    lora    frozen bfloat16 weights: 2 float32 [h]: 8h; 6 bfloat16 [h], the adapters' inputs: 12h; q, k, v and the
            attention's output: 8h; together 28h. 4 bfloat16 [i]: 8i. An adapter's own [rank] is left out
    prompt  nothing is kept for weights: 2 float32 [h] and 4 bfloat16 [h]: 16h. 3 bfloat16 [i]: 6i
    In float32 the same tensors in four bytes each, but for the copies that autocast makes: 40h + 16i, 32h + 16i and
    24h + 12i. Checkpointing keeps one residual a layer, 4h, and recomputes one layer at a time.
    """
    hidden, intermediate, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    kept = {
        "bfloat16": {"full": (34, 8), "lora": (28, 8), "prompt": (16, 6)},
        "float32": {"full": (40, 16), "lora": (32, 16), "prompt": (24, 12)},
    }
    per_hidden, per_intermediate = kept[precision][vehicle]
    layer = per_hidden * hidden + per_intermediate * intermediate
    return layer * layers * block_tokens, (4 * hidden * layers + layer) * block_tokens


def autocast_bytes(weights: float, stored: Weights, precision: Precision) -> float:
    """Bytes of the bfloat16 copies that autocast makes of float32 weights and keeps for the backward pass."""
    return 2 * weights if (stored, precision) == ("float32", "bfloat16") else 0


def fit_rows(share: int, most: int, checkpointing: bool) -> BatchPlan:
    """A process's `share` of the batch in equal micro-batches of at most `most` rows, one at least."""
    micro = max(size for size in range(1, share + 1) if share % size == 0 and size <= max(1, most))
    return BatchPlan(micro, share // micro, checkpointing)


def check_precision(precision: Precision) -> None:
    """Make `accelerate launch` and the recipe agree on mixed precision.

    The launcher says "no" when nobody configured it; any other word is the machine owner's and must equal the recipe's.
    """
    wanted = {"float32": "no", "bfloat16": "bf16"}[precision]
    found = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if found not in ("no", wanted):
        raise StageError(
            f"accelerate config: found mixed_precision {found}, wanted {wanted} as params.yaml's precision {precision} "
            "says; run `accelerate config`"
        )
    os.environ["ACCELERATE_MIXED_PRECISION"] = "no" if "DEEPSPEED" in sharding() else wanted


def keep_whole(description: str) -> None:
    """Keep all weights on every device in this process, whatever `accelerate config` says of sharding, and say so."""
    for name in sharding():
        del os.environ[f"ACCELERATE_USE_{name}"]
        if is_main_process():
            print(f"{description}: all weights on every device, {name} is for trainings that only save weights")


def sharding() -> list[str]:
    """What `accelerate config` shards the weights with, if with anything."""
    return [name for name in ("FSDP", "DEEPSPEED") if os.environ.get(f"ACCELERATE_USE_{name}") == "true"]


def whole_weights(trainer: Any) -> dict[str, Tensor]:
    """All weights by their names in the main process, wherever they lie. Every process must take part.

    FSDP's second version leaves shards that know how to become whole; from the others accelerate gathers them.
    """
    if not any(hasattr(parameter, "full_tensor") for parameter in trainer.model.parameters()):
        return trainer.accelerator.get_state_dict(trainer.model_wrapped)
    found = {}
    for name, shard in trainer.model.state_dict().items():
        tensor = shard.full_tensor() if hasattr(shard, "full_tensor") else shard
        if is_main_process():
            found[name] = tensor.detach().cpu()
    return found


def shard_on_cpus(accelerator: Any) -> None:
    """Let FSDP shard over processes without a card, as the environment says: accelerate passes over it there."""
    from accelerate import DistributedType
    from accelerate.utils import FullyShardedDataParallelPlugin

    accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin()
    accelerator.state.distributed_type = DistributedType.FSDP


def compute_in_bfloat16(state: Any) -> None:
    """Let what shards the weights compute in bfloat16, but keep weights, sums and the loss in float32.

    Left to itself accelerate lets DeepSpeed round all weights before the first step, and FSDP add up the gradients of
    all processes and hand on the loss in bfloat16. Nothing is changed where nothing is sharded.
    """
    import torch
    from torch.distributed.fsdp import MixedPrecisionPolicy

    if "DEEPSPEED" in sharding():
        state.deepspeed_plugin.deepspeed_config["torch_autocast"] = {"enabled": True, "dtype": "bfloat16"}
    if "FSDP" in sharding():
        state.fsdp_plugin.mixed_precision_policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32, torch.float32)


def resume_bytes(model: PreTrainedModel, vehicle: Vehicle) -> int:
    """Disk for two resume checkpoints (the new one is written before the old one goes): what Trainer saves.

    All weights of a full training, of an adapter or prompt those in training alone; and two float32 Adam moments for
    each number in training.
    """
    saved = [parameter for parameter in model.parameters() if vehicle == "full" or parameter.requires_grad]
    weights = sum(parameter.numel() * parameter.element_size() for parameter in saved)
    moments = sum(8 * parameter.numel() for parameter in model.parameters() if parameter.requires_grad)  # at most
    return 2 * (weights + moments)


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


def corpus_rows(documents: Sequence[tuple[str, bool]], tokenizer: PreTrainedTokenizerFast, block_tokens: int) -> Rows:
    """Rows of true next tokens cut from (text, forget) documents."""
    from lethe.models.tokenization import cut_blocks

    blocks = [(cut_blocks(tokenizer, text, block_tokens), forget) for text, forget in documents]
    tokens = [block.tokens for found, _ in blocks for block in found]
    return pad_rows(tokens, [forget for found, forget in blocks for _ in found], block_tokens, tokenizer)


def pad_rows(
    blocks: Sequence[Sequence[int]], forget: Sequence[bool], block_tokens: int, tokenizer: PreTrainedTokenizerFast
) -> Rows:
    """Pad token lists on the right and give each position its true next token."""
    import numpy as np

    tokens = np.full((len(blocks), block_tokens), tokenizer.pad_token_id, dtype=np.int32)
    for row, block in enumerate(blocks):
        tokens[row, : len(block)] = block
    length = np.array([len(block) for block in blocks], dtype=np.int32)
    return Rows(tokens, true_next_ids(tokens, length), length, np.array(forget, dtype=bool))


class StoredRecipe(RecipeParams):
    """The recipe as models/start/recipe.json carries it from the baseline to retrain."""

    source: str
    model: str | None
    revision: str | None
    epochs: PositiveFloat
    block_tokens: PositiveInt
    device: Device = "auto"


def run_recipe(
    start: Path,
    documents: Sequence[tuple[str, bool]],
    recipe: Any,
    device: torch.device,
    work: Path,
    target: Path,
    description: str,
) -> list[dict[str, float]]:
    """Train `start` on the true next tokens of the documents for `recipe.epochs` and write `target`."""
    from lethe.models.checkpoints import load_tokenizer
    from lethe.training.losses import cross_entropy

    rows = corpus_rows(documents, load_tokenizer(start), recipe.block_tokens)
    steps = steps_of(len(rows.length), recipe.batch_size, recipe.epochs)
    return train_folder(start, rows, recipe, steps, cross_entropy, device, work, target, description)


def load_start(folder: Path, device: torch.device, recipe: RecipeParams) -> PreTrainedModel:
    """The model a training starts from, its weights as the recipe says. Raises StageError as load_model does."""
    import torch

    from lethe.models.checkpoints import load_model
    from lethe.training.quantisation import load_rounded

    if recipe.weights == "nf4":
        return load_rounded(folder, device, getattr(torch, recipe.precision))
    return load_model(folder, device, getattr(torch, recipe.weights))


def train_folder(
    source: Path,
    rows: Rows,
    recipe: RecipeParams,
    steps: int,
    objective: Objective,
    device: torch.device,
    work: Path,
    target: Path,
    description: str,
) -> list[dict[str, float]]:
    """Load the model folder `source`, train it on `rows` and write the plain model folder `target`."""
    import torch

    from lethe.models.checkpoints import load_tokenizer, save_model
    from lethe.models.device import free_memory
    from lethe.training.adapters import attach, folded

    model = load_start(source, device, recipe)
    model = attach(model, recipe.vehicle, recipe.lora, recipe.seed, getattr(recipe, "prompt", None))
    tokenizer, save_dtype = load_tokenizer(source), getattr(torch, recipe.save_dtype)

    def save(step: int, weights: Mapping[str, Tensor]) -> None:
        if recipe.vehicle == "lora":
            model.save_pretrained(work / "adapter", state_dict=dict(weights))
        else:
            save_model(model, tokenizer, target, save_dtype, weights)

    curve = train(model, rows, recipe, steps, objective, work, description, [steps], save=save)
    if recipe.vehicle == "lora" and is_main_process():
        del model
        free_memory()
        save_model(folded(source, work / "adapter"), tokenizer, target, save_dtype)
    return curve
