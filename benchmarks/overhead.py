"""Overhead of `dvc repro` by stage: imports, launches, hashing and copying.

python -m benchmarks.overhead CASE    prints one line of JSON; `make bench` runs all cases

The tiny project of the tests is reproduced as a whole, in a folder of its own: its trainings take a second of
arithmetic at most, so that nearly everything measured is overhead, and all of it is counted as such.
"""

from __future__ import annotations

import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.subprocess_case import one_case

NOTE = """
CPU seconds of each stage of the tiny project, its little arithmetic included; *dvc*: what the command itself takes for
all stages together; *no-op*: a second `dvc repro`. Bars: 100 for the stages of WHP (corpus to report) and dvc's own, 9
for each training stage beyond them, a no-op under 3 s."""
FURTHER = ("split", "specialise", "softprompt", "classify")  # stages that are not of WHP
MEASURES = ("measure", "term", "attack")


class Case(NamedTuple):
    """What is reproduced: one target, or everything."""

    target: str | None


CASES = {"everything": Case(None)}
QUICK = {"corpus alone": Case("corpus")}


def measure(case: Case) -> dict[str, Any]:
    """CPU seconds by stage, of dvc, and of a run with nothing to do."""
    from tests import tiny

    with tempfile.TemporaryDirectory() as folder:
        project = tiny.make(Path(folder) / "tiny")
        targets = [case.target] if case.target else []
        whole, _ = spent(lambda: tiny.dvc(project, "repro", *targets))
        again, wall = spent(lambda: tiny.dvc(project, "repro", *targets))
        costs = {
            path.stem: json.loads(path.read_text())["cpu_seconds"] for path in (project / ".scratch/cost").iterdir()
        }
        order = [name for name in tiny.read_yaml(project / "dvc.yaml")["stages"] if name in costs]
    stages = {name: costs[name] for name in order}
    return {
        "stages": stages,
        "dvc": round(whole - sum(costs.values()), 2),
        "noop_cpu": round(again, 2),
        "noop_wall": wall,
    }


def spent(work: Any) -> tuple[float, float]:
    """CPU seconds of the processes that `work` starts and waits for, and seconds by the clock."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    work()
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, round(wall, 2)


def page(cases: dict[str, Any]) -> str:
    """A table of stages, and the sums that the bars refer to."""
    from tools.markdown import table

    parts = []
    for found in cases.values():
        stages = found["stages"]
        whp = [name for name in stages if name not in (*FURTHER, *MEASURES)]
        rows = [[name, cost] for name, cost in stages.items()] + [["dvc", found["dvc"]]]
        sums = [
            ["stages of WHP, without measure, term and attack", round(sum(stages[name] for name in whp), 1)],
            ["corpus to report", round(sum(cost for name, cost in stages.items() if name not in FURTHER), 1)],
            ["no-op, CPU", found["noop_cpu"]],
            ["no-op, by the clock", found["noop_wall"]],
        ]
        parts += [table(["stage", "CPU s"], rows), table(["together", "s"], sums)]
    return "\n\n".join(parts)


if __name__ == "__main__":
    one_case(CASES | QUICK, measure)
