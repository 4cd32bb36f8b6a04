"""What the reports say on a criterion, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from lethe.gate import evidence
from lethe.gate.metric_catalogue import attack_metric

ALL = ("baseline", "unlearned", "retrained", "retrained-2", "retrained-3")


def row(attack: str, setting: str, metric: str, model: str, value: float, items: int = 100) -> dict[str, Any]:
    half = 0.1
    place = {"attack": attack, "setting": setting, "metric": metric, "model": model}
    return place | {"value": value, "low": value - half, "high": value + half, "items": items}


def attacks(settings: dict[tuple[str, str, str], tuple[float, ...]], items: int = 100) -> dict[str, Any]:
    rows = [
        row(*setting, model, value, items)
        for setting, values in settings.items()
        for model, value in zip(ALL, values, strict=False)
    ]
    return {"attacks": rows}


def test_the_worst_attack_is_compared_with_what_retrained_models_differ_by() -> None:
    found = evidence.worst_attack(
        attacks(
            {
                ("prefix", "the first token", "leak"): (0.9, 0.2, 0.1, 0.1, 0.1),
                ("sample", "32", "leak_any"): (1.0, 0.1, 0.0, 0.3, 0.0),
            }
        ),
        {},
    )
    assert (found.value, found.note) == (pytest.approx(0.1), "Prefix of the target name, the first token: Leak")
    assert found.baseline == pytest.approx(0.9)  # 1.0 - 0.1, of sampled completions
    # 0.0 - 0.15 or 0.1 - 0.1: 0; the second: 0.3 - 0; the third as the first
    assert found.spread == pytest.approx([0.0, 0.3, 0.0])
    assert found.told


def test_an_attack_with_training_is_judged_by_its_curve() -> None:
    steps = {("relearn", f"8 forget passages, {step} steps", "leak"): (1.0, 0.9, 0.1) for step in (5, 20)}
    curve = {("relearn", "8 forget passages, 5 to 20 steps", "leak_curve"): (0.9, 0.4, 0.3)}
    found = evidence.worst_attack(attacks(steps | curve), {})
    assert (found.value, found.note) == (
        pytest.approx(0.1),
        "Relearning on forget text, 8 forget passages, 5 to 20 steps: Leak over all steps of the attack",
    )


def test_a_setting_of_few_prompts_is_not_judged() -> None:
    few = attacks({("prefix", "the first token", "leak"): (1.0, 0.9, 0.0)}, items=19)
    assert evidence.worst_attack(few, {}).value is None
    enough = attacks({("prefix", "the first token", "leak"): (1.0, 0.9, 0.0)}, items=20)
    assert evidence.worst_attack(enough, {}).value == 0.9


def test_models_that_no_interval_tells_apart() -> None:
    assert evidence.apart({"low": 0.1, "high": 0.2}, {"low": 0.3, "high": 0.4})
    assert not evidence.apart({"low": 0.1, "high": 0.35}, {"low": 0.3, "high": 0.4})
    assert evidence.apart(None, {"low": 0.3, "high": 0.4})
    assert evidence.apart({"low": None, "high": None}, {"low": 0.3, "high": 0.4})


def test_a_task_at_chance_or_of_few_items_shows_no_loss() -> None:
    guessed: dict[str, Any] = {
        "items": {"piqa": 200}, "chance": {"piqa": 0.5}, "absent": {},
        "models": {"baseline": {"piqa": 0.54}, "unlearned": {"piqa": 0.55}},
    }  # fmt: skip
    found = evidence.worst_loss(guessed)
    assert (found.value, found.unmeasurable) == (None, "the baseline is no better than chance at piqa")
    few = guessed | {"items": {"piqa": 20}, "models": {"baseline": {"piqa": 0.95}, "unlearned": {"piqa": 0.95}}}
    assert (evidence.worst_loss(few).value, evidence.worst_loss(few).told) == (0.0, False)
    many = guessed | {"models": {"baseline": {"piqa": 0.95}, "unlearned": {"piqa": 0.95}}}
    assert evidence.worst_loss(many).told


def test_utility_that_is_hardly_above_nothing_is_no_utility() -> None:
    numbers = {"value": 0.02, "low": 0.0, "high": 0.033, "items": 500}
    models = {name: {"model_utility": numbers} for name in ("baseline", "unlearned")}
    assert evidence.utility(models).unmeasurable == "the baseline's is 0.020 [0.000, 0.033], hardly above nothing"
    models = {name: {"model_utility": numbers | {"low": 0.015}} for name in ("baseline", "unlearned")}
    assert evidence.utility(models).value == 1.0


def test_memorisation_is_judged_against_all_retrained_models() -> None:
    values = {"exact_memorisation": (0.60, 0.45, 0.37, 0.41), "extraction_strength": (0.02, 0.01, 0.01, 0.01)}
    models = {
        model: {name: {"value": own[place], "low": own[place] - 0.01, "high": own[place] + 0.01, "items": 200}
                for name, own in values.items()}
        for place, model in enumerate(ALL[:4])
    }  # fmt: skip
    excess = {"exact_memorisation": {"value": 0.06, "low": 0.05, "high": 0.07, "items": 200}}
    found = evidence.from_measures({"models": models, "excess": {"unlearned": excess}}, {})["memorisation_excess"]
    assert found.value == pytest.approx(0.06)  # 0.45 - (0.37 + 0.41) / 2
    assert (found.low, found.high, found.note) == (0.05, 0.07, "Exact memorisation")
    assert found.baseline == pytest.approx(0.21)
    assert found.spread == pytest.approx([0.0, 0.04])  # extraction strength differs by less than exact memorisation


def test_memorisation_is_more_than_being_good_at_language() -> None:
    # 0.45 of the forget text's tokens where retrained models predict 0.37, but 0.55 of any text's where they do 0.47
    numbers = {
        "exact_memorisation": {"baseline": 0.60, "unlearned": 0.45, "retrained": 0.37},
        "retain_accuracy": {"baseline": 0.57, "unlearned": 0.55, "retrained": 0.47},
    }
    models = {
        model: {name: {"value": own[model], "low": own[model], "high": own[model], "items": 9}
                for name, own in numbers.items()}
        for model in ALL[:3]
    }  # fmt: skip
    excess = {
        "exact_memorisation": {"value": 0.08, "low": 0.05, "high": 0.11, "items": 9},
        "retain_accuracy": {"value": 0.08, "low": 0.04, "high": 0.12, "items": 9},
    }
    found = evidence.from_measures({"models": models, "excess": {"unlearned": excess}}, {})["memorisation_excess"]
    assert found.value == pytest.approx(0.0)
    assert (found.low, found.high) == pytest.approx((-0.05, 0.05))  # the root of 0.03^2 + 0.04^2
    assert found.baseline == pytest.approx(0.13)  # (0.60 - 0.37) - (0.57 - 0.47)


def test_what_counts_as_a_leak() -> None:
    assert evidence.counts(attack_metric("leak", "somehow"))
    assert not evidence.counts(attack_metric("accuracy", "layer 2, random labels"))
    assert not evidence.counts(attack_metric("of_tomorrow", "somehow"))
