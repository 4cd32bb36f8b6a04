"""`lethe card`: front matter that the Hub's own loader reads, with the gate's numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from huggingface_hub import ModelCard, metadata_load
from typer.testing import CliRunner

from lethe.cli import card
from lethe.cli.commands import app
from lethe.core.errors import StageError
from lethe.core.hashing import folder_sha256
from lethe.core.tables import write_json
from lethe.gate.criteria import Criterion
from lethe.unlearning.model_card import card_facts, front_matter, origin_of

JUDGED = [
    Criterion("privleak", "PrivLeak", "at most", 0.05, 0.06, -0.0123456789, None, None, "pass", ""),
    Criterion("model_utility", "Utility", "at least", 0.95, 0.95, None, None, None, "not measurable", "x"),
]
TEXT = "# A language model that unlearned a corpus\n\n**Limitations.** None is proved.\n"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a model, its report, and a baseline from the Hub."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(card, "judge", lambda params, reports: JUDGED)
    for name in ("models/unlearned", "models/baseline", "reports"):
        Path(name).mkdir(parents=True)
    Path("models/unlearned/README.md").write_text(TEXT)
    write_json({"sha256": folder_sha256(Path("models/unlearned"))}, Path("reports/distil.json"))
    write_json({"repo": "owner/name"}, Path("models/baseline/source.json"))
    Path("models/baseline/README.md").write_text("---\nlicense: llama2\n---\n# Llama\n")
    return tmp_path


def test_the_card_is_read_by_the_hubs_own_loader(run: Path) -> None:
    done = CliRunner().invoke(app, ["card"], catch_exceptions=False)
    Path("README.md").write_text(done.output)
    loaded = ModelCard.load(Path("README.md"))
    assert loaded.text.strip() == TEXT.strip()
    assert (loaded.data.base_model, loaded.data.license) == ("owner/name", "llama2")
    assert (loaded.data.library_name, loaded.data.tags) == ("transformers", ["machine-unlearning", "lethe"])
    (result,) = loaded.data.eval_results
    assert (result.metric_type, result.metric_name, result.metric_value) == ("privleak", "PrivLeak", -0.012346)
    assert metadata_load(Path("README.md"))["model-index"][0]["name"] == "unlearned"
    said = CliRunner().invoke(app, ["card", "--json"], catch_exceptions=False)
    assert json.loads(said.output) == loaded.data.to_dict()
    assert Path("models/unlearned/README.md").read_text() == TEXT


def test_a_licence_without_a_name_and_none_at_all(run: Path) -> None:
    Path("models/baseline/README.md").write_text("---\n: [\n---\n")
    Path("models/baseline/source.json").unlink()
    assert origin_of(Path("models/baseline")) == {}
    for name in ("LICENSE", "Licence.md"):
        Path("models/baseline", name).write_text("do as you like")
        assert origin_of(Path("models/baseline")) == {"license": "other", "license_link": name}
        Path("models/baseline", name).unlink()


def test_a_card_with_front_matter_of_its_own_gains_the_numbers(run: Path) -> None:
    head = front_matter(card_facts(Path("models/baseline"), ["owner/rows"], adapter=False))
    Path("models/unlearned/README.md").write_text(head + TEXT)
    write_json({"sha256": folder_sha256(Path("models/unlearned"))}, Path("reports/distil.json"))
    own = metadata_load(Path("models/unlearned/README.md"))
    assert own == {
        "base_model": "owner/name", "datasets": ["owner/rows"], "library_name": "transformers", "license": "llama2",
        "pipeline_tag": "text-generation", "tags": ["machine-unlearning", "lethe"],
    }  # fmt: skip
    done = CliRunner().invoke(app, ["card"], catch_exceptions=False)
    assert done.output.count("---\n") == 2
    Path("README.md").write_text(done.output)
    loaded = ModelCard.load(Path("README.md"))
    assert loaded.text.strip() == TEXT.strip()
    assert {name: value for name, value in metadata_load(Path("README.md")).items() if name != "model-index"} == own
    assert loaded.data.eval_results[0].metric_value == -0.012346


def test_a_baseline_of_a_gguf_file_has_the_licence_that_the_file_says(run: Path) -> None:
    Path("models/baseline/README.md").unlink()
    write_json({"gguf": "tiny.gguf", "sha256": "0" * 64, "license": "apache-2.0"}, Path("models/baseline/source.json"))
    assert origin_of(Path("models/baseline")) == {"license": "apache-2.0"}


def test_reports_of_another_model_and_no_card(run: Path) -> None:
    Path("models/unlearned/model.safetensors").write_text("other")
    with pytest.raises(StageError) as error:
        card.command()
    assert str(error.value) == (
        "models/unlearned: expected the model that reports/distil.json tells of, got another model.safetensors"
    )
    with pytest.raises(StageError, match=r"nowhere.md: expected the card that the training wrote, got none"):
        card.read_text(Path("nowhere.md"))
