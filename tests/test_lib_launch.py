"""The launcher: silent about Ctrl-C, and about nothing else."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from stages.lib import launch
from tests import tiny

STAGE = """import sys, time
print("RANK", __import__("os").environ.get("ACCELERATE_MIXED_PRECISION"), flush=True)
try:
    time.sleep(float(sys.argv[1]))
except KeyboardInterrupt:
    time.sleep(1)  # longer than the launcher would wait
    sys.exit("small: interrupted")
raise RuntimeError("a bug")
"""


class SignalException(Exception):  # noqa: N818 -- torch's name
    sigval = signal.SIGINT


def test_what_counts_as_ctrl_c() -> None:
    assert launch.by_ctrl_c(KeyboardInterrupt())
    assert launch.by_ctrl_c(SignalException())
    terminated = SignalException()
    terminated.sigval = signal.SIGTERM
    assert not any(map(launch.by_ctrl_c, (terminated, SystemExit(1), RuntimeError())))


@pytest.mark.slow
def test_ctrl_c_is_the_stages_own_line(tmp_path: Path) -> None:
    (tmp_path / "small.py").write_text(STAGE)
    running = tiny.start(tmp_path, "python", "-m", "stages.lib.launch", "small", "60")
    assert running.stdout is not None
    assert running.stdout.readline() == "RANK no\n"  # accelerate started it
    os.killpg(running.pid, signal.SIGINT)
    output = running.communicate()[0]
    assert (output, running.returncode) == ("small: interrupted\n", launch.INTERRUPTED)


@pytest.mark.slow
def test_a_bug_keeps_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "small.py").write_text(STAGE)
    done = tiny.run(tmp_path, "python", "-m", "stages.lib.launch", "small", "0")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "RuntimeError: a bug"
    assert done.stderr.count("Traceback") == 1  # the stage's own, none of the launcher's
