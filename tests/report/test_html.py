"""The page's small helpers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lethe.report.html import SHARED, TEMPLATE, excerpt, flattened, render
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("text", "words", "end", "shown"),
    [
        ("one two three", 2, False, "one two …"),
        ("one two three", 2, True, "… two three"),
        ("one\n two", 2, True, "one two"),
        ("one two", 0, True, "…"),
        ("", 3, False, ""),
    ],
)
def test_excerpt(text: str, words: int, end: bool, shown: str) -> None:
    assert excerpt(text, words, end) == shown


def test_flattened_names_every_value() -> None:
    assert flattened({"a": {"b": 1, "c": None}, "d": [1, 2]}) == [("a.b", "1"), ("a.c", ""), ("d", "[1, 2]")]


def test_a_forgotten_piece_of_the_page_is_a_bug_and_not_a_gap() -> None:
    with pytest.raises(Exception, match="undefined"):
        render(TEMPLATE, charts={"trade": None, "steps": [], "loss": []})


def test_only_charts_are_taken_as_they_are(tmp_path: Path) -> None:
    template = tmp_path / "page.j2"
    template.write_text("{{ charts.one }}{{ charts.more[0] }}{{ charts.none is none }}{{ text }}{{ 0.5 | number }}")
    page = render(template, charts={"one": "<a>", "more": ["<b>"], "none": None}, text="<c>")
    assert page == "<a><b>True&lt;c&gt;0.500"


@pytest.mark.parametrize("template", [TEMPLATE, ROOT / "lethe/cli/cost.html.j2"], ids=lambda path: path.name)
def test_pages_may_ask_nothing_of_a_network(template: Path) -> None:
    source = template.read_text(encoding="utf-8")
    assert "content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\"" in source
    for name in SHARED:
        assert f'{{% include "{name}" %}}' in source or name in source
    assert not re.search(r"https?:|//[a-z]|@import|url\(", source)
