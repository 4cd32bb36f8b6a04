"""The launcher: silent about Ctrl-C, and about nothing else."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from lethe import launch
from tests import tiny

STAGE = """import sys, time
try:
    print("RANK", __import__("os").environ.get("ACCELERATE_MIXED_PRECISION"), flush=True)
    time.sleep(float(sys.argv[1]))
except KeyboardInterrupt:
    time.sleep(1)  # longer than the launcher would wait
    sys.exit("small: interrupted")
raise RuntimeError("a bug")
"""


class SignalException(Exception):  # noqa: N818 -- torch's name
    sigval = signal.SIGINT


def test_what_counts_as_ctrl_c() -> None:
    assert launch.by_ctrl_c(KeyboardInterrupt())
    assert launch.by_ctrl_c(SignalException())
    terminated = SignalException()
    terminated.sigval = signal.SIGTERM
    assert not any(map(launch.by_ctrl_c, (terminated, SystemExit(1), RuntimeError())))


@pytest.fixture(autouse=True)
def nobodys_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [*os.environ]:
        if name.startswith("ACCELERATE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))


def test_where_the_configuration_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert launch.config_file() is None
    folder = tmp_path / "huggingface/accelerate"
    folder.mkdir(parents=True)
    for name in ("json", "yaml"):  # yaml goes first
        (folder / f"default_config.{name}").write_text("{}")
        assert launch.config_file() == folder / f"default_config.{name}"
    monkeypatch.setenv("ACCELERATE_CONFIG_FILE", "other.yaml")
    assert launch.config_file() == Path("other.yaml")
    monkeypatch.delenv("ACCELERATE_CONFIG_FILE")
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert launch.config_file() == folder / "default_config.yaml"


def test_what_in_the_environment_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")  # the launcher overwrites it
    assert not launch.any_setting()
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert launch.any_setting()


def test_gpus_are_counted_without_torch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    devices, driver = tmp_path / "dev", tmp_path / "gpus"
    devices.mkdir()
    assert launch.visible_gpus(devices, driver) == 0
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (devices / name).touch()
    assert launch.visible_gpus(devices, driver) == 2
    for named, count in {"": 0, "-1": 0, "1": 1, "0,1": 2}.items():
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
        assert launch.visible_gpus(devices, driver) == count
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    (devices / "nvidia1").unlink()
    (devices / "kfd").touch()  # of another maker: nobody counted, so the launcher is to
    assert launch.visible_gpus(devices, driver) == 2


def test_two_processes_on_cpus_are_started_by_torchrun(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    for kind, processes, wanted in (("MULTI_CPU", 2, ["--multi_gpu"]), ("MULTI_CPU", 1, []), ("MULTI_GPU", 2, [])):
        config.write_text(f"distributed_type: {kind}\nnum_processes: {processes}\n")
        assert launch.options(config) == ["--config_file", str(config), *wanted]
    assert launch.options(None) == []


def test_one_process_is_started_without_the_launcher(tmp_path: Path) -> None:
    shown = "import sys; print(__name__, sys.argv[1:], 'torch' in sys.modules, 'accelerate' in sys.modules)"
    (tmp_path / "small.py").write_text(shown)
    done = tiny.run(tmp_path, "python", "-m", "lethe.launch", "small", "a", "b")
    assert (done.stdout, done.stderr) == ("__main__ ['a', 'b'] False False\n", "")


@pytest.fixture(params=["directly", "by accelerate"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "by accelerate":
        monkeypatch.setenv("ACCELERATE_DEBUG_MODE", "false")


@pytest.mark.slow
@pytest.mark.usefixtures("way")
def test_ctrl_c_is_the_stages_own_line(tmp_path: Path) -> None:
    (tmp_path / "small.py").write_text(STAGE)
    running = tiny.start(tmp_path, "python", "-m", "lethe.launch", "small", "60")
    assert running.stdout is not None
    assert running.stdout.readline() == "RANK no\n"
    os.killpg(running.pid, signal.SIGINT)
    output = running.communicate()[0]
    assert (output, running.returncode) == ("small: interrupted\n", launch.INTERRUPTED)


def test_ctrl_c_while_a_stage_imports_is_a_line_too(tmp_path: Path) -> None:
    (tmp_path / "small.py").write_text("import time; print('importing', flush=True); time.sleep(60)")
    running = tiny.start(tmp_path, "python", "-m", "lethe.launch", "small")
    assert running.stdout is not None
    assert running.stdout.readline() == "importing\n"
    os.killpg(running.pid, signal.SIGINT)
    output = running.communicate()[0]
    line = "small: interrupted; `dvc repro` resumes from here\n"
    assert (output, running.returncode) == (line, launch.INTERRUPTED)


@pytest.mark.slow
@pytest.mark.usefixtures("way")
def test_a_bug_keeps_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "small.py").write_text(STAGE)
    done = tiny.run(tmp_path, "python", "-m", "lethe.launch", "small", "0")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "RuntimeError: a bug"
    assert done.stderr.count("Traceback") == 1  # the stage's own, none of the launcher's


def test_a_stage_with_spread_models_is_one_process(tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    assert not launch.is_spread("stages.label", params)
    params.write_text("label:\n  device: spread\nevaluate:\n  device: auto\nmeasure: 3\n", encoding="utf-8")
    assert launch.is_spread("stages.label", params)
    assert not any(launch.is_spread(f"stages.{name}", params) for name in ("evaluate", "measure", "term"))


FAKE_SRUN = """import os, subprocess, sys
commands = [subprocess.Popen(sys.argv[1:], env=os.environ | {"SLURM_NODEID": str(node)}) for node in range(2)]
sys.exit(max(command.wait() for command in commands))
"""
TOGETHER = """import os, sys
import torch.distributed as distributed
distributed.init_process_group("gloo")
ranks = [None] * distributed.get_world_size()
distributed.all_gather_object(ranks, (distributed.get_rank(), os.environ["LOCAL_WORLD_SIZE"]))
if distributed.get_rank() == 0:
    print("RANKS", sorted(ranks), flush=True)
