"""What every stage shares: its declaration in dvc.yaml, a private work folder, one-line errors, its cost.

DVC deletes a stage's outs before it runs the stage, and a killed `dvc` leaves the stage's process alive. So a stage
works in `.scratch/<stage>/<key>` under an exclusive lock and moves the finished result onto its outs as its last act.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from filelock import FileLock, Timeout

from lethe.core.errors import StageError
from lethe.core.hashing import path_sha256
from lethe.core.params import read_yaml
from lethe.core.whole_params import check_whole

SCRATCH = Path(".scratch")
SPENT = {"tokens": 0}  # by this process so far, and by those that it started and that have ended
BESIDE = {"peak": 0}  # KiB of memory of processes that ran side by side
RARELY = {"TQDM_MININTERVAL": "30", "TQDM_MAXINTERVAL": "30", "TQDM_DELAY": "30"}  # seconds between lines of progress
GRACE = 5.0  # seconds in which the launcher notices that the main process has failed


def run(main: Callable[[], None]) -> None:
    """Run a stage's `main` as a program: StageError becomes one line and exit code 1, a bug keeps its traceback.

    First all of params.yaml is checked, the sections of later stages too.
    """
    stage = Path(sys.argv[0]).stem
    started = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if not sys.stderr.isatty():
        os.environ.update({name: os.environ.get(name, value) for name, value in RARELY.items()})  # read with tqdm
    if not is_main_process():
        return run_secondary(main)
    try:
        check_whole()
        main()
        record_cost(stage, time.monotonic() - started)
    except StageError as error:
        leave(f"error: {error}")
    except KeyboardInterrupt:
        leave(f"{stage}: interrupted; `dvc repro` resumes from here")
    except Exception as error:
        if not disk_is_full(error):
            raise
        where = getattr(error, "filename", None) or stage
        leave(f"error: {where}: no space left on the disk; free some and run `dvc repro` again")


def run_secondary(main: Callable[[], None]) -> None:
    """Run `main` in a process that is not the main one: it prints nothing unless it alone failed.

    An error in all processes is printed by the main one, and the launcher ends the others a moment later.
    """
    os.environ["TQDM_DISABLE"] = "1"  # read when tqdm is imported
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 -- for as long as the process lives
    try:
        main()
    except BaseException as error:
        time.sleep(GRACE)
        if isinstance(error, StageError):
            sys.exit(f"error: {error} (process {os.environ['RANK']})")
        raise


def leave(line: str) -> NoReturn:
    """Exit with code 1 and one line on stderr; close any progress bar first."""
    tqdm = sys.modules.get("tqdm")
    for bar in list(getattr(getattr(tqdm, "tqdm", None), "_instances", ())):
        bar.close()
    sys.exit(line)


def disk_is_full(error: Exception) -> bool:
    """Whether an error comes from a full disk: safetensors, tokenizers and torch wrap the system's error in theirs."""
    full = (errno.ENOSPC, errno.EDQUOT)
    said = (*(os.strerror(number) for number in full), "unexpected pos")  # the last is what torch.save says
    return getattr(error, "errno", None) in full or any(words in str(error) for words in said)


def is_main_process() -> bool:
    """True in the only process, or in rank 0 of several started by `accelerate launch`."""
    return os.environ.get("RANK", "0") == "0"


def wait_for_others() -> None:
    """Wait until every process that `accelerate launch` started gets here."""
    torch = sys.modules.get("torch")  # a stage that has not imported it is alone
    if torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()


def count_tokens(tokens: int) -> None:
    """Add to the tokens that went through a model in this process; a model of `load_model` calls it itself."""
    SPENT["tokens"] += tokens


def count_beside(tokens: int, peak: int) -> None:
    """Add what processes cost that ran side by side: their tokens, and the memory of all, KiB."""
    count_tokens(tokens)
    BESIDE["peak"] = max(BESIDE["peak"], peak)


def record_cost(stage: str, wall_seconds: float) -> None:
    """Write what the stage cost to `.scratch/cost/<stage>.json`: seconds and peak memory are never in an out."""
    own, started = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    cost = {
        "cpu_seconds": round(sum(usage.ru_utime + usage.ru_stime for usage in (own, started)), 2),
        "wall_seconds": round(wall_seconds, 2),
        "peak_memory_mib": round((own.ru_maxrss + BESIDE["peak"]) / 1024, 1),
    }
    cost |= gpu_cost(wall_seconds) | {name: count for name, count in SPENT.items() if count}
    folder = SCRATCH / "cost"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{stage}.json").write_text(json.dumps(cost, indent=2) + "\n", encoding="utf-8")


