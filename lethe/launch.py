"""Starts a stage in as many processes as accelerate is configured for; Ctrl-C ends with the stage's one line.

python -m lethe.launch stages.finetune

The file of `accelerate config` decides; ACCELERATE_CONFIG_FILE names another file. Without a configuration and with
at most one GPU, `accelerate launch` would start one process: then the stage runs in this one, and so does one with
`device: spread`. Where the configuration
has several machines, LETHE_MACHINES is the command that starts another one once on each of them, such as
`srun --ntasks-per-node=1`; MASTER_ADDR is the first one's address.
"""

from __future__ import annotations

import logging
import os
import runpy
import shlex
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

DEPRECATED = "`is_gradient_checkpointing` is deprecated"
INTERRUPTED = 130  # what a shell says of a command that Ctrl-C ended
MACHINES = "LETHE_MACHINES"
RANKS = ("LETHE_MACHINE", "SLURM_NODEID", "SKYPILOT_NODE_RANK")  # which machine this is, from 0; the first that is set
SAYS_NOTHING = {"ACCELERATE_LOG_LEVEL", "ACCELERATE_MIXED_PRECISION"}  # the launcher itself sets the second


def main() -> None:
    """Start the module as `accelerate config` says. Errors of the stage and of the launcher are passed on."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # PEFT loads it; no kernel is to be fetched
    quieten()
    alone = config_file() is None and not any_setting() and visible_gpus() <= 1
    if alone or is_spread(sys.argv[1]):
        directly(sys.argv[1:])
    elif os.environ.get(MACHINES) and int(settings(config_file()).get("num_machines") or 1) > 1:
        everywhere(os.environ[MACHINES], sys.argv[1:])
    else:
        by_accelerate(sys.argv[1:])


def quieten() -> None:
    """Leave out a warning that PEFT's use of transformers causes, also of the processes that this one starts."""
    warnings.filterwarnings("ignore", message=DEPRECATED)
    own = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = ",".join([*([own] if own else []), f"ignore:{DEPRECATED}"])


def directly(command: list[str]) -> None:
    """Run the module in this process, with the environment that the launcher would set."""
    os.environ["ACCELERATE_MIXED_PRECISION"] = "no"
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # until the stage sets its own
    sys.argv = command
    try:
        runpy.run_module(command[0], run_name="__main__", alter_sys=True)
    except KeyboardInterrupt:  # during its imports, before the stage can print its line
        print(f"{command[0].rpartition('.')[2]}: interrupted; `dvc repro` resumes from here", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except SystemExit as ending:
        if not isinstance(ending.__context__, KeyboardInterrupt):
            raise
        print(ending.code, file=sys.stderr)
        sys.exit(INTERRUPTED)


def everywhere(start: str, command: list[str]) -> None:
    """Run this launcher once on every machine by the command `start`, and pass on how it ended."""
    environment = {name: value for name, value in os.environ.items() if name != MACHINES}
    try:
        started = subprocess.Popen(
            [*shlex.split(start), sys.executable, "-m", "lethe.launch", *command], env=environment
        )
    except (OSError, ValueError) as error:
        sys.exit(f"{MACHINES}: expected a command that starts another one on every machine, got {start}: {error}")
    try:
        ended = started.wait()
    except KeyboardInterrupt:
        started.wait()  # it was interrupted too
        ended = INTERRUPTED
    sys.exit(ended if ended >= 0 else 128 - ended)


def by_accelerate(command: list[str]) -> None:
    """Start the module's processes and wait for them."""
    os.environ.setdefault("ACCELERATE_LOG_LEVEL", "ERROR")  # no warnings about default settings
    logging.disable(logging.CRITICAL)  # torchrun's report of a process that has printed its line; in this process only
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # until the stage sets its own; unset, torchrun warns
    sys.argv = ["accelerate launch", "--quiet", *options(config_file()), "-m", *command]
    try:
        from accelerate.commands.launch import main as launch

        launch()
    except BaseException as error:
        if type(error).__name__ == "ChildFailedError":  # of several processes; each has printed its error
            sys.exit(1)
        if not by_ctrl_c(error):
            raise
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the stage received it too, and prints its last line undisturbed
        wait_for_children()
        sys.exit(INTERRUPTED)


def options(config: Path | None) -> list[str]:
    """Options of `accelerate launch` in addition to its configuration file.

    For several processes on CPUs it needs mpirun; without it, it silently starts one. torchrun, which starts processes
    on GPUs, does so here too. Of several machines each says which it is, and where the first one is.
    """
    if config is None:
        return []
    found = settings(config)
    several = int(found.get("num_processes") or 1) > 1
    on_cpus = found.get("distributed_type") == "MULTI_CPU" and not found.get("mpirun_config")
    given = ["--config_file", str(config), *(["--multi_gpu"] if several and on_cpus else [])]
    if int(found.get("num_machines") or 1) > 1:
        rank = next((os.environ[name] for name in RANKS if os.environ.get(name)), None)
        first = os.environ.get("MASTER_ADDR")
        given += [*(["--machine_rank", rank] if rank else []), *(["--main_process_ip", first] if first else [])]
    return given


def is_spread(module: str, params: Path = Path("params.yaml")) -> bool:
    """Whether the stage puts its models over all GPUs (`device: spread`), which one process does."""
    section = settings(params).get(module.rpartition(".")[2]) if params.exists() else None
    return isinstance(section, dict) and section.get("device") == "spread"


def settings(config: Path | None) -> dict[str, Any]:
    """What a YAML file says; nothing without one."""
    import yaml

    if config is None:
        return {}
    return yaml.safe_load(config.read_text(encoding="utf-8")) or {}  # JSON is YAML


def config_file() -> Path | None:
    """The file of `accelerate config`, if there is one: ACCELERATE_CONFIG_FILE, or accelerate's default path."""
    named = os.environ.get("ACCELERATE_CONFIG_FILE")
    if named:
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    folder = Path(os.environ.get("HF_HOME", f"{cache}/huggingface")).expanduser() / "accelerate"
    return next((path for name in ("yaml", "json") if (path := folder / f"default_config.{name}").is_file()), None)


def any_setting() -> bool:
    """Whether an environment variable of accelerate changes how a stage is started."""
    return any(name.startswith("ACCELERATE_") and name not in SAYS_NOTHING for name in os.environ)


def visible_gpus(devices: Path = Path("/dev"), driver: Path = Path("/proc/driver/nvidia/gpus")) -> int:
    """How many GPUs torch may see, at most, without importing it; 2 where they cannot be counted so."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return len([name for name in named.split(",") if name.strip() and name.strip() != "-1"])
    if any((devices / name).exists() for name in ("kfd", "dxg", "davinci_manager", "accel")):
        return 2  # AMD, WSL, Ascend, Gaudi
    return max(len(list(devices.glob("nvidia[0-9]*"))), len(list(driver.glob("*"))))


def by_ctrl_c(error: BaseException) -> bool:
    """Whether the launcher was interrupted; the one of several processes raises its own exception for it."""
    several = type(error).__name__ == "SignalException" and getattr(error, "sigval", None) == signal.SIGINT
    return isinstance(error, KeyboardInterrupt) or several


def wait_for_children() -> None:
    """Wait until every process that this one started has ended."""
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return


if __name__ == "__main__":
    main()
