"""`lethe tune`: which values are tried, what is kept of them, and the trial that is picked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lethe.cli import tune
from lethe.cli.commands import app
from lethe.cli.tune import Trial, front, pick
from lethe.core.errors import StageError
from lethe.core.params import read_yaml
from lethe.core.tables import write_json
from tests import tiny

LEAK = {(1e-4, 10): 0.5, (1e-4, 20): 0.3, (1e-3, 10): 0.2, (1e-3, 20): 0.1}
NOISY = {0.1: (0.4, 20.2), 0.2: (0.2, 21.0), 0.3: (0.1, 30.0)}  # noise: leak, perplexity
PERPLEXITY = {(1e-4, 10): 20.2, (1e-4, 20): 20.4, (1e-3, 10): 21.0, (1e-3, 20): 30.0}  # the baseline's is 20


def trial(name: str, leak: float, factor: float) -> Trial:
    return Trial(name, {"learning_rate": 1e-3, "steps": 1}, {"leak": leak, "retain_perplexity_factor": factor})


def report(folder: Path) -> dict[str, Any]:
    """What evaluate would say of the models that a trial's params name."""
    params = read_yaml(folder / "params.yaml")
    (name, *others) = params["evaluate"]["models"]
    pair = params["finetune"]["learning_rate"], params["finetune"]["steps"]
    leak, perplexity = (0.6, 20.0) if name == "baseline" else (LEAK.get(pair, 0.5), PERPLEXITY.get(pair, 20.0))
    if folder.name.startswith("distil-noise"):
        leak, perplexity = NOISY[params["distil"]["noise"]]
    own = {"leak": leak, "probability_familiarity": leak / 2, "retain_perplexity": perplexity}
    written = {"retain_doubled_words": {"value": 0.0}}
    assert (folder / "models/unlearned").exists() == (name != "baseline" or "unlearned" in others)
    return {"models": dict.fromkeys([name, *others], own), "fluency": {"models": {name: written}}}


@pytest.fixture
def ran(project: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """A project before its fine-tune, and (stage, folder) of what was run."""
    for name in {name for stage in tune.STAGES.values() for name in stage.data}:
        (project / "data" / name).parent.mkdir(exist_ok=True)
        (project / "data" / name).write_text(name)
    for name in ("baseline", "reinforced", "suppressed"):
        (project / "models" / name).mkdir(parents=True)
    done: list[tuple[str, str]] = []

    def run_stage(stage: str, folder: Path) -> None:
        done.append((stage, folder.name))
        assert (folder / "data/dictionary.csv").read_text() == "dictionary.csv"
        if stage in ("finetune", "distil"):
            (folder / "models" / {"finetune": "suppressed", "distil": "unlearned"}[stage]).mkdir()
        if stage == "evaluate":
            write_json(report(folder), folder / tune.REPORT)

    monkeypatch.setattr(tune, "run_stage", run_stage)
    return done


def test_every_pair_is_tried_once(ran: list[tuple[str, str]], project: Path) -> None:
    before = Path("params.yaml").read_bytes()
    options = ["--rate", "1e-3", "--rate", "1e-4", "--steps", "20", "--steps", "10"]
    done = CliRunner().invoke(app, ["tune", *options, "--json"], catch_exceptions=False)
    found = json.loads(done.stdout)
    names = [f"rate-{rate:g}-steps-{steps}" for rate, steps in LEAK]
    assert [one["name"] for one in found["trials"]] == ["baseline", *names]
    assert [one["numbers"]["retain_perplexity_factor"] for one in found["trials"]] == [1.0, 1.01, 1.02, 1.05, 1.5]
    assert found["pick"] == "rate-0.001-steps-10"  # 1.5 times the perplexity is beyond the gate's 1.1
    assert ran == [("evaluate", "baseline"), *((stage, name) for name in names for stage in ("finetune", "evaluate"))]
    assert Path("params.yaml").read_bytes() == before
    ran.clear()
    said = CliRunner().invoke(app, ["tune", *options], catch_exceptions=False).output
    assert ran == []  # nothing has changed
    assert "dvc exp run -S finetune.learning_rate=0.001 -S finetune.steps=10" in said
    page = Path(found["page"]).read_text(encoding="utf-8")
    assert "<svg" in page
    assert "rate 0.001" in page
    Path("data/prompts.jsonl").write_text("other prompts")
    CliRunner().invoke(app, ["tune", *options], catch_exceptions=False)
    assert len(ran) == 9


def test_noise_of_distil_is_tried_from_the_suppressed_model(ran: list[tuple[str, str]], project: Path) -> None:
    options = [word for share in NOISY for word in ("--noise", str(share))]
    done = CliRunner().invoke(app, ["tune", "distil", *options, "--json"], catch_exceptions=False)
    found = json.loads(done.stdout)
    names = [f"noise-{share:g}-rate-0.003-steps-300" for share in NOISY]
    assert [one["name"] for one in found["trials"]] == ["baseline", "suppressed", *names]
    assert found["trials"][2]["values"] == {"noise": 0.1, "learning_rate": 0.003, "steps": 300}
    assert found["pick"] == names[1]
    trials = [(stage, f"distil-{name}") for name in names for stage in ("distil", "evaluate")]
    assert ran == [("evaluate", "distil-baseline"), *trials]
    ran.clear()
    said = CliRunner().invoke(app, ["tune", "distil", *options], catch_exceptions=False).output
    assert "dvc exp run -S distil.noise=0.2 -S distil.learning_rate=0.003 -S distil.steps=300" in said
    assert "steps 300" in Path(found["page"]).read_text(encoding="utf-8")  # one line joins the three
    assert ran == []
    (project / "models/suppressed/config.json").write_text("another")
    CliRunner().invoke(app, ["tune", "distil", *options], catch_exceptions=False)
    assert len(ran) == 7


def test_what_is_tried_without_options() -> None:
    own = {"learning_rate": 3e-3, "steps": 300, "noise": 0.6}
    assert tune.combinations("distil", own, None, None, None) == [
        {"noise": share, "learning_rate": 3e-3, "steps": 300} for share in (0.2, 0.4, 0.6)
    ]
    assert [list(values.values()) for values in tune.combinations("finetune", own, [1.0], None, None)] == [
        [1.0, 150], [1.0, 300]
    ]  # fmt: skip


def test_a_trial_runs_as_the_stage_would(ran: list[tuple[str, str]], project: Path) -> None:
    CliRunner().invoke(app, ["tune", "--rate", "1e-3", "--steps", "20"], catch_exceptions=False)
    folder = tune.FOLDER / "rate-0.001-steps-20"
    params, own = read_yaml(folder / "params.yaml"), read_yaml(Path("params.yaml"))
    changed = {(section, key) for section in own for key in own[section] if params[section][key] != own[section][key]}
    assert changed == {
        ("finetune", "steps"), ("finetune", "checkpoints"), ("evaluate", "models"), ("evaluate", "set"),
    }  # fmt: skip
    assert sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.is_symlink()) == ["reports"]


