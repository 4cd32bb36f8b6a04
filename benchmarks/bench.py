"""Runs the benchmarks of speed and memory, every case in its own process.

python -m benchmarks.bench [--only label training ...] [--quick]    writes reports/bench/<name>.json and .md

A benchmark is a module with CASES, QUICK (tiny ones, printed and not kept), a note, a table of its results and perhaps
a plot; started by itself it measures one case. Figures are CPU seconds, which other work on the machine affects less
than wall time, and comparisons are made within one process.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from benchmarks import objectives
from benchmarks.subprocess_case import machine
from tools.sandbox import ROOT

RESULTS = ROOT / "reports/bench"
BENCHES = {
    "label": "labelling",
    "training": "trainings",
    "objectives": "objectives",
    "overhead": "overhead",
    "evaluation": "evaluation",
    "generation": "generation",
    "growth": "growth",
    "memory": "memory",
    "recipe": "recipe",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--only", nargs="+", choices=BENCHES, default=list(BENCHES))
    parser.add_argument("--cases", nargs="+", help="only cases whose names contain one of these; others are kept")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--peer", metavar="PATH", help="of objectives: a file with another library's trainers")
    arguments = parser.parse_args()
    if arguments.peer:
        os.environ[objectives.PEER] = os.path.abspath(arguments.peer)
    for name in arguments.only:
        module = importlib.import_module(f"benchmarks.{BENCHES[name]}")
        wanted = [case for case in (module.QUICK if arguments.quick else module.CASES) if chosen(case, arguments.cases)]
        found = earlier(name) if arguments.cases and not arguments.quick else {}
        for case in wanted:
            found[case] = measured(module.__name__, case)
            if not arguments.quick:
                write(name, module, found)
        if arguments.quick:
            print(json.dumps(found, indent=2))
            continue
        print(f"bench: reports/bench/{name}.md")


def chosen(case: str, parts: list[str] | None) -> bool:
    return parts is None or any(part in case for part in parts)


def measured(module: str, case: str) -> dict[str, Any]:
    """The last line that one case printed, in its own process."""
    print(f"bench: {module.removeprefix('benchmarks.')}: {case}", file=sys.stderr)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", module, case]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def earlier(name: str) -> dict[str, Any]:
    """The cases of an earlier run."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))["cases"] if path.exists() else {}


def write(name: str, module: Any, cases: Mapping[str, Any]) -> None:
    """The figures as JSON and as a page with tables."""
    ordered = {case: cases[case] for case in module.CASES if case in cases}
    command = f"python -m benchmarks.bench --only {name}"
    RESULTS.mkdir(parents=True, exist_ok=True)
    content = {"command": command, "machine": machine(), "cases": ordered}
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    facts = ", ".join(f"{key} {value}" for key, value in content["machine"].items())
    page = f"# {name}\n\n`{command}` on: {facts}.\n\n{module.NOTE}\n\n{module.page(ordered)}\n"
    (RESULTS / f"{name}.md").write_text(page, encoding="utf-8")
    if hasattr(module, "picture"):
        module.picture(ordered, RESULTS / f"{name}.svg")


if __name__ == "__main__":
    main()
