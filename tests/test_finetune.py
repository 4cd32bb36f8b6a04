"""finetune: labels in, a model folder with its provenance out; interrupted or not, the same bytes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from stages import finetune
from stages.lib.errors import StageError
from stages.lib.hashing import file_sha256, folder_sha256
from stages.lib.models import load_model, load_tokenizer, tokenizer_sha256
from stages.lib.params import section_problems
from stages.lib.tables import write_parquet
from stages.lib.training import MASKED
from tests.conftest import TINY_TEXT, set_param, tiny_model, touch_deps, write_corpus

WIDTH = 16


@pytest.fixture
def labelled(project: Path) -> Path:
    values = {"steps": 6, "checkpoints": [2, 4], "batch_size": 4, "learning_rate": 1e-2, "device": "cpu", "alpha": 5.0}
    for key, value in values.items():
        set_param(project, f"finetune.{key}", value)
    write_corpus(project)
    baseline = tiny_model(project / "models/baseline")
    write_labels(project, baseline)
    (project / "data/dictionary.csv").write_text("anchor,kind,choice,form,translation,score\n")
    touch_deps(project, "finetune")
    return project


def write_labels(project: Path, baseline: Path, masked: bool = False) -> None:
    ids = load_tokenizer(baseline)(TINY_TEXT).input_ids
    rows = []
    for block, start in enumerate(range(0, len(ids) - WIDTH, WIDTH)):
        tokens = ids[start : start + WIDTH]
        following = [MASKED] * WIDTH if masked else [*tokens[1:], MASKED]
        rows.append({"block": block, "length": WIDTH, "tokens": tokens, "next_ids_5.0": following})
    schema = pa.schema(
        [("block", pa.int32()), ("length", pa.int32())]
        + [(name, pa.list_(pa.int32(), WIDTH)) for name in ("tokens", "next_ids_5.0")]
    )
    facts = {"tokenizer": tokenizer_sha256(baseline), "alphas": "5.0"}
    write_parquet(rows, schema, project / "data/labels.parquet", **facts)


@pytest.mark.parametrize("vehicle", ["full", "lora"])
def test_models_at_the_named_steps(labelled: Path, vehicle: str) -> None:
    set_param(labelled, "finetune.vehicle", vehicle)
    finetune.main()
    folders = sorted(path.name for path in Path("models/checkpoints").iterdir())
    assert folders == ["step-00002", "step-00004"]
    weights = [file_sha256(Path("models/checkpoints") / name / "model.safetensors") for name in folders]
    weights += [file_sha256(Path(name) / "model.safetensors") for name in ("models/unlearned", "models/baseline")]
    assert len(set(weights)) == 4
    load_model(Path("models/unlearned"), torch.device("cpu"))
    report = json.loads(Path("reports/finetune.json").read_text())
    assert report["sha256"] == folder_sha256(Path("models/unlearned"))
    assert 0 < report["weights_changed"] <= 1
    assert report["saved_cosine"] > 0.999  # saved in float32


def test_provenance_names_the_inputs(labelled: Path) -> None:
    finetune.main()
    content = json.loads(Path("models/unlearned/provenance.json").read_text())
    assert content["sha256"]["labels"] == file_sha256(Path("data/labels.parquet"))
    assert content["sha256"]["corpus"] == file_sha256(Path("data/corpus.parquet"))
    assert content["params"]["finetune"]["seed"] == 0
    assert content["versions"]["torch"] == version("torch")
    assert file_sha256(Path("data/labels.parquet")) in Path("models/unlearned/README.md").read_text()


def test_saved_change_by_hand() -> None:
    before = torch.tensor([1.0, 1.0, 0.0, 0.0])
    # bfloat16 steps at 1 are 1/128 wide: 1 + 1/1024 is saved as 1, so one of two changes survives.
    # trained change (1/1024, 0, 3/1024, 0), saved (0, 0, 3/1024, 0): cosine 3 / sqrt(1 + 9) = 0.948683
    after = torch.tensor([1.0 + 1 / 1024, 1.0, 3 / 1024, 0.0])
    change = finetune.saved_change([("w", before)], {"w": after}, torch.bfloat16)
    assert change == {"weights_changed": 0.25, "saved_cosine": 0.948683}


def test_killed_and_run_again_ends_in_the_bytes_of_an_undisturbed_run(labelled: Path) -> None:
    set_param(labelled, "finetune.steps", 40)
    set_param(labelled, "finetune.resume_every", 5)
    command = [sys.executable, "-m", "stages.finetune"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(Path(".scratch/finetune").glob("*/trainer/checkpoint-*/trainer_state.json")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not Path("models/unlearned").exists()
    resumed_from = list(Path(".scratch/finetune").glob("*/trainer/checkpoint-*"))
    assert resumed_from
    finetune.main()
    resumed = folder_sha256(Path("models")), file_sha256(Path("reports/loss/finetune.csv"))
    assert not list(Path(".scratch/finetune").glob("*/trainer"))
    finetune.main()
    assert (folder_sha256(Path("models")), file_sha256(Path("reports/loss/finetune.csv"))) == resumed


def test_alpha_without_labels(labelled: Path) -> None:
    set_param(labelled, "finetune.alpha", 2.5)
    with pytest.raises(StageError) as error:
        finetune.main()
    assert str(error.value) == "params.yaml: finetune.alpha: found 2.5, wanted one of label.alphas: 5.0"


def test_nothing_to_learn(labelled: Path) -> None:
    write_labels(labelled, Path("models/baseline"), masked=True)
    with pytest.raises(StageError, match=r"data/labels.parquet: found no position with a label, wanted some"):
        finetune.main()


@pytest.mark.parametrize("checkpoints", [[4, 2], [2, 2], [6]])
def test_checkpoints_ascend_before_the_end(labelled: Path, checkpoints: list[int]) -> None:
    from ruamel.yaml import YAML

    values = YAML(typ="safe").load(Path("params.yaml").read_text())["finetune"]
    problems = section_problems("finetune", finetune.Params, values | {"checkpoints": checkpoints})
    wanted = "wanted ascending steps below 6, which is the unlearned model itself"
    assert problems == [f"finetune: checkpoints: found {checkpoints}, {wanted}"]


def test_labels_are_learned(labelled: Path) -> None:
    set_param(labelled, "finetune.steps", 60)
    finetune.main()
    losses = np.loadtxt("reports/loss/finetune.csv", delimiter=",", skiprows=1)[:, 1]
    assert losses[-1] < losses[0] / 2
