"""`lethe replay`: recorded inputs, recorded command, a clean clone, and every byte compared."""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
import typer
from safetensors.torch import save_file

from lethe.core.errors import StageError
from lethe.provenance import replay
from tests import recorded, tiny

MAKE = """import os, pathlib, sys
text = pathlib.Path("data/text.txt").read_text()
pathlib.Path("models/unlearned").mkdir(parents=True, exist_ok=True)
pathlib.Path("models/unlearned/model.txt").write_text(text.upper())
pathlib.Path("reports").mkdir(exist_ok=True)
pathlib.Path("reports/loss.json").write_text('{"loss": 0.5}' if len(sys.argv) < 2 else os.environ["LUCK"])
print("made")
"""
PIPELINE = """stages:
  finetune:
    cmd: python make.py
    deps: [data/text.txt, make.py]
    outs: [models/unlearned]
    metrics: [reports/loss.json: {cache: false}]
"""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of one stage, reproduced and committed; its text is DVC's."""
    project = tmp_path_factory.mktemp("replay") / "original"
    (project / "data").mkdir(parents=True)
    (project / "data/text.txt").write_text("orla\n")
    (project / "make.py").write_text(MAKE)
    (project / "dvc.yaml").write_text(PIPELINE)
    tiny.git(project, "init", "--quiet", "--initial-branch=main")
    tiny.git(project, "config", "user.name", "Tiny")
    tiny.git(project, "config", "user.email", "tiny@example.org")
    tiny.dvc(project, "init", "--quiet")
    tiny.dvc(project, "add", "--quiet", "data/text.txt")
    tiny.dvc(project, "repro", "--quiet")
    tiny.commit(project, "made")
    return project


