"""Which models are measured, in which order, and why others are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lethe.core.errors import StageError
from lethe.core.hashing import tokenizer_sha256
from lethe.evaluation import model_set as measured
from lethe.models.checkpoints import write_absent
from tests.conftest import tiny_tokenizer


@pytest.fixture
def folders(tmp_path: Path) -> dict[Any, Path]:
    """Model folders with a tokenizer and no weights: nothing here reads any."""
    tokenizer = tiny_tokenizer()
    for name in (
        "baseline",
        "unlearned",
        "checkpoints/step-00010",
        "checkpoints/step-100000",
        "checkpoints/step-00009",
    ):
        tokenizer.save_pretrained(tmp_path / name)
    write_absent(tmp_path / "retrained", "the baseline was not trained here")
    return {name: tmp_path / name for name in ("baseline", "retrained", "unlearned", "checkpoints")}


def test_models_come_in_order_and_the_absent_with_their_reason(folders: dict[Any, Path]) -> None:
    found = measured.measured(["baseline", "retrained", "checkpoints", "unlearned"], folders)
    assert list(found.present) == ["baseline", "step-00009", "step-00010", "step-100000", "unlearned"]
    assert found.present["step-00009"] == folders["checkpoints"] / "step-00009"
    assert found.absent == {"retrained": "the baseline was not trained here"}
    assert list(measured.measured(["unlearned"], folders).present) == ["unlearned"]


def test_no_checkpoints_is_fine(folders: dict[Any, Path], tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    assert measured.measured(["checkpoints"], folders | {"checkpoints": tmp_path / "none"}) == ({}, {})


def test_all_models_share_the_tokenizer(folders: dict[Any, Path]) -> None:
    tiny_tokenizer(vocabulary=300).save_pretrained(folders["unlearned"])
    with pytest.raises(StageError) as caught:
        measured.measured(["baseline", "unlearned"], folders)
    one, other = folders["unlearned"], folders["baseline"]
    found, wanted = tokenizer_sha256(one)[:12], tokenizer_sha256(other)[:12]
    assert str(caught.value) == f"{one}: made with tokenizer {found}, wanted {wanted} of {other}; run `dvc repro`"
