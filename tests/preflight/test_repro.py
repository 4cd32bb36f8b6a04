"""`lethe repro`: one run at a time, and one line for whoever comes second."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

from lethe.core.errors import StageError
from lethe.preflight import repro
from tests import tiny
from tests.conftest import ROOT

PIPELINE = """stages:
  one: {cmd: 'touch started; until test -e go; do sleep 0.05; done; echo a > a', outs: [a]}
  two: {cmd: cp a b, deps: [a], outs: [b]}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A pipeline whose first stage ends once there is a file `go`."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / ".gitignore").write_text("/go\n/started\n/.scratch\n")
    tiny.git(folder, "init", "--quiet", "--initial-branch=main")
    tiny.dvc(folder, "init", "--quiet")
    return folder


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "expected the condition before the deadline, got a timeout"
        time.sleep(0.02)


def begin(project: Path, *command: str) -> subprocess.Popen[str]:
    """Start a run and wait until it is inside the first stage."""
    running = tiny.start(project, *command)
    wait_for(lambda: (project / "started").exists())
    return running


def lethe_repro(project: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return tiny.run(project, "lethe", "repro", *options)


@pytest.mark.slow
def test_whoever_comes_second_refuses_with_one_line(project: Path) -> None:
    first = begin(project, "dvc", "repro", "one")
    second = lethe_repro(project, "--no-wait")
    told = f"`dvc repro one` (process {first.pid}) is running here; wait for it or stop it"
    assert (second.returncode, second.stdout, second.stderr) == (1, "", f"error: repro: {told}\n")
    (project / "go").touch()
    first.communicate()
    assert first.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("command", ["dvc", "lethe"])
def test_whoever_comes_second_waits_with_one_line(project: Path, command: str) -> None:
    first = begin(project, command, "repro", "one")
    second = subprocess.Popen(
        ["lethe", "repro", "--json"],
        cwd=project,
        env=tiny.environment(project),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert second.stderr is not None
    line = second.stderr.readline()
    name = {"dvc": "dvc repro one", "lethe": "lethe repro"}[command]
    assert line.startswith(f"repro: waiting for `{name}` (process ")
    assert line.endswith("), which is running here\n")
    (project / "go").touch()
    output, errors = second.communicate()
    assert first.wait() == 0
    assert second.returncode == 0
    told = json.loads(output)
    seconds = [stage.pop("seconds") for stage in told["stages"]]
    assert seconds[0] == 0 < seconds[1]
    assert told == {
        "done": True,
        "waited_for": [line[len("repro: waiting for ") : line.index(", which")]],
        "plan": [{"stage": "two", "why": ["has not run yet"], "seconds": None}],
        "stages": [{"stage": "one", "state": "unchanged"}, {"stage": "two", "state": "ran"}],
    }
    assert "plan: 1 stages to run, 1 unchanged\n  two           has not run yet\n" in errors
    assert "waiting" not in errors
    assert (project / "b").read_text() == "a\n"


@pytest.mark.slow
def test_somebody_who_holds_the_lock_for_long_does_not_fail_the_run(project: Path) -> None:
    from zc.lockfile import LockFile

    first = begin(project, "lethe", "repro")
    lock = LockFile(str(project / ".dvc/tmp/lock"))  # as a `dvc status` does that hashes large files
    (project / "go").touch()
    time.sleep(6)  # `dvc repro` alone gives up after three seconds
    assert first.poll() is None
    lock.close()
    output = first.communicate()[0]
    assert first.returncode == 0, output


@pytest.mark.slow
def test_a_stage_that_fails_and_a_ctrl_c(project: Path) -> None:
    (project / "dvc.yaml").write_text(PIPELINE.replace("cp a b", "exit 5"))
    first = begin(project, "lethe", "repro")
    stage = [
        process for process in psutil.Process(first.pid).children(recursive=True) if "until" in str(process.cmdline())
    ]
    first.send_signal(signal.SIGINT)  # as a terminal does: dvc has a session of its own
    output = first.communicate()[0]
    assert "Traceback" not in output
    assert "ERROR" not in output
    assert output.endswith("repro: interrupted; `lethe repro` resumes from here\n")
    assert first.returncode == 1
    assert stage
    assert not any(process.is_running() for process in stage)
    (project / "go").touch()
    failed = lethe_repro(project)
    assert failed.returncode == 1
    assert "failed to run: exit 5, exited with 5" in failed.stderr
    assert "\ntwo: failed after 0:0" in failed.stdout
    assert "\nrepro: stopped after 0:0" in failed.stdout
    done = lethe_repro(project, "one")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("plan: nothing to run, 1 stages unchanged\n")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which DVC ran once, as the current one."""
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused() -> str:
    with pytest.raises(StageError) as error, repro.alone(no_wait=True):
        pass
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_stage_that_outlived_its_dvc_is_waited_for(here: Path) -> None:
    (here / ".scratch/baseline").mkdir(parents=True)
    with FileLock(here / ".scratch/baseline/lock"):
        assert refused().startswith("repro: the stage baseline is running here; wait for it or stop it")
    with repro.alone(no_wait=True) as waited:
        assert waited == []


def test_another_lethe_repro_that_is_only_beginning(here: Path) -> None:
    (here / ".scratch").mkdir()
    with FileLock(here / repro.OWN):
        assert refused().startswith("repro: `lethe repro` is running here")


def noted(here: Path, pid: int, cmd: str) -> None:
    user = {"pid": pid, "cmd": cmd}
    (here / ".dvc/tmp/rwlock").write_text(json.dumps({"read": {"/a": [user]}, "write": {"/b": user}}))


def test_a_note_of_a_process_that_is_gone_stops_nobody(here: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    noted(here, gone.pid, "/usr/bin/dvc repro")
    with repro.alone(no_wait=True):
        assert not repro.dvc_at_work()


def test_a_note_whose_process_number_is_another_program_s_by_now(here: Path) -> None:
    noted(here, os.getpid(), "/usr/bin/dvc repro")
    where = Path(".dvc/tmp/rwlock")
    assert refused() == (
        f"{where}: expected a running dvc, got process {os.getpid()}, which is another program by now; rm {where}"
    )


def test_a_broken_note_is_one_line(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repro, "PAUSE", 0)
    (here / ".dvc/tmp/rwlock").write_text('{"read": ')
    where = Path(".dvc/tmp/rwlock")
    assert refused() == (
        f"{where}: expected the JSON that DVC writes, got a broken file; rm {where} if no dvc is running"
    )


@pytest.mark.parametrize(
    ("cmd", "shown"),
    [
        ("/opt/dvc-things/bin/dvc repro baseline", "`dvc repro baseline` (process 7)"),
        ("/lib/dvc/__main__.py --wait-for-lock repro", "`dvc repro` (process 7)"),
        ("/lib/dvc/__main__.py --wait-for-lock repro --single-item corpus block", "`lethe repro` (process 7)"),
        ("/opt/bin/python -m dvc exp run", "`dvc exp run` (process 7)"),
    ],
)
def test_a_dvc_is_named_without_its_path(cmd: str, shown: str) -> None:
    assert repro.named(cmd, 7) == shown


def test_outside_of_a_project(tmp_path: Path) -> None:
    done = lethe_repro(tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: {tmp_path}: expected the folder of a DVC project, got no .dvc folder\n"


def test_a_problem_in_params_is_told_before_the_first_stage(project: Path) -> None:
    (project / "params.yaml").write_text("one: {}\n")
    (project / "go").touch()  # the stage would end at once
    refused = lethe_repro(project)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("error: params.yaml: 2 problems\n")
    assert not (project / "started").exists()


def test_make_repro_runs_it() -> None:
    makefile = (tiny.ROOT / "Makefile").read_text()
    assert "\t@$(ENV) lethe repro\n" in makefile
    assert "\t@$(ENV) lethe repro spul\n" in makefile


def parts(words: list[str], unchanged: set[str], monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The arguments of each `dvc repro` in this project; nothing is run."""
    from lethe.running import plan

    order = ["corpus", "distil", "prompt", "retrain", "evaluate", "report"]
    steps = [plan.Step(name, [] if name in unchanged else ["x changed"], [], []) for name in order]
    monkeypatch.setattr(plan, "plan", lambda targets, force: steps)
    monkeypatch.setattr(repro, "expected", dict.fromkeys)
    return repro.prepared(words).parts


def test_a_first_look_where_it_comes_much_earlier(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "dvc.yaml").write_text("stages: {report: {cmd: 'true'}, classify: {cmd: 'true'}}\n")
    single = "--single-item"
    first, rest = [single, "corpus", "distil", "prompt"], [single, "retrain", "evaluate", "report"]
    assert parts([], set(), monkeypatch) == [first, rest]
    assert parts(["-f"], set(), monkeypatch) == [[single, "--force", *part[1:]] for part in (first, rest)]
    whole = [[*first, *rest[1:]]]
    assert parts([], {"retrain"}, monkeypatch) == whole  # evaluate comes next anyway
    assert parts([], {"evaluate"}, monkeypatch) == whole
    assert parts([], {"corpus", "distil", "prompt"}, monkeypatch) == whole  # nothing new to look at
    assert parts(["--dry"], set(), monkeypatch) == []
    # options whose plan is dvc's own: the classification task is left out of these too, unless they choose the stages
    assert parts(["-k"], set(), monkeypatch) == [["-k", "report"]]
    assert parts(["-P"], set(), monkeypatch) == [["-P"]]
    with pytest.raises(StageError, match="expected options that ask nothing"):
        parts(["-i"], set(), monkeypatch)


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_dvc_ends_with_whoever_started_it(tmp_path: Path, sign: signal.Signals) -> None:
    dvc = tmp_path / "dvc"
    dvc.write_text("#!/bin/sh\necho $$ > pid.half; mv pid.half pid; exec sleep 600\n")
    dvc.chmod(0o755)
    program = (
        f"import sys; from lethe.preflight import repro; sys.executable = {str(dvc)!r}; "
        "repro.dvc_repro(repro.Run([[]], None, 0, {}), sys.stdout)"
    )
    started = subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    wait_for((tmp_path / "pid").exists)
    child = psutil.Process(int((tmp_path / "pid").read_text()))
    started.send_signal(sign)
    started.wait()
    try:
        child.wait(timeout=20)
    finally:
        if child.is_running():
            child.kill()
