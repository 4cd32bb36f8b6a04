"""The first screen: the verdict in words, and the five numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from lethe.gate.criteria import DESCRIPTIONS, Criterion
from lethe.report.opening import (
    MEANS,
    QUESTIONS,
    amount,
    facts,
    five,
    headline,
    listed,
    placed,
    shown,
    thousands,
    used,
    weights,
)


def criterion(name: str, result: str, value: float | None = 0.05, **other: Any) -> Criterion:
    fields: dict[str, Any] = {"bound": "at most", "limit": 0.1, "allowed": 0.1, "low": None, "high": None, "note": ""}
    return Criterion(name=name, what=name, value=value, result=result, **(fields | other))


def test_every_criterion_answers_one_question() -> None:
    answered = [name for question in QUESTIONS for name in question.criteria]
    assert sorted(answered) == sorted(DESCRIPTIONS) == sorted(MEANS)


@pytest.mark.parametrize(
    ("results", "sentence"),
    [
        (
            {"attack_excess": "pass", "benchmark_loss": "pass", "model_utility": "not measurable"},
            "By every criterion that could be measured the model has forgotten the text and is as able as before.",
        ),
        (
            {"attack_excess": "pass", "benchmark_loss": "not measurable"},
            "By every criterion that could be measured the model has forgotten the text; what it cost was not "
            "measured.",
        ),
        (
            {"attack_excess": "fail", "privleak": "fail", "benchmark_loss": "pass"},
            "The model has not forgotten the text: attacks still extract it and one can still tell that it read the "
            "text.",
        ),
        (
            {"attack_excess": "pass", "benchmark_loss": "fail"},
            "The model has forgotten the text, but it got worse at what it should keep.",
        ),
        (
            {"attack_excess": "cannot tell", "trivia_excess": "pass", "benchmark_loss": "fail"},
            "Nobody can tell whether the model has forgotten the text, and it got worse at what it should keep.",
        ),
        (
            {"attack_excess": "cannot tell", "benchmark_loss": "pass"},
            "Nobody can tell whether the model has forgotten the text: too little could be measured.",
        ),
        (
            {"benchmark_loss": "pass"},
            "Nobody can tell whether the model has forgotten the text: too little could be measured.",
        ),
        ({}, "Nobody can tell whether the model has forgotten the text: too little could be measured."),
    ],
)
def test_the_verdict_in_words(results: dict[str, str], sentence: str) -> None:
    assert headline([criterion(name, result) for name, result in results.items()]) == sentence


def test_words_are_listed() -> None:
    assert [listed(words) for words in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]


def test_each_number_is_the_worst_of_its_question() -> None:
    judged = [
        criterion("completion_familiarity", "pass", 0.01),
        criterion("probability_familiarity", "pass", 0.09),  # nearer to its limit
        criterion("memorisation_excess", "fail", 0.11),
        criterion("trivia_excess", "cannot tell", 0.9),
        criterion("retain_perplexity", "pass", 0.99, limit=1.1, allowed=1.1),
        criterion("benchmark_loss", "pass", 0.002, limit=0.02, allowed=0.02),
        criterion("model_utility", "not measurable", None),
    ]
    assert [(bar.title, bar.name) for bar in five(judged)] == [
        ("What it says", "probability_familiarity"), ("What it knows", "memorisation_excess"),
        ("What it cost", "benchmark_loss"),  # a tenth of what is allowed; a perplexity below 1 takes nothing of it
    ]  # fmt: skip
    [alone] = five([criterion("privleak", "cannot tell", None, note="too few")])
    assert (alone.at, alone.value, alone.result, alone.note) == (None, "", "cannot tell", "too few")


def test_a_bar_shows_how_much_of_the_limit_is_taken() -> None:
    half = criterion("attack_excess", "pass", 0.05, low=0.02, high=0.3)
    [bar] = five([half])
    # the limit stands at 60: half of it at 30, a fifth at 12; three times it is beyond the end
    assert (bar.at, bar.low, bar.high, bar.value, bar.limit) == (30.0, 12.0, 100.0, "5\u00a0%", "at most 10\u00a0%")
    assert placed(half, -0.4) == 0.0
    times = criterion("retain_perplexity", "pass", 1.05, limit=1.1, allowed=1.1)
    assert used(times, 1.05) == pytest.approx(0.5)  # 1 is unchanged
    least = criterion("forget_quality", "pass", 0.2, bound="at least", limit=0.01, allowed=0.01)
    assert [used(least, p) for p in (1, 0.1, 0.01, 0.0001)] == pytest.approx([0, 0.5, 1, 2])
    nothing = criterion("attack_excess", "fail", 0.05, limit=0.0, allowed=0.0)
    assert (used(nothing, 0.0), used(nothing, 0.05)) == (0.0, 2.0)


def test_values_are_shown_in_percent_but_for_those_that_are_no_share() -> None:
    shares = {"attack_excess": "5\u00a0%", "forget_quality": "5\u00a0%", "retain_perplexity": "0.050"}
    assert {name: shown(criterion(name, "pass"), 0.05) for name in shares} == shares
    assert shown(criterion("privleak", "pass", share=True), 0.1234) == "12.3\u00a0%"
    assert shown(criterion("trivia_excess", "pass"), -0.0001) == "0\u00a0%"  # and not -0


def test_the_facts_of_the_first_screen(tmp_path: Path) -> None:
    sizes = [
        {"side": side, "part": part, "files": files, "words": words}
        for side, part, files, words in (
            ("forget", "held_out", 1, 20),
            ("forget", "train", 2, 1000),
            ("retain", "train", 1, 7),
        )
    ]
    params = {
        "corpus": {"forget": "data/f", "retain": "data/r"},
        "baseline": {"source": "hub", "model": "owner/name", "revision": "a" * 40},
        "finetune": {"objective": "generic_labels", "steps": 120},
    }
    found = facts(
        sizes, params, {"sha256": {"baseline": "b" * 64}}, {"steps": 30, "sha256": {"model.safetensors": "c"}}
    )
    assert found["forget"] == {"files": 3, "words": 1020, "folder": "data/f"}
    assert found["model"] == {"name": "owner/name at revision aaaaaaaaaaaa", "hash": "b" * 64}
    assert (found["method"], found["result"]["hash"]) == (
        "trained to say ordinary words in place of its names (generic labels, 120 steps), then erased from the weights "
        "(30 steps)",
        "c",
    )
    save_file({"a": np.zeros((300, 4000), np.float32), "b": np.zeros(5, np.float32)}, tmp_path / "model.safetensors")
    assert weights(tmp_path) == {"parameters": "1.2 million", "size": "5 MB"}
    assert weights(tmp_path / "none") == {"parameters": "", "size": ""}


def test_large_numbers_are_readable() -> None:
    assert [amount(count) for count in (999, 12_345, 1_246_336, 6_738_415_616)] == [
        "999", "12,345", "1.25 million", "6.74 billion",
    ]  # fmt: skip
    assert (thousands(1234567), thousands(12), thousands(None)) == ("1\u202f234\u202f567", "12", "")
