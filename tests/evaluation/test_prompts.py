"""Prompts and names as read from their files."""

from __future__ import annotations

from pathlib import Path

from lethe.core.tables import read_prompts, write_jsonl
from lethe.evaluation.prompts import prepared, read_names
from tests.conftest import tiny_tokenizer


def test_names_and_prompts(tmp_path: Path) -> None:
    (tmp_path / "names.csv").write_text("name,unique\nOrla,yes\nTom,no\n", encoding="utf-8")
    assert read_names(tmp_path / "names.csv") == {"Orla": True, "Tom": False}
    rows = [{"id": i, "set": "test", "prompt": "Where is", "references": ["Orla"]} for i in (3, 1)]
    write_jsonl([*rows, rows[0] | {"id": 2, "set": "development"}], tmp_path / "prompts.jsonl")
    assert [row["id"] for row in read_prompts(tmp_path / "prompts.jsonl", "test")] == [1, 3]


def test_a_name_in_the_prompt_is_no_content() -> None:
    tokenizer = tiny_tokenizer()
    distinctive = set(range(len(tokenizer)))
    rows = [{"id": 1, "prompt": "Where is", "references": ["Orla"]}, {"id": 2, "prompt": "Orla", "references": ["Tom"]}]
    found = prepared(rows, {"Orla": True, "Tom": False}, distinctive, tokenizer, False)
    orla, tom = (tokenizer(f"a {name}", add_special_tokens=False)["input_ids"][1] for name in ("Orla", "Tom"))
    assert {orla, tom} <= found[0].content
    assert tom in found[1].content
    assert orla not in found[1].content
