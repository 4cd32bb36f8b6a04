"""`lethe doctor`: its arithmetic by hand, and every kind of thing that is wrong."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer

from lethe.core.errors import StageError
from lethe.preflight import doctor, estimate
from lethe.preflight.memory import Cards, training_memory, weight_count
from lethe.preflight.trial import CHECKS
from tests import tiny
from tests.conftest import set_param, tiny_model


@pytest.fixture
def patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny project, with DVC's settings of nobody, on an idle machine."""
    monkeypatch.setattr("os.getloadavg", lambda: (0.1, 0.1, 0.1))
    project = tiny.make(tmp_path / "project")
    for name, value in tiny.environment(project).items():
        if name.startswith(("DVC", "GIT", "HF_", "CUDA")):
            monkeypatch.setenv(name, value)
    monkeypatch.chdir(project)
    return project


def test_work_of_a_training_by_hand(patient: Path) -> None:
    from lethe.core.params import read_params
    from stages.finetune import Params

    recipe = read_params("finetune", Params)
    config = estimate.config_of(baseline_params())
    assert config is not None
    here = Cards(0, 0.0)
    found = estimate.trained("finetune", recipe, config, 32, 10_000, here)
    weights = weight_count(config)
    assert found.operations == 6 * weights * 10_000
    assert found.steps == 27  # 10000 / (12 rows of 32 tokens) = 26.04, rounded up
    assert found.memory == round(training_memory(recipe, config, 32, here).total)
    lora = recipe.model_copy(update={"tuning": "lora", "weights": "bfloat16"})
    assert estimate.trained("finetune", lora, config, 32, 10_000, here).operations == 4 * weights * 10_000


def test_another_machine_and_another_model(
    patient: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "PROBE_SECONDS", 0.01)
    tiny_model(patient / "big", context=64)
    with pytest.raises(typer.Exit):
        doctor.command(Path("params.yaml"), cards=8, card=80.0, model=patient / "big", json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["model"] == {"folder": str(patient / "big"), "checks": {name: ["ok", ""] for name in CHECKS}}
    run = found["run"]
    assert run["cards"] == {"count": 8, "memory": 80e9, "sharded": True}
    assert run["weights"] == weight_count(estimate.config_of(baseline_params(), patient / "big"))
    table = doctor.memory_table(run)
    assert str(table.title) == (
        "memory of a training step, on each of 8 GPUs of 80.0 GB, the weights sharded over all of them"
    )
    with pytest.raises(StageError, match=r"nowhere: expected a model folder, got no config.json"):
        doctor.examined(Path("params.yaml"), None, Path("nowhere"))


def test_the_shape_of_a_model_folder_is_its_own(patient: Path) -> None:
    tiny_model(patient / "data/model", context=48)
    config = estimate.config_of(baseline_params().model_copy(update={"source": "folder", "folder": "data/model"}))
    assert config is not None
    assert (config.hidden_size, config.max_position_embeddings) == (32, 48)


def baseline_params() -> Any:
    from lethe.core.params import read_params
    from stages.baseline import Params

    return read_params("baseline", Params)


def test_tokens_come_from_the_size_of_the_text(patient: Path) -> None:
    from lethe.core.params import read_params
    from stages.corpus import Params

    corpus = read_params("corpus", Params)
    sizes = [sum(path.stat().st_size for path in Path(folder).iterdir()) for folder in (corpus.forget, corpus.retain)]
    # 30 % are held out, a token has about four characters
    assert list(estimate.texts_of(corpus)) == [round(size * 0.7 / 4) for size in sizes]


def test_pins_are_read_without_local_versions() -> None:
    assert doctor.pins("# pins\ntorch==2.13.0+cpu ; python_version > '3'\ndvc==3.67.1\n") == {
        "torch": "2.13.0",
        "dvc": "3.67.1",
    }


def test_sizes_and_times_in_words() -> None:
    assert [doctor.duration(seconds) for seconds in (40, 720, 12600)] == ["40 s", "12 min", "3.5 h"]


def test_a_healthy_project(patient: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "PROBE_SECONDS", 0.01)
    with pytest.raises(typer.Exit) as exit_:
        doctor.command(Path("params.yaml"), cards=None, model=None, json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["problems"] == []
    assert exit_.value.exit_code == 0
    assert [work["stage"] for work in found["run"]["stages"]] == [
        "corpus", "baseline", "retrain", "block", "reinforce", "extract", "translate", "label", "finetune", "distil",
        "prompt", "evaluate", "benchmark", "measure", "term", "attack", "report",
        "split", "specialise", "softprompt", "classify",
    ]  # fmt: skip
    assert all(work["seconds"] > 0 and work["last"] is None for work in found["run"]["stages"])
    assert found["notes"] == [
        "remote: none; this disk holds the only copy of every artifact; dvc remote add -d NAME URL"
    ]
    doctor.show(found)
    assert capsys.readouterr().out.splitlines()[-1] == "doctor: 0 problems, 1 notes"


def test_a_busy_machine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (27.6, 9.0, 3.0))
    told = "load: 28 processes want 2 cores; the times are those of a machine as busy as that"
    assert list(doctor.other_load(2)) == [told]
    assert list(doctor.other_load(32)) == []


def test_everything_wrong_at_once(patient: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "PROBE_SECONDS", 0.01)
    monkeypatch.setattr(doctor, "this_machine", lambda: {"cores": 2, "gpus": [], "free_memory": 600_100_000})
    set_param(patient, "block.tokens", 512)
    (patient / "constraints.txt").write_text("torch==1.0.0\n")
    tiny.dvc(patient, "remote", "add", "-d", "box", str(patient.parent / "box"))
    tiny.dvc(patient, "config", "cache.type", "copy")
    settings = Path(tiny.environment(patient)["HF_HOME"]) / "accelerate/default_config.yaml"
    monkeypatch.setattr("accelerate.commands.config.config_args.default_config_file", str(settings))
    monkeypatch.setattr("accelerate.commands.config.config_args.default_yaml_config_file", str(settings))
    settings.parent.mkdir(parents=True)
    settings.write_text(
        "compute_environment: LOCAL_MACHINE\ndistributed_type: 'NO'\nmixed_precision: bf16\nuse_cpu: true\n"
        "debug: false\nnum_processes: 1\n"
    )
    lines = doctor.examined(Path("params.yaml"))["problems"]
    torch = doctor.version("torch")
    wanted = [
        "params.yaml: block.tokens: expected at most 64, the model's context, got 512",
        f"torch: expected 1.0.0, got {torch}; make setup",
        "remote box: expected verify true, got false (corrupted files would be pulled without a warning); dvc "
        "remote modify box verify true",
        "cache: expected type hardlink,symlink,copy, got copy (each model takes its disk space twice); dvc "
        "config cache.type hardlink,symlink,copy",
    ]
    assert lines[:4] == wanted
    assert "accelerate config: expected mixed_precision no for baseline.precision, got bf16" in lines[4]
    assert any(line.startswith("finetune: ") and "free in memory, got 600 MB" in line for line in lines)


def test_outside_of_a_project(patient: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run(["cp", "-r", "dvc.yaml", "params.yaml", "constraints.txt", "data", str(tmp_path)], check=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StageError, match=r"expected a DVC project, got no \.dvc folder; git init && dvc init"):
        doctor.examined(Path("params.yaml"))
