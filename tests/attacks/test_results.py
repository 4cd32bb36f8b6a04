"""Attack results as rows, their intervals and the printed sentence, by hand."""

from __future__ import annotations

import pytest

from lethe.attacks.results import (
    Finding,
    curve_values,
    excess,
    item_rows,
    judged_rows,
    report_rows,
    sentence,
)
from lethe.evaluation.intervals import rate_interval

YES, NO = True, False


def findings(unlearned: list[bool], retrained: list[bool] | None, metric: str = "leak") -> list[Finding]:
    found = [Finding("lora", "9 steps", "baseline", metric, [YES, YES, YES, YES])]
    found.append(Finding("lora", "9 steps", "unlearned", metric, unlearned))
    return found + ([Finding("lora", "9 steps", "retrained", metric, retrained)] if retrained else [])


def test_nothing_against_nothing_is_not_certain() -> None:
    found = excess([NO] * 100, [[NO] * 100])
    upper = rate_interval([NO] * 100).high
    assert found.value == 0.0
    assert (found.low, found.high) == pytest.approx((-upper, upper))
    assert 0.03 < upper < 0.04  # three in a hundred may hide


def test_excess_of_numbers_is_paired() -> None:
    # each item is 0.1 higher in the one model: however the items are drawn again, so is the mean
    found = excess([0.2, 0.5, 0.9], [[0.1, 0.4, 0.8]])
    assert found == pytest.approx((0.1, 0.1, 0.1, 3))


def test_excess_over_several_retrained_models_is_over_their_mean() -> None:
    found = excess([YES, YES, NO, NO], [[YES, NO, NO, NO], [NO, NO, NO, NO]])
    assert found.value == pytest.approx(0.5 - 0.125)
    alone = excess([YES, YES, NO, NO], [[NO, NO, NO, NO]])
    assert found.high - found.value == pytest.approx(alone.high - alone.value, abs=0.1)  # no narrower for being two
    # 0.2 and 0.4 above the means of (0.1, 0.3) and (0.3, 0.5)
    assert excess([0.4, 0.8], [[0.1, 0.3], [0.3, 0.5]]).value == pytest.approx(0.3)


def test_the_curve_of_an_attack_by_hand() -> None:
    # log 1, 10, 100 are 0, 1 and 2 in units of log 10: trapezoids of 1 and 1, over 2
    points = {100: [YES, YES, NO], 1: [NO, YES, NO], 10: [NO, YES, YES]}
    assert curve_values(points) == pytest.approx([0.25, 1.0, 0.5])
    assert curve_values({20: [YES, NO]}) == [1.0, 0.0]


def test_single_steps_are_not_judged_where_there_is_a_curve() -> None:
    rows = [
        {"attack": attack, "metric": metric}
        for attack, metric in (("lora", "leak"), ("lora", "leak_curve"), ("none", "leak"))
    ]
    assert judged_rows(rows) == rows[1:]


def test_rows_stand_side_by_side_with_their_excess() -> None:
    rows = report_rows(findings([YES, NO, NO, YES], [NO, NO, NO, YES]))
    assert [(row["model"], row["value"], row["items"]) for row in rows] == [
        ("baseline", 1.0, 4),
        ("unlearned", 0.5, 4),
        ("retrained", 0.25, 4),
        ("excess", 0.25, 4),  # 2/4 - 1/4
    ]
    assert list(rows[0]) == ["attack", "setting", "model", "metric", "value", "low", "high", "items"]
    assert rows[0] | {"model": "", "value": 0, "low": 0, "high": 0} == rows[0] | {
        "attack": "lora", "setting": "9 steps", "metric": "leak", "model": "", "value": 0, "low": 0, "high": 0
    }  # fmt: skip


def test_without_a_retrained_model_there_is_no_excess() -> None:
    assert [row["model"] for row in report_rows(findings([YES, NO], None))] == ["baseline", "unlearned"]


def test_every_item_is_kept() -> None:
    found = [Finding("none", "as is", "baseline", "leak", [YES, NO])]
    found.append(Finding("none", "as is", "baseline", "probability", [0.12345678]))
    kept = [(row["item"], row["value"]) for row in item_rows(found)]
    assert kept == [(0, 1), (1, 0), (0, 0.123457)]


def test_sentence_names_the_surest_excess() -> None:
    few = Finding("prefix", "few", "unlearned", "leak", [YES]), Finding("prefix", "few", "retrained", "leak", [NO])
    many = findings([YES] * 30 + [NO] * 10, [NO] * 40)
    said = sentence(report_rows([*few, *many]))
    # one of one prompt says less than 30 of 40
    assert said.startswith(
        "attack: largest excess leak over the retrained model under lora (9 steps): leak baseline 1.000, "
        "unlearned 0.750, retrained 0.000, excess 0.750 [0."
    )


def test_sentence_where_nothing_leaks() -> None:
    rows = report_rows(findings([NO, NO, NO, NO], [NO, NO, NO, YES]))
    assert sentence(rows) == "attack: no excess leak over the retrained model in any of 1 settings"


def test_sentence_without_a_retrained_model() -> None:
    rows = report_rows(findings([YES, NO, NO, NO], None, "leak_any"))
    assert sentence(rows) == (
        "attack: no retrained model; the unlearned model leaks most under lora (9 steps): leak any baseline 1.000, "
        "unlearned 0.250"
    )
