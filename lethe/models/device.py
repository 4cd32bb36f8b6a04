"""Threads, allocator and device of the process. None of them changes a result, so none is a parameter."""

from __future__ import annotations

import ctypes
import os
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

from lethe.core.errors import StageError

if TYPE_CHECKING:
    import torch

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h of glibc
KEPT_BYTES = 1 << 30
WAIT = timedelta(hours=6)  # for the slowest process; the launcher ends all of them when one dies


def prepare(device: str, threads: int | None = None) -> torch.device:
    """Set allocator and threads for a stage that computes, and return the torch device for `device: auto|cpu|cuda`.

    threads: None: one for each core, shared among the processes that `accelerate launch` started. Call it before torch
    is imported for the first time. Raises StageError if `cuda` is asked for and absent.
    """
    keep_freed_memory()
    # read when torch is loaded: idle threads sleep. Spinning threads cost ten times the work where cores are shared
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    torch.set_num_threads(threads or max(1, len(os.sched_getaffinity(0)) // local_processes()))
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

    if device == "cuda" and not torch.cuda.is_available():
        raise StageError("params.yaml: device: expected cpu or auto, got cuda, but torch sees no GPU here")
    if device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


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
