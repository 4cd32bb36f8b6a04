"""From readings to metrics: values per item by hand, and which aggregate belongs to which metric."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lethe.metrics import compute as measures
from lethe.metrics.collect import Passage, Sentence
from lethe.metrics.membership import MinK
from lethe.metrics.questions import Question
from lethe.metrics.token_scores import Tokenwise

MIN_K = MinK(attack=0.5, plus=0.5, privleak=1.0)
ASKED = [
    Question("prompt 1", "She met", "Orla", "It was Orla", ["Tom", "Vesk"], True),
    Question("prompt 2", "They went to", "Harrow Hill", "Harrow Hill", [], True),
]
LOGS = [
    {"Orla": math.log(0.4), "It was Orla": math.log(0.2), "Tom": math.log(0.1), "Vesk": math.log(0.3)},
    {"Harrow Hill": math.log(0.5)},
]
WRITTEN = [" Tom, then Orla.", " Harrow Hill at night"]


def reading(chosen: list[float], hit: str = "") -> Tokenwise:
    size = len(chosen)
    hits = np.array([letter == "x" for letter in hit.ljust(size, ".")])
    return Tokenwise(np.array(chosen, dtype=np.float32), np.zeros(size), np.ones(size), hits)


def test_questions_to_forget() -> None:
    found = measures.question_values("forget", ASKED, LOGS, WRITTEN)
    assert found["probability"] == pytest.approx({"prompt 1": 0.4, "prompt 2": 0.5})
    assert found["truth_ratio"] == pytest.approx({"prompt 1": 1.0})  # (0.1 + 0.3) / 2 / 0.2, the paraphrase's
    assert found["rouge_l"] == {"prompt 1": 1.0, "prompt 2": 1.0}  # somewhere in what it wrote
    assert found["knowledge_memorisation"] == {"prompt 1": 0.0, "prompt 2": 1.0}  # in its first word, first two words


def test_questions_with_answers_on_offer() -> None:
    found = measures.question_values("facts", ASKED[:1], LOGS[:1], WRITTEN[:1])
    assert found["facts_probability"] == pytest.approx({"prompt 1": 0.5})  # 0.4 / (0.4 + 0.1 + 0.3)
    assert list(found) == [f"facts_{name}" for name in measures.QUESTIONED]


def test_trivia_weighs_the_first_wrong_name() -> None:
    sums = [{"Orla": -3.0, "Tom": -2.0, "Vesk": -9.0}, {"Orla": -1.0, "Tom": -2.0}, {"Orla": -2.0, "Tom": -2.0}]
    asked = [ASKED[0]._replace(item=f"trivia {i}") for i in range(3)]
    found = measures.trivia_values(asked, sums)
    assert found == {"trivia": {"trivia 0": 0.0, "trivia 1": 1.0, "trivia 2": 0.5}}


def test_membership_and_memory() -> None:
    passages = [Passage("forget 0", [], "a text"), Passage("held-out 0", [], "a text")]
    found, reference = [reading([-1.0, -3.0]), reading([-5.0, -5.0])], [reading([-4.0, -4.0])] * 2
    values = measures.membership_values(passages, found, reference, MIN_K)
    assert list(values) == list(measures.ATTACKS)
    assert values["mia_loss"] == {"forget 0": -2.0, "held-out 0": -5.0}
    assert values["mia_min_k"] == {"forget 0": -3.0, "held-out 0": -5.0}
    assert values["mia_privleak"] == {"forget 0": -2.0, "held-out 0": -5.0}  # a share of its own, here all tokens
    assert values["mia_reference"] == {"forget 0": 2.0, "held-out 0": -1.0}
    assert measures.by_membership(values["mia_loss"]) == ([-2.0], [-5.0])
    assert "mia_reference" not in measures.membership_values(passages, found, None, MIN_K)
    known = measures.memorised_values(passages[:1], [reading([-1.0] * 4, "x.xx")], ["the old mill"], ["the new mill"])
    assert known["verbatim_memorisation"] == pytest.approx({"forget 0": 2 / 3})  # two of three words on both sides
    assert known["extraction_strength"] == {"forget 0": 0.5}
    assert known["exact_memorisation"] == {"forget 0": 0.75}


def test_neighbours_leave_out_the_names() -> None:
    sentence = Sentence("prompt 1", [0, 1, 2, 3], [True, False, True])
    found = measures.neighbour_values([sentence], [reading([-1.0, -9.0, -2.0])])
    assert found["neighbour_perplexity"] == pytest.approx({"prompt 1": math.exp(1.5)})  # (1 + 2) / 2
    nothing_own = sentence._replace(own=[False] * 3)
    assert measures.neighbour_values([nothing_own], [reading([-1.0] * 3)]) == {"neighbour_perplexity": {}}


def test_aggregates() -> None:
    values = {
        "truth_ratio": {"a": 2.0, "b": 0.25},  # (1/2 + 1/4) / 2 = 0.375
        "retain_truth_ratio": {"a": 2.0, "b": 0.25},  # (0 + 0.75) / 2 = 0.375
        "probability": {"a": 0.25, "b": 0.5},
        "trivia": {"a": 1.0, "b": 0.0, "c": 1.0},
        "neighbour_perplexity": {"a": 2.0, "b": 8.0},  # the geometric mean
        "mia_loss": {"forget 0": 3.0, "forget 1": 1.0, "held-out 0": 2.0, "held-out 1": 0.0},
        "mia_zlib": {"forget 0": 3.0},  # nobody to compare with
        "rouge_l": {},
    }
    found = measures.aggregates(values)
    assert {name: round(one.value, 6) for name, one in found.items()} == {
        "truth_ratio": 0.375,
        "retain_truth_ratio": 0.375,
        "probability": 0.375,
        "trivia": 0.666667,
        "neighbour_perplexity": 4.0,
        "mia_loss": 0.75,
    }
    assert found["trivia"].high < 1  # Wilson's: two of three is not certain
    assert measures.aggregates({"trivia": {"a": 0.5, "b": 1.0}})["trivia"].value == 0.75


def test_utility_is_of_everything_but_the_forget_side() -> None:
    values = {
        "probability": {"a": 0.9},
        "rouge_l": {"a": 0.9},
        "truth_ratio": {"a": 0.1},
        "retain_probability": {"a": 0.5, "b": 0.5, "c": 0.9},  # c has no wrong answers and is left out
        "retain_rouge_l": {"a": 0.25, "b": 0.25, "c": 0.9},
        "retain_truth_ratio": {"a": 0.0, "b": 0.0},
    }
    assert measures.utility(values).value == pytest.approx(3 / 7)  # 3 / (1/0.5 + 1/0.25 + 1/1)
    assert measures.utility({name: values[name] for name in ("probability", "rouge_l", "truth_ratio")}) is None


def test_relative_to_the_retrained_model() -> None:
    scores = {"forget 0": 3.0, "forget 1": 1.0, "held-out 0": 2.0, "held-out 1": 0.0}  # AUC 0.75
    values = {"truth_ratio": {str(i): float(i) for i in (1, 2, 3, 4)}, "mia_privleak": scores}
    reference = {
        "truth_ratio": {str(i): float(i + 4) for i in (1, 2, 3, 4)},
        "mia_privleak": {"forget 0": 3.0, "forget 1": 0.0, "held-out 0": 2.0, "held-out 1": 1.0},  # AUC 0.5
    }
    found = measures.relative(values, [reference])
    assert found["forget_quality"].value == pytest.approx(2 / 70)
    assert found["forget_quality_log10"].value == pytest.approx(math.log10(2 / 70))
    assert found["privleak"].value == pytest.approx(-0.5)  # (0.25 - 0.5) / 0.5
    nobody = {"mia_privleak": {"forget 0": 3.0}, "truth_ratio": {}}
    assert measures.relative(nobody, [nobody]) == {}
    several = measures.relative(values, [reference, values])  # p of a model against itself is 1
    assert several["forget_quality_log10"].value == pytest.approx(math.log10(2 / 70) / 2)
    assert several["forget_quality"].value == pytest.approx((2 / 70) ** 0.5)


def test_excess_over_the_retrained_models_is_item_by_item() -> None:
    known = {"unlearned": (0.5, 0.7), "retrained": (0.1, 0.3), "retrained-2": (0.3, 0.5)}
    values = {name: {"trivia": dict(zip("ab", own, strict=True))} for name, own in known.items()}
    found = measures.all_excesses(values)
    # 0.6 less the mean of 0.2 and 0.4; the difference is 0.3 for either item, however they are drawn
    assert found["unlearned"]["trivia"] == pytest.approx((0.3, 0.3, 0.3, 2))
    assert found["retrained-2"]["trivia"].value == pytest.approx(0.2)  # against the other
    assert measures.all_excesses({name: values[name] for name in ("unlearned", "retrained")}).keys() == {"unlearned"}


def test_the_perplexity_of_a_ruined_model_is_a_number() -> None:
    from lethe.inference.scoring import MOST_NATS, perplexity_of

    assert perplexity_of(math.log(4.0)) == pytest.approx(4.0)
    assert perplexity_of(800.0) == perplexity_of(1e9) == math.exp(MOST_NATS)
