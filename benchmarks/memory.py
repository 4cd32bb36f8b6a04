"""The memory plan of `lethe doctor`, compared with measured peaks on this CPU.

python -m benchmarks.memory CASE    prints one line of JSON; `make bench` runs all cases
"""

from __future__ import annotations

import tempfile
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.subprocess_case import one_case, one_thread, peak_above

STEPS = 3
NOTE = """
MB at the peak of a training of three steps. *planned*: what `lethe doctor` says, the sum of its pieces but for
gradients, which come as activations go. *allocated*: the most that tensors held at once, by torch's own record; what a
GPU's peak would be. *resident*: the peak of the process's memory above what was there before, with the fragments of
glibc's heap. Bar: planned / allocated within 0.15 of 1."""


class Case(NamedTuple):
    """A model and how it is trained."""

    tuning: str
    precision: str
    hidden: int
    layers: int
    vocabulary: int
    rows: int
    tokens: int
    weights: str = "float32"


CASES = {
    "10M, full, float32": Case("full", "float32", 256, 8, 8192, 8, 512),
    "10M, full, bfloat16": Case("full", "bfloat16", 256, 8, 8192, 8, 512),
    "40M, full, float32": Case("full", "float32", 512, 8, 16384, 4, 512),
    "40M, lora, float32": Case("lora", "float32", 512, 8, 16384, 4, 512),
    "40M, lora, float32, nf4": Case("lora", "float32", 512, 8, 16384, 4, 512, "nf4"),
    "40M, prompt, float32": Case("prompt", "float32", 512, 8, 16384, 4, 512),
    "100M, full, float32": Case("full", "float32", 768, 12, 16384, 2, 512),
    "100M, full, bfloat16": Case("full", "bfloat16", 768, 12, 16384, 2, 512),
}
QUICK = {"tiny": Case("full", "float32", 64, 2, 300, 2, 64)}


def measure(case: Case) -> dict[str, Any]:
    """Planned, allocated and resident MB."""
    one_thread()
    from torch.profiler import ProfilerActivity, profile

    with tempfile.TemporaryDirectory() as folder:
        small = case._replace(hidden=32, layers=1, vocabulary=64, rows=1, tokens=16)
        trained(small, saved(small, Path(folder) / "small"))  # so that every library is loaded
        start = saved(case, Path(folder) / "start")
        resident = peak_above(lambda: trained(case, start)) * 2**20 / 1e6
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
            trained(case, start)
    events = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    allocated = max(accumulate(event.nbytes() for event in events)) / 1e6
    planned = plan(case)
    found = {"allocated": round(allocated, 1), "resident": round(resident, 1)}
    return planned | found | {"ratio": round(planned["planned"] / allocated, 3)}


def plan(case: Case) -> dict[str, float]:
    """The plan in MB, by part and in total."""
    from lethe.preflight.memory import Cards, training_memory

    planned = training_memory(recipe(case), shape(case), case.tokens, Cards(0, 0.0))
    pieces = {name: round(value / 1e6, 1) for name, value in zip(planned._fields[:6], planned, strict=False)}
    return pieces | {"rows": planned.rows, "planned": round(planned.total / 1e6, 1)}


def trained(case: Case, start: Path) -> Any:
    """The case's Llama, trained for a few steps on random tokens."""
    import numpy as np
    import torch

    from lethe.training.adapters import attach
    from lethe.training.fit import load_start
    from lethe.training.loop import train
    from lethe.training.losses import cross_entropy
    from lethe.training.rows import Rows, true_next_ids

    wanted = recipe(case)
    model = load_start(start, torch.device("cpu"), wanted)
    for parameter in model.parameters():  # out of the mapped file, into memory of torch's own, as on a card
        if parameter.is_floating_point():
            parameter.data = parameter.data.clone()
    model = attach(model, wanted.tuning, wanted.lora, 0, wanted.prompt)
    tokens = np.random.default_rng(0).integers(0, case.vocabulary, (case.rows * STEPS, case.tokens), dtype=np.int32)
    length = np.full(len(tokens), case.tokens, np.int32)
    rows = Rows(tokens, true_next_ids(tokens, length), length, np.ones(len(tokens), bool))
    with tempfile.TemporaryDirectory() as work:
        train(model, rows, wanted, STEPS, cross_entropy, Path(work), "memory")
    return model


def saved(case: Case, folder: Path) -> Path:
    """The folder, and in it a model of the case's shape."""
    import torch
    from transformers import LlamaForCausalLM

    torch.manual_seed(0)
    LlamaForCausalLM(shape(case)).save_pretrained(folder)
    return folder


def shape(case: Case) -> Any:
    """The case's Llama."""
    from transformers import LlamaConfig

    sizes = {"hidden_size": case.hidden, "intermediate_size": 3 * case.hidden, "num_hidden_layers": case.layers}
    return LlamaConfig(vocab_size=case.vocabulary, num_attention_heads=4, tie_word_embeddings=True, **sizes)


def recipe(case: Case) -> Any:
    """The default's fine-tuning, with the case's tuning, precision and batch."""
    from lethe.core.params import read_params
    from stages.finetune import Params
    from tools.sandbox import ROOT

    values = read_params("finetune", Params, ROOT / "params.yaml").model_dump()
    own = {"tuning": case.tuning, "weights": case.weights, "precision": case.precision, "batch_size": case.rows}
    return Params.model_validate(values | own | {"resume_every": 0, "device": "cpu"})


def page(cases: dict[str, Any]) -> str:
    """One table."""
    from tools.markdown import table

    keys = (
        "weights",
        "gradients",
        "moments",
        "copies",
        "activations",
        "head",
        "planned",
        "allocated",
        "ratio",
        "resident",
    )
    return table(["case", *keys], [[name, *(found[key] for key in keys)] for name, found in cases.items()])


if __name__ == "__main__":
    one_case(CASES | QUICK, measure)
