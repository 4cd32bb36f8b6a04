"""The machine: what is asked for and absent is said, never replaced."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest
import torch

from lethe.core.errors import StageError
from lethe.models import device as machine
from tests.conftest import tiny_model


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


def test_every_device_gives_the_same_share_of_its_memory() -> None:
    # 4 layers of 1 and 2 for the rest, on devices of 3 and 3: both are full, the first with one layer
    assert machine.share_out([1.0] * 4, 2.0, [3.0, 3.0]) == [0, 1, 1, 1]
    # on devices of 2, 4 and 12 a third of each: the rest fills the first
    assert machine.share_out([1.0] * 4, 2.0, [2.0, 4.0, 12.0]) == [1, 2, 2, 2]
    assert machine.share_out([1.0, 1.0], 0.0, [8.0]) == [0, 0]


def test_a_model_over_two_devices_writes_what_it_writes_on_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second device is the disk: its layers are read anew in every pass, by the hooks that move inputs to a GPU."""
    from lethe.inference.decoding import continue_greedily
    from lethe.inference.scoring import block_losses
    from lethe.models import checkpoints

    folder, prompts = tiny_model(tmp_path / "model"), [[5, 9, 2], [7, 8], [5, 9, 2, 11]]
    whole = checkpoints.load_model(folder, torch.device("cpu"))
    monkeypatch.setitem(machine.STATE, machine.SPREAD, True)
    monkeypatch.setattr(checkpoints, "gpus", lambda: {"cpu": 1e9, "disk": 1e9})
    monkeypatch.setattr(
        checkpoints, "read_weights", partial(checkpoints.read_weights, offload_folder=tmp_path / "offload")
    )
    spread = checkpoints.load_model(folder, torch.device("cpu"))
    assert set(spread.hf_device_map.values()) == {"cpu", "disk"}
    assert spread.model.layers[1].mlp.up_proj.weight.device.type == "meta"
    assert spread.device.type == spread.lm_head.weight.device.type == "cpu"
    for _ in range(2):  # the head is put back as it was
        found, wanted = (continue_greedily(model, prompts, [[1]] * 3, 6, ()) for model in (spread, whole))
        assert found == wanted
    assert block_losses(spread, prompts) == block_losses(whole, prompts)


def test_spread_needs_a_gpu_and_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(machine.STATE, machine.SPREAD, False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(StageError, match="device: expected cpu or auto, got spread, but torch sees no GPU here"):
        machine.prepare("spread")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(StageError, match="device: expected auto with several processes, got spread"):
        machine.prepare("spread")
