"""Which models are measured, in which order, and why others are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lethe.core.errors import StageError
from lethe.core.hashing import tokenizer_sha256
from lethe.evaluation import model_set as measured
from lethe.evaluation.model_set import Measured
from lethe.models.checkpoints import write_absent
from tests.conftest import tiny_model, tiny_tokenizer


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
    assert measured.measured(["checkpoints"], folders | {"checkpoints": tmp_path / "none"})[1:] == ({}, {})


def test_all_models_share_the_tokenizer(folders: dict[Any, Path]) -> None:
    tiny_tokenizer(vocabulary=300).save_pretrained(folders["unlearned"])
    with pytest.raises(StageError) as caught:
        measured.measured(["baseline", "unlearned"], folders)
    one, other = folders["unlearned"], folders["baseline"]
    found, wanted = tokenizer_sha256(one)[:12], tokenizer_sha256(other)[:12]
    assert str(caught.value) == f"{one}: expected tokenizer {wanted} of {other}, got {found}; run `dvc repro`"


def test_a_model_is_empty_before_the_next_is_loaded(tmp_path: Path) -> None:
    folders = {name: tiny_model(tmp_path / name, seed) for seed, name in enumerate(("baseline", "unlearned"))}
    held = []
    for name, model in measured.loaded(folders, torch.device("cpu"), "float32"):
        assert [one.device.type for _, one in held] == ["meta"] * len(held)
        assert model(torch.tensor([[0, 1]])).logits.isfinite().all()
        held.append((name, model))
    assert [name for name, _ in held] == ["baseline", "unlearned"]
    assert held[1][1].device.type == "meta"


def test_the_longest_soft_prompt_shortens_the_text_of_all(tmp_path: Path) -> None:
    baseline = tiny_model(tmp_path / "baseline", context=64)
    prompted = tmp_path / "unlearned"
    prompted.mkdir()
    (prompted / "adapter_config.json").write_text('{"num_virtual_tokens": 5}', encoding="utf-8")
    assert Measured(baseline, {"baseline": baseline}, {}).context(99) == 64
    assert Measured(baseline, {"baseline": baseline, "unlearned": prompted}, {}).context(99) == 59
    (baseline / "config.json").write_text('{"model_type": "bloom"}', encoding="utf-8")  # it reads any length
    assert Measured(baseline, {"unlearned": prompted}, {}).context(99) == 94


def test_a_change_is_told_with_the_models_that_are_there() -> None:
    shown = {"baseline": "0.7", "step-00005": "0.6", "retrained": "0.1", "unlearned": "0.2"}
    assert (
        measured.format_change("model_utility", shown) == "model utility baseline 0.7 -> unlearned 0.2 (retrained 0.1)"
    )
    assert measured.format_change("leak", {"unlearned": "0.2"}) == "leak unlearned 0.2"
    assert measured.format_change("leak", {}) == "leak"
