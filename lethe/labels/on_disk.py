"""Arrays that need not fit into memory: they lie in a file, and what of them is in memory can be let go at any time."""

from __future__ import annotations

import math
import mmap
from pathlib import Path

import numpy as np

from lethe.core.stage import need_disk


def zeros(shape: tuple[int, ...], dtype: type, folder: Path | None) -> np.ndarray:
    """An array of zeros in a file of the folder, in memory without one. Raises StageError if the disk is too small."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if folder is None or not size:
        return np.zeros(shape, dtype)
    need_disk(folder, size, "label's distributions")
    return np.lib.format.open_memmap(folder / f"{np.dtype(dtype).name}.npy", "w+", dtype, shape)


def let_go(*arrays: np.ndarray) -> None:
    """Free the memory of arrays that lie in files; what was written into them stays there."""
    for array in arrays:
        mapped = getattr(array, "_mmap", None)
        if mapped is not None:
            mapped.madvise(mmap.MADV_DONTNEED)
