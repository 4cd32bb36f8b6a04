"""Weights shared by several processes: what accelerate is told, and how they become whole again."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from lethe.core.stage import is_main_process

if TYPE_CHECKING:
    from torch import Tensor


def reaching_all(loss: Tensor, model: Any) -> Tensor:
    """The same loss, with a gradient of 0 where a parameter in training has none.

    DDP waits for the gradients of all, and the rows of one process may not reach each.
    """
    moved = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return loss + sum(parameter.flatten()[0] for parameter in moved) * 0.0


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
