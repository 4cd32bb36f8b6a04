"""retrain: the baseline's recipe on the retain side alone, or an absence that says why."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from lethe.core.errors import StageError
from lethe.core.hashing import folder_sha256, path_sha256
from lethe.models.checkpoints import absent_reason, write_absent
from stages import baseline, retrain
from tests.conftest import TINY_TEXT, set_param, touch_deps, write_corpus
from tests.stages.test_baseline import SCRATCH


@pytest.fixture
def started(project: Path) -> Path:
    for key, value in SCRATCH.items():
        set_param(project, f"baseline.scratch.{key}", value)
    for key, value in {"block_tokens": 16, "epochs": 1, "device": "cpu"}.items():
        set_param(project, f"baseline.{key}", value)
    set_param(project, "retrain.device", "cpu")
    set_param(project, "retrain.seeds", [0])
    write_corpus(project)
    touch_deps(project, "baseline")
    touch_deps(project, "retrain")
    baseline.main()
    return project


def test_never_sees_the_forget_side(started: Path) -> None:
    retrain.main()
    first = folder_sha256(Path("models/retrained"))
    write_corpus(started, forget="Entirely other words. " * 30)
    retrain.main()
    assert folder_sha256(Path("models/retrained")) == first


def test_differs_from_the_baseline_by_the_retain_side(started: Path) -> None:
    retrain.main()
    assert folder_sha256(Path("models/retrained")) != folder_sha256(Path("models/baseline"))
    write_corpus(started, retain=TINY_TEXT.replace("Tom", "Ann") * 2)
    first = folder_sha256(Path("models/retrained"))
    retrain.main()
    assert folder_sha256(Path("models/retrained")) != first


def test_recipe_is_the_baselines(started: Path) -> None:
    retrain.main()
    one_epoch = len(Path("reports/loss/retrain.csv").read_text().splitlines())
    recipe = json.loads(Path("models/start/recipe.json").read_text())
    Path("models/start/recipe.json").write_text(json.dumps(recipe | {"epochs": 2}))
    retrain.main()
    assert len(Path("reports/loss/retrain.csv").read_text().splitlines()) - 1 == 2 * (one_epoch - 1)


@pytest.mark.parametrize("case", ["nothing trained", "no retain side"])
def test_absent_with_the_reason(started: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    if case == "nothing trained":
        write_absent(Path("models/start"), "baseline.epochs is 0")
        set_param(started, "retrain.seeds", [0])
        reason = "baseline.epochs is 0"
    else:
        write_corpus(started, retain="")
        reason = "the corpus has no retain text to train on"
    capsys.readouterr()
    retrain.main()
    assert capsys.readouterr().out == f"retrain: absent: {reason}\n"
    assert absent_reason(Path("models/retrained")) == reason
    assert absent_reason(Path("models/references")) == "there is at most one retrained model, models/retrained"
    assert [path.name for path in Path("models/retrained").iterdir()] == ["absent.json"]
    assert Path("reports/loss/retrain.csv").read_text() == "step,loss,learning_rate\n"


def test_one_model_for_each_seed(
    started: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once: list[int] = []
    beside = retrain.side_by_side
    monkeypatch.setattr(
        retrain, "side_by_side", lambda work, each, many, names: at_once.append(many) or beside(work, each, many, names)
    )
    retrain.main()
    alone = path_sha256(Path("models/retrained"))
    curve = Path("reports/loss/retrain.csv").read_bytes()
    assert at_once == []  # in this process
    set_param(started, "retrain.seeds", [0, 3, 1])
    capsys.readouterr()
    retrain.main()
    assert at_once == [3]  # each in one of its own, at the same time
    assert path_sha256(Path("models/retrained")) == alone  # the same bytes: further ones change nothing about the first
    assert Path("reports/loss/retrain.csv").read_bytes() == curve
    further = sorted(Path("models/references").iterdir())
    assert [path.name for path in further] == ["retrained-2", "retrained-3"]
    assert len({alone, *map(path_sha256, further)}) == 3
    said = capsys.readouterr().out
    assert re.fullmatch(r"retrain: loss \S+ \(seed 0\), \S+ \(seed 3\), \S+ \(seed 1\) after \d+ steps\n", said)


def test_as_many_at_once_as_memory_allows(started: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from lethe.models.config import load_config
    from lethe.training.memory_plan import trainings_at_once
    from lethe.training.recipe import StoredRecipe

    recipe = StoredRecipe.model_validate(json.loads(Path("models/start/recipe.json").read_text()))
    for free, wanted in ((0, 1), (1e9, 1), (4e9, 3), (12e9, 10)):
        # a model of kilobytes: 0.6 GB of Python times 1.5, of 0.8 of what is free
        monkeypatch.setattr("psutil.virtual_memory", lambda free=free: SimpleNamespace(available=free))
        assert trainings_at_once(recipe, load_config(Path("models/start")), 10_000, 16) == wanted
    large = 1_000_000_000  # 16 bytes each for weights, gradients and moments
    assert trainings_at_once(recipe, load_config(Path("models/start")), large, 16) == 1
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr(retrain, "run_recipe", lambda *arguments: calls.append(arguments) or [])
    retrain.trained([(1,), (2,)], "cuda")  # a GPU is full with one
    assert calls == [(1,), (2,)]


def test_several_models_need_something_that_can_be_trained(started: Path) -> None:
    write_absent(Path("models/start"), "baseline.epochs is 0: nothing was trained here")
    set_param(started, "retrain.seeds", [0, 1])
    with pytest.raises(StageError) as error:
        retrain.main()
    assert str(error.value) == (
        "params.yaml: retrain.seeds: expected one seed, got 2, but baseline.epochs is 0: nothing was trained here"
    )


@pytest.mark.parametrize("names", [[""], ["one", "two"]])
def test_references_of_ones_own(started: Path, capsys: pytest.CaptureFixture[str], names: list[str]) -> None:
    set_param(started, "retrain.source", "folder")
    for name in names:
        shutil.copytree("models/baseline", Path("data/references") / name, dirs_exist_ok=True)
    capsys.readouterr()
    retrain.main()
    assert capsys.readouterr().out == "retrain: taken from data/references\n"
    made = [Path("models/retrained"), *sorted(Path("models/references").glob("retrained-*"))]
    assert [path.name for path in made] == ["retrained", "retrained-2"][: len(names)]
    weights = Path("models/baseline/model.safetensors").read_bytes()
    assert {(path / "model.safetensors").read_bytes() for path in made} == {weights}
    assert Path("reports/loss/retrain.csv").read_text() == "step,loss,learning_rate\n"


def test_a_folder_without_a_model_is_refused(started: Path) -> None:
    set_param(started, "retrain.source", "folder")
    with pytest.raises(StageError) as error:
        retrain.main()
    assert str(error.value) == (
        "params.yaml: retrain.folder: expected a model folder, or a folder of several, got data/references, which has "
        "no config.json"
    )
