"""The benchmark stage on a tiny project."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lethe.core.errors import StageError
from lethe.models.checkpoints import write_absent
from stages import benchmark
from tests.conftest import set_param, tiny_model, write_corpus

RETAIN = "".join(
    f"The {who} of the {where} went slowly back to the {what} house. Then it was quiet.\n"
    for who in ("king", "baker", "girl")
    for where in ("hill", "town", "wood")
    for what in ("red", "small", "white", "old")
)


@pytest.fixture
def tiny(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # put back after the stage has set them
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    tiny_model(project / "models/baseline", seed=1)
    tiny_model(project / "models/unlearned", seed=2)
    shutil.copytree(project / "models/baseline", project / "models/checkpoints/step-00005")
    write_absent(project / "models/retrained", "the baseline was not trained here")
    write_corpus(project, retain=RETAIN)
    (project / "data/benchmarks").mkdir(parents=True)
    set_param(project, "benchmark.limit", 6)
    return project


def report(project: Path) -> dict[str, Any]:
    return json.loads((project / "reports/benchmarks.json").read_text(encoding="utf-8"))


def test_main(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark.main()
    found = report(tiny)
    assert list(found) == ["items", "samples_sha256", "chance", "models", "absent"]
    assert found["items"] == {"local_ending": 6, "local_order": 6}
    assert found["chance"] == {"local_ending": 0.25, "local_order": 0.5}
    assert {len(sha256) for sha256 in found["samples_sha256"].values()} == {64}
    assert found["absent"] == {"retrained": "the baseline was not trained here"}
    assert list(found["models"]) == ["baseline", "step-00005", "unlearned"]
    assert found["models"]["step-00005"] == found["models"]["baseline"]  # the same weights
    for accuracies in found["models"].values():
        assert list(accuracies) == ["local_ending", "local_order"]
        assert all(value == round(round(value * 6) / 6, 6) for value in accuracies.values())
    before, after = found["models"]["baseline"], found["models"]["unlearned"]
    out = capsys.readouterr()
    assert out.out == (
        f"benchmark: local_ending baseline {before['local_ending']:.3f} -> unlearned {after['local_ending']:.3f} "
        f"(6 items, chance 0.25), local_order baseline {before['local_order']:.3f} -> unlearned "
        f"{after['local_order']:.3f} (6 items, chance 0.50)\n"
    )
    assert "loglikelihood" not in out.err
    text = (tiny / "reports/benchmarks.json").read_text(encoding="utf-8")
    assert str(tiny) not in text


def test_same_inputs_same_bytes(tiny: Path) -> None:
    benchmark.main()
    first = (tiny / "reports/benchmarks.json").read_bytes()
    benchmark.main()
    assert (tiny / "reports/benchmarks.json").read_bytes() == first


def test_another_seed_draws_other_items(tiny: Path) -> None:
    set_param(tiny, "benchmark.models", ["baseline"])
    benchmark.main()
    first = report(tiny)["samples_sha256"]
    set_param(tiny, "benchmark.seed", 1)
    benchmark.main()
    assert not set(first.values()) & set(report(tiny)["samples_sha256"].values())


def test_without_held_out_text_local_tasks_are_absent(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_corpus(tiny, retain="")
    benchmark.main()
    found = report(tiny)
    reason = "the held-out retain text has too few sentences of 8 to 28 words"
    assert found["absent"] == {
        "retrained": "the baseline was not trained here",
        "local_ending": reason,
        "local_order": reason,
    }
    assert found["items"] == found["models"] == {}
    assert capsys.readouterr().out == "benchmark: no task could be built\n"


def test_a_real_task_from_its_file(tiny: Path, realdata: Path) -> None:
    set_param(tiny, "benchmark.tasks", ["openbookqa", "local_order"])
    set_param(tiny, "benchmark.data", str(realdata / "lm_eval"))
    set_param(tiny, "benchmark.models", ["baseline"])
    benchmark.main()
    found = report(tiny)
    assert found["items"] == {"openbookqa": 6, "local_order": 6}
    assert list(found["models"]["baseline"]) == ["openbookqa", "local_order"]


def break_weights(project: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(project / "models/unlearned")
    model.model.norm.weight.data.fill_(float("nan"))
    model.save_pretrained(project / "models/unlearned")


def broken_file(project: Path) -> None:
    set_param(project, "benchmark.tasks", ["piqa"])
    (project / "data/benchmarks/piqa_validation.jsonl").write_text('{"goal": "x"}\n{"goal"\n', encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (
            lambda project: set_param(project, "benchmark.data", "data/nothing"),
            "params.yaml: benchmark.data: expected a folder (it may be empty), got data/nothing, which does not exist",
        ),
        (broken_file, "data/benchmarks/piqa_validation.jsonl:2: not valid JSON: Expecting ':' delimiter"),
        (break_weights, "models/unlearned: expected finite logits, got NaN; train it with a lower learning rate"),
        (
            lambda project: set_param(project, "benchmark.tasks", []),
            "params.yaml: benchmark.tasks: expected at least one name, got an empty list",
        ),
        (
            lambda project: set_param(project, "benchmark.limit", 0),
            "params.yaml: benchmark.limit: expected a value greater than 0, got 0",
        ),
        (
            lambda project: set_param(project, "benchmark.tasks", ["piqa", "piqa"]),
            "params.yaml: benchmark.tasks: expected each name once, got piqa, piqa",
        ),
    ],
)
def test_bad_input_is_one_line(tiny: Path, spoil: Callable[[Path], None], line: str) -> None:
    spoil(tiny)
    with pytest.raises(StageError) as caught:
        benchmark.main()
    assert str(caught.value) == line
    assert not (tiny / "reports/benchmarks.json").exists()
