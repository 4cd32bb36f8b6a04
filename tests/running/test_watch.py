"""What a person sees of a run: one live line, the stages' own words, a summary; no progress bars."""

from __future__ import annotations

import io

import pytest

from lethe.running.watch import Ended, Watch, clock_time


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


LINES = [  # seconds, line
    (0, "Stage 'corpus' didn't change, skipping"),
    (0, "'data/forget.dvc' didn't change, skipping"),
    (0, "Stage 'block' is cached - skipping run, checking out outputs"),
    (0, "Running stage 'finetune':"),
    (0, "> python -m lethe.launch stages.finetune"),
    (1, "finetune:   0%|          | 0/120 [00:00<?, ?it/s]"),
    (31, "finetune:  35%|###5      | 42/120 [00:30<00:55,  1.4it/s, loss=0.301]"),
    (40, "finetune: 0.3 % of 7 terms were dropped"),
    (62, "Loading weights: 100%|##########| 39/39 [00:00<00:00, 3201.5it/s]"),
    (93, "extract: baseline: 12batch [00:05,  2.3batch/s]"),
    (95, "WARNING: 'data/requests.jsonl' is empty."),
    (95, "WARNING: 'data/requests.jsonl' is empty."),
    (100, "finetune: loss 0.120 after 120 steps"),
    (100, "Updating lock file 'dvc.lock'"),
    (100, ""),
    (100, "Running stage 'evaluate':"),
    (104, "To track the changes with git, run:"),
    (104, "\tgit add dvc.lock"),
    (104, "Use `dvc push` to send your updates to remote storage."),
]


def watched(out: io.StringIO) -> Watch:
    clock = Clock()
    watch = Watch(
        {"finetune": 120.0, "evaluate": None},
        out,
        lambda ended: "first verdict" if ended.stage == "evaluate" else None,
        clock,
    )
    for second, line in LINES:
        clock.now = second
        watch.line(line)
        watch.tick()
    watch.finish(True)
    return watch


def test_without_a_terminal_a_line_in_thirty_seconds() -> None:
    out = io.StringIO()
    watch = watched(out)
    assert out.getvalue().splitlines() == [
        "block: taken from the cache",
        "finetune: 0:31 of about 2:00, 35 % (42/120)",
        "finetune: 0.3 % of 7 terms were dropped",
        "finetune: 1:02 of about 2:00, 100 % (39/39), Loading weights",
        "finetune: 1:33 of about 2:00, 12batch, extract: baseline",
        "WARNING: 'data/requests.jsonl' is empty.",
        "finetune: loss 0.120 after 120 steps",
        "finetune: done in 1:40",
        "evaluate: done in 0:04",
        "first verdict",
        "  finetune     1:40  expected 2:00",
        "  evaluate     0:04",
        "repro: done after 1:44: 2 stages ran, 1 from the cache, 2 unchanged",
    ]
    assert watch.ended[-1] == Ended("evaluate", "ran", 4)


def test_on_a_terminal_the_line_is_redrawn_and_cleared() -> None:
    out = Terminal()
    watched(out)
    shown = out.getvalue()
    assert "\r\x1b[2Kfinetune: 0:31 of about 2:00, 35 % (42/120)\r" in shown
    assert shown.count("Loading weights") == 1
    for said in ("finetune: loss 0.120 after 120 steps\n", "first verdict\n", "repro: done after 1:44"):
        assert f"\x1b[2K{said}" in shown or f"\n{said}" in shown  # on a line of its own


def test_a_stage_that_failed() -> None:
    out, errors, clock = io.StringIO(), io.StringIO(), Clock()
    watch = Watch({}, out, clock=clock)
    watch.line("Running stage 'label':")
    clock.now = 7
    watch.line("error: params.yaml: label: expected", errors)
    watch.end("failed")
    watch.finish(False)
    assert errors.getvalue() == "error: params.yaml: label: expected\n"
    assert out.getvalue().splitlines() == ["label: failed after 0:07", "repro: stopped after 0:07: 0 stages ran"]


@pytest.mark.parametrize(("seconds", "shown"), [(0.4, "0:00"), (59.6, "1:00"), (760, "12:40"), (11100, "3:05:00")])
def test_times(seconds: float, shown: str) -> None:
    assert clock_time(seconds) == shown
