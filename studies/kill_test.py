"""kill -9 in every stage of the tiny pipeline, then `dvc repro`: the result has the bytes of an uninterrupted run.

`make soak` kills each stage once at a random moment, in five rounds, and writes reports/soak/soak.json; a slow test
plays one round with the same code. A round is one clean clone in which `dvc repro` is started, killed, and at once
started again, for every fifth stage. Half of the kills hit dvc, whose stage lives on as an orphan; the others hit the
stage's own process, the trainer.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tests import tiny

ROOT = Path(__file__).resolve().parents[1]
ROUNDS, SEED = 5, 20
PATIENCE = 900.0  # seconds to wait for an expected event, at least
POLL = 0.2
REFUSED = "another process is running this stage"
VICTIMS = ("dvc", "trainer")


class Kill(NamedTuple):
    """Kill the victim `share` of the way through the stage."""

    stage: str
    share: float
    victim: str


def main() -> None:
    folder = ROOT / ".scratch/soak"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    project = tiny.make(folder / "undisturbed")
    wanted, seconds = undisturbed(project)
    rounds = []
    for number, kills in enumerate(dealt(list(seconds), ROUNDS, SEED), start=1):
        copy = tiny.clone(project, folder / f"round-{number}")  # only what git holds: nothing has run
        try:
            rounds.append(play(copy, kills, seconds, wanted))
        finally:
            for process in processes(copy):
                kill_hard(process)
        print(f"round {number}: {format_round(rounds[-1])}", flush=True)
        shutil.rmtree(copy)
    target = ROOT / "reports/soak/soak.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(summary(rounds, wanted), indent=2) + "\n", encoding="utf-8")
    print(f"soak: {format_rounds(rounds)}; {target.relative_to(ROOT)}")
    sys.exit(not all(found["equal"] and not found["left"] for found in rounds))


def undisturbed(project: Path) -> tuple[dict[str, str], dict[str, float]]:
    """Reproduce the project without interruption. Returns {out: md5} and the seconds that each stage's process took."""
    running = begin(project)
    first: dict[str, float] = {}
    last: dict[str, float] = {}
    while running.poll() is None:
        for stage in stages_alive(project):
            last[stage] = time.monotonic()
            first.setdefault(stage, last[stage])
        time.sleep(POLL)
    if running.returncode:
        raise AssertionError(f"the undisturbed run failed\n{log(project).read_text()}")
    return tiny.hashes(project), {stage: last[stage] - first[stage] for stage in first}


def begin(project: Path) -> subprocess.Popen[str]:
    """Start `dvc repro`, with a log next to the project: a pipe would fill, and an orphan would hold it open.

    The log is a new file: an orphan of the last run goes on writing into the old one, at its own place.
    """
    log(project).unlink(missing_ok=True)
    with log(project).open("w") as stream:
        return tiny.start(project, "dvc", "repro", output=stream)


def log(project: Path) -> Path:
    """The output of the last `dvc repro`."""
    return project.parent / f"{project.name}.log"


def dealt(stages: Sequence[str], rounds: int, seed: int) -> list[list[Kill]]:
    """Each stage once, at a moment sampled uniformly over its time, dealt to rounds; the victims alternate in a round.

    stages: in the pipeline's order, which the kills of a round keep.
    """
    chance = random.Random(seed)
    moments = {stage: round(chance.random(), 3) for stage in stages}
    return [
        [Kill(stage, moments[stage], VICTIMS[(first + place) % 2]) for place, stage in enumerate(stages[first::rounds])]
        for first in range(min(rounds, len(stages)))
    ]


def play(project: Path, kills: Sequence[Kill], seconds: dict[str, float], wanted: dict[str, str]) -> dict[str, Any]:
    """Run, kill and run again for every kill, and compare the result at the end.

    Raises AssertionError if a command's output is not as expected.
    """
    order = list(seconds)
    patience = max(PATIENCE, 3 * sum(seconds.values()))  # a busy machine takes as long for all of it again
    played = []
    running = begin(project)
    for kill in kills:
        due = set(order[order.index(kill.stage) :])
        ready = partial(is_due, project, running, due)
        wait_for(ready, patience)
        time.sleep(kill.share * seconds[kill.stage])
        struck = strike(project, running, kill.victim)
        running, orphan = again(project, patience)
        played.append(kill._asdict() | struck | orphan)
    running.wait()
    if running.returncode:
        raise AssertionError(f"the last `dvc repro` failed\n{log(project).read_text()}")
    return {"kills": played, "equal": tiny.hashes(project) == wanted, "left": leftovers(project, wanted)}


def strike(project: Path, running: subprocess.Popen[str], victim: str) -> dict[str, Any]:
    """kill -9 the victim. If no stage is alive, dvc is the victim. Returns the victim and its stage."""
    stage, trainers = next(iter(stages_alive(project).items()), (None, []))
    hit = "trainer" if trainers and victim == "trainer" else "dvc"
    if running.poll() is not None:
        hit = "none: all was done"
    for process in trainers if hit == "trainer" else [running.pid]:
        kill_hard(process)
    running.wait()
    output = log(project).read_text()
    if "Traceback" in output:
        raise AssertionError(f"a traceback after the kill\n{output}")
    return {"hit": hit, "in": stage}


