"""Every metric, attack and criterion is explained, and every explanation leads somewhere."""

from __future__ import annotations

from lethe.gate.criteria import DESCRIPTIONS
from lethe.gate.explanations import LINES, NOTHING, TASKS, of_attack, of_criterion, of_metric, of_task
from lethe.gate.metric_catalogue import ATTACKS, METRICS
from tests.conftest import ROOT
from tests.documented import anchors


def test_nothing_on_the_page_is_left_unexplained() -> None:
    assert [name for name in METRICS if not of_metric(name).line] == []
    assert [name for name in ATTACKS if not of_attack(name).line] == []
    assert [name for name in DESCRIPTIONS if not of_criterion(name).line] == []


def test_questions_about_what_is_to_be_kept_are_told_from_those_about_the_text() -> None:
    assert of_metric("rouge_l").line == "How much of the true answer is in the one that the model writes?"
    assert of_metric("authors_rouge_l").line == (
        "Of what the model should keep, real authors: how much of the true answer is in the one that the model writes?"
    )
    assert of_metric("retain_doubled_words") == of_metric("forget_doubled_words")
    assert of_metric("retain_doubled_words").section == "metrics.md#fluency"


def test_a_name_that_nobody_has_explained() -> None:
    assert of_metric("of_tomorrow") == of_attack("of_tomorrow") == NOTHING
    assert of_task("of_tomorrow").line.startswith("A multiple-choice task")


def test_the_sections_are_there() -> None:
    for place in {*LINES, TASKS}:
        name, _, anchor = place.partition("#")
        assert anchor in anchors((ROOT / "docs" / name).read_text(encoding="utf-8")), place
