"""The table of architectures: that of the recorded trial, complete, and green for one of each kind of trouble."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import pytest

from lethe.preflight.doctor import pins
from lethe.preflight.trial import CHECKS, FAILS, OK
from tests.conftest import ROOT
from tools import families

RECORD: dict[str, Any] = json.loads((ROOT / "reports/families.json").read_text(encoding="utf-8"))
TROUBLE = """llama gpt2 gpt_neox opt falcon gemma2 gemma3 granite cohere2 mistral qwen3 qwen3_moe qwen3_5 qwen3_next
gpt_oss mamba mamba2 rwkv mixtral deepseek_v3 granitemoehybrid nemotron_h"""


def test_the_page_is_that_of_the_record_and_complete() -> None:
    page = families.PAGE.read_text(encoding="utf-8")
    assert families.filled(page, RECORD) == page, "run `make families`"
    assert RECORD["transformers"] == pins((ROOT / "constraints.txt").read_text(encoding="utf-8"))["transformers"]
    assert list(RECORD["families"]) == families.causal()


@pytest.mark.parametrize("name", TROUBLE.split())
def test_one_of_each_kind_of_trouble_is_green(name: str) -> None:
    assert RECORD["families"][name] == {check: [OK, ""] for check in CHECKS}


def test_nothing_ends_after_a_training_has_begun() -> None:
    trained = ("full", "LoRA", "prompt")
    wrong = {name: found[tuning] for name, found in RECORD["families"].items() for tuning in trained if tuning in found}
    assert {name: why for name, (state, why) in wrong.items() if state == FAILS} == {}


def test_a_child_that_dies_or_hangs_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families, "tried", lambda name, recipe, out: os._exit(3))
    assert families.in_a_child("llama", None) == {"build": (FAILS, "the process ended with 3")}
    monkeypatch.setattr(families, "SECONDS", 0.1)
    monkeypatch.setattr(families, "tried", lambda name, recipe, out: time.sleep(60))
    assert families.in_a_child("llama", None) == {"build": (FAILS, "not done after 0.1 s")}


def test_types_with_one_reason_share_a_line() -> None:
    reasons = {"bert": "bert: is not causal", "xlnet": "xlnet: is not causal", "git": "MODEL: git: " + "long " * 99}
    first, second = families.listed(reasons)
    assert first == "* bert, xlnet: is not causal"
    assert second.startswith("* git: MODEL: long")
    assert second.endswith(" ...")
    assert len(second) < 260
