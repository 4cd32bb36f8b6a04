"""Run the pipeline after any other run here: DVC itself refuses with several lines, or makes the first run fail.

`dvc repro` releases its lock while a stage runs and then tries for three seconds to get it back: a second run that is
reading large files at that moment makes the first one fail after its training. So this one waits for the other.
"""

from __future__ import annotations

import json as json_lib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lethe.console import Json, print_json
from lethe.core.errors import StageError
from lethe.preflight.check import check
from lethe.preflight.edited import check_outs

if TYPE_CHECKING:
    from filelock import BaseFileLock

PARAMS = Path("params.yaml")
LOCKS = Path(".dvc/tmp")  # where DVC records which process uses what
OWN = Path(".scratch/repro.lock")
SETTINGS = {"allow_extra_args": True, "ignore_unknown_options": True}
PR_SET_PDEATHSIG = 1  # of linux/prctl.h
PAUSE = 0.5  # seconds between two checks


def command(
    context: typer.Context,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Refuse if another run is in progress.")] = False,
    json: Json = False,
) -> None:
    """Check params.yaml and run `dvc repro`, after any other run in this folder has ended.

    Targets and options are those of `dvc repro`. Every problem in params.yaml is printed before the first stage, and an
    out that was edited in place, which DVC would take for the one that was made. While
    it waits, one line names the other run; --no-wait refuses with that line. Exit code 1 if DVC fails. With --json the
    stages' output goes to stderr.
    """
    if not Path(".dvc").is_dir():
        raise StageError(f"{Path.cwd()}: expected the folder of a DVC project, got no .dvc folder")
    if PARAMS.exists():
        print(check(PARAMS), file=sys.stderr if json else sys.stdout, flush=True)
    with alone(no_wait) as waited:
        check_outs()
        code = dvc_repro(context.args, quiet=json)
    if json:
        print_json({"done": code == 0, "waited_for": waited})
    raise typer.Exit(1 if code else 0)


@contextmanager
def alone(no_wait: bool) -> Iterator[list[str]]:
    """No other `lethe repro` runs the pipeline in this block; yields the runs it waited for.

    Raises StageError instead of waiting if `no_wait`.
    """
    from filelock import FileLock

    OWN.parent.mkdir(exist_ok=True)
    lock, waited = FileLock(OWN), list[str]()
    try:
        while other := other_run(lock):
            if no_wait:
                raise StageError(f"repro: {other} is running here; wait for it or stop it")
            if not waited:
                print(f"repro: waiting for {other}, which is running here", file=sys.stderr, flush=True)
                waited.append(other)
            time.sleep(PAUSE)
        yield waited
    finally:
        lock.release()


def other_run(lock: BaseFileLock) -> str | None:
    """The other run of the pipeline here: a dvc, or a stage that outlived its dvc. None: no other, we hold the lock."""
    from filelock import Timeout

    from lethe.preflight.doctor import stages_at_work

    if not lock.is_locked:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return dvc_at_work() or "`lethe repro`"
    return dvc_at_work() or next((f"the stage {name}" for name in stages_at_work()), None)


def dvc_at_work() -> str | None:
    """The dvc that uses this project; between stages it holds the lock, during one it has an entry in rwlock."""
    return user_of_files() or holder_of_lock() or user_of_files()


def user_of_files() -> str | None:
    """The dvc that reads or writes outs, by DVC's rwlock; entries of processes that ended do not count."""
    path = LOCKS / "rwlock"
    noted = notes(path)
    users = [user for users in noted.get("read", {}).values() for user in users] + list(noted.get("write", {}).values())
    for user in users:
        words = command_of(user["pid"])
        if words and not words.endswith(" ".join(user["cmd"].split(" ")[1:])):
            raise StageError(
                f"{path}: expected a running dvc, got process {user['pid']}, which is another program by now; rm {path}"
            )
        if words:
            return named(user["cmd"], user["pid"])
    return None


def notes(path: Path) -> dict[str, Any]:
    """The content of DVC's rwlock. Raises StageError if it stays broken."""
    for _ in range(20):
        try:
            return json_lib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError:
            time.sleep(PAUSE / 10)
    raise StageError(f"{path}: expected the JSON that DVC writes, got a broken file; rm {path} if no dvc is running")


def holder_of_lock() -> str | None:
    """The dvc process that holds the lock of the whole project."""
    from zc.lockfile import LockError, LockFile

    if not LOCKS.is_dir():
        return None
    try:
        LockFile(str(LOCKS / "lock")).close()
    except LockError:
        written = (LOCKS / "lock").read_text(errors="replace").split()
        pid = int(written[0]) if written and written[0].isdigit() else 0
        return named(command_of(pid) or "dvc", pid)
    return None


def command_of(pid: int) -> str:
    """The words a process was started with, "" if there is none."""
    import psutil

    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return ""


def named(cmd: str, pid: int) -> str:
    """`dvc repro baseline` (process 123), whatever the path of dvc or Python."""
    words = re.sub(r"^.*?\bdvc(/__main__\.py)?(?= |$)", "dvc", cmd).replace(" --wait-for-lock", "")
    return f"`{words}` (process {pid})"


def dvc_repro(options: list[str], quiet: bool) -> int:
    """Run `dvc repro` with these options and return its exit code; Ctrl-C goes to dvc, and we wait for it to end.

    If this process is ended or killed, so is dvc: nobody would know that it goes on.
    """
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", *options]
    process = subprocess.Popen(command, stdout=2 if quiet else None, preexec_fn=ended_with_parent)  # stderr
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


def ended_with_parent() -> None:
    """Ask Linux to end this process with its parent, even where that is killed; elsewhere nothing."""
    import ctypes

    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
