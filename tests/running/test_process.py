"""An end to all processes of a run, with real ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from lethe.running import process
from tests.conftest import ROOT

# follows a shell that starts a child in a session of its own, which says its number
PROGRAM = """
import sys
from lethe.running import process
process.PATIENCE = 0.5
child = "{trap} echo $$ > pid.half; mv pid.half pid; while true; do sleep 0.1; done"
shell = "{trap} (exec setsid sh -c '" + child + "') & wait; wait"
print(process.follow(["sh", "-c", shell], lambda line, *_: print("line", line), lambda: None))
"""


def heard() -> None:
    """Hear signals that the tests themselves may be deaf to: in the background, or under nohup."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("trap", ["", 'trap "" INT TERM HUP;'])
def test_every_process_ends_whatever_it_ignores(tmp_path: Path, sign: signal.Signals, trap: str) -> None:
    started = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.replace("{trap}", trap)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=heard,
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "pid").exists():
        assert time.monotonic() < deadline
        assert started.poll() is None
        time.sleep(0.05)
    child = psutil.Process(int((tmp_path / "pid").read_text()))
    try:
        started.send_signal(sign)  # to it alone, as `kill` does
        output, _ = started.communicate(timeout=60)
        assert output.endswith(", True)\n")
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    finally:
        if child.is_running():
            child.kill()


def test_lines_of_both_streams_and_the_exit_code() -> None:
    found: list[tuple[str, bool]] = []
    code, asked = process.follow(
        ["sh", "-c", "echo one; printf 'two\\rthree\\n' >&2; exit 5"],
        lambda line, of_stderr, ending: found.append((line, of_stderr)),
        lambda: None,
    )
    assert (code, asked) == (5, False)
    assert sorted(found) == [("one", False), ("three", True), ("two", True)]


def test_a_process_left_behind_does_not_keep_the_run_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LINGERING", 0.3)
    began = time.monotonic()
    assert process.follow(["sh", "-c", "sleep 20 & exit 0"], lambda *_: None, lambda: None) == (0, False)
    assert time.monotonic() - began < 15


def test_a_signal_that_comes_while_the_command_starts_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    start = subprocess.Popen
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell ignores it for what runs in the background

    def starts_and_is_interrupted(*args: Any, **options: Any) -> subprocess.Popen[str]:
        started = start(*args, **options)
        os.kill(os.getpid(), signal.SIGINT)
        return started

    monkeypatch.setattr(subprocess, "Popen", starts_and_is_interrupted)
    try:
        code, asked = process.follow(["sh", "-c", "exec sleep 30"], lambda *_: None, lambda: None)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (code, asked) == (-signal.SIGINT, True)
