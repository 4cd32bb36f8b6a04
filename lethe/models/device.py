"""Threads, allocator and device of the process. None of them changes a result, so none is a parameter."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from lethe.core.errors import StageError

if TYPE_CHECKING:
    import torch
    from torch import nn

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h of glibc
KEPT_BYTES = 1 << 30
SPREAD = "spread"  # a value of `device`: a model's layers over all GPUs
TrainingDevice = Literal["auto", "cpu", "cuda"]
Device = Literal[TrainingDevice, "spread"]  # of what only reads a model
STATE = {SPREAD: False}
WAIT = timedelta(hours=6)  # for the slowest process; the launcher ends all of them when one dies


def prepare(device: str, threads: int | None = None) -> torch.device:
    """Set allocator and threads for a stage that computes, and return the torch device for `device`.

    `spread` gives the first GPU; models loaded later have their decoder layers on all of them. threads: None: one for
    each core, shared among the processes that `accelerate launch` started. Call it before torch is imported for the
    first time. Raises StageError if a GPU is asked for and absent, or `spread` by several processes.
    """
    keep_freed_memory()
    # read when torch is loaded: idle threads sleep. Spinning threads cost ten times the work where cores are shared
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    torch.set_num_threads(threads or max(1, len(os.sched_getaffinity(0)) // local_processes()))
    STATE[SPREAD] = device == SPREAD
    if STATE[SPREAD] and os.environ.get("WORLD_SIZE", "1") != "1":
        raise StageError("params.yaml: device: expected auto with several processes, got spread")
    chosen = choose_device(device)
    if os.environ.get("WORLD_SIZE", "1") != "1":
        meet_others(chosen)
    return chosen


def meet_others(device: torch.device) -> None:
    """Connect the processes that `accelerate launch` started, each with its own device: gloo on CPUs, nccl on GPUs."""
    from accelerate import PartialState

    PartialState(cpu=device.type == "cpu", timeout=WAIT)


def choose_device(device: str) -> torch.device:
    """`auto` takes the GPU if there is one. With several local processes each takes its own."""
    import torch

    if device in ("cuda", SPREAD) and not torch.cuda.is_available():
        raise StageError(f"params.yaml: device: expected cpu or auto, got {device}, but torch sees no GPU here")
    if device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def gpus() -> dict[int | str, float]:
    """Bytes free on each GPU that torch sees, in their order."""
    import torch

    return {number: torch.cuda.mem_get_info(number)[0] for number in range(torch.cuda.device_count())}


def device_map(model: nn.Module, free: dict[int | str, float]) -> dict[str, int | str]:
    """Module's name -> its device, as from_pretrained takes it: decoder layers over all devices, the rest on the first.

    model: of the architecture, on the meta device. So whatever a caller does outside the layers happens on one device.
    """
    from lethe.models.output_head import decoder_layers

    layers, first = decoder_layers(model), next(iter(free))
    sizes = [float(size_of(layer)) for layer in layers]
    taken = [list(free)[place] for place in share_out(sizes, size_of(model) - sum(sizes), list(free.values()))]

    def walk(module: nn.Module, before: str) -> Iterator[tuple[str, int | str]]:
        yield from ((before + name, first) for name, _ in module.named_parameters(recurse=False))
        for name, child in module.named_children():
            if child is layers:
                yield from ((f"{before}{name}.{number}", place) for number, place in enumerate(taken))
            elif any(inner is layers for inner in child.modules()):
                yield from walk(child, f"{before}{name}.")
            else:
                yield before + name, first

    return dict(walk(model, ""))


def size_of(module: Any) -> int:
    """How many numbers a module's weights are."""
    return sum(parameter.numel() for parameter in module.parameters())


def share_out(sizes: Sequence[float], rest: float, free: Sequence[float]) -> list[int]:
    """The device of each item, in ascending order, so that the same share of every device's free memory is taken.

    rest: what the first device holds besides.
    """
    share = (sum(sizes) + rest) / sum(free)
    places, device, held = [], 0, rest
    for size in sizes:
        while device < len(free) - 1 and held + size / 2 > share * free[device]:
            device, held = device + 1, 0.0
        places.append(device)
        held += size
    return places


def local_processes() -> int:
    """How many processes `accelerate launch` started on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def keep_freed_memory() -> None:
    """Make glibc keep freed memory instead of returning it to the kernel after every step.

    Each training step allocates and frees the same large tensors; zeroing fresh pages costs as much as the arithmetic
    of a small model. Does nothing where the C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return
    for option in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD):
        libc.mallopt(option, KEPT_BYTES if option != M_TOP_PAD else KEPT_BYTES >> 4)


def free_memory() -> None:
    """Free the memory of models without references: a Trainer and its callbacks refer to one another."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
