"""The memory planner of `lethe doctor` beside measured peaks, on this CPU.

python -m benchmarks.memory    writes reports/bench/memory.json and prints the table

Each case is a fresh process that trains its model for three steps. `allocated` is the most that tensors held at once,
by torch's own record: what the planner plans, and what a GPU's peak is. `resident` is the peak of the process's memory
above what was there before, from a second process without the recorder: it has the allocator's fragments in it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.lab import ROOT

RESULT = ROOT / "reports/bench/memory.json"
STEPS = 3


class Case(NamedTuple):
    """A model and how it is trained."""

    vehicle: str
    precision: str
    hidden: int
    layers: int
    vocabulary: int
    rows: int
    tokens: int


CASES = {
    "10M, full, float32": Case("full", "float32", 256, 8, 8192, 8, 512),
    "10M, full, bfloat16": Case("full", "bfloat16", 256, 8, 8192, 8, 512),
    "40M, full, float32": Case("full", "float32", 512, 8, 16384, 4, 512),
    "40M, lora, float32": Case("lora", "float32", 512, 8, 16384, 4, 512),
    "40M, prompt, float32": Case("prompt", "float32", 512, 8, 16384, 4, 512),
    "100M, full, float32": Case("full", "float32", 768, 12, 16384, 2, 512),
    "100M, full, bfloat16": Case("full", "bfloat16", 768, 12, 16384, 2, 512),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--case", nargs=2, metavar=("CASE", "WHAT"), help="measure one thing here, and print it")
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(MEASURES[arguments.case[1]](CASES[arguments.case[0]])))
        return
    rows = []
    for name, case in CASES.items():
        planned = plan(case)
        found = {what: round(in_a_process(name, what) / 1e6, 1) for what in MEASURES}
        ratio = round(planned["planned"] / found["allocated"], 3)
        rows.append({"case": name} | planned | found | {"ratio": ratio})
        print(json.dumps(rows[-1]), flush=True)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps({"steps": STEPS, "cases": rows}, indent=1) + "\n", encoding="utf-8")


def in_a_process(name: str, what: str) -> float:
    """What a fresh process measures of a case, in bytes."""
    command = [sys.executable, "-m", "benchmarks.memory", "--case", name, what]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def plan(case: Case) -> dict[str, float]:
    """The planner's MB, piece by piece and together."""
    from lethe.memory import Cards, training_memory

    planned = training_memory(recipe(case), shape(case), case.tokens, Cards(0, 0.0))
    pieces = {name: round(value / 1e6, 1) for name, value in zip(planned._fields[:6], planned, strict=False)}
    return pieces | {"rows": planned.rows, "planned": round(planned.total / 1e6, 1)}


def peak_resident(case: Case) -> int:
    """Bytes of the process at its peak, above those it had after the training of a tiny model."""
    from stages.lib.machine import prepare

    prepare("cpu")
    trained(Case(case.vehicle, case.precision, 32, 1, 64, 1, 16))
    before = resident()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
    trained(case)
    return resident("VmHWM") - before


def peak_allocated(case: Case) -> int:
    """Bytes of all tensors at the moment when they were most."""
    from itertools import accumulate

    from torch.profiler import ProfilerActivity, profile

    from stages.lib.machine import prepare

    prepare("cpu")
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        trained(case)
    events = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return max(accumulate(event.nbytes() for event in events))


MEASURES = {"allocated": peak_allocated, "resident": peak_resident}


def resident(line: str = "VmRSS") -> int:
    """Bytes of this process in memory: VmRSS now, VmHWM at the most."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(next(row for row in status.splitlines() if row.startswith(line)).split()[1])


def trained(case: Case) -> Any:
    """A Llama of the case's shape, trained for a few steps on random tokens."""
    import numpy as np
    import torch
    from transformers import LlamaForCausalLM

    from stages.lib.objectives import cross_entropy
    from stages.lib.training import Rows, train, true_next_ids
    from stages.lib.vehicles import attach

    torch.manual_seed(0)
    wanted = recipe(case)
    model: Any = LlamaForCausalLM(shape(case))
    model = attach(model, wanted.vehicle, wanted.lora, 0, wanted.prompt)
    tokens = np.random.default_rng(0).integers(0, case.vocabulary, (case.rows * STEPS, case.tokens), dtype=np.int32)
    length = np.full(len(tokens), case.tokens, np.int32)
    rows = Rows(tokens, true_next_ids(tokens, length), length, np.ones(len(tokens), bool))
    with tempfile.TemporaryDirectory() as work:
        train(model, rows, wanted, STEPS, cross_entropy, Path(work), "memory")
    return model


def shape(case: Case) -> Any:
    """The case's Llama."""
    from transformers import LlamaConfig

    sizes = {"hidden_size": case.hidden, "intermediate_size": 3 * case.hidden, "num_hidden_layers": case.layers}
    return LlamaConfig(vocab_size=case.vocabulary, num_attention_heads=4, tie_word_embeddings=True, **sizes)


def recipe(case: Case) -> Any:
    """The default's fine-tuning, with the case's vehicle, precision and batch."""
    from stages.finetune import Params
    from stages.lib.params import read_yaml

    values = read_yaml(ROOT / "params.yaml")["finetune"]
    own = {"vehicle": case.vehicle, "precision": case.precision, "batch_size": case.rows, "resume_every": 0}
    return Params.model_validate(values | own | {"device": "cpu"})


if __name__ == "__main__":
    main()
