"""Runs a stage in the current project and measures its work, without imports and without saving its models.

python -m benchmarks.stage_timer STAGE    last line: JSON of CPU seconds in total, and up to each model folder written

On one core. A tiny training before it imports and initialises what a process needs once, so that none of it counts.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.subprocess_case import one_thread


def main() -> None:
    stage = sys.argv[1]
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # a stage takes as many threads as it may use cores
    os.environ["ACCELERATE_MIXED_PRECISION"] = "no"
    warm_up()
    print(json.dumps(clocked(importlib.import_module(f"stages.{stage}"))))


def warm_up() -> None:
    """A step of a tiny model."""
    from transformers.utils.logging import disable_progress_bar

    from benchmarks.trainings import TINY, model_of, ours

    one_thread()
    disable_progress_bar()
    ours(TINY, model_of(TINY))


def clocked(stage: Any) -> dict[str, Any]:
    """CPU seconds of the stage's main, and until each of the model folders that it saves itself, by their names."""
    from lethe.unlearning import fine_tuning

    until: dict[str, float] = {}
    saving = 0.0
    started = time.process_time()

    def spent() -> float:
        return round(time.process_time() - started - saving, 3)

    def watched(save: Callable[..., None]) -> Callable[..., None]:
        def save_and_look(model: Any, tokenizer: Any, folder: Any, *rest: Any) -> None:
            nonlocal saving
            until[folder.name] = spent()
            begun = time.process_time()
            save(model, tokenizer, folder, *rest)
            saving += time.process_time() - begun

        return save_and_look

    for module in (stage, fine_tuning):  # whoever of them saves
        if hasattr(module, "save_model"):
            module.save_model = watched(module.save_model)
    stage.main()
    return {"cpu_s": spent(), "until": until}


if __name__ == "__main__":
    main()
