"""What the models of a run take on the disk, and how many weights the baseline has."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lethe.core.errors import StageError
from lethe.core.hashing import folder_files

if TYPE_CHECKING:
    from lethe.pretrained.gguf_file import Header
    from stages.baseline import Params as BaselineParams
    from stages.distil import Params as DistilParams
    from stages.finetune import Params as FinetuneParams
    from stages.reinforce import Params as ReinforceParams
    from stages.retrain import Params as RetrainParams

Found = TypeVar("Found")
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
ADAM_BYTES = 8  # two float32 moments of a weight


def disk_space(
    baseline: BaselineParams,
    reinforce: ReinforceParams,
    finetune: FinetuneParams,
    retrain: RetrainParams,
    distil: DistilParams,
) -> Iterator[str]:
    """Whether the models fit on the disk, less those that exist already. Roughly: tables are small by comparison.

    The cache holds the same files as the workspace (hard links), so a model counts once.
    """
    weights = parameters(baseline)
    if weights is None:
        return
    there = sum(path.stat().st_size for path in folder_files(Path("models")))
    references = len(retrain.seeds) if baseline.epochs else 0
    wanted = weights * bytes_per_weight(baseline, reinforce, finetune, references, distil) - there
    free = shutil.disk_usage(".").free
    if free < wanted:
        yield (
            f"disk: expected about {wanted / 1e9:.1f} GB free for the models and for resuming their training, got "
            f"{free / 1e9:.1f} GB; free some space, or set fewer finetune.checkpoints"
        )


def bytes_per_weight(
    baseline: BaselineParams,
    reinforce: ReinforceParams,
    finetune: FinetuneParams,
    references: int,
    distil: DistilParams,
) -> int:
    """Bytes on disk per weight of the model, over all models kept and the largest training's resume checkpoints.

    references: how many models are retrained. A suppressed model that nothing distils is a copy of the unlearned one,
    which the cache holds once.
    """
    trained = (baseline, reinforce, finetune, *([distil] if distil.steps else []))
    kept = BYTES[baseline.save_dtype] + BYTES[reinforce.save_dtype]
    if finetune.tuning != "prompt":  # which is kilobytes
        kept += BYTES[finetune.save_dtype] * (1 + len(finetune.checkpoints))
    if distil.steps:
        kept += BYTES[distil.save_dtype]
    if baseline.epochs:
        kept += 4 + references * BYTES[baseline.save_dtype]  # models/start, models/retrained, models/references
    # two checkpoints: the new one is complete before the old one is deleted; adapters and prompts are small
    resume = [
        2 * (BYTES[recipe.weights] + ADAM_BYTES)
        for recipe in trained
        if recipe.resume_every and recipe.tuning == "full"
    ]
    return kept + max(resume, default=0)


def parameters(baseline: BaselineParams) -> int | None:
    """How many weights the model has; None for the Hub, which is queried when the stage runs."""
    if baseline.source == "scratch":
        shape = baseline.scratch
        layer = 4 * shape.hidden**2 + 3 * shape.hidden * shape.intermediate + 2 * shape.hidden
        return shape.vocabulary * shape.hidden + shape.layers * layer + shape.hidden
    if baseline.source == "folder":
        from lethe.models.folders import weight_count

        return whole(lambda: weight_count(Path(baseline.folder)))
    return whole(lambda: header_of_gguf(baseline).weights) if baseline.source == "gguf" else None


def whole(counted: Callable[[], Found]) -> Found | None:
    """What is counted in a model folder; None where it is damaged, which has its line already."""
    try:
        return counted()
    except StageError:
        return None


def header_of_gguf(baseline: BaselineParams) -> Header:
    """What the baseline's GGUF file says of itself. Raises StageError if it is none."""
    from lethe.pretrained.gguf_file import gguf_path, header_of

    return header_of(gguf_path(Path(baseline.folder), "baseline.folder"))
