"""Kinds, genders and aliases against lists made by hand."""

from __future__ import annotations

from pathlib import Path

from lethe.core.tables import read_csv
from studies import standins
from tests.conftest import TINY_TEXT


def listed(name: str) -> list[dict[str, str]]:
    return read_csv(standins.DATA / f"names_{name}.csv", standins.LISTED, unique=("name",))


def test_an_invented_story() -> None:
    found = standins.score((standins.DATA / "story.txt").read_text(encoding="utf-8"), TINY_TEXT, listed("story"))
    assert (found.found, found.kind, found.group) == ((15, 15), (15, 15), (15, 15))
    assert found.gender[0] >= found.gender[1] - 1  # Ilsabet, of whom the story says little


def test_realdata_books_are_judged_as_the_results_say(realdata: Path) -> None:
    texts = {name: (realdata / "books" / f"{name}.txt").read_text(encoding="utf-8-sig") for name in standins.BOOKS}
    found = {name: standins.score(texts[name], texts[other], listed(name)) for name, other in standins.BOOKS.items()}
    assert found["oz"][:4] == ((42, 42), (42, 42), (19, 21), (35, 35))
    assert found["alice"][:4] == ((21, 22), (20, 21), (6, 6), (21, 21))
