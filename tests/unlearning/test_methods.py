"""Methods: every name of an objective has one, and what it needs is said."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from ruamel.yaml import YAML

from lethe.unlearning import objectives
from lethe.unlearning.methods import MethodParams, chosen
from tests.conftest import ROOT

NAMES = get_args(MethodParams.model_fields["objective"].annotation)
# name -> labels, takes retain rows, BASE_HIDDEN of which side, BASE_NLL
NEEDS = {
    "generic_labels": ("generic", True, None, False),
    "gradient_ascent": ("true", False, None, False),
    "random_labels": ("random", False, None, False),
    "ascent_kl": ("true", True, "retain", False),
    "grad_diff": ("true", True, None, False),
    "spul": ("generic", True, "retain", False),
    "npo": ("true", True, None, True),
    "simnpo": ("true", True, None, False),
    "dpo": ("pairs", True, None, True),
    "rmu": ("true", True, "retain", False),
    "undial": ("true", False, "forget", False),
    "wga": ("true", True, None, False),
    "satimp": ("true", True, None, False),
    "ceu": ("true", False, None, False),
    "pdu": ("true", True, None, False),
}


def params(objective: str, **changes: dict[str, Any]) -> MethodParams:
    values = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))["methods"]
    known = {name: values[name] | changes.get(name, {}) for name in MethodParams.model_fields if name != "objective"}
    return MethodParams.model_validate({"objective": objective, **known})


@pytest.mark.parametrize("name", NAMES)
def test_what_a_method_needs(name: str) -> None:
    method = chosen(params(name), width=8, seed=0)
    assert (method.labels, method.retain, method.base_hidden, method.base_nll) == NEEDS[name]
    assert (method.layer is not None) == (name == "rmu")


@pytest.mark.parametrize(
    ("name", "forget", "retain", "others"),
    [  # the weights that the authors give the two terms
        ("grad_diff", 1.0, 1.0, {}),
        ("npo", 1.0, 1.0, {"beta": 0.1}),
        ("simnpo", 0.125, 1.0, {"beta": 4.5, "gamma": 0.0}),
        ("dpo", 1.0, 1.0, {"beta": 0.1}),
        ("undial", 1.0, 0.0, {"beta": 10.0}),
        ("wga", 1.0, 1.0, {"beta": 1.0}),
        ("satimp", 0.1, 1.0, {"beta1": 5.0, "beta2": 1.0}),
    ],
)
def test_the_weights_are_those_of_the_authors(name: str, forget: float, retain: float, others: dict) -> None:
    # ours has the weight 1 for the forget term; an optimiser that scales every gradient sees their ratio alone
    own = getattr(params(name), name)
    assert own.retain == retain / forget
    assert {key: getattr(own, key) for key in others} == others


def test_a_weight_of_zero_needs_nothing() -> None:
    # no second half, no reference: grad_diff is ascent, and spul with beta 0 wants no base
    assert not chosen(params("grad_diff", grad_diff={"retain": 0.0}), 8, 0).retain
    without_kl = chosen(params("spul", spul={"beta": 0.0}), 8, 0)
    assert (without_kl.retain, without_kl.base_hidden) == (True, None)
    assert not chosen(params("spul", spul={"alpha": 0.0, "beta": 0.0}), 8, 0).retain


def test_the_numbers_reach_the_objective() -> None:
    npo = chosen(params("npo", npo={"beta": 0.3, "retain": 0.5}), 8, 0).objective
    assert npo.args[0].keywords == {"beta": 0.3}  # type: ignore[attr-defined]
    assert npo.args[1] == 0.5  # type: ignore[attr-defined]
    rmu = chosen(params("rmu", rmu={"steering": 7.0}), 8, 3).objective
    assert torch.equal(rmu.keywords["control"], objectives.control_vector(8, 7.0, 3))  # type: ignore[attr-defined]
    pdu = chosen(params("pdu", pdu={"dual": 2.0, "rate": 0.1, "epsilon": 0.7}), 8, 0).objective
    assert (pdu.dual, pdu.rate, pdu.epsilon) == (2.0, 0.1, 0.7)  # type: ignore[attr-defined]