sys.exit(int(sys.argv[1]))
"""


def test_a_command_starts_the_stage_on_every_machine(tmp_path: Path) -> None:
    # two machines of one process each, here both on this one
    import json
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "srun.py").write_text(FAKE_SRUN)
    (tmp_path / "together.py").write_text(TOGETHER)
    config = {"distributed_type": "MULTI_CPU", "num_machines": 2, "num_processes": 2, "use_cpu": True}
    config |= {"main_process_port": port, "main_process_ip": "nowhere", "rdzv_backend": "static", "machine_rank": 0}
    (tmp_path / "machines.yaml").write_text(json.dumps(config | {"mixed_precision": "no"}))
    start = f"LETHE_MACHINES={shlex.join([sys.executable, 'srun.py'])}"
    set_in = ("env", "ACCELERATE_CONFIG_FILE=machines.yaml", "MASTER_ADDR=127.0.0.1")
    done = tiny.run(tmp_path, *set_in, start, "python", "-m", "lethe.launch", "together", "0", check=True)
    assert done.stdout.count("RANKS [(0, '1'), (1, '1')]") == 1
    lost = tiny.run(
        tmp_path, *set_in, "LETHE_MACHINES=no-such-srun -n1", "python", "-m", "lethe.launch", "together", "0"
    )
    assert lost.returncode == 1
    assert lost.stderr.startswith(
        "LETHE_MACHINES: expected a command that starts another one on every machine, got no-"
    )


def test_a_warning_that_no_user_can_act_on_is_left_out_of_child_processes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONWARNINGS", "ignore:of the user")
    with warnings.catch_warnings():
        launch.quieten()
    said = "`is_gradient_checkpointing` is deprecated and will be removed"
    code = f"import warnings; [warnings.warn(text, FutureWarning) for text in ({said!r}, 'of the user', 'another')]"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr
    assert "another" in found
    assert "is_gradient" not in found
    assert "of the user" not in found
