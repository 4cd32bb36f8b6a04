"""What the planner says of every stage, by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lethe.core.params import read_yaml
from lethe.core.whole_params import validated
from lethe.preflight.estimate import Texts, Work
from lethe.preflight.memory import Cards, weight_count
from lethe.pretrained.from_scratch import llama_config
from lethe.running.workload import resume_bytes, works
from tests.conftest import ROOT, set_param

FORGET, RETAIN = 90_000, 50_000


def planned(project: Path, **params: object) -> tuple[dict[str, Work], int, dict[str, Any]]:
    for name, value in params.items():
        set_param(project, name.replace("__", "."), value)
    sections, problems = validated(read_yaml(Path("dvc.yaml"))["stages"], read_yaml(Path("params.yaml")))
    assert problems == []
    config = llama_config(sections["baseline"].scratch, sections["baseline"].scratch.vocabulary)
    found = works(sections, config, Texts(FORGET, RETAIN), Cards(0, 64e9))
    return {work.stage: work for work in found}, weight_count(config), sections


def test_every_stage_in_the_pipelines_order(project: Path) -> None:
    found, weights, sections = planned(project)
    task = ("split", "specialise", "softprompt", "classify")  # whose table is not here
    assert list(found) == [stage for stage in read_yaml(Path("dvc.yaml"))["stages"] if stage not in task]
    # three models of 3 passes over the retain text; what remains are their weights
    assert (found["retrain"].tokens, found["retrain"].disk) == (3 * 3 * RETAIN, 3 * 4 * weights)
    assert found["retrain"].operations == 6 * weights * 3 * 3 * RETAIN
    # 20 places of each of 2000 anchors in blocks of 224 tokens are more than the text: two models read it all
    assert found["extract"].tokens == 2 * FORGET
    # 300 anchors, the square root of 90,000; 8 contexts of 32 tokens and 24 candidates of 3
    assert found["translate"].tokens == 300 * 8 * (32 + 72)
    # both models read the blocks, the baseline also without translation; 3 ids of 4 bytes, and 64 of 6
    assert (found["label"].tokens, found["label"].disk) == (3 * FORGET, FORGET * (12 + 64 * 6))
    assert found["finetune"].disk == 4 * 4 * weights  # three checkpoints and the model
    # 9 models: baseline, three retrained, three checkpoints, suppressed, unlearned. 720 test prompts of 56 + 24 tokens,
    # 120 texts of 16.8 + 40, and a tenth of all text
    assert found["evaluate"].tokens == round(9 * (720 * 80 + 120 * 56.8 + (FORGET + RETAIN) / 9))
    assert found["term"].tokens == 4 * 300 * 8 * 56
    assert found["attack"].operations > 2 * weights * found["attack"].tokens  # its trainings go backwards too
    assert found["attack"].memory > 4 * found["measure"].memory
    assert all(work.start > 0 for work in found.values())
    assert resume_bytes(sections, weights) == 2 * 12 * weights


def test_what_is_switched_off_costs_nothing(project: Path) -> None:
    found, weights, _ = planned(
        project, distil__steps=0, extract__backend="file", translate__backend="none", attack__attacks=["prefix"],
        finetune__checkpoints=[], training__resume_every=0,
    )  # fmt: skip
    assert [found[name].operations for name in ("distil", "extract", "translate")] == [0, 0, 0]
    # the unattacked prompts, the first token, one letter and three: 4 passes of 100 prompts, by 5 models
    assert found["attack"].tokens == 5 * 4 * 100 * 80
    assert found["attack"].memory == 4 * weights
    assert found["evaluate"].tokens == round(5 * (720 * 80 + 120 * 56.8 + (FORGET + RETAIN) / 9))


def test_an_adapter_takes_less_than_all_weights(project: Path) -> None:
    all_weights, adapter = (
        planned(project, attack__attacks=[name])[0]["attack"].memory for name in ("relearn", "lora")
    )
    assert adapter < all_weights


def test_no_reference_without_a_training(project: Path) -> None:
    found, weights, _ = planned(
        project, baseline__source="folder", baseline__epochs=0, retrain__seeds=[0], finetune__checkpoints=[]
    )
    assert (found["retrain"].operations, found["retrain"].disk, found["baseline"].disk) == (0, 0, 4 * weights)
    assert found["measure"].tokens == 3 * (2 * 500 * 6 * 20 + 3 * 200 * 96)  # baseline, suppressed, unlearned


def test_the_classification_task_has_a_model_of_its_own(project: Path) -> None:
    (project / "data").mkdir()
    (project / "data/demo").symlink_to(ROOT / "data/demo")
    found, _, sections = planned(project)
    shape = sections["specialise"].scratch.shape
    own = weight_count(llama_config(shape, shape.vocabulary))
    table, notes = ((ROOT / f"data/demo/tastes.{kind}").stat().st_size for kind in ("csv", "txt"))
    assert found["specialise"].tokens == round(2 * 12 * (table * 0.7 / 4 + notes / 4))
    assert found["specialise"].disk == 2 * 4 * own
    assert found["classify"].operations == pytest.approx(2 * own * found["classify"].tokens, rel=1e-4)


def test_a_spread_model_is_shared_by_the_cards_and_an_attack_keeps_it_whole() -> None:
    from transformers import LlamaConfig

    from lethe.preflight.presets import read_whole

    sections, _ = validated(read_yaml(ROOT / "dvc.yaml")["stages"], read_whole(ROOT / "presets/llama3.1-70b.yaml"))
    config = LlamaConfig(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2)
    cards = Cards(4, 80e9, True)
    found = {work.stage: work for work in works(sections, config, Texts(10_000, 10_000), cards)}
    weights = weight_count(config)
    assert found["label"].memory == found["evaluate"].memory == 2 * weights // 4  # bfloat16 and float16
    attack, finetune = found["attack"], found["finetune"]
    assert finetune.pieces is not None
    assert finetune.pieces.weights == 2 * weights / 4
    assert attack.memory > 2 * weights
