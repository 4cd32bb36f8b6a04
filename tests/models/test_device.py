"""The machine: what is asked for and absent is said, never replaced."""

from __future__ import annotations

import os

import pytest
import torch

from lethe.core.errors import StageError
from lethe.models import device as machine


def test_cuda_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(StageError, match="device: expected cpu or auto, got cuda, but torch sees no GPU here"):
        machine.choose_device("cuda")
    assert machine.choose_device("auto") == torch.device("cpu")


def test_each_local_process_takes_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert machine.choose_device("auto") == torch.device("cuda", 3)
    assert machine.choose_device("cpu") == torch.device("cpu")


def test_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    threads: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    for processes in ("1", "4"):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
        machine.prepare("cpu")
    assert threads == [8, 2]
