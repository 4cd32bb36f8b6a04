"""What test_processes.py runs in one process and in two: trainings and readings of a tiny model.

python -m tests.many FOLDER [sharded] [bfloat16]

Reads FOLDER/model, writes FOLDER/results.json and FOLDER/*.safetensors.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from lethe.core.stage import is_main_process, run
from lethe.models.device import prepare

STEPS = 5  # an epoch of 10 rows in batches of 4 has a third step of 2 rows


def main() -> None:
    folder, sharded = Path(sys.argv[1]), "sharded" in sys.argv
    device = prepare("cpu")
    results: dict[str, Any] = {"curves": trainings(folder, sharded)}
    if not sharded:
        results |= readings(folder, device)
    if is_main_process():
        (folder / "results.json").write_text(json.dumps(results))


def trainings(folder: Path, sharded: bool) -> dict[str, list[float]]:
    """The losses of every kind of training; the weights it ends with are written."""
    import numpy as np
    from safetensors.torch import save_file

    from lethe.training import losses as objectives
    from lethe.training.loop import train
    from lethe.unlearning import objectives as objectives_module
    from tests.training.test_loop import prompt_recipe, recipe, some_rows

    precision = "bfloat16" if "bfloat16" in sys.argv else "float32"
    rows = some_rows(10, 12)  # every third is a forget row: some processes see none in a step
    hidden = np.random.default_rng(1).standard_normal((10, 12, 32), dtype=np.float32)
    with_base = rows._replace(columns={objectives.BASE_HIDDEN: hidden})
    steering = partial(objectives_module.rmu, control=objectives_module.control_vector(32, 2.0, 0), alpha=1.0)
    ascent = partial(objectives_module.with_retain, objectives_module.gradient_ascent, 1.0)
    kinds: dict[str, tuple[Any, Any, Any, int | None]] = {
        "full": (recipe(resume_every=0, precision=precision), rows, objectives.cross_entropy, None),
        "ascent": (recipe(resume_every=0), rows, ascent, None),
        "dual": (recipe(resume_every=0), rows, objectives_module.PrimalDual(1.0, 0.5, 1.0), None),
        "adapters": (recipe(resume_every=0, tuning="lora"), with_base, steering, 1),
        "prompt": (prompt_recipe(resume_every=0), rows, objectives.cross_entropy, None),
    }
    curves = {}
    for kind, (taken, given, objective, layer) in kinds.items():
        if sharded and kind != "full":
            continue
        model, work = attached(folder / "model", taken), folder / kind
        work.mkdir(exist_ok=True)

        def save(step: int, weights: Mapping[str, Any], kind: str = kind) -> None:
            whole = {name: tensor.detach().clone() for name, tensor in weights.items() if "lm_head" not in name}
            save_file(whole, folder / f"{kind}.safetensors")

        curve = train(model, given, taken, STEPS, objective, work, kind, [STEPS], layer=layer, save=save)
        curves[kind] = [row["loss"] for row in curve]
    return curves


def attached(folder: Path, taken: Any) -> Any:
    import torch

    from lethe.models.checkpoints import load_model
    from lethe.training.adapters import attach

    model = load_model(folder, torch.device("cpu"), torch.float32)
    return attach(model, taken.tuning, taken.lora, taken.seed, getattr(taken, "prompt", None))


def readings(folder: Path, device: Any) -> dict[str, Any]:
    """What an evaluation reads off a model, in several batches."""
    import numpy as np
    import torch

    from lethe.attacks import linear_probe
    from lethe.inference import decoding as generation
    from lethe.inference import scoring
    from lethe.metrics import token_scores as tokenwise
    from lethe.models.checkpoints import load_model
    from tests.conftest import tiny_tokenizer
    from tests.labels.test_generic_labels import DICTIONARY, Case

    for module in (generation, linear_probe, scoring, tokenwise):
        module.BATCH_TOKENS = 40
    model = load_model(folder / "model", device, torch.float32)
    drawn = np.random.default_rng(0)
    texts = [drawn.integers(3, 200, drawn.integers(2, 20)).tolist() for _ in range(11)]
    endings = [[text[:2], text[1:]] for text in texts]
    labels = Case(tiny_tokenizer(), 40).labels(DICTIONARY, batch_tokens=80)
    return {
        "greedy": generation.continue_greedily(model, texts, [text[:1] for text in texts], 5, {7}),
        "expected": scoring.expectations(model, texts, endings, 2, 3),
        "sampled": generation.sample_continuations(model, texts, 2, 3, {7}, 1.0, 0),
        "loss": scoring.token_loss(model, texts),
        "tokenwise": [[part.tolist() for part in found] for found in tokenwise.tokenwise(model, texts)],
        "states": [part.tolist() for part in linear_probe.last_states(model, texts, [1, 2])],
        "labels": [part.tolist() for part in labels],
    }


if __name__ == "__main__":
    run(main)
