"""The same work for several inputs, each in a process of its own, at the same time."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple, TypeVar

from lethe.core import stage
from lethe.core.errors import StageError

Result = TypeVar("Result")
PR_SET_PDEATHSIG = 1  # of linux/prctl.h


class Outcome(NamedTuple):
    """What a process has to say at its end."""

    result: Any
    problem: str | None  # of a StageError
    tokens: int
    peak: int  # KiB


def side_by_side(
    work: Callable[..., Result], each: Sequence[tuple[Any, ...]], at_once: int, names: Sequence[str]
) -> list[Result]:
    """work(*arguments) for each of several arguments, in order; at most `at_once` of them at a time.

    A process computes what this one would: the same threads, the same bytes. It ends with this one, even where that is
    killed. Only the first shows progress. names: what an error is about. Raises the StageError of the first that has
    one, and ends the others.
    """
    waiting, running = list(enumerate(each)), dict[Connection, tuple[int, BaseProcess]]()
    found: dict[int, Outcome] = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                number, arguments = waiting.pop(0)
                running |= [start(work, number, arguments)]
            for reader in wait(list(running)):
                assert isinstance(reader, Connection)
                number, process = running[reader]
                try:
                    found[number] = reader.recv()
                except EOFError:
                    process.join()
                    raise StageError(
                        f"{names[number]}: expected a result, got the exit code {process.exitcode} of its process"
                    ) from None
                process.join()
                del running[reader]
                if problem := found[number].problem:
                    raise StageError(problem)
    finally:
        for _, process in running.values():
            process.terminate()
            process.join()
    outcomes = [found[number] for number in range(len(each))]
    stage.count_beside(sum(outcome.tokens for outcome in outcomes), peak_of([each.peak for each in outcomes], at_once))
    return [outcome.result for outcome in outcomes]


def peak_of(peaks: Sequence[int], at_once: int) -> int:
    """The memory of the largest that can have run at the same time."""
    return sum(sorted(peaks)[-at_once:])


def start(
    work: Callable[..., Any], number: int, arguments: tuple[Any, ...]
) -> tuple[Connection, tuple[int, BaseProcess]]:
    """Start a process; the other end of its pipe, and its number."""
    context = get_context("spawn")  # torch's threads do not survive a fork
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=alone, args=(work, arguments, writer, number, os.getpid()), daemon=True)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Ctrl-C is for this one, which ends the others
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    writer.close()
    return reader, (number, process)


def alone(work: Callable[..., Any], arguments: tuple[Any, ...], writer: Connection, number: int, parent: int) -> None:
    """The process: do the work and say what came of it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    if number:
        os.environ["TQDM_DISABLE"] = "1"  # read when tqdm is imported
    result, problem = None, None
    try:
        result = work(*arguments)
    except StageError as error:
        problem = str(error)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    writer.send(Outcome(result, problem, stage.SPENT["tokens"], peak))
