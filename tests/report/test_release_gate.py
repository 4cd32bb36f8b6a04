"""The release gate, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from lethe.report import release_gate as gate
from lethe.report.metric_catalogue import metric_of
from lethe.report.release_gate import Demand, Found
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
) -> dict[str, Demand]:
    params = gate.GateParams.model_validate(LIMITS | limits)
    found = gate.demands(params, familiarity, benchmarks, measures(models), {"attacks": attack_rows(models)})
    return {demand.name: demand for demand in found}


def test_every_demand_by_hand() -> None:
    found = judged()
    assert {name: (demand.value, demand.met, demand.note) for name, demand in found.items()} == {
        "completion_familiarity": (0.1, True, ""),  # a limit that is just reached is met
        "probability_familiarity": (0.2, False, ""),
        "retain_perplexity": (1.1, True, ""),
        "benchmark_loss": (0.02, True, "local_order"),  # 0.50 - 0.48: rounded, not 0.020000000000000018
        "model_utility": (0.985714, True, ""),  # 0.69 / 0.70
        "memorisation_excess": (0.03, True, "Verbatim memorisation (ROUGE-L)"),  # 0.21 - 0.18, more than 0.12 - 0.10
        "trivia_excess": (0.19, False, ""),  # 0.71 - 0.52
        # 0.43 - 0.02; the control, 0.9 - 0.2, and an unknown metric, 0.5 - 0.2, have no direction and do not count
        "attack_excess": (0.41, False, "Relearning on the text, 8 forget passages, 20 steps: Leak"),
        "forget_quality": (0.012, False, ""),  # at least 0.05
        "privleak": (0.18, False, ""),  # |-0.18|
    }
    assert {name for name, demand in found.items() if demand.bound == "at least"} == {"model_utility", "forget_quality"}


def test_what_is_null_is_not_demanded() -> None:
    assert set(judged(privleak=None, attack_excess=None)) == LIMITS.keys() - {"privleak", "attack_excess"}
    assert judged(**dict.fromkeys(LIMITS)) == {}


def test_without_a_reference_the_reason_is_told() -> None:
    reason = "retrained: baseline.epochs is 0"
    familiarity = FAMILIARITY | {
        "absent": {"retrained": "baseline.epochs is 0"},
        "ratio": dict.fromkeys(FAMILIARITY["ratio"]),
        "reasons": {"completion_familiarity": reason, "probability_familiarity": reason},
    }
    found = judged(familiarity, {"items": {}, "models": {}, "absent": {"piqa": "no file"}}, MODELS[:2])
    assert {name: demand.note for name, demand in found.items() if demand.met is None} == {
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


def demand(name: str, met: bool | None) -> Demand:
    return gate.judged(name, 0.1, Found({True: 0.0, False: 0.2, None: None}[met], "so it is"))


@pytest.mark.parametrize(
    ("answers", "status", "code", "sentence"),
    [
        ([True, True], "pass", 0, "Fit for release: all 2 demands met."),
        (
            [True, False, None],
            "fail",
            1,
            "Not fit for release: 1 of 2 demands missed (trivia excess); 1 could not be measured.",
        ),
        ([True, None], "cannot tell", 2, "Cannot tell: 1 of 2 demands met; 1 could not be measured."),
        ([None], "cannot tell", 2, "Cannot tell: 0 of 1 demands met; 1 could not be measured."),
        ([], "cannot tell", 2, "Cannot tell: the gate makes no demand."),
    ],
)
def test_one_missed_demand_fails_and_an_open_one_leaves_it_open(
    answers: list[bool | None], status: str, code: int, sentence: str
) -> None:
    names = ["attack_excess", "trivia_excess", "memorisation_excess"]
    found = [demand(name, met) for name, met in zip(names, answers, strict=False)]
    assert gate.status(found) == status
    assert gate.EXIT_CODES[gate.status(found)] == code
    assert gate.sentence(found) == sentence


def test_the_metric_is_small() -> None:
    assert gate.metric([demand("attack_excess", True), demand("trivia_excess", False), demand("privleak", None)]) == {
        "met": 1, "missed": 1, "unmeasured": 1, "attack_excess": 0.0, "trivia_excess": 0.2,
    }  # fmt: skip
    assert len(gate.WHAT) == len(gate.GateParams.model_fields) == 10


def test_the_worst_attack_is_the_surest() -> None:
    def row(setting: str, model: str, value: float, low: float) -> dict[str, Any]:
        return {"attack": "prefix", "setting": setting, "model": model, "metric": "leak", "value": value, "low": low,
                "high": 1.0}  # fmt: skip

    rows = [row("one prompt", "excess", 1.0, 0.05), row("forty prompts", "excess", 0.75, 0.6)]
    rows += [row(setting, model, 0.5, 0.5) for setting in ("one prompt", "forty prompts") for model in MODELS]
    assert gate.worst_excess({"attacks": rows}, {}) == Found(0.75, "The name's first letters, forty prompts: Leak")


def test_an_excess_without_an_interval_of_its_own() -> None:
    rows = {"unlearned": {"value": 0.5}, "retrained": {"value": 0.2}}
    leak = metric_of("leak")
    assert gate.excess_of(leak, rows) == {"value": 0.3, "low": None, "high": None}
    assert gate.surely({"value": 0.3, "low": None}) == 0.3
    assert gate.excess_of(leak, {"unlearned": {"value": 0.5}}) is None