def is_due(project: Path, running: subprocess.Popen[str], stages: set[str]) -> bool:
    """Whether one of these stages runs, or nothing does."""
    return bool(stages & set(stages_alive(project))) or running.poll() is not None


def again(project: Path, patience: float = PATIENCE) -> tuple[subprocess.Popen[str], dict[str, bool]]:
    """Start `dvc repro` while orphans may be alive, and once more if it refuses to run.

    Returns the running `dvc repro`, whether an orphan was there, and whether a stage refused to run.
    """
    orphans = processes(project)  # a launcher that is yet to start its trainer is one, too, and outlives it
    running = begin(project)
    wait_for(lambda: running.poll() is not None or not any(map(alive, orphans)), patience)
    refused = running.poll() is not None and running.returncode != 0
    if refused:
        output = log(project).read_text()
        if output.count(REFUSED) != 1 or "Traceback" in output:
            raise AssertionError(f"a run next to an orphan: expected one line of refusal, got\n{output}")
        wait_for(lambda: not any(map(alive, orphans)), patience)
        running = begin(project)
    return running, {"orphan": bool(orphans), "refused": refused}


def leftovers(project: Path, wanted: dict[str, str]) -> list[str]:
    """What should not exist: processes, partial work, outs that differ from their hash, broken cache objects."""
    left = [f"process of {stage}" for stage in stages_alive(project)]
    left += [str(path.relative_to(project)) for path in (project / ".scratch").glob("*/*/")]
    left += [f"{out}: other bytes than dvc.lock says" for out, md5 in wanted.items() if md5_of(project / out) != md5]
    return left + [f"cache: {path.name}" for path in broken_objects(project / ".dvc/cache/files/md5")]


def md5_of(path: Path) -> str:
    """The md5 that DVC gives a file or a folder, computed from its bytes."""
    if not path.is_dir():
        return hashlib.md5(path.read_bytes()).hexdigest()
    entries = [
        {"md5": hashlib.md5(file.read_bytes()).hexdigest(), "relpath": file.relative_to(path).as_posix()}
        for file in path.rglob("*")
        if file.is_file()
    ]
    entries.sort(key=lambda entry: entry["relpath"])
    return hashlib.md5(json.dumps(entries).encode()).hexdigest() + ".dir"


def broken_objects(cache: Path) -> Iterator[Path]:
    """Cache objects whose bytes do not match their hash."""
    for path in sorted(cache.glob("??/*")):
        name = (path.parent.name + path.name).removesuffix(".dir")
        if re.fullmatch(r"[0-9a-f]{32}", name) and hashlib.md5(path.read_bytes()).hexdigest() != name:
            yield path


def processes(project: Path) -> dict[int, list[str]]:
    """Every live process that works in the project's folder, with its command line."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            inside = (folder / "cwd").resolve() == project
        except OSError:  # gone, or not ours to see
            continue
        if inside and alive(int(folder.name)):
            found[int(folder.name)] = command
    return found


def stages_alive(project: Path) -> dict[str, list[int]]:
    """The running stages of this project, with their processes; a single process shares its launcher's."""
    found: dict[str, list[int]] = {}
    for process, command in processes(project).items():
        modules = command[2:4] if command[1:2] == ["-m"] else []
        module = next((name for name in modules if name != "lethe.launch"), "")
        if re.fullmatch(r"stages\.\w+", module):
            found.setdefault(module.removeprefix("stages."), []).append(process)
    return found


def alive(process: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def kill_hard(process: int) -> None:
    """kill -9; the process may have ended by itself already."""
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return


def wait_for(condition: Callable[[], object], patience: float = PATIENCE) -> None:
    """Wait until the condition holds. Raises AssertionError after so many seconds."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("expected the condition before the deadline, got a timeout")
        time.sleep(POLL)


def format_round(played: dict[str, Any]) -> str:
    """One round in words."""
    hits = ", ".join(f"{kill['hit']} in {kill['in']}" for kill in played["kills"])
    return f"{hits}: {'equal bytes' if played['equal'] else 'OTHER BYTES'}, left over: {played['left'] or 'nothing'}"


def format_rounds(rounds: Sequence[dict[str, Any]]) -> str:
    """All rounds in words."""
    kills = [kill for played in rounds for kill in played["kills"]]
    equal = sum(played["equal"] and not played["left"] for played in rounds)
    orphans = sum(kill["orphan"] for kill in kills)
    return f"{len(kills)} kills, {orphans} orphans; {equal} of {len(rounds)} rounds ended with equal bytes"


def summary(rounds: Sequence[dict[str, Any]], wanted: dict[str, str]) -> dict[str, Any]:
    """The content of reports/soak/soak.json."""
    return {"seed": SEED, "result": format_rounds(rounds), "outs": len(wanted), "rounds": list(rounds)}


if __name__ == "__main__":
    main()
