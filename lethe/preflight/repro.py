"""Run the pipeline after any other run here: DVC itself refuses with several lines, or makes the first run fail.

`dvc repro` releases its lock while a stage runs and then tries for three seconds to get it back: a second run that is
reading large files at that moment makes the first one fail after its training. So this one waits for the other.
"""

from __future__ import annotations

import json as json_lib
import re
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from lethe.console import Json, print_json
from lethe.core.errors import StageError
from lethe.core.params import read_yaml
from lethe.preflight.check import check
from lethe.preflight.edited import check_outs

if TYPE_CHECKING:
    from filelock import BaseFileLock

    from lethe.running.watch import Ended

PARAMS = Path("params.yaml")
LOCKS = Path(".dvc/tmp")  # where DVC records which process uses what
OWN = Path(".scratch/repro.lock")
SETTINGS = {"allow_extra_args": True, "ignore_unknown_options": True}
OURS = {"-f", "--force", "--dry"}  # options for which the plan is known here, without dvc
WIDER = {"-P", "--all-pipelines", "-p", "--pipeline", "-R", "--recursive", "--downstream"}  # they choose the stages
REASONS = 3  # of a stage that the plan names
PAUSE = 0.5  # seconds between two checks


def command(
    context: typer.Context,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Refuse if another run is in progress.")] = False,
    json: Json = False,
) -> None:
    """Check params.yaml, show what will run and why, and run `dvc repro`, after any other run in this folder has ended.

    Targets and options are those of `dvc repro`; without a target every stage but those of the classification task,
    which are `lethe repro spul`. --dry ends after the plan. Every problem in params.yaml is printed before the first
    stage, and an out that was edited in place, which DVC would take for the one that was made. While it waits, one line
    names the other run; --no-wait refuses with that line. Ctrl-C ends all processes of the run. Exit code 1 if DVC
    fails. With --json everything else goes to stderr.
    """
    if not Path(".dvc").is_dir():
        raise StageError(f"{Path.cwd()}: expected the folder of a DVC project, got no .dvc folder")
    out = sys.stderr if json else sys.stdout
    if PARAMS.exists():
        print(check(PARAMS), file=out, flush=True)
    with alone(no_wait) as waited:
        check_outs()
        run = prepared(context.args)
        show(run, out)
        done, ended = dvc_repro(run, out) if run.parts else (True, [])
    if json:
        why = run.why or {}
        planned = [{"stage": name, "why": own, "seconds": run.seconds[name]} for name, own in why.items()]
        print_json({"done": done, "waited_for": waited, "plan": planned, "stages": [each._asdict() for each in ended]})
    raise typer.Exit(0 if done else 1)


class Run(NamedTuple):
    """What will be run."""

    parts: list[list[str]]  # the arguments of each `dvc repro`; the first look is taken between two of them
    why: dict[str, list[str]] | None  # the stages that will probably run, with the reasons; None: left to dvc
    unchanged: int  # other stages of the run
    seconds: dict[str, float | None]  # that each of them will take; None: not known


def prepared(words: Sequence[str]) -> Run:
    """What the words after `lethe repro` mean. Raises StageError for an option that needs a terminal."""
    from lethe.running.plan import plan, targets_of

    options, named = [[word for word in words if word.startswith("-") == is_option] for is_option in (True, False)]
    if {"-i", "--interactive"} & set(options):
        raise StageError("repro: expected options that ask nothing, got --interactive; `dvc repro --interactive`")
    targets = targets_of(named, list(read_yaml(Path("dvc.yaml")).get("stages") or {}))
    if not set(options) <= OURS:
        return Run([[*options, *(targets if named or not WIDER & set(options) else [])]], None, 0, {})
    force = bool({"-f", "--force"} & set(options))
    steps = plan(targets, force)
    why = {step.name: step.why for step in steps if step.why}
    begin = ["--single-item", *(["--force"] if force else [])]
    parts = [[*begin, *part] for part in in_parts([step.name for step in steps], why)]
    return Run(parts if why and "--dry" not in options else [], why, len(steps) - len(why), expected(list(why)))


