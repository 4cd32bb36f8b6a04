"""The output of `dvc repro`, read as it comes: one live line for the stage at work, its words, a summary with times.

On a terminal the line is redrawn; in a file or a pipe there is one in thirty seconds. Progress bars are not passed on.
"""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from typing import IO, NamedTuple

STARTED = re.compile(r"Running stage '([^']+)':$")
UNCHANGED = re.compile(r"(?:Stage )?'([^']+)' didn't change, skipping$")
CACHED = re.compile(r"Stage '([^']+)' is cached - skipping run, checking out outputs$")
NOISE = re.compile(
    r"\s*$|> |(?:Updating|Generating) lock file |To (?:track the changes with git|enable auto staging), run:$|"
    r"\s+(?:git add|dvc config core\.autostage) |Use `dvc push` |Data and pipelines are up to date|"
    r"Verifying (?:data sources|outputs) in "
)
BAR = re.compile(r"\s*(?:(?P<what>[^|\r]*?):? +)?(?P<share>\d{1,3})%\|[^|]*\|(?: *(?P<count>\S+/\S+))?.* \[\S+<.*\]")
COUNT = re.compile(r"\s*(?P<what>[^|\r]*?): (?P<count>\d+(?:\.\d+)?[a-zA-Z]*) \[\d+:\d\d, .*\]")
EVERY = 30.0  # seconds between two lines where there is no terminal
REDRAWN = 0.5  # seconds between two states of the live line
CLEAR = "\r\x1b[2K"


class Ended(NamedTuple):
    """What became of a stage in this run."""

    stage: str
    state: str  # ran, unchanged, cached, failed, stopped
    seconds: float


class Watch:
    """Follows a run. expected: seconds of each stage that will probably run, None where they are not known."""

    def __init__(
        self,
        expected: Mapping[str, float | None],
        out: IO[str] | None = None,
        on_end: Callable[[Ended], str | None] = lambda ended: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.expected, self.out, self.on_end, self.clock = expected, out or sys.stdout, on_end, clock
        self.live = self.out.isatty()
        self.ended: list[Ended] = []
        self.stage, self.progress = "", ""
        self.began = self.since = self.drawn = clock()
        self.warned: set[str] = set()

    def line(self, text: str, to: IO[str] | None = None) -> None:
        """Take a line that dvc or a stage wrote. to: where it goes if a person is to see it."""
        if found := STARTED.match(text):
            self.end()
            self.stage, self.progress, self.since = found[1], "", self.clock()
            self.drawn = self.since
        elif found := UNCHANGED.match(text) or CACHED.match(text):
            self.end()
            self.note(Ended(found[1], "unchanged" if "didn't" in text else "cached", 0.0))
        elif found := BAR.match(text):
            share = f"{found['share']} %"
            self.progress = " ".join(part for part in (share, f"({found['count']})" if found["count"] else "") if part)
            self.progress += self.named(found["what"])
        elif found := COUNT.match(text):
            self.progress = found["count"] + self.named(found["what"])
        elif not NOISE.match(text) and text not in self.warned:
            if text.startswith("WARNING: "):
                self.warned.add(text)  # dvc says each several times
            self.say(text, to)

    def named(self, what: str | None) -> str:
        """What a bar is about, where it is not just the stage."""
        return f", {what}" if what and what != self.stage else ""

    def say(self, text: str, to: IO[str] | None = None) -> None:
        """Print a line above the live one."""
        if self.live:
            print(CLEAR, end="", file=self.out, flush=True)
        print(text, file=to or self.out, flush=True)

    def tick(self) -> None:
        """Redraw the live line, or print one if it is time."""
        if not self.stage or self.clock() - self.drawn < (REDRAWN if self.live else EVERY):
            return
        self.drawn = self.clock()
        shown = ", ".join(part for part in (self.elapsed(), self.progress) if part)
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            print(f"{CLEAR}{f'{self.stage}: {shown}'[:width]}", end="", file=self.out, flush=True)
        else:
            print(f"{self.stage}: {shown}", file=self.out, flush=True)

    def elapsed(self) -> str:
        """`1:20 of about 2:00`."""
        planned = self.expected.get(self.stage)
        about = f" of about {clock_time(planned)}" if planned else ""
        return f"{clock_time(self.clock() - self.since)}{about}"

    def end(self, state: str = "ran") -> None:
        """The stage at work is done."""
        if self.stage:
            self.note(Ended(self.stage, state, self.clock() - self.since))
        self.stage = ""

    def note(self, ended: Ended) -> None:
        """Remember a stage's end, and say so if it took its time."""
        self.ended.append(ended)
        if ended.state != "unchanged":
            word = {"ran": "done in", "failed": "failed after", "stopped": "stopped after"}.get(ended.state)
            self.say(f"{ended.stage}: {f'{word} {clock_time(ended.seconds)}' if word else 'taken from the cache'}")
        if told := self.on_end(ended):
            self.say(told)

    def finish(self, good: bool) -> None:
        """The run is over: clear the live line, print the summary."""
        self.end("ran" if good else "failed")
        if self.live:
            print(CLEAR, end="", file=self.out, flush=True)
        for text in self.summary(good):
            print(text, file=self.out, flush=True)

    def summary(self, good: bool) -> list[str]:
        """The stages that ran with their times, longest first, and a sentence."""
        ran = [ended for ended in self.ended if ended.state in ("ran", "failed", "stopped")]
        width = max((len(ended.stage) for ended in ran), default=0)
        lines = []
        for ended in sorted(ran, key=lambda ended: -ended.seconds):
            planned = self.expected.get(ended.stage)
            about = f"  expected {clock_time(planned)}" if planned else ""
            lines.append(f"  {ended.stage:<{width}}  {clock_time(ended.seconds):>7}{about}")
        parts = [f"{sum(ended.state == 'ran' for ended in ran)} stages ran"]
        for state, word in (("cached", "from the cache"), ("unchanged", "unchanged")):
            if count := sum(ended.state == state for ended in self.ended):
                parts.append(f"{count} {word}")
        whole = f"{'done' if good else 'stopped'} after {clock_time(self.clock() - self.began)}"
        return [*(lines if len(lines) > 1 else []), f"repro: {whole}: {', '.join(parts)}"]


def clock_time(seconds: float) -> str:
    """`0:07`, `12:40`, `3:05:00`."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"
