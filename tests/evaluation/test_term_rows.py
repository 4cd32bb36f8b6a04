"""The report on terms; tests/stages/test_term.py reads the rows."""

from __future__ import annotations

from lethe.evaluation.term_rows import summary
from lethe.evaluation.term_verdicts import VERDICTS


def test_every_verdict_is_reported() -> None:
    assert list(summary([], {})["verdicts"]) == [name.replace(" ", "_") for name in VERDICTS]
