"""The private work folder: published whole or not at all, one process at a time, resumed if nothing changed."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lethe.core import stage
from lethe.core.errors import StageError

DVC = """
stages:
  block:
    deps:
      - ${block.folder}
      - code.py
    params: [shared, block]
    outs:
      - data/out
    metrics:
      - reports/m.json:
          cache: false
"""
PARAMS = "shared:\n  rate: 1\nblock:\n  folder: in\n  steps: 1\nother:\n  steps: 1\n"


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "dvc.yaml").write_text(DVC)
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("a")
    (tmp_path / "code.py").write_text("")
    monkeypatch.chdir(tmp_path)
    for name in stage.RARELY:
        monkeypatch.setenv(name, "")  # so that it is gone again after the test
        del os.environ[name]
    monkeypatch.setattr(stage, "check_whole", lambda: None)  # these params are nobody's
    return tmp_path


def fill(work: Path) -> None:
    (work / "data/out").mkdir()
    (work / "data/out/x").write_text("new")
    (work / "reports/m.json").write_text("{}")


def begin(work: Path) -> None:
    (work / "half").write_text("done")


def break_off(error: BaseException, act: Callable[[Path], None], resumable: bool = False) -> None:
    """A stage that fails after it has done something."""
    with stage.workspace("block", resumable) as work:
        act(work)
        raise error


def test_outs_appear_only_when_the_block_ends(small: Path) -> None:
    (small / "data/out").mkdir(parents=True)
    (small / "data/out/old").write_text("old")
    with stage.workspace("block") as work:
        fill(work)
        assert (small / "data/out/old").exists()
    assert [path.name for path in (small / "data/out").iterdir()] == ["x"]
    assert list((small / ".scratch/block").iterdir()) == [small / ".scratch/block/lock"]


def test_nothing_is_published_after_an_error(small: Path) -> None:
    with pytest.raises(RuntimeError):
        break_off(RuntimeError(), fill)
    assert not (small / "data/out").exists()


def test_a_declared_out_that_was_not_made_is_a_bug(small: Path) -> None:
    with pytest.raises(FileNotFoundError), stage.workspace("block"):
        pass


@pytest.mark.parametrize("changed", ["in/a.txt", "code.py", "rate: 1", "folder: in\n  steps: 1", None])
def test_earlier_work_is_found_under_the_same_content_only(small: Path, changed: str | None) -> None:
    with pytest.raises(KeyboardInterrupt):
        break_off(KeyboardInterrupt(), begin, resumable=True)
    if changed is None or ":" in changed:  # of the sections that the stage reads, or of another
        line = changed or "other:\n  steps: 1"
        (small / "params.yaml").write_text(PARAMS.replace(line, line.replace("1", "2")))
    else:
        (small / changed).write_text("# other")
    with stage.workspace("block", resumable=True) as work:
        assert (work / "half").exists() == (changed is None)
        fill(work)


def test_a_stage_that_cannot_resume_starts_empty(small: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        break_off(KeyboardInterrupt(), begin)
    with stage.workspace("block") as work:
        assert not (work / "half").exists()
        fill(work)


@pytest.mark.parametrize("resumable", [True, False])
def test_beside_the_main_process_nothing_is_published(
    small: Path, monkeypatch: pytest.MonkeyPatch, resumable: bool
) -> None:
    with stage.workspace("block", resumable) as work:
        monkeypatch.setenv("RANK", "1")
        with stage.workspace("block", resumable) as beside:
            assert (beside == work) is resumable  # a checkpoint is everybody's
            if not resumable:
                fill(beside)
        assert not (small / "data/out").exists()
        assert {path.name for path in (small / ".scratch/block").iterdir()} == {"lock", work.name}
        monkeypatch.setenv("RANK", "0")
        fill(work)
    assert (small / "data/out/x").exists()
    assert not list(small.glob(".scratch/beside/*"))


def test_second_process_is_refused(small: Path) -> None:
    program = "from lethe.core import stage\nwith stage.workspace('block') as w: print('in')"
    with stage.workspace("block") as work:
        fill(work)
        second = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "StageError: block: another process is running this stage; wait" in second.stderr


@pytest.mark.parametrize(
    ("raised", "line"),
    [
        (StageError("data/x: expected something, got nothing"), "error: data/x: expected something, got nothing"),
        (
            OSError(errno.ENOSPC, "No space", "data/x"),
            "error: data/x: no space left on the disk; free some and run `dvc repro` again",
        ),
        # what safetensors and torch make of it
        (
            RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
            "error: pytest: no space left on the disk; free some and run `dvc repro` again",
        ),
        (
            RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),
            "error: pytest: no space left on the disk; free some and run `dvc repro` again",
        ),
        (KeyboardInterrupt(), "pytest: interrupted; `dvc repro` resumes from here"),
    ],
)
def test_one_line_and_exit_code(small: Path, monkeypatch: pytest.MonkeyPatch, raised: BaseException, line: str) -> None:
    def main() -> None:
        raise raised

    monkeypatch.setattr(sys, "argv", ["pytest.py"])
    with pytest.raises(SystemExit) as exit_:
        stage.run(main)
    assert exit_.value.code == line  # a string: printed to stderr, exit code 1


def test_a_bug_keeps_its_traceback(small: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        stage.run(lambda: print(1 / 0))


def test_cost_is_recorded_outside_the_artifacts(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/x/block.py"])
    monkeypatch.setattr(stage, "SPENT", {"tokens": 0})
    stage.run(lambda: None)
    assert set(json.loads((small / ".scratch/cost/block.json").read_text())) == {
        "cpu_seconds",
        "wall_seconds",
        "peak_memory_mib",
    }


def test_cost_counts_processes_that_ran_side_by_side(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/x/block.py"])
    monkeypatch.setattr(stage, "SPENT", {"tokens": 0})
    monkeypatch.setattr(stage, "BESIDE", {"peak": 0})
    stage.run(lambda: (stage.count_beside(7, 5 << 20), stage.count_beside(5, 1 << 20))[0])
    found = json.loads((small / ".scratch/cost/block.json").read_text())
    assert found["tokens"] == 12
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # MiB
    assert 5 * 1024 < found["peak_memory_mib"] <= 5 * 1024 + own + 1  # 5 GiB of theirs, and this one's


def test_without_a_terminal_a_progress_bar_is_a_line_in_thirty_seconds(small: Path) -> None:
    program = (
        "import sys, time; from lethe.core import stage; stage.check_whole = lambda: None; sys.argv = ['/x/block.py']\n"
        "def main():\n"
        "    from tqdm import tqdm\n"
        "    for _ in tqdm(range(40), desc='block'): time.sleep(0.01)\n"
        "stage.run(main)"
    )
    root = Path(stage.__file__).parents[2]
    shown = []
    for settings in ({}, {"TQDM_MININTERVAL": "0.01", "TQDM_DELAY": "0"}):  # the second: whoever started it reads them
        environment = os.environ | {"PYTHONPATH": str(root)} | settings
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        shown.append(done.stderr.count("block:"))
    assert shown[0] == 0
    assert shown[1] > 5


def test_cost_counts_tokens_and_the_gpu(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(sys, "argv", ["/x/block.py"])
    monkeypatch.setattr(stage, "SPENT", {"tokens": 0})
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: 3 * 2**29)
    stage.run(lambda: (stage.count_tokens(7), stage.count_tokens(5))[0])
    found = json.loads((small / ".scratch/cost/block.json").read_text())
    assert (found["tokens"], found["peak_gpu_memory_mib"]) == (12, 1536.0)
    assert found["gpu_seconds"] == found["wall_seconds"]


def test_too_small_a_disk(small: Path) -> None:
    with pytest.raises(StageError, match=r"expected 1000000000.0 GB free for a model, got .* GB; free some space"):
        stage.need_disk(small, 10**18, "a model")


def test_unknown_parameter_in_dvc_yaml(small: Path) -> None:
    (small / "params.yaml").write_text("block:\n  steps: 1\n")
    with pytest.raises(StageError, match=r"params.yaml: block.folder: parameter is missing"):
        stage.declaration("block")
