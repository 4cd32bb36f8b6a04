"""Which models there are, why others are not, and that each is loaded once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lethe.app import shelf as module
from lethe.app.command import USUAL
from lethe.app.shelf import NOT_DISTILLED, Shelf, wanted
from lethe.core.errors import StageError
from lethe.gate.model_catalogue import MODELS as SHOWN
from tests.app.conftest import MODELS


def test_the_usual_models_are_those_that_every_page_shows() -> None:
    assert USUAL.split(",") == list(SHOWN)


def test_a_model_that_is_absent_is_told_with_the_reason(own_project: Path) -> None:
    found = wanted(MODELS)
    assert found["baseline"] == Path("models/baseline")
    assert found["retrained"] == "nothing was trained"
    assert str(found["suppressed"]).startswith("models/suppressed: no such folder; `dvc repro` makes it")
    shutil.copytree("models/baseline", "models/suppressed")
    assert wanted(MODELS)["suppressed"] == NOT_DISTILLED  # the unlearned model has no record of distil
    (own_project / "models/unlearned/provenance.json").write_text(json.dumps({"params": {"distil": {}}}))
    assert wanted(MODELS)["suppressed"] == Path("models/suppressed")


def test_any_folder_may_be_named_and_what_is_none_is_refused(own_project: Path) -> None:
    shutil.copytree("models/baseline", "elsewhere")
    assert wanted(["elsewhere", "baseline"])["elsewhere"] == Path("elsewhere")
    with pytest.raises(StageError, match=r"--models: expected .*, baseline, .* or a model folder, got nosuch"):
        wanted(["baseline", "nosuch"])
    shutil.rmtree("models")
    with pytest.raises(StageError, match=r"models: expected at least one of baseline, .*, retrained, got none"):
        wanted(MODELS)


def test_a_model_that_cannot_be_loaded_is_absent_and_the_others_are_ready(
    own_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own_project / "models/unlearned/model.safetensors").write_bytes(b"broken")
    one = Shelf(wanted(MODELS))
    assert one.coming() == ["baseline", "unlearned"]
    with pytest.raises(StageError, match="baseline: it is still loading"):
        one.ask(["baseline"])
    assert one.row("baseline")["state"] == "loading"
    one.load("float32", "cpu")
    assert list(one.ready) == ["baseline"]
    assert "expected whole safetensors" in one.absent["unlearned"]
    assert one.row("baseline") == {
        "name": "baseline", "role": "before", "mark": "baseline", "state": "ready", "folder": "models/baseline",
        "reason": None, "chat": True, "context": 64,
    }  # fmt: skip
    assert one.row("unlearned")["state"] == "absent"
    with pytest.raises(StageError, match="retrained: nothing was trained"):
        one.ask(["baseline", "retrained"])
    with pytest.raises(StageError, match="models: expected at least one, got none"):
        one.ask([])
    monkeypatch.setattr(module, "load_model", lambda *_: pytest.fail("a model is loaded once"))
    one.load("float32", "cpu")
    assert one.ask(["baseline"]) == {"baseline": one.ready["baseline"]}


def test_a_model_too_large_for_the_memory_is_told(own_project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(module, "load_model", full)
    one = Shelf(wanted(["baseline"]))
    one.load("float32", "cpu")
    assert one.absent["baseline"] == "models/baseline: no memory left beside the others; choose fewer with --models"


def test_a_bug_in_one_model_keeps_its_traceback_and_stops_no_other(
    own_project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(folder: Path, *_: object) -> object:
        if folder.name == "baseline":
            raise ZeroDivisionError
        return "a model"

    monkeypatch.setattr(module, "load_model", broken)
    one = Shelf(wanted(["baseline", "unlearned"]))
    one.load("float32", "cpu")
    assert one.absent["baseline"] == "models/baseline: ZeroDivisionError; the terminal of lethe app says more"
    assert "Traceback" in capsys.readouterr().err
    assert list(one.ready) == ["unlearned"]


def test_a_gpu_that_is_not_there_is_told(own_project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    one = Shelf(wanted(["baseline"]))
    one.load("float32", "cuda")
    assert "torch sees no GPU here" in one.absent["baseline"]