def in_parts(order: Sequence[str], running: Collection[str]) -> list[list[str]]:
    """The stages before the first look, and those after it; in one where the look would not come much earlier."""
    from lethe.running.first_look import BEFORE, NEEDED

    if BEFORE not in running or not set(NEEDED) <= set(order):
        return [list(order)]
    cut = max(map(order.index, NEEDED)) + 1
    waits = any(stage in running for stage in order[cut : order.index(BEFORE)])
    made = any(stage in running for stage in order[:cut])
    return [list(order[:cut]), list(order[cut:])] if waits and made else [list(order)]


def expected(stages: Sequence[str]) -> dict[str, float | None]:
    """Seconds that each stage will take: as the last time here, else by the planner, None where it cannot tell."""
    from lethe.core.side_by_side import side_by_side
    from lethe.preflight.doctor import last_cost, planned_seconds

    costs = {stage: last_cost(stage) for stage in stages}
    known: dict[str, float | None] = {stage: cost["wall_seconds"] for stage, cost in costs.items() if cost}
    planned: dict[str, float] = {}
    if len(known) < len(stages) and PARAMS.exists():
        with suppress(StageError):  # it is only told less of the run; torch is not to stay in memory for all of it
            (planned,) = side_by_side(planned_seconds, [(PARAMS,)], 1, ["repro: the planner"])
    return {stage: known.get(stage, planned.get(stage)) for stage in stages}


def show(run: Run, out: IO[str]) -> None:
    """Print the plan: the stages that will run, how long each will take, and why."""
    from lethe.running.watch import clock_time

    if run.why is None:
        return
    if not run.why:
        print(f"plan: nothing to run, {run.unchanged} stages unchanged", file=out, flush=True)
        return
    known = [seconds for seconds in run.seconds.values() if seconds is not None]
    about = f", about {clock_time(sum(known))}" if known else ""
    unknown = f" without {len(run.seconds) - len(known)} of them" if known and len(known) < len(run.seconds) else ""
    print(f"plan: {len(run.why)} stages to run{about}{unknown}, {run.unchanged} unchanged", file=out)
    width = max(map(len, run.why))
    for name, why in run.why.items():
        time_ = "" if (seconds := run.seconds[name]) is None else clock_time(seconds)
        told = "; ".join([*why[:REASONS], *([f"{len(why) - REASONS} more"] if len(why) > REASONS else [])])
        print(f"  {name:<{width}}  {time_:>7}  {told}", file=out)
    out.flush()


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
    """`dvc repro baseline` (process 123), whatever the path of dvc or Python; and `lethe repro` for ours."""
    if {"--wait-for-lock", "--single-item"} <= set(cmd.split()):
        return f"`lethe repro` (process {pid})"
    words = re.sub(r"^.*?\bdvc(/__main__\.py)?(?= |$)", "dvc", cmd).replace(" --wait-for-lock", "")
    return f"`{words}` (process {pid})"


def dvc_repro(run: Run, out: IO[str]) -> tuple[bool, list[Ended]]:
    """Run the parts with `dvc repro` and show how it goes; whether it succeeded, and what became of each stage.

    However this process ends, so does dvc; where it is asked to end, so do all processes of the run.
    """
    from lethe.running.process import follow, reported_to_us
    from lethe.running.verdict import REPORT, STAGE, first_verdict
    from lethe.running.watch import Watch

    def verdict(ended: Ended) -> str | None:
        new = ended.stage == STAGE and ended.state != "unchanged"
        return first_verdict(REPORT) if new and REPORT.exists() else None

    watch = Watch(run.seconds, out, verdict)

    def take(line: str, of_stderr: bool, ending: bool) -> None:
        if not (ending and line.startswith("ERROR: ")):  # that dvc was interrupted is said below
            watch.line(line, sys.stderr if of_stderr else None)

    code, asked = 0, False
    for number, part in enumerate(run.parts):
        if number:
            _, asked = follow([sys.executable, "-m", "lethe.running.first_look"], take, watch.tick)
        if not asked and code == 0:
            command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", *part]
            code, asked = follow(command, take, watch.tick, reported_to_us(watch.live))
            watch.end("stopped" if asked else "failed" if code else "ran")
    watch.finish(code == 0 and not asked)
    if asked:
        print("repro: interrupted; `lethe repro` resumes from here", file=sys.stderr)
    return code == 0 and not asked, watch.ended
