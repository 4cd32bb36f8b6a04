"""docs/security.md: every attack of its table is one that a test tries, and every attack that is tried stands there."""

from __future__ import annotations

import ast
import re

from tests.conftest import ROOT
from tests.custody.test_hostile import ATTACKS

ROW = re.compile(r"^\| (?P<attack>[^|]+) \| (?P<result>\w+) \| `(?P<test>[^`]+)` \|$", re.MULTILINE)
PAGE = (ROOT / "docs/security.md").read_text(encoding="utf-8")
ROWS = [match.groupdict() for match in ROW.finditer(PAGE[PAGE.index("## The attacks") :])]


def test_every_row_names_a_test_that_exists() -> None:
    assert len(ROWS) > 100
    named = [row["test"] for row in ROWS if not row["test"].startswith("hostile[")]
    assert len(set(named)) == len(named)
    for test in named:
        path, function = test.split("::")
        tree = ast.parse((ROOT / "tests" / path).read_text(encoding="utf-8"))
        assert function in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, test


def test_every_hostile_attack_has_its_row() -> None:
    named = [
        row["test"].removeprefix("hostile[").removesuffix("]") for row in ROWS if row["test"].startswith("hostile[")
    ]
    assert sorted(named) == sorted(ATTACKS)
    assert len(named) >= 40


def test_a_row_says_what_came_of_it() -> None:
    assert {row["result"] for row in ROWS} == {"held", "mended", "named"}
    lines = PAGE[PAGE.index("|---|---|---|\n", PAGE.index("## The attacks")) :].splitlines()[1:]
    heads = [line for line in lines if line.startswith("| **")]
    counts = [sum(row["result"] == result for row in ROWS) for result in ("held", "mended", "named")]
    words = "Of {} attacks {} held, {} were mended and {} are named.".format(len(ROWS), *counts)
    assert words in " ".join(PAGE.split())
    assert len(lines) == len(heads) + len(ROWS)  # none that the pattern above does not read
