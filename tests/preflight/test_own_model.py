"""A model folder of one's own: its files, and what its architecture can do."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lethe.core.errors import StageError
from lethe.core.params import read_params
from lethe.preflight import own_model
from lethe.preflight.doctor import model_sentence
from lethe.preflight.own_model import Report, examined_model, file_problems
from stages.finetune import Params
from tests.conftest import ROOT
from tests.models.test_folders import BEFORE

RECIPE = read_params("finetune", Params, ROOT / "params.yaml")
ROOM = 1e12
Folder = Callable[[str], Path]


@pytest.mark.parametrize("kind", ["rwkv", "mamba", "gemma3"])
def test_a_sound_folder_has_no_problem(family: Folder, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_model, "tried", lambda config, finetune: {config["model_type"]: ("ok", "")})
    assert examined_model(family(kind), RECIPE, ROOM) == Report({kind: ("ok", "")}, [], [])


def test_every_broken_folder_is_one_line(family: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(own_model, "tried", lambda config, finetune: {})
    for spoil, message in BEFORE:
        own = Path(shutil.copytree(family("llama"), "own"))
        spoil(own)
        try:
            (line,) = examined_model(own, RECIPE, ROOM).problems
        except StageError as error:  # nothing can be planned for a config that no architecture accepts
            line = str(error)
        assert line.startswith(message)
        assert "\n" not in line
        shutil.rmtree(own)


def test_what_is_too_large_or_not_there_is_a_note(
    family: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_model, "LOADED", 1e4)
    problems, (note,) = file_problems(family("llama"), ROOM)
    assert problems == []
    assert note.endswith("KB, only names and shapes were read")
    shutil.copy(family("llama") / "config.json", tmp_path)
    only = f"{tmp_path}: only config.json is there, so no weights and no tokenizer were checked"
    assert file_problems(tmp_path, ROOM) == ([], [only])


@pytest.mark.parametrize(("tuning", "told"), [("full", "notes"), ("prompt", "problems")])
def test_a_refused_tuning_is_a_problem_where_it_is_wanted(
    family: Folder, tuning: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"load": ("ok", ""), "full": ("ok", ""), "prompt": ("refused", "takes no vectors")}
    monkeypatch.setattr(own_model, "tried", lambda config, finetune: found)
    report = examined_model(family("llama"), RECIPE.model_copy(update={"tuning": tuning}), ROOM)
    assert report._asdict() == {"checks": found, "problems": [], "notes": []} | {
        told: ["llama: prompt: takes no vectors"]
    }
    assert model_sentence("own", found) == (
        "model own: a tiny one of its architecture passes 2 of 3 checks: load, full"
    )


def test_a_check_that_fails_is_a_problem_and_nothing_is_tried_with_invalid_params(
    family: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_model, "tried", lambda config, finetune: {"LoRA": ("fails", "KeyError: 'x'")})
    assert examined_model(family("llama"), RECIPE, ROOM).problems == ["llama: LoRA: KeyError: 'x'"]
    (note,) = examined_model(family("llama"), None, ROOM).notes
    assert note.endswith("not tried, because the parameters of finetune are not valid")


def test_a_trial_that_crashes_or_hangs_is_one_note(family: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    config = json.loads((family("llama") / "config.json").read_text())
    monkeypatch.setattr(own_model.sys, "executable", "false")
    assert own_model.tried(config, RECIPE) == {"build": ("fails", "no message")}

    def slow(*_: object, timeout: float, **__: object) -> None:
        raise subprocess.TimeoutExpired("x", timeout)

    monkeypatch.setattr(own_model.subprocess, "run", slow)
    assert own_model.tried(config, RECIPE) == {"build": ("fails", "not done after 55 s")}
    (note,) = examined_model(family("llama"), RECIPE, ROOM).notes
    assert note == "llama: not tried, as no tiny model of it could be made: not done after 55 s"
