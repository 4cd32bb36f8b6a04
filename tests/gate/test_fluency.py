"""The gate's criterion of fluency, by hand."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from lethe.evaluation.fluency import Start, Written, scores
from lethe.gate import criteria as gate
from lethe.gate.evidence import from_fluency
from lethe.gate.fluency import Loss, fluency_loss, losses, spread
from tests.evaluated import fluency, numbers

LIMIT = 0.1


def loss(models: dict[str, Any], absent: dict[str, str] | None = None) -> Loss | str:
    return fluency_loss({"models": models, "absent": {}, "fluency": {"models": models, "absent": absent or {}}})


def test_every_loss_by_hand() -> None:
    found = list(losses(fluency()["models"]))
    # against the worst reference: the baseline for doubled and common, the retrained model for distinct: 0.37 - 0.38
    assert [round(one.value, 6) for one in found] == [0.05, -0.04, -0.01, 0.0] * 2
    assert found[2].where == "Distinct 4-grams, retain prompts: 0.380, retrained 0.370"
    # each end is 0.05 away: 0.05 * sqrt(2)
    assert (found[2].low, found[2].high) == (pytest.approx(-0.0807, abs=1e-4), pytest.approx(0.0607, abs=1e-4))


def test_ends_of_the_interval_are_not_swapped() -> None:
    own = {"value": 0.5, "low": 0.4, "high": 0.8, "items": 9}
    other = {"value": 0.3, "low": 0.28, "high": 0.6, "items": 9}
    [less] = losses({"unlearned": {"retain_short": own}, "baseline": {"retain_short": other}})
    # 0.1 below and 0.3 above the one, 0.02 below and 0.3 above the other
    assert (less.value, less.low, less.high) == (
        pytest.approx(0.2), pytest.approx(0.2 - math.hypot(0.1, 0.3)), pytest.approx(0.2 + math.hypot(0.3, 0.02)),
    )  # fmt: skip
    [more] = losses({"unlearned": {"retain_distinct_4grams": own}, "baseline": {"retain_distinct_4grams": other}})
    # less distinct is worse: 0.7 - 0.5 against 1 - 0.3
    assert (more.value, more.low, more.high) == (
        pytest.approx(-0.2), pytest.approx(-0.2 - math.hypot(0.3, 0.02)), pytest.approx(-0.2 + math.hypot(0.1, 0.3)),
    )  # fmt: skip


def test_the_worst_of_all_references_counts() -> None:
    models = {
        "unlearned": {"retain_short": numbers(0.5)}, "baseline": {"retain_short": numbers(0.1)},
        "retrained": {"retain_short": numbers(0.2)}, "retrained-2": {"retain_short": numbers(0.45)},
        "suppressed": {"retain_short": numbers(0.9)},
    }  # fmt: skip
    [one] = losses(models)
    assert (round(one.value, 6), one.where.split(", ")[-1]) == (0.05, "retrained-2 0.450")
    for name in ("retrained", "retrained-2"):
        del models[name]
    [alone] = losses(models)  # the baseline alone
    assert round(alone.value, 6) == 0.4


def test_the_spread_of_retrained_models() -> None:
    models = {name: {"retain_short": numbers(value)} for name, value in
              {"baseline": 0.1, "retrained": 0.3, "retrained-2": 0.2, "unlearned": 0.9}.items()}  # fmt: skip
    report = {"models": models, "absent": {}, "fluency": {"models": models, "absent": {}}}
    # 0.3 - 0.2, the worse of 0.1 and 0.2; 0.2 - 0.3
    assert spread(report) == [pytest.approx(0.1), pytest.approx(-0.1)]
    del models["retrained-2"]
    assert spread(report) == []


def test_the_worst_loss_has_the_highest_lower_end() -> None:
    nothing = {"value": 0.0, "low": 0.0, "high": 0.0, "items": 9}
    noisy, sure = nothing | {"value": 0.4, "high": 0.8}, {"value": 0.3, "low": 0.25, "high": 0.35, "items": 7}
    names = ("retain_short", "forget_short")
    found = loss({"unlearned": dict(zip(names, (noisy, sure), strict=True)), "baseline": dict.fromkeys(names, nothing)})
    assert isinstance(found, Loss)
    assert (found.value, found.low, found.items) == (0.3, 0.25, 7)
    assert found.note.endswith("forget prompts: 0.300, baseline 0.000; 95 % interval 0.250 to 0.350")


def test_without_numbers_it_says_why() -> None:
    assert fluency_loss({"models": {}, "absent": {}}) == "not measured"  # a report of an earlier version
    assert loss({}) == "baseline: not among the models measured; unlearned: not among the models measured"
    both = {"baseline": {}, "unlearned": {}}
    assert loss(both, {"fluency": "evaluate.fluency.prompts is 0"}) == "evaluate.fluency.prompts is 0"


def continuations(model: str, chance: random.Random, phrase: str, share: float) -> list[Written]:
    """60 texts on either side of words drawn from 50, a share of them with the same phrase in front."""
    rows = []
    for side in ("retain", "forget"):
        for id in range(60):
            words = [f"w{chance.randrange(50)}" for _ in range(12)]
            start = f"{phrase} " if chance.random() < share else ""
            text = start + " ".join(word for word, after in zip(words, [*words[1:], ""], strict=True) if word != after)
            rows.append(Written(model, Start(side, id, "So", [1]), text, [2], True))
    return rows


@pytest.mark.parametrize(
    ("phrase", "share", "met", "where"),
    [
        ("the weavers of the", 0.9, False, "Continuations with the commonest 4-gram"),
        ("their wool door door", 0.5, False, "Continuations with a doubled word"),
        ("the weavers of the", 0.0, True, ""),
    ],
)
def test_a_model_of_one_phrase_fails_and_a_healthy_one_passes(phrase: str, share: float, met: bool, where: str) -> None:
    chance = random.Random(0)
    items = [item for name in ("baseline", "retrained") for item in continuations(name, chance, phrase, 0.0)]
    found = scores(items + continuations("unlearned", chance, phrase, share), None)
    report = {"models": found, "absent": {}, "fluency": {"models": found, "absent": {}}}
    judged = gate.judged("fluency_loss", LIMIT, from_fluency(report), LIMIT)
    assert judged.met is met
    assert judged.note.startswith(where)


def test_a_model_that_says_nothing_fails() -> None:
    chance = random.Random(0)
    silent = [item._replace(text="!!!!", model="unlearned") for item in continuations("", chance, "", 0.0)]
    found = scores(continuations("baseline", chance, "", 0.0) + silent, None)
    one = loss(found)
    assert isinstance(one, Loss)
    assert one.value == 1.0
