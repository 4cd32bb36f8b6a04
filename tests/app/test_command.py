"""`lethe app` itself: its address, what it says first, and its errors in one line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from lethe.app import command
from lethe.app.command import bound
from lethe.core.errors import StageError
from tests.conftest import NO_EXTRA, ROOT
from tests.recorded import lethe


def test_without_the_extra_the_line_says_what_to_install(own_project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == "uvicorn" else object())
    done = lethe(own_project, "app")
    assert str(done.exception) == "lethe app: the package uvicorn is missing; `pip install 'lethe-unlearning[app]'`"


def test_a_port_that_is_taken_is_one_line() -> None:
    with bound(0) as first:
        port = first.getsockname()[1]
        assert first.getsockname()[0] == "127.0.0.1"
        with pytest.raises(StageError, match=rf"--port: expected a free port, got {port}: Address already in use"):
            bound(port)


def test_a_model_that_nobody_knows_is_one_line(own_project: Path) -> None:
    pytest.importorskip("starlette", reason=NO_EXTRA)
    done = lethe(own_project, "app", "--models", "nosuch")
    assert isinstance(done.exception, StageError)
    assert str(done.exception).startswith("--models: expected baseline, suppressed, unlearned, retrained")


def test_the_address_is_in_no_argument_of_the_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: bool(seen.append(address)))
    address = "http://127.0.0.1:1/?token=a-token"
    with command.opened(address):
        page = Path(seen[0].removeprefix("file://"))
        assert address in page.read_text()
        assert "a-token" not in seen[0]
        assert page.parent.stat().st_mode & 0o077 == 0  # nobody else may look in
    assert not page.parent.exists()


def test_it_says_its_address_serves_and_ends_with_ctrl_c(own_project: Path) -> None:
    pytest.importorskip("starlette", reason=NO_EXTRA)
    words = [sys.executable, "-m", "lethe", "app", "--json", "--models", "baseline,retrained"]
    # a group of its own, as a shell gives it: Ctrl-C goes to this process alone
    running = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(), start_new_session=True
    )
    assert running.stdout is not None
    try:
        said = json.loads(until_whole(running.stdout))
        assert said["models"] == ["baseline", "retrained"]
        assert said["absent"] == {"retrained": "nothing was trained"}
        page = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(said["url"], timeout=60)
        assert b"lethe app" in page.read()
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(said["url"][:-3], timeout=60)
        running.send_signal(signal.SIGINT)
        out, error = running.communicate(timeout=60)
        assert (out, error) == ("", "")
    finally:
        running.kill()
        running.wait()


def until_whole(stream: Any) -> str:
    """The first object that a program prints over several lines."""
    text = ""
    for line in stream:
        text += line
        if line == "}\n":
            break
    return text


def environment() -> dict[str, str]:
    import os

    path = os.pathsep.join([str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
