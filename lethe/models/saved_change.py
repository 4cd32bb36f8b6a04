"""What a training changed: the weights of a folder compared with those of a model, bit by bit."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lethe.models.checkpoints import read_weights
from lethe.models.folders import read_header, weight_files

if TYPE_CHECKING:
    import torch
    from torch import Tensor

CHUNK = 1 << 22  # numbers compared at once: some 150 MB of copies in double precision, whatever the largest tensor


def tensors(folder: Path, names: Collection[str]) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of a folder's weights by their `names` in memory, sorted, as they are stored.

    One is in memory at a time, but for an architecture whose files have other names than its weights in memory, or
    several tensors in place of one: there all are loaded.
    """
    from safetensors import safe_open

    files = weight_files(folder)
    if not all(name in names for path in files for name in read_header(path)):
        yield from sorted(read_weights(folder, dtype="auto").state_dict().items())
        return
    for path in files:
        with safe_open(path, "pt") as stored:
            for name in stored.keys():  # noqa: SIM118 -- not a mapping
                yield name, stored.get_tensor(name)


def untouched(before: Iterable[tuple[str, Tensor]], after: Mapping[str, Tensor]) -> float:
    """0.0: the share of weights that a soft prompt changed. A changed bit is a bug, and raises RuntimeError."""
    for name, tensor in before:
        held = after[name].detach().cpu()
        if not held.equal(tensor.to(held.dtype)):
            raise RuntimeError(f"{name}: changed while only a soft prompt was trained")
    return 0.0


def saved_change(
    before: Iterable[tuple[str, Tensor]], trained: Mapping[str, Tensor], save_dtype: torch.dtype
) -> dict[str, float]:
    """How much of the training survives in files of `save_dtype`.

    weights_changed: share of the saved weights that differ from the baseline's in the same dtype.
    saved_cosine: cosine between the change that was saved and the change that was trained. At small learning rates a
    bfloat16 file keeps less than half of the direction, a float16 file nearly all. Held are CHUNK numbers at a time.
    """
    changed = total = 0
    dot = saved_norm = trained_norm = 0.0
    for name, tensor in before:
        parts = zip(tensor.flatten().split(CHUNK), trained[name].detach().flatten().split(CHUNK), strict=True)
        for old, new in ((before.float(), after.cpu().float()) for before, after in parts):
            saved = new.to(save_dtype).float()
            changed += int((saved != old.to(save_dtype).float()).sum())
            total += old.numel()
            moved, kept = (new - old).double(), (saved - old).double()
            dot += float((moved * kept).sum())
            trained_norm += float(moved.square().sum())
            saved_norm += float(kept.square().sum())
    norms = (trained_norm * saved_norm) ** 0.5
    return {
        "weights_changed": round(changed / total, 6),
        "saved_cosine": round(dot / norms, 6) if norms else 0.0,
    }


def bits_sha256(model: Any) -> str:
    """A hash of every weight's bits, in the order of their names; what PEFT wraps around them does not count."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
