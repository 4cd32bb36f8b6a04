"""Every metric, attack and criterion is explained, and the page says how it is computed."""

from __future__ import annotations

from lethe.evaluation.term_verdicts import VERDICTS
from lethe.gate import definitions
from lethe.gate.criteria import DESCRIPTIONS
from lethe.gate.explanations import NOTHING, TASK, defined, of_attack, of_criterion, of_metric, of_task
from lethe.gate.metric_catalogue import ATTACKS, METRICS


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
    assert of_metric("retain_doubled_words").id == "how-written-doubled_words"


def test_a_name_that_nobody_has_explained() -> None:
    assert of_metric("of_tomorrow") == of_attack("of_tomorrow") == NOTHING
    assert of_task("of_tomorrow").line.startswith("A multiple-choice task")


def test_the_page_says_how_each_is_computed() -> None:
    found = [of_metric(name) for name in METRICS] + [of_attack(name) for name in ATTACKS]
    found += [of_criterion(name) for name in DESCRIPTIONS] + [of_task(name) for name in TASK]
    ids = {about.id for about in found}
    shown = defined(ids)
    assert {one.id for _, group in shown for one in group} == ids
    assert [title for title, _ in defined({"how-attack-lora", "how-metric-of_tomorrow"})] == ["Attacks"]
    assert of_task("of_tomorrow").id == ""


def test_nothing_is_defined_that_is_not_there() -> None:
    assert definitions.TASKS.keys() == TASK.keys()
    assert {*definitions.VERDICTS, "no target position"} == VERDICTS.keys()
