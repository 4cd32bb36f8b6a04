"""What is skipped is said at the end of a run, and how to have it."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

from tests.conftest import ROOT, pytest_terminal_summary


def test_a_line_for_every_reason() -> None:
    lines: list[str] = []
    reports = [SimpleNamespace(longrepr=("a.py", line, f"Skipped: {why}")) for line, why in enumerate("xyx")]
    reporter: Any = SimpleNamespace(stats={"skipped": reports, "passed": [object()]}, write_line=lines.append)
    pytest_terminal_summary(reporter)
    assert lines == ["2 skipped: x", "1 skipped: y"]
    reporter.stats = {}
    pytest_terminal_summary(reporter)
    assert len(lines) == 2


# what stands in a skip's reason and in the table of CONTRIBUTING.md, for every cause
CAUSES = ("REALDATA", "TOFU", "CHROME", "NO_EXTRA", "CAP_SYS_ADMIN", "Linux")


def skips() -> list[str]:
    """The arguments of every call that skips a test."""
    return [
        found
        for path in (ROOT / "tests").rglob("*.py")
        for found in re.findall(r"\bpytest\.(?:importorskip|skip)\((.*)", path.read_text(encoding="utf-8"))
    ]


def test_no_skip_without_what_to_do() -> None:
    assert len(skips()) >= 4
    for skip in skips():  # what is missing; what to do
        assert "reason=NO_EXTRA" in skip or "; " in skip, skip


def test_every_cause_is_listed_for_who_runs_the_tests() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = page.split("| without | skipped | to have them |\n")[1].split("\n*")[0]
    assert table.count("\n") == len(CAUSES)  # lines, after the one below the head
    for cause in CAUSES:
        assert [skip for skip in skips() if cause in skip], cause
        assert cause.replace("NO_EXTRA", "`make setup`") in table, cause
    assert [skip for skip in skips() if not any(cause in skip for cause in CAUSES)] == []
