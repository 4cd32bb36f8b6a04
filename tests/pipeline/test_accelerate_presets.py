"""The configurations for several GPUs and machines, read by accelerate's own loader and launcher."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from lethe import launch
from tools.structure import ROOT

FSDP = ROOT / "presets/accelerate-fsdp-8gpu.yaml"
OFFLOAD = ROOT / "presets/accelerate-fsdp-offload-8gpu.yaml"
MACHINES = ROOT / "presets/accelerate-fsdp-2x8gpu.yaml"
DEEPSPEED = ROOT / "presets/accelerate-deepspeed-8gpu.yaml"
ZERO3 = ROOT / "presets/accelerate-deepspeed-zero3-8gpu.yaml"
ALL = (FSDP, OFFLOAD, MACHINES, DEEPSPEED, ZERO3)


def launched(config: Path) -> Any:
    """What the launcher makes of a configuration: its arguments, once accelerate has read the file."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    arguments = launch_command_parser().parse_args([*launch.options(config), "-m", "stages.finetune"])
    return _validate_launch_command(arguments)[0]


@pytest.mark.parametrize("config", ALL, ids=lambda path: path.stem)
def test_accelerate_reads_it_as_eight_processes_a_machine(config: Path) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    machines = 2 if config == MACHINES else 1
    found = load_config_from_file(str(config))  # refuses a key that it does not know
    assert (found.num_processes, found.num_machines) == (8 * machines, machines)
    assert (found.mixed_precision, found.use_cpu) == ("bf16", False)


@pytest.mark.parametrize("config", ALL[:3], ids=lambda path: path.stem)
def test_every_key_of_fsdp_is_one_of_the_launchers(config: Path) -> None:
    found = launched(config)
    import yaml

    assert found.use_fsdp
    assert not found.use_deepspeed
    parser_keys = vars(launched(DEEPSPEED))  # any run of the parser has all of its keys
    for key, value in yaml.safe_load(config.read_text())["fsdp_config"].items():
        assert key in parser_keys, key
        assert getattr(found, key) == value


@pytest.mark.parametrize("config", ALL[:3], ids=lambda path: path.stem)
def test_fsdp_is_what_the_processes_are_told(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate.utils import FullyShardedDataParallelPlugin
    from accelerate.utils.launch import prepare_multi_gpu_env

    from lethe.training import sharding

    told = prepare_multi_gpu_env(launched(config))
    assert (told["ACCELERATE_USE_FSDP"], told["ACCELERATE_MIXED_PRECISION"]) == ("true", "bf16")
    for name in told.keys() - os.environ.keys():
        monkeypatch.setenv(name, told[name])
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2
    assert plugin.reshard_after_forward is True
    assert "FULL_STATE_DICT" in str(plugin.state_dict_type)
    kept_away = type(plugin.cpu_offload).__name__ == "CPUOffloadPolicy", plugin.activation_checkpointing
    assert kept_away == (sharding.offloaded(), sharding.recomputes()) == ((config == OFFLOAD,) * 2)


def test_each_machine_says_which_it_is_and_where_the_first_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate.utils.launch import prepare_multi_gpu_env

    monkeypatch.setenv("SLURM_NODEID", "1")
    monkeypatch.setenv("MASTER_ADDR", "first")
    found = launched(MACHINES)
    assert (found.machine_rank, found.main_process_ip) == (1, "first")
    prepare_multi_gpu_env(found)  # what torchrun is told
    assert (found.nnodes, str(found.node_rank), found.nproc_per_node) == ("2", "1", "8")
    assert found.rdzv_endpoint == "first:29500"
    assert launched(FSDP).machine_rank == 0  # a single machine has no other, whatever started it


def test_deepspeed_is_what_the_processes_are_told() -> None:
    # deepspeed builds on CUDA: here accelerate's own reading of the section is as far as it goes
    found = launched(DEEPSPEED)
    assert found.use_deepspeed
    assert not found.use_fsdp
    assert (found.zero_stage, found.gradient_clipping) == (2, "auto")
    assert (found.offload_optimizer_device, found.offload_param_device) == ("none", "none")
    third = launched(ZERO3)
    assert (third.zero_stage, third.zero3_init_flag, third.zero3_save_16bit_model) == (3, False, True)


def test_the_readme_names_them() -> None:
    text = (ROOT / "presets/README.md").read_text(encoding="utf-8")
    assert {path.name for path in ROOT.glob("presets/accelerate-*.yaml")} == {path.name for path in ALL}
    assert all(path.name in text for path in ALL)
