"""A program with all that it starts: its lines as they come, and an end to every process of it."""

from __future__ import annotations

import ctypes
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO, Any

import psutil

PR_SET_PDEATHSIG = 1  # of linux/prctl.h
PATIENCE = 20.0  # seconds that processes have to end as they were asked, then to end at all, before they are killed
LINGERING = 2.0  # seconds for the last words of a program that has ended, where a process of its keeps the pipe open
STEPS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, kill, a terminal that was closed
TICK = 0.2  # seconds

Lines = queue.SimpleQueue[tuple[str, bool] | None]


def follow(
    command: Sequence[str],
    take: Callable[[str, bool, bool], None],
    tick: Callable[[], None],
    environment: dict[str, str] | None = None,
) -> tuple[int, bool]:
    """Run a command and give each line to `take(line, of_stderr, ending)`; `tick` is called in between.

    Returns its exit code, and whether this process was asked to end meanwhile. Then every process that the command
    started has ended, at any depth: they were asked as this one was, told after PATIENCE seconds, and killed after as
    many. The command has a session of its own, so that a Ctrl-C reaches each process once. Call it from the main
    thread.
    """
    ending = Ending()
    # before the command starts, so that no signal ends this process alone; what is ignored stays so: nohup
    taken = [sign for sign in ENDING if signal.getsignal(sign) != signal.SIG_IGN]
    before = {sign: signal.signal(sign, lambda number, _: ending.ask(number)) for sign in taken}
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=environment,
            start_new_session=True,
            preexec_fn=ended_with_parent,
        )
        ending.pid, lines = process.pid, Lines()
        for stream, of_stderr in ((process.stdout, False), (process.stderr, True)):
            threading.Thread(target=read_lines, args=(stream, of_stderr, lines), daemon=True).start()
        open_streams, last = 2, time.monotonic()
        while open_streams and (process.poll() is None or time.monotonic() - last < LINGERING):
            ending.go_on()
            with suppress(queue.Empty):
                found = lines.get(timeout=TICK)
                last = time.monotonic()
                if found is None:
                    open_streams -= 1
                else:
                    take(*found, bool(ending.asked))
            tick()
        while process.poll() is None or (ending.asked and not ending.over):
            ending.go_on()
            time.sleep(TICK)
        return process.returncode, bool(ending.asked)
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)


def read_lines(stream: IO[str], of_stderr: bool, lines: Lines) -> None:
    """Put every line of a stream into the queue, and None at its end. A carriage return ends a line too."""
    for line in stream:
        lines.put((line.rstrip("\n"), of_stderr))
    lines.put(None)


class Ending:
    """Ends a program and all that it started, in other sessions too, once this process is asked to end."""

    def __init__(self) -> None:
        self.pid, self.asked = 0, list[int]()  # of the program, once it runs; signals
        self.told, self.step, self.last = 0, -1, 0.0
        self.known: dict[int, psutil.Process] = {}
        self.over = False

    def ask(self, sign: int) -> None:
        """Note the wish; a second one does not wait for the first to be heard."""
        self.asked.append(sign)

    def go_on(self) -> None:
        """Send the next signal if it is time, and see whether all have ended."""
        if not self.asked or self.over:
            return
        if self.step >= 0:
            self.known = {pid: process for pid, process in self.known.items() if alive(process)}
            self.over = not self.known
            if self.over or (time.monotonic() - self.last < PATIENCE and self.told == len(self.asked)):
                return
        asked = STEPS.index(signal.SIGINT if self.asked[0] == signal.SIGINT else signal.SIGTERM)
        self.step = asked if self.step < 0 else min(self.step + 1, len(STEPS) - 1)
        self.told, self.last = len(self.asked), time.monotonic()
        with suppress(psutil.Error):
            root = psutil.Process(self.pid)
            self.known |= {process.pid: process for process in (root, *root.children(recursive=True))}
        for process in self.known.values():
            with suppress(psutil.Error):
                process.send_signal(STEPS[self.step])


def alive(process: psutil.Process) -> bool:
    """Whether a process goes on; a zombie has ended."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def ended_with_parent() -> None:
    """Ask Linux to end this process with its parent, even where that is killed; elsewhere nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def reported_to_us(live: bool) -> dict[str, Any]:
    """The environment of a program whose lines are read at once, its progress bars as often as they are looked at."""
    often = {"TQDM_MININTERVAL": "0.5" if live else "5", "TQDM_DELAY": "0"}
    return os.environ | {"PYTHONUNBUFFERED": "1"} | often
