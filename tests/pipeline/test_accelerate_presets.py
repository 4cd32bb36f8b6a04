"""The configurations for eight GPUs, read by accelerate's own loader and launcher."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from lethe import launch
from tools.structure import ROOT

FSDP = ROOT / "presets/accelerate-fsdp-8gpu.yaml"
DEEPSPEED = ROOT / "presets/accelerate-deepspeed-8gpu.yaml"


def launched(config: Path) -> Any:
    """What the launcher makes of a configuration: its arguments, once accelerate has read the file."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    arguments = launch_command_parser().parse_args([*launch.options(config), "-m", "stages.finetune"])
    return _validate_launch_command(arguments)[0]


@pytest.mark.parametrize("config", [FSDP, DEEPSPEED])
def test_accelerate_reads_it_as_eight_processes_of_one_machine(config: Path) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    found = load_config_from_file(str(config))  # refuses a key that it does not know
    assert (found.num_processes, found.num_machines, found.mixed_precision, found.use_cpu) == (8, 1, "bf16", False)


def test_every_key_of_fsdp_is_one_of_the_launchers() -> None:
    found = launched(FSDP)
    import yaml

    assert found.use_fsdp
    assert not found.use_deepspeed
    parser_keys = vars(launched(DEEPSPEED))  # any run of the parser has all of its keys
    for key, value in yaml.safe_load(FSDP.read_text())["fsdp_config"].items():
        assert key in parser_keys, key
        assert getattr(found, key) == value


def test_fsdp_is_what_the_processes_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate.utils import FullyShardedDataParallelPlugin
    from accelerate.utils.launch import prepare_multi_gpu_env

    told = prepare_multi_gpu_env(launched(FSDP))
    assert (told["ACCELERATE_USE_FSDP"], told["ACCELERATE_MIXED_PRECISION"]) == ("true", "bf16")
    for name in told.keys() - os.environ.keys():
        monkeypatch.setenv(name, told[name])
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2
    assert plugin.reshard_after_forward is True
    assert "FULL_STATE_DICT" in str(plugin.state_dict_type)


def test_deepspeed_is_what_the_processes_are_told() -> None:
    # deepspeed builds on CUDA: here accelerate's own reading of the section is as far as it goes
    found = launched(DEEPSPEED)
    assert found.use_deepspeed
    assert not found.use_fsdp
    assert (found.zero_stage, found.gradient_clipping) == (2, "auto")
    assert (found.offload_optimizer_device, found.offload_param_device) == ("none", "none")


def test_the_readme_names_them() -> None:
    text = (ROOT / "presets/README.md").read_text(encoding="utf-8")
    assert {path.name for path in ROOT.glob("presets/accelerate-*.yaml")} == {FSDP.name, DEEPSPEED.name}
    assert FSDP.name in text
    assert DEEPSPEED.name in text