def test_the_curve_and_the_pick() -> None:
    found = [trial("a", 0.5, 1.0), trial("b", 0.3, 1.2), trial("c", 0.4, 1.3), trial("d", 0.3, 1.2), trial("e", 0.1, 2)]
    assert [one.name for one in front(found)] == ["a", "b", "d", "e"]  # c has more of both than b
    for limit, name in ((1.1, "a"), (1.2, "b"), (None, "e")):
        best = pick(found, limit)
        assert best is not None
        assert best.name == name
    assert pick(found, 0.9) is None
    assert tune.advice("finetune", None, 0.9) == (
        "No trial keeps retain perplexity within 0.9 of the baseline's; try lower rates or fewer steps."
    )
    assert tune.thirds(3e-3) == [1e-3, 3e-3, 9e-3]


@pytest.mark.parametrize(
    ("options", "missing", "message"),
    [
        (["--rate", "0"], "", "--rate: expected more than 0, got 0"),
        (["--steps", "-1"], "", "--steps: expected more than 0, got -1"),
        (
            [],
            "data/labels.parquet",
            "data/labels.parquet: expected what finetune and evaluate of this project read, got no such file; run "
            "`dvc repro label prompt`",
        ),
        (["retrain"], "", "stage: expected finetune or distil, got retrain"),
        (["--noise", "0.1"], "", "--noise: expected the stage distil, which adds it, got finetune"),
        (["distil", "--noise", "1.5"], "", "--noise: expected from 0 to 1, got 1.5"),
        (
            ["distil"],
            "data/dropped.csv",
            "data/dropped.csv: expected what distil and evaluate of this project read, got no such file; run "
            "`dvc repro finetune prompt`",
        ),
    ],
)
def test_bad_input(options: list[str], missing: str, message: str, ran: list[Any], project: Path) -> None:
    if missing:
        (project / missing).unlink()
    done = CliRunner().invoke(app, ["tune", *options])
    assert isinstance(done.exception, StageError)
    assert str(done.exception) == message
    assert ran == []


def test_two_at_a_time_are_refused(project: Path) -> None:
    said = pytest.raises(StageError, match=r"^\.scratch/tune: another `lethe tune` is running here")
    with tune.alone(), said, tune.alone():
        pass


def test_a_failing_stage_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"gone ended with exit code 1: .*No module named .?stages\.gone"):
        tune.run_stage("gone", tmp_path)


@pytest.mark.slow
def test_in_a_whole_project(copy: Path) -> None:
    command = [str(Path(sys.executable).with_name("lethe")), "tune", "--rate", "1e-2", "--steps", "2", "--json"]
    done = subprocess.run(command, cwd=copy, env=tiny.environment(copy), capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert [one["name"] for one in found["trials"]] == ["baseline", "retrained", "rate-0.01-steps-2"]
    assert all(0 <= one["numbers"]["leak"] <= 1 for one in found["trials"])
    assert found["trials"][0]["numbers"]["retain_perplexity_factor"] == 1.0
    assert (copy / found["page"]).exists()
    command[2:] = ["distil", "--noise", "0.3", "--steps", "2", "--json"]
    done = subprocess.run(command, cwd=copy, env=tiny.environment(copy), capture_output=True, text=True, check=True)
    names = [one["name"] for one in json.loads(done.stdout)["trials"]]
    assert names[:-1] == ["baseline", "retrained", "suppressed"]
    assert names[-1].startswith("noise-0.3-rate-")
    assert json.loads(tiny.dvc(copy, "status", "--json")) == {}  # the pipeline is as it was
