"""Work in processes of their own: its results, its errors, and its end with the one that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from lethe.core import stage
from lethe.core.errors import StageError
from lethe.core.side_by_side import peak_of, side_by_side
from tests.conftest import ROOT


def work(name: str, folder: Path, wanted: int) -> str:
    """Wait until `wanted` of these are at work at the same time, then count some tokens."""
    (folder / name).touch()
    deadline = time.monotonic() + 60
    while len(list(folder.iterdir())) < wanted:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    stage.count_tokens(5)
    return f"{name} {'TQDM_DISABLE' in os.environ}"


def fails(name: str, folder: Path) -> None:
    (folder / f"{name} {os.getpid()}").touch()
    if name == "refuses":
        raise StageError("here: expected this, got that")
    if name == "dies":
        os._exit(7)
    time.sleep(600)


def test_results_in_order_and_what_they_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "SPENT", {"tokens": 1})
    monkeypatch.setattr(stage, "BESIDE", {"peak": 0})
    each = [("a", tmp_path, 2), ("b", tmp_path, 2)]  # neither ends without the other
    assert side_by_side(work, each, 2, ["a", "b"]) == ["a False", "b True"]  # only the first shows progress
    assert stage.SPENT == {"tokens": 11}
    assert stage.BESIDE["peak"] > 2 * 5_000  # KiB of two Pythons


def test_one_after_the_other_where_only_one_fits(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"^b: expected a result, got the exit code 1 of its process$"):
        side_by_side(alone_in, [("a", tmp_path), ("b", tmp_path)], 1, ["a", "b"])
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def alone_in(name: str, folder: Path) -> None:
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 -- its traceback
    assert not list(folder.iterdir())  # b sees that a was there, and fails
    (folder / name).touch()


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("refuses", "here: expected this, got that"),
        ("dies", "dies: expected a result, got the exit code 7 of its process"),
    ],
)
def test_an_error_ends_the_others(tmp_path: Path, name: str, line: str) -> None:
    with pytest.raises(StageError) as error:
        side_by_side(fails, [(name, tmp_path), ("goes on", tmp_path)], 2, [name, "goes on"])
    assert str(error.value) == line
    for path in tmp_path.iterdir():
        assert not psutil.pid_exists(int(path.name.split()[-1]))


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_they_end_with_whoever_started_them(tmp_path: Path, sign: signal.Signals) -> None:
    program = (
        "from pathlib import Path; from lethe.core.side_by_side import side_by_side\n"
        "from tests.core.test_side_by_side import fails\n"
        f"if __name__ == '__main__': side_by_side(fails, [('a', Path({str(tmp_path)!r}))], 1, ['a'])"
    )
    script = tmp_path.parent / "starts.py"
    script.write_text(program)
    started = subprocess.Popen(
        [sys.executable, str(script)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.iterdir()):
        assert time.monotonic() < deadline
        assert started.poll() is None
        time.sleep(0.05)
    child = psutil.Process(int(next(tmp_path.iterdir()).name.split()[-1]))
    started.send_signal(sign)
    started.wait(timeout=60)
    child.wait(timeout=20)


def test_the_peak_is_of_those_that_can_have_run_together() -> None:
    assert peak_of([3, 9, 5], 2) == 14
