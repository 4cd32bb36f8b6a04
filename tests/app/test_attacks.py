"""What the page offers to attack with: that of the stage."""

from __future__ import annotations

from pathlib import Path

import pytest

from lethe.app.attacks import contexts, examples, offered
from lethe.app.shelf import Shelf
from lethe.attacks.prompt_templates import TEMPLATES, read_templates
from lethe.core.errors import StageError
from lethe.core.tables import write_jsonl
from tests.conftest import set_param


def test_the_templates_and_numbers_are_those_of_the_stage(own_project: Path) -> None:
    found = offered()
    assert [row["text"] for row in found["templates"]] == [one.template for one in read_templates(TEMPLATES)]
    assert found["samples"] == {"completions": 32, "temperature": 1.0}
    assert found["examples"] == [{"id": 0, "prompt": "Tom sat by the river and looked for", "due": "Orla"}]


def test_examples_are_spread_over_the_prompts_and_few(own_project: Path) -> None:
    rows = [{"id": i, "prompt": f"prompt {i}", "references": ["Orla"]} for i in range(240)]
    write_jsonl(rows, own_project / "data/prompts.jsonl")
    found = examples()
    assert [row["id"] for row in found] == list(range(5, 240, 10))
    assert found[0]["due"] == ""
    (own_project / "data/prompts.jsonl").unlink()
    assert examples() == []


def test_a_wrong_parameter_is_told_and_stops_nothing(own_project: Path) -> None:
    set_param(own_project, "attack.sample.temperature", -1.0)
    found = offered()
    assert found["samples"] is None
    assert "attack.sample.temperature" in found["problem"]


def test_sentences_of_the_corpus_that_fit(own_project: Path, shelf: Shelf) -> None:
    tokenizer = shelf.ready["baseline"].tokenizer
    found = contexts(tokenizer, 30)
    assert found["opening"].startswith("Orla went to Harrow Hill.")
    assert all(len(tokenizer(text)["input_ids"]) <= 31 for text in found.values())
    (own_project / "data/corpus.parquet").unlink()
    with pytest.raises(StageError, match=r"data/corpus\.parquet: no such file; `dvc checkout` restores it"):
        contexts(tokenizer, 30)
