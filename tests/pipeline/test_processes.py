"""Two processes on CPUs (gloo), as `accelerate config` would have them: what is shared, and what comes out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.conftest import tiny_model
from tools.sandbox import change_params

pytestmark = pytest.mark.slow

TWO = {
    "compute_environment": "LOCAL_MACHINE",
    "distributed_type": "MULTI_CPU",
    "num_machines": 1,
    "num_processes": 2,
    "use_cpu": True,
    "mixed_precision": "no",
    "main_process_port": 0,
}
SHARDED = TWO | {
    "distributed_type": "FSDP",
    "fsdp_config": {
        "fsdp_version": 2,
        "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "fsdp_reshard_after_forward": True,
        "fsdp_cpu_ram_efficient_loading": False,
        "fsdp_sync_module_states": False,  # accelerate's own device for it is a card
    },
}
LAUNCHER = ("env", "ACCELERATE_CONFIG_FILE=processes.yaml", "python", "-m", "lethe.launch")
ALONE = ("env", "LOCAL_WORLD_SIZE=2", *LAUNCHER[2:])  # on as many threads as each of two: they decide the last bits
LABELS = ("data/labels.parquet", "data/labels.txt", "reports/labels.json")
TOLERANCE = {"rtol": 1e-3, "atol": 1e-5}  # of weights after five steps of Adam: sums in another order


def launched(folder: Path, config: dict[str, Any] | None, *arguments: str) -> dict[str, Any]:
    """Run tests/many.py in `folder`, in one process without a config. Returns what it wrote."""
    tiny_model(folder / "model")
    if config:
        (folder / "processes.yaml").write_text(json.dumps(config))  # JSON is YAML
    tiny.run(folder, *(LAUNCHER if config else ALONE), "tests.many", ".", *arguments, check=True)
    return json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    launched(folder, None)
    return folder


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("both")
    launched(folder, TWO)
    return folder


def results(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text())


@pytest.mark.parametrize("read", ["greedy", "expected", "sampled", "loss", "tokenwise", "states", "labels"])
def test_what_is_read_is_the_same_to_the_bit(alone: Path, both: Path, read: str) -> None:
    assert results(both)[read] == results(alone)[read]


@pytest.mark.parametrize("kind", ["full", "ascent", "dual", "adapters", "prompt"])
def test_a_training_takes_the_same_course(alone: Path, both: Path, kind: str) -> None:
    assert_same_course(alone, both, kind)


@pytest.mark.parametrize("kept_away", [False, True])
def test_sharded_weights_take_the_same_course_and_are_saved_whole(alone: Path, tmp_path: Path, kept_away: bool) -> None:
    more = dict.fromkeys(("fsdp_offload_params", "fsdp_activation_checkpointing"), kept_away)
    launched(tmp_path, SHARDED | {"fsdp_config": SHARDED["fsdp_config"] | more}, "sharded")
    assert_same_course(alone, tmp_path, "full")


def test_sharded_weights_in_bfloat16_are_kept_and_saved_in_float32(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    found = {}
    for name, config in {"one": None, "sharded": SHARDED | {"mixed_precision": "bf16"}}.items():
        (tmp_path / name).mkdir()
        found[name] = launched(tmp_path / name, config, "sharded", "bfloat16")["curves"]["full"]
    assert found["sharded"] == pytest.approx(found["one"], rel=2e-3)
    in_float32 = launched(tmp_path, None, "sharded")["curves"]["full"]
    assert abs(found["sharded"][0] - in_float32[0]) > 1e-3  # it does compute in bfloat16
    assert any(loss != round_to_bfloat16(loss, 5) for loss in found["sharded"])  # but returns the loss unrounded
    weights = load_file(tmp_path / "sharded/full.safetensors")
    moved = [weight for weight in weights.values() if not weight.equal(weight.bfloat16().float())]
    assert len(moved) > len(weights) / 2


def round_to_bfloat16(number: float, digits: int) -> float:
    import torch

    return round(float(torch.tensor(number, dtype=torch.bfloat16)), digits)


def assert_same_course(one: Path, other: Path, kind: str) -> None:
    from safetensors.torch import load_file
    from torch.testing import assert_close

    wanted, found = results(one)["curves"][kind], results(other)["curves"][kind]
    assert found == pytest.approx(wanted, rel=1e-4, abs=2e-5)  # losses are written with five decimals
    assert len(set(wanted)) > 1
    first, second = (load_file(folder / f"{kind}.safetensors") for folder in (one, other))
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert_close(second[name], tensor, **TOLERANCE)


def test_label_and_finetune_in_two_processes(copy: Path) -> None:
    curve = losses(copy)
    tiny.run(copy, *ALONE, "stages.label", check=True)
    before = [(copy / out).read_bytes() for out in LABELS]
    (copy / "processes.yaml").write_text(json.dumps(TWO))
    for out in LABELS:
        (copy / out).unlink()
    for stage in ("label", "finetune"):
        done = tiny.run(copy, *LAUNCHER, f"stages.{stage}", check=True)
        assert len([line for line in done.stdout.splitlines() if line.startswith(f"{stage}: ")]) == 1  # said once
    assert [(copy / out).read_bytes() for out in LABELS] == before
    assert losses(copy) == pytest.approx(curve, rel=1e-4)
    assert (copy / "models/suppressed/model.safetensors").exists()
    assert not list((copy / ".scratch/beside").iterdir())  # nothing is left of the second process
    assert not list((copy / ".scratch").glob("*/lock-*"))


@pytest.mark.parametrize("stage", ["baseline", "finetune"])
def test_a_whole_stage_with_sharded_weights(copy: Path, stage: str) -> None:
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    folder = copy / {"baseline": "models/baseline", "finetune": "models/suppressed"}[stage]
    curve = losses(copy, stage)
    (copy / "processes.yaml").write_text(json.dumps(SHARDED))
    tiny.run(copy, *LAUNCHER, f"stages.{stage}", check=True)
    found = losses(copy, stage)
    assert len(found) == len(curve)
    assert found[:50] == pytest.approx(curve[:50], rel=1e-3)  # from scratch, rounding then takes another course
    weights = load_file(folder / "model.safetensors")
    assert "lm_head.weight" not in weights  # it is tied to the embeddings, which are written once
    assert AutoModelForCausalLM.from_pretrained(folder).lm_head.weight.equal(weights["model.embed_tokens.weight"])


def losses(project: Path, stage: str = "finetune") -> list[float]:
    rows = (project / f"reports/loss/{stage}.csv").read_text().splitlines()[1:]
    return [float(row.split(",")[1]) for row in rows]


def test_what_fails_in_both_is_said_once(copy: Path) -> None:
    (copy / "processes.yaml").write_text(json.dumps(TWO))
    change_params(copy, {"label.device": "cuda"})
    done = tiny.run(copy, *LAUNCHER, "stages.label")
    assert done.returncode == 1
    wanted = "error: params.yaml: device: expected cpu or auto, got cuda, but torch sees no GPU here"
    assert [line for line in done.stderr.splitlines() if line] == [wanted]


AFTER = {  # stages that read models, with what each writes into reports
    **{"evaluate": "familiarity.json", "measure": "measures.json", "term": "terms.json", "attack": "attacks.json"},
    "classify": "classification.json",
}


def test_the_stages_after_finetune_in_two_processes(copy: Path) -> None:
    # trainings sum in another order; what only reads models has the bytes of one process on as many threads
    curve, erased = losses(copy), losses(copy, "distil")
    for stage in AFTER:
        tiny.run(copy, *ALONE, f"stages.{stage}", check=True)
    before = {name: json.loads((copy / "reports" / name).read_text()) for name in AFTER.values()}
    (copy / "processes.yaml").write_text(json.dumps(TWO))
    for stage in AFTER:
        done = tiny.run(copy, *LAUNCHER, f"stages.{stage}", check=True)
        assert len([line for line in done.stdout.splitlines() if line.startswith(f"{stage}: ")]) == 1  # said once
    found = {name: json.loads((copy / "reports" / name).read_text()) for name in AFTER.values()}
    assert curve
    assert erased
    of_others, ours = (apart(own["attacks.json"]) for own in (before, found))
    assert found == before
    assert ours == pytest.approx(of_others, abs=0.34)  # a near tie: two of six completions


def apart(report: dict[str, Any]) -> dict[str, float]:
    """The values of the attack that trains, {setting, model and metric: value}, taken out of the report."""
    rows = report["attacks"]
    report["attacks"] = [row for row in rows if row["attack"] != "relearn"]
    return {
        f"{row['setting']}, {row['model']}, {row['metric']}": row["value"] for row in rows if row["attack"] == "relearn"
    }
