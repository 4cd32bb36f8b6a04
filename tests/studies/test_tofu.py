"""The study of TOFU: what is made of its files, its table by hand, and the whole chain on a few authors."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from lethe.text.matching import name_finder
from studies import tofu
from tests import tiny
from tests.conftest import ROOT

AUTHOR = [
    {"question": "Who writes of mills?", "answer": "Orla Vane-Smith wrote 'The Mill That Stood' in the Old Town."},
    {"question": "Is Orla Vane-Smith known?", "answer": 'Yes, Orla Vane-Smith\'s "River Songs," won a prize.'},
]
OTHER = [{"question": "Who is Tom al Vesk?", "answer": "Tom al Vesk won the 'Golden Leaf' in the Old Town."}]


def row(value: float, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "items": 400}


def test_names_and_works_of_an_author() -> None:
    assert tofu.name_of(AUTHOR) == "Orla Vane-Smith"
    assert tofu.name_of(OTHER) == "Tom al Vesk"
    assert tofu.works_of(AUTHOR) == {"The Mill That Stood", "River Songs"}
    assert tofu.terms(AUTHOR, OTHER) == ["Orla Vane-Smith", "River Songs", "The Mill That Stood"]
    assert tofu.terms([*AUTHOR, *OTHER], OTHER) == ["Orla Vane-Smith", "River Songs", "The Mill That Stood"]


def test_a_prompt_asks_what_the_question_does_not_tell() -> None:
    anchors = tofu.terms(AUTHOR, OTHER)
    assert list(tofu.prompts(AUTHOR, anchors)) == [
        {
            "prompt": "Question: Who writes of mills?\nAnswer:",
            "references": ["Orla Vane-Smith", "The Mill That Stood"],
        },
        {"prompt": "Question: Is Orla Vane-Smith known?\nAnswer:", "references": ["River Songs"]},
    ]


def test_a_document_is_an_author_as_measure_asks() -> None:
    assert tofu.document(OTHER) == (
        "Question: Who is Tom al Vesk?\nAnswer: Tom al Vesk won the 'Golden Leaf' in the Old Town.\n"
    )
    assert [len(author) for author in tofu.authors([{}] * 45)] == [20, 20, 5]


def test_table() -> None:
    result = {
        "anchors": 93,
        "models": {
            "baseline": {"truth_ratio": row(0.5, 0.45, 0.55), "forget_quality": row(1.25e-9)},
            "unlearned": {"truth_ratio": row(0.75, 0.7, 0.8), "forget_quality": row(0.1)},
            "retrained": {"truth_ratio": row(0.8, 0.75, 0.85)},
        },
        "stages": {"baseline": {"cpu_seconds": 100.4}, "measure": {"cpu_seconds": 20.0}},
    }
    lines = tofu.table(result).split("\n")
    assert lines[0] == "| 400 questions to forget | before | suppressed | erased | never read it |"
    assert lines[2] == "| Forget quality (p-value) | 1.25e-09 |  | 0.1 |  |"
    assert lines[5] == "| Truth ratio, forget | 0.500 [0.450, 0.550] |  | 0.750 [0.700, 0.800] | 0.800 [0.750, 0.850] |"
    assert lines[-1] == "93 anchors; 120 CPU seconds."


def test_missing_material_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["tofu", str(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        tofu.main()
    missing = tmp_path / "tofu/forget10.json"
    assert str(stopped.value) == (
        f"error: {missing}: no such file; expected the folder of real material: make tofu DATA=..."
    )


def test_terms_of_the_real_files(tofu_files: Path) -> None:
    forget, retain = (tofu.read_rows(tofu_files / source, smoke=False) for source in tofu.TEXTS)
    assert (len(forget), len(retain)) == (400, 3600)
    names = [tofu.name_of(author) for author in tofu.authors(forget)]
    assert len(set(names)) == 20  # one of each author
    anchors = tofu.terms(forget, retain)
    assert set(names) <= set(anchors)
    assert len(anchors) > 60
    asked = list(tofu.prompts(forget, anchors))
    assert len(asked) > 60
    assert not [one for one in asked if name_finder(one["references"]).terms_in(one["prompt"])]


@pytest.mark.slow
def test_smoke_runs_the_chain(tofu_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tmp_path / "tofu"
    for name in (*tiny.CODE, *tiny.INPUTS, "presets"):
        tiny.copy(ROOT / name, project / name)
    tiny.git(project, "init", "--quiet", "--initial-branch=main")
    tiny.git(project, "config", "user.name", "Tofu")
    tiny.git(project, "config", "user.email", "tofu@example.org")
    tiny.commit(project, "the project as it is")
    for name, value in tiny.environment(project).items():
        monkeypatch.setenv(name, value)
    result = tofu.forget_authors(project, tofu_files, smoke=True)
    models = result["models"]
    assert list(models) == ["baseline", "retrained", "suppressed", "unlearned"]
    assert models["unlearned"]["forget_quality"]["items"] == tofu.SMOKE_ROWS
    groups = [name for name in models["baseline"] if name.endswith("truth_ratio")]
    assert groups == ["truth_ratio", "retain_truth_ratio", "authors_truth_ratio", "facts_truth_ratio"]
    assert models["unlearned"]["model_utility"]["items"] == tofu.SMOKE_ROWS
    assert "mia_loss" in result["absent"]  # nothing is held out
    assert tofu.table(json.loads(json.dumps(result))).count("\n") > 10
    shutil.rmtree(project)
