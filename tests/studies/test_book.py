"""The real book: its table by hand, and the whole chain on a few pages with a ready-made model."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from studies import book
from tests import tiny
from tests.conftest import ROOT

RESULT = {
    "set": "test",
    "prompts": 300,
    "names": 48,
    "models": {
        "baseline": {
            "leak": 0.6,
            "completion_familiarity": 2.5,
            "probability_familiarity": 0.25,
            "retain_perplexity": 20.0,
            "forget_perplexity": 30.0,
        },
        "step-00005": {"leak": 0.1},
        "unlearned": {
            "leak": 0.05,
            "completion_familiarity": 0.125,
            "probability_familiarity": 0.0125,
            "retain_perplexity": 21.0,
            "forget_perplexity": 60.0,
        },
    },
    "ratio": {"completion_familiarity": 0.05, "probability_familiarity": None, "retain_perplexity_factor": 1.05},
    "benchmarks": {
        "items": {"piqa": 300},
        "chance": {"piqa": 0.5},
        "models": {"baseline": {"piqa": 0.52}, "unlearned": {"piqa": 0.51}},
    },
    "stages": {
        "corpus": {"cpu_seconds": 1.4, "wall_seconds": 1.5, "peak_memory_mib": 128.0},
        "baseline": {"cpu_seconds": 900.2, "wall_seconds": 500.0, "peak_memory_mib": 1536.0},
    },
}


def test_table_has_the_models_across_and_leaves_empty_what_was_not_measured() -> None:
    # no model that never read the book: two empty columns. 1.4 + 900.2 = 901.6 seconds; 1536 MiB = 1.5 GiB
    assert book.table(RESULT).split("\n") == [
        "| 300 test prompts | before | suppressed | erased | never read it |",
        "|---|---|---|---|---|",
        "| Familiarity (completion) | 2.500 |  | 0.125 |  |",
        "| Familiarity (probability) | 0.250 |  | 0.013 |  |",
        "| Leak | 0.600 |  | 0.050 |  |",
        "| Retain perplexity | 20.000 |  | 21.000 |  |",
        "| Forget perplexity | 30.000 |  | 60.000 |  |",
        "| piqa (300 items, chance 0.50) | 0.520 |  | 0.510 |  |",
        "",
        "Left of the familiarity: completion 0.050, probability not measured; retain perplexity x 1.050.",
        "",
        "CPU seconds: 902 (baseline 900, corpus 1); largest stage 1.5 GiB.",
    ]


def test_measured_keeps_what_the_table_shows_and_no_more() -> None:
    reports = {
        "familiarity": {key: RESULT[key] for key in ("set", "prompts", "names", "models", "ratio")} | {"absent": {}},
        "benchmarks": RESULT["benchmarks"] | {"samples_sha256": {}},
        "labels": {},
        "cpu_seconds": 950.0,
        "stages": RESULT["stages"],
    }
    assert book.measured(reports) == RESULT


def test_stages_from_the_cache_keep_what_they_cost_when_they_ran(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    assert book.earlier_costs(path) == {}
    path.write_text(json.dumps(RESULT), encoding="utf-8")
    assert book.earlier_costs(path) == RESULT["stages"]


@pytest.mark.parametrize(("there", "smoke", "missing"), [
    ([], False, "books/oz.txt"),
    ([*book.TEXTS, *list(book.ITEMS)[:3]], False, list(book.ITEMS)[3]),
    ([*book.TEXTS, *book.ITEMS], True, "models/stories260K"),
])  # fmt: skip
def test_missing_material_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: list[str], smoke: bool, missing: str
) -> None:
    for name in there:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setattr(sys, "argv", ["book", str(tmp_path), *(["--smoke"] if smoke else [])])
    with pytest.raises(SystemExit) as stopped:
        book.main()
    assert str(stopped.value) == (
        f"error: {tmp_path / missing}: no such file; expected the folder of real material: make book DATA=..."
    )


@pytest.mark.slow
def test_smoke_runs_the_chain_on_a_ready_made_model(
    realdata: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "book"
    for name in (*tiny.CODE, *tiny.INPUTS, "presets"):
        tiny.copy(ROOT / name, project / name)
    tiny.git(project, "init", "--quiet", "--initial-branch=main")
    tiny.git(project, "config", "user.name", "Book")
    tiny.git(project, "config", "user.email", "book@example.org")
    tiny.commit(project, "the project as it is")
    for name, value in tiny.environment(project).items():
        monkeypatch.setenv(name, value)
    result = book.forget_book(project, realdata, smoke=True)
    assert list(result["models"]) == ["baseline", "retrained", "step-00002", "suppressed", "unlearned"]
    assert list(result["benchmarks"]["models"]) == ["baseline", "retrained", "suppressed", "unlearned"]
    assert set(result["benchmarks"]["items"]) >= {"boolq", "winogrande"}
    assert set(result["benchmarks"]["items"].values()) == {10}
    assert result["models"]["baseline"]["forget_perplexity"] < result["models"]["retrained"]["forget_perplexity"]
    made = [path for path in project.rglob("*") if path.suffix in (".json", ".csv", ".jsonl", ".txt", ".html")]
    outs = [path for path in made if path.parts[len(project.parts)] in ("data", "models", "reports")]
    assert not [path for path in outs if str(realdata) in path.read_text(encoding="utf-8")]
    shutil.rmtree(project)
