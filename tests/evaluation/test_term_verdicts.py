"""What is said of a term, by the numbers."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lethe.evaluation.term_verdicts import CERTAIN, VERDICTS, Limits, Rise, is_renamed, rise, verdict

LIMITS = Limits(known=0.001, remaining=0.1, renamed=0.25)
NONE = Rise(0.0, 0.0)
PROBABILITY = st.floats(0.0, 1.0)


def of(baseline: float, unlearned: float, retrained: float | None = None) -> dict[str, float]:
    found = {"baseline": baseline, "unlearned": unlearned}
    return found if retrained is None else found | {"retrained": retrained}


def test_rise_by_hand() -> None:
    # the retrained model gives most: mean .3 > .2; gaps .5-.2 = .3 and .6-.4 = .2, mean .25,
    # variance (.05^2 + .05^2) / (2-1) = .005, of the mean .005 / 2
    found = rise([0.5, 0.6], [[0.1, 0.3], [0.2, 0.4]])
    assert found == (pytest.approx(0.25), pytest.approx(0.0025))
    assert rise([0.5], [[0.1], [0.2]]) == (pytest.approx(0.3), math.inf)  # of one place nothing is certain


def test_a_translation_that_rises_everywhere_is_no_new_name() -> None:
    target = Rise(0.10, 0.0001)  # a standard error of .01
    # no control: .10 > .25 * .20 and 10 standard errors
    assert is_renamed(target, None, lost=0.20, share=0.25)
    assert is_renamed(target, NONE, lost=0.20, share=0.25)
    # as much in the control: .10 - .10 = 0
    assert not is_renamed(target, Rise(0.10, 0.0), lost=0.20, share=0.25)
    # too little of what was lost: .10 < .25 * .50
    assert not is_renamed(target, NONE, lost=0.50, share=0.25)


def test_a_new_name_has_to_be_certain() -> None:
    # standard error sqrt(.0009 + .0016) = .05: .12 is 2.4 of them, .13 is 2.6
    assert 2.4 < CERTAIN < 2.6
    assert not is_renamed(Rise(0.12, 0.0009), Rise(0.0, 0.0016), lost=0.1, share=0.25)
    assert is_renamed(Rise(0.13, 0.0009), Rise(0.0, 0.0016), lost=0.1, share=0.25)
    assert not is_renamed(Rise(0.9, math.inf), None, lost=0.1, share=0.25)


@pytest.mark.parametrize(
    ("probability", "target", "wanted"),
    [
        # .0019 - .0010 < .001
        (of(0.0019, 0.5, 0.0010), None, "never known"),
        (of(0.0009, 0.0), None, "never known"),
        # left: (.07 - .01) / (.51 - .01) = .12
        (of(0.51, 0.07, 0.01), None, "still known"),
        (of(0.5, 0.06), None, "still known"),
        (of(0.5, 0.06), Rise(0.4, 0.0), "still known"),  # whatever its translation does
        # left .1 is permitted; sqrt(.51 * .01) = .071 >= .06
        (of(0.51, 0.06, 0.01), None, "forgotten"),
        (of(0.51, 0.0, 0.01), None, "forgotten"),
        # sqrt(.5 * .0002) = .01
        (of(0.5, 0.0099, 0.0002), None, "forgotten"),
        (of(0.5, 0.0101, 0.0002), None, "suppressed"),
        (of(0.5, 0.01, 0.0), None, "suppressed"),
        (of(0.5, 0.01), None, "suppressed"),  # nothing to compare it with
        (of(0.5, 0.0), None, "suppressed"),
        (of(0.51, 0.06, 0.01), Rise(0.2, 0.0), "renamed"),  # .2 > .25 * (.51 - .06)
        (of(0.51, 0.06, 0.01), Rise(0.1, 0.0), "forgotten"),
    ],
)
def test_verdict_by_hand(probability: dict[str, float], target: Rise | None, wanted: str) -> None:
    assert verdict(probability, target, None, LIMITS) == wanted
    assert wanted in VERDICTS


@given(PROBABILITY, PROBABILITY, PROBABILITY)
def test_the_baseline_itself_has_forgotten_nothing(baseline: float, retrained: float, target: float) -> None:
    found = verdict(of(baseline, baseline, retrained), Rise(target, 0.0), None, LIMITS)
    assert found in ("still known", "never known")


@given(PROBABILITY, PROBABILITY)
@example(0.5, 5e-324)
def test_the_retrained_model_has_forgotten_everything(baseline: float, retrained: float) -> None:
    # its translations are no likelier than for itself
    assert verdict(of(baseline, retrained, retrained), NONE, None, LIMITS) in ("forgotten", "never known")
