"""Weights sharded over processes: how accelerate is configured, and how they are gathered again."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from lethe.core.stage import is_main_process

if TYPE_CHECKING:
    from torch import Tensor


def reaching_all(loss: Tensor, model: Any) -> Tensor:
    """The same loss, with a gradient of 0 where a parameter in training has none.

    DDP waits for the gradients of all parameters, and the rows of one process may not reach each of them.
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


def offloaded() -> bool:
    """Whether FSDP keeps the shards of weights, gradients and moments in main memory."""
    return "FSDP" in sharding() and os.environ.get("FSDP_OFFLOAD_PARAMS", "").lower() == "true"


def recomputes() -> bool:
    """Whether FSDP itself recomputes every layer in the backward pass, so that the training need not."""
    return "FSDP" in sharding() and os.environ.get("FSDP_ACTIVATION_CHECKPOINTING", "").lower() == "true"


def whole_weights(trainer: Any) -> dict[str, Tensor]:
    """All weights by name in the main process, wherever the shards are. Every process must take part.

    FSDP 2's shards can gather themselves; accelerate gathers the others.
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
    """Let FSDP shard over CPU processes as the environment says; accelerate ignores it there."""
    from accelerate import DistributedType
    from accelerate.utils import FullyShardedDataParallelPlugin
    from torch.distributed.fsdp import CPUOffloadPolicy

    plugin = FullyShardedDataParallelPlugin()
    if offloaded():
        plugin.cpu_offload = CPUOffloadPolicy(pin_memory=False)  # only an accelerator's driver pins memory
    accelerator.state.fsdp_plugin = plugin
    accelerator.state.distributed_type = DistributedType.FSDP


def compute_in_bfloat16(state: Any) -> None:
    """Let FSDP or DeepSpeed compute in bfloat16, but keep weights, sums and the loss in float32.

    By default accelerate lets DeepSpeed round all weights before the first step, and FSDP sum the gradients of all
    processes and return the loss in bfloat16. Without sharding this does nothing.
    """
    import torch
    from torch.distributed.fsdp import MixedPrecisionPolicy

    if "DEEPSPEED" in sharding():
        state.deepspeed_plugin.deepspeed_config["torch_autocast"] = {"enabled": True, "dtype": "bfloat16"}
    if "FSDP" in sharding():
        state.fsdp_plugin.mixed_precision_policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32, torch.float32)
