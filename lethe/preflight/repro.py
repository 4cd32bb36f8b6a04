"""Run the pipeline when nobody else runs it here: DVC itself refuses in several lines, or stops the run that was first.

`dvc repro` gives its lock back while a stage runs and takes it again for three seconds at most: a second one that is
reading large files just then makes the first one fail after its training. So one waits for the other here.
"""

from __future__ import annotations

import json as json_lib
import re
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

if TYPE_CHECKING:
    from filelock import BaseFileLock

PARAMS = Path("params.yaml")
LOCKS = Path(".dvc/tmp")  # where DVC notes who uses what
OWN = Path(".scratch/repro.lock")
SETTINGS = {"allow_extra_args": True, "ignore_unknown_options": True}
PAUSE = 0.5  # seconds between two looks


def command(
    context: typer.Context,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Refuse if another run is under way.")] = False,
    json: Json = False,
) -> None:
    """Check params.yaml and run `dvc repro`, after any other run in this folder has ended.

    Targets and options are those of `dvc repro`. Every problem in params.yaml is told before the first stage. Waits
    with one line that names the other run, or refuses with that line (--no-wait). Exit code 1 if DVC fails. With --json
    the stages' own words go to stderr.
    """
    if not Path(".dvc").is_dir():
        raise StageError(f"{Path.cwd()}: expected the folder of a DVC project, got no .dvc folder")
    if PARAMS.exists():
        print(check(PARAMS), file=sys.stderr if json else sys.stdout, flush=True)
    with alone(no_wait) as waited:
        code = dvc_repro(context.args, quiet=json)
    if json:
        print_json({"done": code == 0, "waited_for": waited})
    raise typer.Exit(1 if code else 0)


@contextmanager
def alone(no_wait: bool) -> Iterator[list[str]]:
    """Nobody else runs the pipeline in this block, as far as they ask; yields whom it waited for.

    Raises StageError instead of waiting if `no_wait`.
    """
    from filelock import FileLock

    OWN.parent.mkdir(exist_ok=True)
    lock, waited = FileLock(OWN), list[str]()
    try:
        while other := somebody(lock):
            if no_wait:
                raise StageError(f"repro: {other} is running here; wait for it or stop it")
            if not waited:
                print(f"repro: waiting for {other}, which is running here", file=sys.stderr, flush=True)
                waited.append(other)
            time.sleep(PAUSE)
        yield waited
    finally:
        lock.release()


def somebody(lock: BaseFileLock) -> str | None:
    """Who else runs the pipeline here: a dvc, or a stage that outlived its dvc. None for nobody: the lock is ours."""
    from filelock import Timeout

    from lethe.preflight.doctor import stages_at_work

    if not lock.is_locked:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return dvc_at_work() or "`lethe repro`"
    return dvc_at_work() or next((f"the stage {name}" for name in stages_at_work()), None)


def dvc_at_work() -> str | None:
    """The dvc that uses this project; between two stages it holds the lock, in one it has a note."""
    return user_of_files() or holder_of_lock() or user_of_files()


def user_of_files() -> str | None:
    """The dvc that reads or writes outs, by DVC's own note; notes of processes that are gone do not count."""
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
    """The content of DVC's rwlock. Raises StageError if it is broken, and not only being written."""
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
    """Run `dvc repro` with these options and return its exit code; Ctrl-C is for dvc, which is waited for."""
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", *options]
    process = subprocess.Popen(command, stdout=2 if quiet else None)  # stderr
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue
