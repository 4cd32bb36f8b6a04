"""retrain: the baseline's recipe on the retain side alone, or an absence that says why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lethe.core.hashing import folder_sha256
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
        reason = "baseline.epochs is 0"
    else:
        write_corpus(started, retain="")
        reason = "the corpus has no retain text to train on"
    capsys.readouterr()
    retrain.main()
    assert capsys.readouterr().out == f"retrain: absent: {reason}\n"
    assert absent_reason(Path("models/retrained")) == reason
    assert [path.name for path in Path("models/retrained").iterdir()] == ["absent.json"]
    assert Path("reports/loss/retrain.csv").read_text() == "step,loss,learning_rate\n"
