"""Arrays in files: their memory goes, their numbers stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.subprocess_case import resident_mib
from lethe.core import stage
from lethe.core.errors import StageError
from lethe.labels.on_disk import let_go, zeros


def test_what_is_let_go_leaves_memory_and_stays_in_the_file(tmp_path: Path) -> None:
    before = resident_mib()
    array = zeros((16, 1 << 20), np.int32, tmp_path)  # 64 MiB
    assert resident_mib() - before < 8
    array[:] = np.arange(16)[:, None]
    assert resident_mib() - before > 56
    let_go(array)
    assert resident_mib() - before < 8
    assert (array == np.arange(16)[:, None]).all()


def test_without_a_folder_or_numbers_there_is_no_file(tmp_path: Path) -> None:
    for array in (zeros((2, 3), np.float16, None), zeros((0, 3), np.float16, tmp_path)):
        assert type(array) is np.ndarray
        let_go(array)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 100})
    monkeypatch.setattr(stage.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(StageError, match=r"expected 4\.0 MB free for label's distributions, got 0\.0 MB"):
        zeros((1000, 1000), np.int32, tmp_path)
