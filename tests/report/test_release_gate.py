"""The release gate, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from lethe.report import release_gate as gate
from lethe.report.metric_catalogue import metric_of
from lethe.report.release_gate import Criterion, Found
from tests.evaluated import MODELS, attack_rows, measures

FAMILIARITY: dict[str, Any] = {
    "absent": {},
    "ratio": {
        "completion_familiarity": 0.1,  # (1.2 - 1.0) / (3.0 - 1.0)
        "probability_familiarity": 0.2,  # (0.18 - 0.1) / (0.5 - 0.1)
        "retain_perplexity_factor": 1.1,  # 4.4 / 4.0
    },
    "reasons": {},
}
BENCHMARKS: dict[str, Any] = {
    "items": {"local_order": 500, "piqa": 200},
    "models": {"baseline": {"local_order": 0.5, "piqa": 0.6}, "unlearned": {"local_order": 0.48, "piqa": 0.61}},
    "absent": {},
}
LIMITS = {
    "completion_familiarity": 0.1,
    "probability_familiarity": 0.1,
    "retain_perplexity": 1.1,
    "benchmark_loss": 0.02,
    "model_utility": 0.95,
    "memorisation_excess": 0.05,
    "trivia_excess": 0.1,
    "attack_excess": 0.1,
    "forget_quality": 0.05,
    "privleak": 0.05,
}


def judged(
    familiarity: dict[str, Any] = FAMILIARITY,
    benchmarks: dict[str, Any] = BENCHMARKS,
    models: tuple[str, ...] = MODELS,
    **limits: float | None,
) -> dict[str, Criterion]:
    params = gate.GateParams.model_validate(LIMITS | limits)
    found = gate.criteria(params, familiarity, benchmarks, measures(models), {"attacks": attack_rows(models)})
    return {criterion.name: criterion for criterion in found}


def test_every_criterion_by_hand() -> None:
    found = judged()
    assert {name: (criterion.value, criterion.met, criterion.note) for name, criterion in found.items()} == {
        "completion_familiarity": (0.1, True, ""),  # a limit that is just reached is met
        "probability_familiarity": (0.2, False, ""),
        "retain_perplexity": (1.1, True, ""),
        "benchmark_loss": (0.02, True, "local_order"),  # 0.50 - 0.48: rounded, not 0.020000000000000018
        "model_utility": (0.985714, True, ""),  # 0.69 / 0.70
        "memorisation_excess": (0.03, True, "Verbatim memorisation (ROUGE-L)"),  # 0.21 - 0.18, more than 0.12 - 0.10
        "trivia_excess": (0.19, False, ""),  # 0.71 - 0.52
        # 0.43 - 0.02; the control, 0.9 - 0.2, and an unknown metric, 0.5 - 0.2, have no direction and do not count
        "attack_excess": (0.41, False, "Relearning on forget text, 8 forget passages, 20 steps: Leak"),
        "forget_quality": (0.012, False, ""),  # at least 0.05
        "privleak": (0.18, False, ""),  # |-0.18|
    }
    assert {name for name, criterion in found.items() if criterion.bound == "at least"} == {
        "model_utility",
        "forget_quality",
    }


def test_a_null_limit_turns_a_criterion_off() -> None:
    assert set(judged(privleak=None, attack_excess=None)) == LIMITS.keys() - {"privleak", "attack_excess"}
    assert judged(**dict.fromkeys(LIMITS)) == {}


def test_without_a_reference_the_reason_is_given() -> None:
    reason = "retrained: baseline.epochs is 0"
    familiarity = FAMILIARITY | {
        "absent": {"retrained": "baseline.epochs is 0"},
        "ratio": dict.fromkeys(FAMILIARITY["ratio"]),
        "reasons": {"completion_familiarity": reason, "probability_familiarity": reason},
    }
    found = judged(familiarity, {"items": {}, "models": {}, "absent": {"piqa": "no file"}}, MODELS[:2])
    assert {name: criterion.note for name, criterion in found.items() if criterion.met is None} == {
        "completion_familiarity": reason,
        "probability_familiarity": reason,
        "retain_perplexity": "not measured",
        "benchmark_loss": "piqa: no file",
        "memorisation_excess": reason,
        "trivia_excess": reason,
        "attack_excess": reason,
        "forget_quality": reason,
        "privleak": reason,
    }


def criterion(name: str, met: bool | None) -> Criterion:
    return gate.judged(name, 0.1, Found({True: 0.0, False: 0.2, None: None}[met], "so it is"))


@pytest.mark.parametrize(
    ("answers", "status", "code", "sentence"),
    [
        ([True, True], "pass", 0, "release gate: PASS (all 2 criteria)"),
        ([True, False, None], "fail", 1, "release gate: FAIL (1 of 2 criteria): trivia excess; 1 not measured"),
        ([True, None], "cannot tell", 2, "release gate: CANNOT TELL (1 of 2 criteria not measured)"),
        ([None], "cannot tell", 2, "release gate: CANNOT TELL (1 of 1 criteria not measured)"),
        ([], "cannot tell", 2, "release gate: CANNOT TELL (no criterion is set)"),
    ],
)
def test_one_missed_criterion_fails_and_an_unmeasured_one_leaves_it_open(
    answers: list[bool | None], status: str, code: int, sentence: str
) -> None:
    names = ["attack_excess", "trivia_excess", "memorisation_excess"]
    found = [criterion(name, met) for name, met in zip(names, answers, strict=False)]
    assert gate.status(found) == status
    assert gate.EXIT_CODES[gate.status(found)] == code
    assert gate.sentence(found) == sentence


def test_the_metric_is_small() -> None:
    judged = [criterion("attack_excess", True), criterion("trivia_excess", False), criterion("privleak", None)]
    assert gate.metric(judged) == {
        "met": 1, "missed": 1, "unmeasured": 1, "attack_excess": 0.0, "trivia_excess": 0.2,
    }  # fmt: skip
    assert len(gate.DESCRIPTIONS) == len(gate.GateParams.model_fields) == 10


def test_the_worst_attack_has_the_highest_lower_end() -> None:
    def row(setting: str, model: str, value: float, low: float) -> dict[str, Any]:
        return {"attack": "prefix", "setting": setting, "model": model, "metric": "leak", "value": value, "low": low,
                "high": 1.0}  # fmt: skip

    rows = [row("one prompt", "excess", 1.0, 0.05), row("forty prompts", "excess", 0.75, 0.6)]
    rows += [row(setting, model, 0.5, 0.5) for setting in ("one prompt", "forty prompts") for model in MODELS]
    assert gate.worst_excess({"attacks": rows}, {}) == Found(0.75, "Prefix of the target name, forty prompts: Leak")


def test_an_excess_without_an_interval_of_its_own() -> None:
    rows = {"unlearned": {"value": 0.5}, "retrained": {"value": 0.2}}
    leak = metric_of("leak")
    assert gate.excess_of(leak, rows) == {"value": 0.3, "low": None, "high": None}
    assert gate.lower_end({"value": 0.3, "low": None}) == 0.3
    assert gate.excess_of(leak, {"unlearned": {"value": 0.5}}) is None
