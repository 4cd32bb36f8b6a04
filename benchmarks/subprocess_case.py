"""One measurement in its own process: the machine, CPU seconds, peak memory, as one line of JSON.

A benchmark names its cases and measures one of them; `one_case` is its main, `bench` starts it once per case.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

Work = Callable[[], Any]
STATUS, REFERENCES = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def one_case(cases: Mapping[str, Any], measure: Callable[[Any], dict[str, Any]]) -> None:
    """Measure the case that the command line names on one torch thread, and print its figures as one line of JSON."""
    name = " ".join(sys.argv[1:])
    if name not in cases:
        sys.exit(f"case: expected one of {', '.join(cases)}, got {name or 'none'}")
    print(json.dumps(measure(cases[name])))


def one_thread() -> None:
    """Allocator as a stage has it, and one torch thread."""
    from lethe.models.device import prepare

    prepare("cpu")
    import torch

    torch.set_num_threads(1)


def machine() -> dict[str, Any]:
    """The machine that the figures were measured on."""
    import torch

    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": named[0] if named else "unknown",
        "cores": len(os.sched_getaffinity(0)),
        "threads": 1,
        "amx": any("amx_bf16" in line for line in lines if line.startswith("flags")),
        "torch": torch.__version__,
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
    }


def cpu_seconds(work: Work) -> float:
    """CPU seconds of this process and its threads."""
    started = time.process_time()
    work()
    return time.process_time() - started


def side_by_side(works: Mapping[str, Work], rounds: int) -> list[dict[str, float]]:
    """CPU seconds of each work in each round, the works one after another, after a round that does not count."""
    found = [{name: cpu_seconds(work) for name, work in works.items()} for _ in range(rounds + 1)]
    return found[1:]


def medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    """The median CPU seconds of each work."""
    return {name: median(one[name] for one in rounds) for name in rounds[0]}


def ratio(rounds: list[dict[str, float]], of: str, to: str) -> float:
    """The median over the rounds of one work's CPU seconds to another's: both saw the same noise."""
    return median(one[of] / one[to] for one in rounds)


def resident_mib(peak: bool = False) -> float:
    """Resident memory of this process now, or its peak since `forget_peak` or the start."""
    wanted = "VmHWM" if peak else "VmRSS"
    lines = STATUS.read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(wanted)) / 1024


def forget_peak() -> None:
    """Set the peak back to what is resident now: Linux does so on a 5."""
    REFERENCES.write_text("5", encoding="utf-8")


def peak_above(work: Work) -> float:
    """MiB by which resident memory rose at its highest while `work` ran."""
    forget_peak()
    before = resident_mib()
    work()
    return resident_mib(peak=True) - before
