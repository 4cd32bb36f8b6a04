"""The ledger: what erasure requests cost, one after the other. Its chain is tested with `lethe requests`."""

from __future__ import annotations

from typing import Any

from lethe.report.request_ledger import MEASURED, cost, history


def satisfied(request: str, model: str, baseline: float, perplexity: float | None, **more: float) -> dict[str, Any]:
    """A line of the ledger, as far as its cost goes."""
    after = {"retain_perplexity": perplexity, **more}
    measures = {"baseline": {"retain_perplexity": baseline, "leak": 0.75}, "unlearned": after}
    return {
        "event": "satisfied",
        "request": request,
        "date": "2026-03-01",
        "model": {"md5": model},
        "measures": measures,
    }


ADDED = {"event": "added", "request": "one"}
ROWS = [
    ADDED,
    satisfied("one", "first", 10.0, 10.5, leak=0.25, benchmark=0.7),
    satisfied("two", "second", 11.0, 12.0, leak=0.125, benchmark=0.65),
    satisfied("three", "second", 11.0, 12.0, leak=0.125, benchmark=0.65),
    satisfied("one", "second", 11.0, 12.0, leak=0.125, benchmark=0.65),
    satisfied("four", "third", 11.5, None),
]


def test_damage_adds_up_from_the_baseline_of_the_first_model() -> None:
    lines = cost(ROWS)
    assert [line["requests"] for line in lines] == [["one"], ["two", "three", "one"], ["four"]]
    # 10.5 / 10 and 12 / 10, although the second model began at 11; the third was not measured
    assert [line["retain_damage"] for line in lines] == [1.05, 1.2, None]


def test_a_course_begins_before_the_first_request() -> None:
    lines = history(ROWS)
    assert [line["forgotten"] for line in lines] == [0, 1, 3, 4]  # `one` counts once
    assert [line["retain_perplexity"] for line in lines] == [10.0, 10.5, 12.0, None]
    assert [line["leak"] for line in lines] == [0.75, 0.25, 0.125, None]
    assert [line["benchmark"] for line in lines] == [None, 0.7, 0.65, None]  # not in the first line of an old ledger
    assert [line["retain_damage"] for line in lines] == [1.0, 1.05, 1.2, None]
    assert all(set(MEASURED) <= set(line) for line in lines)


def test_no_model_no_course() -> None:
    assert history([]) == history([ADDED]) == []