@pytest.fixture
def history(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project, to be changed, as the current folder."""
    project = tiny.copy_project(original, tmp_path / "project")
    for name, value in tiny.environment(project).items():
        if name.startswith(("PATH", "DVC", "GIT")):
            monkeypatch.setenv(name, value)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # a clone that is kept goes with the test
    monkeypatch.chdir(project)
    return project


def answer(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict]:
    """Exit code and JSON of `lethe replay`."""
    capsys.readouterr()
    model, stage, keep = (*arguments, None, False)[:3] if len(arguments) < 3 else arguments
    with pytest.raises(typer.Exit) as exit_:
        replay.command(str(model), stage, bool(keep), whole=False, ref="HEAD", json=True)  # type: ignore[arg-type]
    return exit_.value.exit_code, json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_equal_bytes(history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(history.rglob("*"))
    code, found = answer(capsys, "models/unlearned")
    assert code == 0
    assert (found["stage"], found["same"], found["device"]) == ("finetune", True, "CPU")
    assert [row["out"] for row in found["outs"]] == ["models/unlearned", "reports/loss.json"]
    assert found["commit"] == tiny.git(history, "rev-parse", "HEAD").strip()
    assert [path for path in sorted(history.rglob("*")) if ".dvc/tmp" not in str(path)] == [
        path for path in before if ".dvc/tmp" not in str(path)
    ]  # nothing of the project was touched


@pytest.mark.slow
def test_by_hash_in_an_old_commit(history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    md5 = tiny.hashes(history)["models/unlearned"]
    (history / "data/text.txt").unlink()
    (history / "data/text.txt").write_text("tom\n")
    tiny.dvc(history, "repro", "--quiet")
    tiny.commit(history, "another")
    code, found = answer(capsys, md5)
    assert code == 0
    assert found["commit"] == tiny.git(history, "rev-parse", "HEAD~1").strip()


LAUNCHER = "import runpy, sys\nrunpy.run_module(sys.argv[1], run_name='__main__')\n"
STAGE = """import pathlib
from {library} import said
pathlib.Path("models/unlearned").mkdir(parents=True, exist_ok=True)
pathlib.Path("models/unlearned/model.txt").write_text(said(pathlib.Path("data/text.txt").read_text()))
"""


def run_with(project: Path, cmd: str, deps: list[str], files: dict[str, str]) -> str:
    """Reproduce and commit the project with this code in place of all that it had; returns the model's md5."""
    for folder in ("stages", "lethe"):
        shutil.rmtree(project / folder, ignore_errors=True)
    for name, text in files.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    for name in (".gitignore", ".dvcignore"):
        (project / name).write_text("__pycache__/\n")
    pipeline = f"stages:\n  finetune:\n    cmd: {cmd}\n    deps: [{', '.join(['data/text.txt', *deps])}]\n"
    (project / "dvc.yaml").write_text(pipeline + "    outs: [models/unlearned]\n")
    tiny.dvc(project, "repro", "--quiet")
    tiny.commit(project, cmd)
    return tiny.hashes(project)["models/unlearned"]


@pytest.mark.slow
def test_a_lock_from_before_the_library_had_packages(history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = run_with(
        history,
        "python -m stages.lib.launch stages.finetune",
        ["stages/finetune.py", "stages/lib/launch.py", "stages/lib/words.py"],
        {
            "stages/finetune.py": STAGE.format(library="stages.lib.words"),
            "stages/lib/launch.py": LAUNCHER,
            "stages/lib/words.py": "def said(text):\n    return text.upper()\n",
        },
    )
    second = run_with(
        history,
        "python -m lethe.launch stages.finetune",
        ["stages/finetune.py", "lethe/launch.py", "lethe/text"],
        {
            "stages/finetune.py": STAGE.format(library="lethe.text.words"),
            "lethe/__init__.py": "",
            "lethe/launch.py": LAUNCHER,
            "lethe/text/__init__.py": "",
            "lethe/text/words.py": "def said(text):\n    return text.title()\n",
        },
    )
    assert first != second
    for md5, commit in ((first, "HEAD~1"), (second, "HEAD")):
        code, found = answer(capsys, md5)
        assert (code, found["same"]) == (0, True)
        assert [(row["out"], row["rebuilt"]) for row in found["outs"]] == [("models/unlearned", md5)]
        assert found["commit"] == tiny.git(history, "rev-parse", commit).strip()


@pytest.mark.slow
def test_a_model_that_cannot_be_rebuilt_differs(
    history: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (history / "dvc.yaml").write_text(PIPELINE.replace("make.py\n", "make.py by-luck\n"))
    monkeypatch.setenv("LUCK", '{"loss": 0.5}')
    tiny.dvc(history, "repro", "--quiet")
    tiny.commit(history, "luck")
    monkeypatch.setenv("LUCK", '{"loss": 0.25}')
    code, found = answer(capsys, "models/unlearned")
    assert code == 3
    equal, other = found["outs"]
    assert equal["same"]
    assert (other["out"], other["same"], other["distance"]) == ("reports/loss.json", False, 0.25)  # 0.5 - 0.25
    replay.show(found)
    assert "reports/loss.json: DIFFERS, distance 0.25" in capsys.readouterr().out


WRITES_VERSIONS = (
    MAKE
    + """import platform, json
versions = {"python": os.environ.get("PYTHON_WAS", platform.python_version()), "typer": "0.1"}
pathlib.Path("models/unlearned/provenance.json").write_text(json.dumps({"versions": versions}))
"""
)


@pytest.mark.slow
def test_another_python_and_other_packages_are_named_beside_the_result(
    history: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = {"python": platform.python_version(), "typer": version("typer"), "pytest": version("pytest")}
    (history / "make.py").write_text(WRITES_VERSIONS)
    (history / "constraints.txt").write_text("pytest==1.0\ntyper==0.2\nno-such-package==1\n")
    monkeypatch.setenv("PYTHON_WAS", "2.7.18")
    tiny.dvc(history, "repro", "--quiet")
    tiny.commit(history, "years ago")
    monkeypatch.delenv("PYTHON_WAS")
    code, found = answer(capsys, "models/unlearned")
    assert code == 3
    was = {"python": "2.7.18", "typer": "0.1", "pytest": "1.0"}  # what the model says counts, not its pin
    assert found["versions"] == {name: {"recorded": was[name], "here": here[name]} for name in was}
    assert found["outs"][0]["files"] == ["provenance.json"]
    replay.show(found)
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("models/unlearned: DIFFERS in provenance.json (")
    assert shown[-1].endswith(
        f"not the same (required: equal bytes); made with pytest 1.0, here {here['pytest']}; typer 0.1, "
        f"here {here['typer']}; python 2.7.18, here {here['python']}"
    )


@pytest.mark.slow
def test_the_clone_can_be_kept(history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, found = answer(capsys, "models/unlearned", "finetune", True)
    assert (Path(found["clone"]) / "models/unlearned/model.txt").read_text() == "ORLA\n"


def uncommitted_code(project: Path) -> None:
    (project / "make.py").write_text(MAKE + "# a comment\n")
    tiny.dvc(project, "repro", "--quiet")
    tiny.git(project, "commit", "--quiet", "--message", "lock only", "dvc.lock")


def lost_text(project: Path) -> None:
    for path in (project / ".dvc/cache/files/md5").rglob("*"):
        if path.is_file() and os.stat(path).st_size == len("orla\n") and path.read_text() == "orla\n":
            path.unlink()


def failing(project: Path) -> None:
    (project / "dvc.yaml").write_text(PIPELINE.replace("make.py\n", 'make.py && test -z "$STOP"\n'))
    tiny.dvc(project, "repro", "--quiet")
    tiny.commit(project, "can fail")
    os.environ["STOP"] = "yes"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "model", "stage", "line"),
    [
        (None, "models/none", None, "models/none: no such folder or file; expected a model or its md5; `dvc checkout`"),
        (None, "make.py", None, "make.py: no dvc.lock in the history has its md5"),
        (None, "models/unlearned", "label", "replay: --stage: expected one of finetune, got label"),
        (
            uncommitted_code,
            "models/unlearned",
            None,
            "the stage ran with files that were never committed, so it cannot be replayed",
        ),
        (lost_text, "models/unlearned", None, "in the cache or a remote, got it in neither"),
        (failing, "models/unlearned", None, '`python make.py && test -z "$STOP"` failed with exit code 1'),
    ],
)
def test_what_cannot_be_replayed(
    history: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Path], None] | None,
    model: str,
    stage: str | None,
    line: str,
) -> None:
    monkeypatch.setenv("STOP", "")
    if spoil:
        spoil(history)
    with pytest.raises(StageError) as error:
        replay.command(model, stage, keep=False, json=False)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_distance_of_tensors_by_hand(tmp_path: Path) -> None:
    for name, values in (("old", [3.0, 4.0]), ("new", [3.0, 4.5])):
        (tmp_path / name).mkdir()
        save_file({"weight": torch.tensor(values)}, tmp_path / name / "model.safetensors")
    # |(0, 0.5)| / |(3, 4)| = 0.5 / 5
    assert replay.tensor_distance(tmp_path / "old", tmp_path / "new") == pytest.approx(0.1)
    save_file({"other": torch.tensor([3.0, 4.0])}, tmp_path / "new/model.safetensors")
    assert replay.tensor_distance(tmp_path / "old", tmp_path / "new") is None


def test_distance_of_numbers_by_hand() -> None:
    # 12.5 against 10.0: 2.5 of 10; 0.1 against 0.2: below one, so as it is
    old, new = '{"perplexity": 10.0, "leak": 0.2}', '{"perplexity": 12.5, "leak": 0.1}'
    found = replay.number_distance(old, new)
    assert found is not None
    assert math.isclose(found, 0.25)
    assert replay.number_distance('{"leak": 0.2}', '{"loss": 0.2}') is None


@pytest.mark.slow
def test_a_training_is_rebuilt_byte_for_byte(copy: Path) -> None:
    for stage, option in (("distil", ()), ("finetune", ("--stage", "finetune"))):
        done = tiny.run(copy, "lethe", "replay", "models/unlearned", *option, "--json", check=True)
        found = json.loads(done.stdout)
        assert (found["stage"], found["demand"], found["same"]) == (stage, "equal bytes", True)
        assert {row["out"]: row["rebuilt"] for row in found["outs"]}.items() <= tiny.hashes(copy).items()
    earlier = tiny.run(copy, "lethe", "replay", "models/unlearned", "--stage", "label", check=True)
    assert "data/labels.parquet: equal bytes" in earlier.stdout


def refused(folder: Path, *arguments: str) -> str:
    """The one line of a `lethe replay` that ran nothing."""
    done = recorded.lethe(folder, "replay", "models/unlearned", *arguments)
    assert isinstance(done.exception, StageError), done.output
    return str(done.exception)


HONEST = "stages:\n  finetune:\n    cmd: python -m stages.finetune\n"


@pytest.mark.parametrize(
    ("pipeline", "old", "new"),
    [
        (HONEST, "cmd: python -m stages.finetune", "cmd: touch {mark}"),
        (HONEST, "cmd: python -m stages.finetune", "cmd:\n    - python -m stages.finetune\n    - touch {mark}"),
        (HONEST, "cmd: python -m stages.finetune", "cmd: python -m stages.finetune; touch {mark}"),
        ("stages: {}\n", "", ""),
        ("- a list\n", "", ""),
        ("", "", ""),
        (HONEST + "    wdir: /\n", "", ""),
    ],
)
def test_a_command_that_dvc_yaml_of_the_commit_does_not_hold_is_not_run(
    judged_copy: tuple[Path, dict[str, str]], tmp_path: Path, pipeline: str, old: str, new: str
) -> None:
    folder, _ = judged_copy
    mark = tmp_path / "ran"
    (folder / "dvc.yaml").write_text(pipeline)
    lock = folder / "dvc.lock"
    lock.write_text(lock.read_text().replace(old, new.format(mark=mark)))
    recorded.commit(folder, "a command")
    said = refused(folder)
    assert said.startswith("replay: finetune: expected the command of dvc.yaml in commit ")
    assert said.endswith("in its dvc.lock; nothing was run")
    assert not mark.exists()


@pytest.mark.parametrize("path", ["{outside}", "../../outside", "data/../../../outside", "/"])
def test_an_out_that_leads_out_of_the_project_is_not_deleted(
    judged_copy: tuple[Path, dict[str, str]], tmp_path: Path, path: str
) -> None:
    folder, _ = judged_copy
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine").write_text("mine")
    (folder / "dvc.yaml").write_text(HONEST)
    lock = folder / "dvc.lock"
    path = path.format(outside=outside)
    lock.write_text(lock.read_text().replace("path: models/checkpoints", f"path: {path}"))
    recorded.commit(folder, "an out")
    assert refused(folder) == f"dvc.lock: expected paths inside the project, got {path}; nothing was run"
    assert (outside / "mine").exists()


def test_a_folder_of_the_commit_that_is_a_link_is_not_followed(
    judged_copy: tuple[Path, dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = judged_copy
    outside = tmp_path / "outside"
    (outside / "unlearned").mkdir(parents=True)
    (folder / "dvc.yaml").write_text(HONEST)
    (folder / "link").symlink_to(outside)
    lock = folder / "dvc.lock"
    lock.write_text(lock.read_text().replace("path: models/checkpoints", "path: link/unlearned"))
    recorded.commit(folder, "a link")
    monkeypatch.setattr(replay, "bring", lambda *_: None)
    said = "link/unlearned: expected a path inside the clone, got a link out of it; nothing was run"
    assert refused(folder) == said
    assert (outside / "unlearned").is_dir()


def test_a_chain_names_what_was_rebuilt_and_what_could_not_be(
    judged_copy: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each stage is only looked up here: what a replay does is tested above."""
    folder, _ = judged_copy
    (folder / "dvc.yaml").write_text(HONEST + "  corpus:\n    cmd: python -m stages.corpus\n")
    lock = folder / "dvc.lock"
    lock.write_text(lock.read_text().replace("size: 1", "size: 2"))  # the first commit with this lock has the pipeline
    recorded.commit(folder, "two stages of it")
    monkeypatch.setattr(replay, "prepared", lambda history, found, target: target)
    monkeypatch.setattr(replay, "run", lambda found, clone: None)
    verdict = {"same": True, "outs": [], "commit": "c" * 40, "device": "CPU", "demand": "equal bytes", "versions": {}}
    monkeypatch.setattr(replay, "judged", lambda history, found, clone: verdict | {"stage": found.stage})
    done = recorded.lethe(folder, "replay", "models/unlearned", "--chain", "--json")
    answer = json.loads(done.output)
    order = [row["stage"] for row in answer["stages"]]
    assert (order[0], order[-1]) == ("corpus", "finetune")
    assert sorted(order) == ["baseline", "block", "corpus", "finetune", "label", "reinforce", "translate"]
    assert {row["stage"] for row in answer["stages"] if row["same"]} == {"corpus", "finetune"}
    assert (answer["same"], done.exit_code) == (None, 1)
    shown = recorded.lethe(folder, "replay", "models/unlearned", "--chain").output
    assert "replay: label: not replayed: replay: label: expected the command of dvc.yaml in commit " in shown
    assert shown.splitlines()[-1] == "replay: 2 stages made the same, 0 not, 5 not replayed"
    monkeypatch.setattr(replay, "judged", lambda history, found, clone: verdict | {"stage": found.stage, "same": False})
    assert recorded.lethe(folder, "replay", "models/unlearned", "--chain").exit_code == 3
