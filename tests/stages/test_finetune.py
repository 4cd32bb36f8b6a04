"""finetune: labels in, a model folder with its provenance out; interrupted or not, the same bytes."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa
import pytest
import torch
from huggingface_hub import metadata_load

from lethe.core.errors import StageError
from lethe.core.hashing import file_sha256, folder_sha256, tokenizer_sha256
from lethe.core.params import read_params, section_problems
from lethe.core.tables import MASKED, read_parquet, write_json, write_parquet
from lethe.evaluation.model_set import measured
from lethe.inference.scoring import token_loss
from lethe.models.checkpoints import absent_reason, load_model, load_tokenizer
from stages import finetune
from tests.conftest import TINY_TEXT, kill_at_a_checkpoint, set_param, tiny_model, touch_deps, write_corpus

WIDTH = 16


@pytest.fixture
def labelled(project: Path) -> Path:
    values = {"steps": 6, "checkpoints": [2, 4], "batch_size": 4, "learning_rate": 1e-2, "device": "cpu", "alpha": 5.0}
    values |= {"labels": "hard"}
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


@pytest.mark.parametrize(("tuning", "stored"), [("full", "float32"), ("lora", "float32"), ("lora", "nf4")])
def test_models_at_the_named_steps(labelled: Path, tuning: str, stored: str) -> None:
    set_param(labelled, "finetune.tuning", tuning)
    set_param(labelled, "finetune.weights", stored)
    finetune.main()
    folders = sorted(path.name for path in Path("models/checkpoints").iterdir())
    assert folders == ["step-00002", "step-00004"]
    weights = [file_sha256(Path("models/checkpoints") / name / "model.safetensors") for name in folders]
    weights += [file_sha256(Path(name) / "model.safetensors") for name in ("models/suppressed", "models/baseline")]
    assert len(set(weights)) == 4
    load_model(Path("models/suppressed"), torch.device("cpu"))
    report = json.loads(Path("reports/finetune.json").read_text())
    assert report["sha256"] == folder_sha256(Path("models/suppressed"))
    assert 0 < report["weights_changed"] <= 1
    assert report["saved_cosine"] > 0.999  # saved in float32


OBJECTIVES = get_args(finetune.Params.model_fields["objective"].annotation)


@pytest.mark.parametrize(
    ("objective", "tuning"),
    [(objective, "full") for objective in OBJECTIVES]
    + [("npo", "lora"), ("rmu", "lora"), ("generic_labels", "prompt"), ("undial", "prompt"), ("rmu", "prompt")],
)
def test_every_objective_trains(labelled: Path, objective: str, tuning: str) -> None:
    set_param(labelled, "finetune.objective", objective)
    set_param(labelled, "finetune.tuning", tuning)
    set_param(labelled, "finetune.steps", 2)
    set_param(labelled, "finetune.checkpoints", [])
    set_param(labelled, "finetune.prompt.tokens", 4)
    set_param(labelled, "finetune.retain_rows", 0.5)
    finetune.main()
    assert absent_reason(Path("models/checkpoints")) == "finetune.checkpoints is empty"
    report = json.loads(Path("reports/finetune.json").read_text())
    assert (report["objective"], report["tuning"]) == (objective, tuning)
    assert report["trainable_parameters"] > 0
    assert (report["weights_changed"] > 0) == (tuning != "prompt")
    load_model(Path("models/suppressed"), torch.device("cpu"))


def test_a_prompt_is_read_like_any_model(labelled: Path) -> None:
    set_param(labelled, "finetune.tuning", "prompt")
    set_param(labelled, "finetune.prompt.tokens", 4)
    finetune.main()
    folders = {"baseline": Path("models/baseline"), "unlearned": Path("models/suppressed")}
    folders["checkpoints"] = Path("models/checkpoints")
    found = measured(["baseline", "checkpoints", "unlearned"], folders).present
    assert list(found) == ["baseline", "step-00002", "step-00004", "unlearned"]
    blocks = [load_tokenizer(folders["baseline"])(TINY_TEXT).input_ids[:40]]
    losses = [token_loss(load_model(folder, torch.device("cpu")), blocks) for folder in found.values()]
    assert len(set(losses)) == 4
    report = json.loads(Path("reports/finetune.json").read_text())
    assert report["weights_changed"] == 0.0
    assert report["prompt_bytes"] == Path("models/suppressed/adapter_model.safetensors").stat().st_size < 1000
    assert "access control, not erasure" in Path("models/suppressed/README.md").read_text()


def test_rmu_moves_three_layers_and_no_more(labelled: Path) -> None:
    set_param(labelled, "finetune.objective", "rmu")
    set_param(labelled, "finetune.rmu.layer", 1)
    finetune.main()
    states = [
        load_model(Path(name), torch.device("cpu")).state_dict() for name in ("models/baseline", "models/suppressed")
    ]
    moved = {name for name, tensor in states[0].items() if not torch.equal(tensor, states[1][name])}
    assert moved
    assert all(name.startswith("model.layers.0.") for name in moved)


BAD = {
    "rmu.layer": (
        {"objective": "rmu", "rmu.layer": 3},
        "params.yaml: finetune.rmu.layer: expected at most 2, the layers of models/baseline, got 3",
    ),
    "retain_rows": (
        {"objective": "npo", "retain_rows": 0.0},
        "params.yaml: finetune.retain_rows: expected a share above 0.0, got 0.0 with objective npo, which has a "
        "retain term; raise it or set the weight of that term to 0.0",
    ),
    "weights": (
        {"tuning": "prompt", "weights": "nf4"},
        "params.yaml: finetune: weights: expected float32 or bfloat16 with tuning prompt, got nf4 (a soft prompt "
        "only works with the weights it was trained with)",
    ),
    "prompt.tokens": (
        {"tuning": "prompt", "prompt.tokens": 60},
        "params.yaml: finetune.prompt.tokens: expected at most 48, got 60 (the model's context is 64, a block "
        "has 16 tokens)",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_together(labelled: Path, case: str) -> None:
    changes, wanted = BAD[case]
    for key, value in changes.items():
        set_param(labelled, f"finetune.{key}", value)
    with pytest.raises(StageError) as error:
        finetune.main()
    assert str(error.value) == wanted


def test_provenance_names_the_inputs(labelled: Path) -> None:
    origin = {"gguf": "own.gguf", "sha256": "0" * 64}
    write_json(origin, Path("models/baseline/source.json"))
    finetune.main()
    content = json.loads(Path("models/suppressed/provenance.json").read_text())
    assert content["sha256"]["labels"] == file_sha256(Path("data/labels.parquet"))
    assert content["sha256"]["corpus"] == file_sha256(Path("data/corpus.parquet"))
    assert content["source"] == origin
    assert content["params"]["finetune"]["seed"] == 0
    assert content["versions"]["torch"] == version("torch")
    assert file_sha256(Path("data/labels.parquet")) in Path("models/suppressed/README.md").read_text()
    head = metadata_load(Path("models/suppressed/README.md"))
    assert head == {
        "library_name": "transformers", "pipeline_tag": "text-generation", "tags": ["machine-unlearning", "lethe"],
    }  # fmt: skip


def test_killed_and_run_again_ends_in_the_bytes_of_an_undisturbed_run(labelled: Path) -> None:
    set_param(labelled, "finetune.steps", 40)
    set_param(labelled, "finetune.resume_every", 5)
    kill_at_a_checkpoint("finetune")
    assert not Path("models/suppressed").exists()
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
    assert str(error.value) == "params.yaml: finetune.alpha: expected one of label.alphas: 5.0, got 2.5"


def with_soft_labels(project: Path) -> None:
    """Add to the labels a target of the label itself, with 3/4, and of the padding."""
    table, facts = read_parquet(project / "data/labels.parquet", ("next_ids_5.0",))
    labels = np.array(table["next_ids_5.0"].to_pylist())
    ids = np.stack([np.maximum(labels, 0), np.full_like(labels, 2)], axis=-1).reshape(len(labels), -1)
    shares = np.tile(np.array([0.75, 0.25], np.float16), (len(labels), WIDTH)).reshape(len(labels), -1)
    rows = [row | {"target_ids_5.0": own, "target_probabilities_5.0": share} for row, own, share in
            zip(table.to_pylist(), ids, shares, strict=True)]  # fmt: skip
    schema = table.schema.remove_metadata()
    for name, kind in (("target_ids_5.0", pa.int32()), ("target_probabilities_5.0", pa.float16())):
        schema = schema.append(pa.field(name, pa.list_(kind, 2 * WIDTH)))
    write_parquet(rows, schema, project / "data/labels.parquet", **facts, soft_alphas="5.0")


def test_soft_labels_are_another_training(labelled: Path) -> None:
    finetune.main()
    hard = file_sha256(Path("models/suppressed/model.safetensors"))
    set_param(labelled, "finetune.labels", "soft")
    with pytest.raises(StageError) as error:
        finetune.main()
    assert str(error.value) == "params.yaml: finetune.alpha: expected one of label.soft_alphas: none, got 5.0"
    with_soft_labels(labelled)
    finetune.main()
    assert file_sha256(Path("models/suppressed/model.safetensors")) != hard
    set_param(labelled, "finetune.objective", "npo")
    finetune.main()  # which has no use for them
    other = file_sha256(Path("models/suppressed/model.safetensors"))
    set_param(labelled, "finetune.labels", "hard")
    finetune.main()
    assert file_sha256(Path("models/suppressed/model.safetensors")) == other


def test_nothing_to_learn(labelled: Path) -> None:
    write_labels(labelled, Path("models/baseline"), masked=True)
    with pytest.raises(StageError, match=r"data/labels.parquet: expected at least one position with a label, got none"):
        finetune.main()


@pytest.mark.parametrize("checkpoints", [[4, 2], [2, 2], [6]])
def test_checkpoints_ascend_before_the_end(labelled: Path, checkpoints: list[int]) -> None:
    values = read_params("finetune", finetune.Params).model_dump()
    problems = section_problems("finetune", finetune.Params, values | {"checkpoints": checkpoints})
    assert problems == [
        f"finetune: checkpoints: expected ascending steps below 6, got {checkpoints} (the last step is the "
        "fine-tuned model itself)"
    ]


def test_labels_are_learned(labelled: Path) -> None:
    set_param(labelled, "finetune.steps", 60)
    finetune.main()
    losses = np.loadtxt("reports/loss/finetune.csv", delimiter=",", skiprows=1)[:, 1]
    assert losses[-1] < losses[0] / 2