def gpu_cost(wall_seconds: float) -> dict[str, float]:
    """Seconds for which the stage held a GPU, and the most memory it reserved there; nothing where it used none."""
    torch = sys.modules.get("torch")  # a stage that has not imported it has no GPU
    if torch is None or not torch.cuda.is_initialized():
        return {}
    peak = torch.cuda.max_memory_reserved() / 2**20
    return {"gpu_seconds": round(wall_seconds, 2), "peak_gpu_memory_mib": round(peak, 1)}


def declaration(stage: str) -> dict[str, Any]:
    """The stage's entry in dvc.yaml with `${section.key}` replaced by the values of params.yaml."""
    entry = read_yaml(Path("dvc.yaml"))["stages"][stage]
    params = read_yaml(Path("params.yaml"))
    return _interpolate(entry, params)


def declared_paths(entry: dict[str, Any], *kinds: str) -> list[str]:
    """The paths listed under `deps`, `outs`, `metrics` or `plots`, with or without options."""
    paths = []
    for kind in kinds:
        for item in entry.get(kind, []):
            paths.append(next(iter(item)) if isinstance(item, dict) else item)
    return paths


def stages_after(path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every stage that the file is an input of, or that follows from one, in order, with its declaration."""
    reached = {path}
    for stage in read_yaml(Path("dvc.yaml"))["stages"]:
        entry = declaration(stage)
        if reached.intersection(declared_paths(entry, "deps")):
            reached.update(declared_paths(entry, "outs", "metrics", "plots"))
            yield stage, entry


@contextmanager
def workspace(stage: str, resumable: bool = False) -> Iterator[Path]:
    """A private folder whose files are moved onto the stage's outs when the block ends without an error.

    Write `work / "models/unlearned"` to produce `models/unlearned`. A resumable stage finds its own earlier work there
    if, and only if, its code, inputs and params have the same content; any other stage starts empty.
    Of several processes that `accelerate launch` started, those of a resumable stage share one folder, into which only
    the main one writes results; those of any other stage have one each. Only the main one's results are published.
    Raises StageError if another process runs the same stage.
    """
    rank = os.environ.get("RANK", "0")
    folder = SCRATCH / stage
    if not is_main_process() and not resumable:
        folder = SCRATCH / "beside" / f"{stage}-{rank}"
    folder.mkdir(parents=True, exist_ok=True)
    entry = declaration(stage)
    lock = FileLock(folder / ("lock" if is_main_process() else f"lock-{rank}"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise StageError(f"{stage}: another process is running this stage; wait for it or stop it") from None
    try:
        work = folder / (work_key(entry) if resumable else "work")
        if is_main_process() or not resumable:
            _drop_others(folder, keep=work if resumable else None)
        outs = declared_paths(entry, "outs", "metrics", "plots")
        for out in outs:
            (work / out).parent.mkdir(parents=True, exist_ok=True)
        yield work
        wait_for_others()
        if is_main_process():
            _publish(work, outs)
        if is_main_process():
            shutil.rmtree(work)
        elif not resumable:
            shutil.rmtree(folder)
    finally:
        lock.release()
        if not is_main_process():
            Path(lock.lock_file).unlink(missing_ok=True)


def work_key(entry: dict[str, Any]) -> str:
    """Hash of the content of the stage's deps and of the sections of params.yaml it reads, 16 hex digits."""
    there = [path for path in declared_paths(entry, "deps") if Path(path).exists()]  # its reader reports a missing one
    deps = {path: path_sha256(Path(path)) for path in there}
    params = read_yaml(Path("params.yaml"))
    sections = {name: params.get(name) for name in entry.get("params", [])}
    return hashlib.sha256(json.dumps([deps, sections], sort_keys=True).encode()).hexdigest()[:16]


def need_disk(folder: Path, wanted_bytes: int, what: str) -> None:
    """Raise StageError if the disk that holds `folder` has less than `wanted_bytes` free."""
    free = shutil.disk_usage(folder).free
    if free < wanted_bytes:
        raise StageError(
            f"{folder}: expected {_size(wanted_bytes)} free for {what}, got {_size(free)}; free some space"
        )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _interpolate(value: Any, params: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {_interpolate(key, params): _interpolate(item, params) for key, item in value.items()}
    if isinstance(value, list):
        return [_interpolate(item, params) for item in value]
    if isinstance(value, str):
        return re.sub(r"\$\{([\w.]+)\}", lambda match: str(_lookup(match[1], params)), value)
    return value


def _lookup(dotted: str, params: dict[str, Any]) -> Any:
    found: Any = params
    for name in dotted.split("."):
        if not isinstance(found, dict) or name not in found:
            raise StageError(f"params.yaml: {dotted}: parameter is missing")
        found = found[name]
    return found


def _drop_others(folder: Path, keep: Path | None) -> None:
    for other in folder.iterdir():
        if other.is_dir() and other != keep:
            shutil.rmtree(other)


def _publish(work: Path, outs: list[str]) -> None:
    for out in outs:
        made, target = work / out, Path(out)
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(made, target)
