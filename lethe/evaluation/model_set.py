"""Which of the models an evaluation measures are there, and why the others are not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from pydantic import AfterValidator

from lethe.core.hashing import check_tokenizer, tokenizer_sha256
from lethe.models.checkpoints import absent_reason

if TYPE_CHECKING:
    import torch

ModelName = Literal["baseline", "retrained", "checkpoints", "unlearned"]
Precision = Literal["float32", "float16", "bfloat16"]
Device = Literal["auto", "cpu", "cuda"]


class Measured(NamedTuple):
    """Model folders by the name they have in a report, in its order, and the reason for each that holds no model."""

    present: dict[str, Path]
    absent: dict[str, str]


def measured(names: Sequence[ModelName], folders: Mapping[str, Path]) -> Measured:
    """The models to measure; `checkpoints` stands for every folder in it, in the order of their steps.

    Raises StageError where a model has another tokenizer than the baseline: one set of prompts serves all.
    """
    found: dict[str, Path] = {}
    for name in names:
        found |= steps(folders[name]) if name == "checkpoints" else {name: folders[name]}
    reasons = {name: absent_reason(folder) for name, folder in found.items()}
    present = {name: folder for name, folder in found.items() if reasons[name] is None}
    for folder in present.values():
        check_tokenizer(tokenizer_sha256(folder), folders["baseline"], folder)
    return Measured(present, {name: reason for name, reason in reasons.items() if reason is not None})


def steps(folder: Path) -> dict[str, Path]:
    """The checkpoints step-00005, step-00010 ... in a folder, by name, in the order of their numbers."""
    paths = sorted(folder.glob("step-*"), key=lambda path: int(path.name.removeprefix("step-")))
    return {path.name: path for path in paths}


def dtype_named(precision: Precision) -> torch.dtype:
    """The torch dtype of that name."""
    import torch

    return getattr(torch, precision)


def _each_once(values: list[str]) -> list[str]:
    if not values:
        raise ValueError("found an empty list, wanted at least one name")
    if len(set(values)) < len(values):
        raise ValueError(f"found {', '.join(values)}, wanted each once")
    return values


Models = Annotated[list[ModelName], AfterValidator(_each_once)]
Names = Annotated[list[str], AfterValidator(_each_once)]
