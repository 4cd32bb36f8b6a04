"""Three models side by side, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from lethe.gate.metric_catalogue import LEAKAGE, UTILITY, Metric, metric_of
from lethe.report import comparison
from tests.evaluated import attack_rows, measures

MODELS = ("baseline", "unlearned", "retrained")
FAMILIARITY: dict[str, Any] = {
    "models": {
        model: {"completion_familiarity": value, "leak": value / 5, "grades": {"3": 1}, "retain_perplexity": 4.0}
        for model, value in {"baseline": 2.5, "unlearned": 0.0, "step-00005": 1.0}.items()
    },
    "intervals": {
        model: {"leak": {"value": 0.5, "low": 0.094531, "high": 0.905469, "items": 2}}
        for model in ("baseline", "unlearned")
    },
}
BENCHMARKS: dict[str, Any] = {
    "items": {"piqa": 10},
    "chance": {"piqa": 0.5},
    "models": {"baseline": {"piqa": 0.8}, "unlearned": {"piqa": 0.7}},
}


def found() -> dict[str, dict[str, comparison.Line]]:
    groups = comparison.groups(measures(MODELS), FAMILIARITY, BENCHMARKS)
    return {group: {line.label: line for line in lines} for group, lines in groups}


def test_every_number_of_every_report_has_its_line() -> None:
    groups = found()
    assert next(iter(groups)) == LEAKAGE
    assert set(groups[UTILITY]) == {
        "Perplexity of held-out retain text", "Model utility", "piqa, accuracy (chance: 0.50)",
    }  # fmt: skip
    assert groups["Other metrics"]["a_measure_of_tomorrow"].values == {
        "baseline": "3.500", "unlearned": "2.500", "retrained": "1.500",
    }  # fmt: skip


def test_intervals_come_from_the_prompts_and_the_items() -> None:
    groups = found()
    leak = groups[LEAKAGE]["Leak: completions with a name of the corpus"]
    assert leak.intervals["baseline"] == "0.095 to 0.905"
    assert leak.items == "2"
    accuracy = groups[UTILITY]["piqa, accuracy (chance: 0.50)"]
    # 8 of 10, Wilson 95 %: centre (0.8 + 0.192) / 1.384 = 0.717, half-width 0.227 (z = 1.96)
    assert accuracy.intervals["baseline"] == "0.490 to 0.943"
    assert accuracy.difference == ("-0.100", "from baseline")
    assert groups[UTILITY]["Perplexity of held-out retain text"].intervals["baseline"] == ""


SHARE = metric_of("leak")


def number(value: float, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "items": 5}


def test_places_on_the_scale() -> None:
    line = comparison.line(SHARE, {"baseline": number(0.6, 0.5, 0.8), "unlearned": number(0.2, 0.1, 0.3)})
    # from 0 to the largest end, 0.8: 0.6 / 0.8 = 75 %
    assert line.places == {"baseline": (62.5, 75.0, 100.0), "unlearned": (12.5, 25.0, 37.5)}
    crowded = comparison.line(metric_of("retain_perplexity"), {"baseline": number(6.0), "unlearned": number(8.0)})
    assert crowded.places == {"baseline": (0.0, 0.0, 0.0), "unlearned": (100.0, 100.0, 100.0)}  # not from zero
    alone = comparison.line(SHARE, {"baseline": number(0.0)})
    assert alone.places == {"baseline": (0.0, 0.0, 0.0)}


@pytest.mark.parametrize(
    ("metric", "values", "difference"),
    [
        ("leak", (0.6, 0.2, 0.1), ("20%", "remaining")),  # (0.2 - 0.1) / (0.6 - 0.1)
        ("leak", (0.1, 0.2, 0.1), ("+0.100", "from retrained")),  # the baseline knows no more than retrained
        ("leak", (0.6, 0.2, None), ("", "")),
        ("leak", (0.6, None, 0.1), ("", "")),
        ("model_utility", (0.7, 0.69, 0.5), ("-0.010", "from baseline")),
        ("truth_ratio", (0.4, 0.6, 0.7), ("-0.100", "from retrained")),
        ("of_tomorrow", (0.4, 0.6, 0.7), ("", "")),
    ],
)
def test_differences(metric: str, values: tuple, difference: tuple[str, str]) -> None:
    numbers = {model: number(value) for model, value in zip(MODELS, values, strict=True) if value is not None}
    assert comparison.line(metric_of(metric), numbers).difference == difference


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""), (0.25, "+0.250"), (-0.25, "-0.250"), (2e-5, "+2e-5"), (-2e-5, "-2e-5"),
        (0.3 - 0.1 - 0.2, "0.000"), (-0.0, "0.000"),  # rounding is no difference, and zero has no sign
    ],
)  # fmt: skip
def test_a_difference_has_a_sign_unless_it_is_zero(value: float | None, text: str) -> None:
    assert comparison.signed(value) == text


def test_what_remains_is_never_minus_zero() -> None:
    numbers = {"baseline": 0.5, "unlearned": 0.0999, "retrained": 0.1}
    assert comparison.difference(metric_of("leak"), numbers) == ("0%", "remaining")  # -0.025 %


def test_directions_in_words() -> None:
    assert [comparison.direction(metric_of(name)) for name in ("leak", "model_utility", "truth_ratio", "x")] == [
        "lower is better", "higher is better", "best at the level of retrained", "direction unknown",
    ]  # fmt: skip


def test_attacks_by_what_they_get_out() -> None:
    attacks = comparison.attacks_of({"attacks": attack_rows(MODELS)})
    assert [(attack.name, attack.worst, attack.width) for attack in attacks] == [
        ("Relearning on forget text", 0.41, 41.0),  # 0.43 - 0.02, as a percentage of an excess of 1
        ("Prefix of the target name", 0.05, 5.0),  # 0.30 - 0.25
        ("Weight quantisation", 0.02, 2.0),
        ("No attack", 0.01, 1.0),
        ("Linear probe of hidden states", None, 0.0),  # nothing but its control
        ("of_tomorrow", None, 0.0),  # of a metric that nobody knows
    ]
    assert attacks[0].where == "8 forget passages, 20 steps: Leak"
    assert [setting.name for setting in attacks[0].settings] == [
        "8 forget passages, 5 steps", "8 forget passages, 20 steps",
    ]  # fmt: skip
    assert attacks[0].settings[1].excess == ("+0.410", "0.360 to 0.460")
    assert attacks[4].settings[0].excess == ("", "")
    assert comparison.attacks_of({"attacks": []}) == []


def test_an_attack_below_the_reference_has_no_bar() -> None:
    rows = [row | {"attack": "x", "setting": "y", "metric": "leak"} for row in (
        {"model": "unlearned"} | number(0.1), {"model": "retrained"} | number(0.3),
    )]  # fmt: skip
    [attack] = comparison.attacks_of({"attacks": rows})
    assert (attack.worst, attack.width) == (-0.2, 0.0)


def test_relearning_curves_begin_without_an_attack() -> None:
    assert comparison.relearning({"attacks": attack_rows(MODELS)}) == {
        "Relearning on forget text: 8 forget passages": {
            "baseline": [(0, 0.6), (5, 0.7), (20, 0.72)],
            "unlearned": [(0, 0.01), (5, 0.12), (20, 0.43)],
            "retrained": [(0, 0.0), (5, 0.01), (20, 0.02)],
        }
    }
    assert comparison.relearning({"attacks": []}) == {}


def test_items_are_shown_where_all_models_agree() -> None:
    metric = Metric("m", "less", LEAKAGE)
    assert comparison.line(metric, {"baseline": number(1), "unlearned": number(1)}).items == "5"
    assert comparison.line(metric, {"baseline": number(1), "unlearned": number(1) | {"items": 6}}).items == ""
