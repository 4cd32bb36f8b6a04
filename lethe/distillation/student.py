"""The student: the noised model, which learns from the unlearned one on retained text what is not to be forgotten."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from lethe.core.errors import StageError
from lethe.distillation.noise import Noise, embedding_names, fresh_weights, with_noise
from lethe.distillation.objective import FORBIDDEN, SPARED, filtered_distillation
from lethe.models.checkpoints import absent_reason, load_model, load_tokenizer, save_model
from lethe.models.device import free_memory
from lethe.models.distributed import one_first
from lethe.models.output_head import Head, frozen_head
from lethe.training.fit import load_start, train_folder
from lethe.training.losses import BASE_HIDDEN, cross_entropy
from lethe.training.recipe import RecipeParams
from lethe.training.rows import Rows
from lethe.unlearning.methods import Method
from lethe.unlearning.reference import with_base

if TYPE_CHECKING:
    import numpy as np
    import torch

    from lethe.distillation.vocabulary import Filter

TEACHER = Method(cross_entropy, "true", True, base_hidden="retain")  # what of the teacher is kept: its hidden states


class Sources(NamedTuple):
    """Model folders of one architecture."""

    teacher: Path  # fine-tuned to forget
    baseline: Path
    reinforced: Path
    start: Path | None = None  # the model before it was trained on the corpus, in place of fresh weights


def mixed_in(towards: Literal["fresh", "start"], start: Path) -> Path | None:
    """The folder of the weights to mix in; None: fresh ones. Raises StageError if nothing was trained on the corpus."""
    if towards == "fresh":
        return None
    if absent_reason(start):
        raise StageError("params.yaml: distil.towards: expected fresh with baseline.epochs 0, got start")
    return start


def distil(
    sources: Sources,
    rows: Rows,
    banned: Filter,
    unseen: np.ndarray,
    noise: Noise,
    recipe: RecipeParams,
    steps: int,
    device: torch.device,
    work: Path,
    target: Path,
) -> list[dict[str, float]]:
    """Add noise to the teacher, distil it away again on `rows` and write the model folder `target`; the loss curve.

    banned: what the teacher may not say. unseen: int64 [U], tokens whose embeddings start anew. Half-done work and the
    teacher's hidden states lie in `work`, from which a stopped run goes on.
    """
    rows, head = taught(sources.teacher, rows, banned, recipe, device, work / "reference")
    student = work / "noised"
    with one_first():
        if not (student / "config.json").exists():
            write_noised(sources, unseen, usual_hidden(rows), noise, student)
    free_memory()
    objective = partial(filtered_distillation, teacher=head, everywhere=banned.everywhere)
    return train_folder(student, rows, recipe, steps, objective, device, work, target, "distil")


def taught(
    teacher: Path, rows: Rows, banned: Filter, recipe: RecipeParams, device: torch.device, folder: Path
) -> tuple[Rows, Head]:
    """The rows with the teacher's hidden states and what it may not say as columns, and its output head."""
    model = load_start(teacher, device, recipe)
    rows = with_base(model, rows, TEACHER, recipe.precision == "bfloat16", folder)
    columns = {**rows.columns, FORBIDDEN: banned.at}
    if banned.spared is not None:
        columns[SPARED] = banned.spared
    return rows._replace(columns=columns), frozen_head(model)


def usual_hidden(rows: Rows) -> np.ndarray:
    """float32 [d]: the mean of the teacher's hidden states over all real positions."""
    import numpy as np

    hidden = rows.columns[BASE_HIDDEN]  # [N, T, d], of which a row is in memory at a time
    sums = (np.asarray(own[:size], np.float64).sum(axis=0) for own, size in zip(hidden, rows.length, strict=True))
    return (sum(sums) / int(np.sum(rows.length))).astype(np.float32)


def write_noised(sources: Sources, unseen: np.ndarray, usual: np.ndarray, noise: Noise, folder: Path) -> None:
    """Write the teacher with noise in its weights, float32, as a model folder."""
    import torch

    cpu = torch.device("cpu")
    model, baseline, reinforced = (load_model(path, cpu, torch.float32) for path in sources[:3])
    start = sources.start
    other = load_model(start, cpu, torch.float32).state_dict() if start else fresh_weights(model, noise.seed)
    states = model.state_dict(), other, baseline.state_dict(), reinforced.state_dict()
    names = embedding_names(model)
    mixed = with_noise(
        *states, noise=noise, embeddings=names, unseen=torch.from_numpy(unseen), usual=torch.from_numpy(usual)
    )
    part = folder.with_suffix(".part")
    save_model(model, load_tokenizer(sources.teacher), part, torch.float32, mixed)
    part.rename(folder)
