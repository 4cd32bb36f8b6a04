"""The models that an evaluation measures: which are present, why others are absent, and loading them one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator

from lethe.core.hashing import check_tokenizer, tokenizer_sha256
from lethe.core.tables import read_json
from lethe.models.checkpoints import absent_reason, load_model
from lethe.models.config import context_length
from lethe.models.soft_prompts import virtual_tokens

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

ModelName = Literal["baseline", "retrained", "references", "checkpoints", "suppressed", "unlearned"]
Precision = Literal["float32", "float16", "bfloat16"]

FOLDERS: dict[ModelName, Path] = {
    "baseline": Path("models/baseline"),
    "retrained": Path("models/retrained"),
    "references": Path("models/references"),
    "checkpoints": Path("models/checkpoints"),
    "suppressed": Path("models/suppressed"),
    "unlearned": Path("models/unlearned"),
}
NUMBERED = {"checkpoints": "step-*", "references": "retrained-*"}  # names that stand for several folders


class Measured(NamedTuple):
    """Model folders by their name in a report, in its order, and the reason for each that holds no model."""

    baseline: Path  # its tokenizer and context length apply to all models
    present: dict[str, Path]
    absent: dict[str, str]

    def context(self, window: int) -> int:
        """Tokens of text that every model can read after its soft prompt, if any: all models get the same text.

        window: for models without a limited context.
        """
        longest_prompt = max(map(virtual_tokens, self.present.values()), default=0)
        return (context_length(self.baseline) or window) - longest_prompt


def measured(names: Sequence[ModelName], folders: Mapping[ModelName, Path] = FOLDERS) -> Measured:
    """The models to measure; `checkpoints` and `references` mean every folder there, in order of their numbers.

    Without distillation the suppressed model is the unlearned one, and is left out. Raises StageError if a model's
    tokenizer differs from the baseline's: all models share one set of prompts.
    """
    found: dict[str, Path] = {}
    for name in names:
        if name in NUMBERED:
            found |= numbered(folders[name], NUMBERED[name])
        elif name != "suppressed" or is_distilled(folders["unlearned"]):
            found[name] = folders[name]
    reasons = {name: absent_reason(folder) for name, folder in found.items()}
    present = {name: folder for name, folder in found.items() if reasons[name] is None}
    for folder in present.values():
        check_tokenizer(tokenizer_sha256(folder), folders["baseline"], folder)
    absent = {name: reason for name, reason in reasons.items() if reason is not None}
    return Measured(folders["baseline"], present, absent)


def numbered(folder: Path, pattern: str) -> dict[str, Path]:
    """The folders step-00005, step-00010 ... or retrained-2, retrained-3 ..., by name, in order of their numbers."""
    paths = sorted(folder.glob(pattern), key=lambda path: int(path.name.rpartition("-")[2]))
    return {path.name: path for path in paths}


def is_distilled(unlearned: Path) -> bool:
    """Whether stage `distil` made this model; otherwise it is a copy of the suppressed one."""
    record = unlearned / "provenance.json"
    return record.exists() and "distil" in read_json(record).get("params", {})


def is_reference(name: str) -> bool:
    """Whether a model of this name never read the forget set: retrained, retrained-2, retrained-3 ..."""
    return name.partition("-")[0] == "retrained"


def loaded(
    folders: Mapping[str, Path], device: torch.device, precision: Precision
) -> Iterator[tuple[str, PreTrainedModel]]:
    """(name, model) of each folder; a model's memory is freed before the next is loaded, even if it is referenced."""
    for name, folder in folders.items():
        model: Any = load_model(folder, device, dtype_named(precision))
        yield name, model
        model.to("meta")  # frees its memory: two models may not fit on the GPU


def format_change(metric: str, shown: Mapping[str, str]) -> str:
    """`leak baseline 0.731 -> unlearned 0.044 (retrained 0.010)`. shown: model -> its number as text."""
    steps = " -> ".join(f"{name} {shown[name]}" for name in ("baseline", "suppressed", "unlearned") if name in shown)
    aside = f"(retrained {shown['retrained']})" if "retrained" in shown else ""
    return " ".join(part for part in (metric.replace("_", " "), steps, aside) if part)


def dtype_named(precision: Precision) -> torch.dtype:
    """The torch dtype of that name."""
    import torch

    return getattr(torch, precision)


def _each_once(values: list[str]) -> list[str]:
    if not values:
        raise ValueError("expected at least one name, got an empty list")
    if len(set(values)) < len(values):
        raise ValueError(f"expected each name once, got {', '.join(values)}")
    return values


Models = Annotated[list[ModelName], AfterValidator(_each_once)]
Names = Annotated[list[str], AfterValidator(_each_once)]
