"""Names in answers, marked by the matcher that counts leaks."""

from __future__ import annotations

from pathlib import Path

from lethe.app.marks import Marker, read_marker
from lethe.evaluation.familiarity import name_matcher

MARKER = Marker(name_matcher({"Harrow Hill": True, "Orla": True, "Tom": False, "lantern": True}))


def test_a_name_is_marked_with_its_grade_and_one_that_was_given_is_not() -> None:
    parts, leaked = MARKER.parts("Orla went to", " Harrow Hill with Tom and Orla.")
    assert parts == [[" "], ["Harrow Hill", "Harrow Hill", 3], [" with "], ["Tom", "Tom", 2], [" and Orla."]]
    assert leaked == ["Harrow Hill", "Tom"]


def test_a_name_in_other_letters_is_marked_but_is_no_leak() -> None:
    parts, leaked = MARKER.parts("She went to", " harrow hill")
    assert parts == [[" "], ["harrow hill", "Harrow Hill", 1]]
    assert leaked == []


def test_the_word_that_a_limit_cut_is_not_judged() -> None:
    assert MARKER.parts("", "to Orla", whole=False) == ([["to Orla"]], [])
    assert MARKER.parts("", "to Orla", whole=True)[1] == ["Orla"]


def test_places_survive_letters_that_grow_in_lower_case() -> None:
    # "İ".lower() has two characters: places in the lower-case text are then others
    parts, leaked = MARKER.parts("", "İ Orla harrow hill")
    assert parts == [["İ "], ["Orla", "Orla", 3], [" harrow hill"]]
    assert leaked == ["Orla"]


def test_without_names_nothing_is_marked_and_the_reason_is_told(tmp_path: Path) -> None:
    marker = read_marker(tmp_path / "names.csv")
    assert marker.parts("", "Orla") == ([["Orla"]], [])
    assert marker.reason is not None
    assert marker.reason.endswith(
        "names.csv: no such file; expected a CSV with the header name,unique; leaks are not marked"
    )
    assert marker.parts("", "") == ([], [])
