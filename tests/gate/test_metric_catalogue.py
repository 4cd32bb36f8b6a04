"""How numbers are read."""

from __future__ import annotations

import pytest

from lethe.gate import metric_catalogue as metrics


def test_an_unknown_number_keeps_its_name_and_has_no_direction() -> None:
    assert metrics.metric_of("of_tomorrow") == metrics.Metric("of_tomorrow", "neither", metrics.OTHER, share=False)
    assert metrics.metric_of("unheard_of_rouge_l").group == metrics.OTHER


def test_questions_about_what_stays_are_good_the_other_way_round() -> None:
    forget, retain = metrics.metric_of("rouge_l"), metrics.metric_of("retain_rouge_l")
    assert (forget.better, retain.better) == ("less", "more")
    assert (forget.group, retain.group) == (metrics.KNOWLEDGE, metrics.UTILITY)
    assert retain.label == f"{forget.label}: retain set"


def test_every_group_is_shown() -> None:
    assert {metric.group for metric in metrics.METRICS.values()} <= set(metrics.GROUPS)
    assert len({metric.label for metric in metrics.METRICS.values()}) == len(metrics.METRICS)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (0.0, "0.000"),
        (0.0123, "0.012"),
        (-0.1, "-0.100"),
        (12345.6, "12346"),
        (3.8e-5, "4e-5"),
        (3, "3.000"),
    ],
)
def test_number(value: float | None, text: str) -> None:
    assert metrics.number(value) == text


def test_an_accuracy_says_what_guessing_scores() -> None:
    assert metrics.benchmark("x", 0.25).label == "x, accuracy (chance: 0.25)"
    assert metrics.benchmark("x", None).label == "x, accuracy"


@pytest.mark.parametrize(("count", "text"), [(0, "0 KB"), (15_480, "15 KB"), (2e7, "20 MB"), (1.5e9, "1.5 GB")])
def test_size(count: float, text: str) -> None:
    assert metrics.size(count) == text
