"""Every preset is a whole, valid params file that goes with the same pipeline as params.yaml."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from lethe.core.params import read_yaml
from lethe.core.tables import NAMES, read_csv
from lethe.evaluation.lm_eval import STOCK
from lethe.preflight.check import contradictions, validated
from lethe.text.matching import name_finder
from tests.conftest import ROOT

PRESETS = sorted(path for path in (ROOT / "presets").glob("*.yaml") if not path.name.startswith("accelerate-"))
each_preset = pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)

# The terms that a fair list of the book's names may not lack.
OZ_TERMS = """
Dorothy; Toto; Scarecrow; Tin Woodman; Cowardly Lion; Oz; Emerald City; Aunt Em; Uncle Henry; Kansas; Munchkins;
Winkies; Quadlings; Glinda; Kalidahs; Winged Monkeys; Golden Cap; Silver Shoes; Wicked Witch; Good Witch;
Guardian of the Gates; Gayelette; Quelala; Boq; Hammer-Heads; Queen of the Field Mice; Omaha"""


def keys(values: Any, before: str = "") -> list[str]:
    """The dotted names of all values, in their order."""
    if not isinstance(values, dict):
        return [before]
    return [name for key, value in values.items() for name in keys(value, f"{before}.{key}".strip("."))]


def preset(name: str) -> dict[str, Any]:
    return read_yaml(ROOT / "presets" / f"{name}.yaml")


def test_there_are_presets() -> None:
    assert [path.stem for path in PRESETS] == ["book", "llama2-7b-chat", "llama2-7b-lora-24gb"]


@each_preset
def test_has_the_keys_of_params_yaml_in_its_order(preset: Path) -> None:
    assert keys(read_yaml(preset)) == keys(read_yaml(ROOT / "params.yaml"))


@each_preset
def test_every_section_is_valid_and_none_contradicts_another(preset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    sections, problems = validated(read_yaml(ROOT / "dvc.yaml")["stages"], read_yaml(preset))
    # a GPU, free disk and the person's own text are the machine's business, not the preset's
    of_machine = ("disk: ", "corpus.forget: found no text")
    problems += [problem for problem in contradictions(sections) if not problem.startswith(of_machine)]
    assert not problems, "\n".join(problems)


@each_preset
def test_files_named_are_in_the_project(preset: Path) -> None:
    values = read_yaml(preset)
    named = (("prompt", "names"), ("prompt", "own"), ("benchmark", "data"), ("extract", "file"))
    assert [values[stage][key] for stage, key in named if not (ROOT / values[stage][key]).exists()] == []


@each_preset
def test_no_forget_text_leaves_the_machine_unasked(preset: Path) -> None:
    values = read_yaml(preset)
    asked = [values[stage]["llm"]["send_forget_text"] for stage in ("extract", "translate", "evaluate")]
    assert asked == [False, False, False]


def test_llama2_7b_chat_is_the_papers_run() -> None:
    values = preset("llama2-7b-chat")
    wanted = {
        "baseline": {"source": "hub", "model": "meta-llama/Llama-2-7b-chat-hf", "epochs": 0},
        "block": {"tokens": 512},
        "reinforce": {"epochs": 3, "learning_rate": 3e-6, "batch_size": 128, "schedule": "linear", "warmup": 0.0},
        "label": {"alphas": [5.0, 2.5, 10.0, 0.0]},
        "finetune": {"steps": 120, "learning_rate": 1e-6, "batch_size": 128, "schedule": "linear", "warmup": 0.0}
        | {
            "alpha": 5.0,
            "retain_rows": 0.0,
            "adam_betas": [0.9, 0.98],
            "optimiser": "adamw",
            "weight_decay": 0.0,
            "vehicle": "full",
            "checkpoints": [],
        },
        "benchmark": {"tasks": list(STOCK), "limit": None},
    }
    found = {stage: {key: values[stage][key] for key in section} for stage, section in wanted.items()}
    assert found == wanted


def test_lora_preset_is_the_papers_run_but_for_what_a_small_card_needs() -> None:
    paper, lora = preset("llama2-7b-chat"), preset("llama2-7b-lora-24gb")
    different = {f"{stage}.{key}" for stage in paper for key in paper[stage] if paper[stage][key] != lora[stage][key]}
    training = {"vehicle", "weights", "learning_rate", "resume_every"}
    others = {"attack.attacks", "attack.training"}
    assert different == {f"{stage}.{key}" for stage in ("reinforce", "finetune") for key in training} | others
    settings = (ROOT / "presets/llama2-7b-lora-24gb.yaml").read_text(encoding="utf-8").split("\n\n", 1)[1]
    assert settings.count("# [24 GB]") == len(different)  # each line that differs says so


def test_book_names_are_a_sorted_list_with_every_term_of_the_yardstick() -> None:
    rows = read_csv(ROOT / "presets/book-names.csv", NAMES, unique=("name",), filled=NAMES)
    names = [row["name"] for row in rows]
    assert names == sorted(names)
    finder = name_finder(names)
    terms = [term.strip() for term in OZ_TERMS.split(";")]
    unknown = [term for term in terms if [(hit.start, hit.end) for hit in finder.find(term)] != [(0, len(term))]]
    assert unknown == []  # a name in the list or the plural of one, as a whole


@pytest.mark.parametrize("book", ["books/pride.txt", "text/tinystories.txt"])
def test_book_names_are_of_the_book_alone(realdata: Path, book: str) -> None:
    with (ROOT / "presets/book-names.csv").open(encoding="utf-8", newline="") as stream:
        names = [row["name"] for row in csv.DictReader(stream)]
    finder = name_finder(names)
    assert finder.terms_in((realdata / "books/oz.txt").read_text(encoding="utf-8")) == set(names)
    assert not finder.terms_in((realdata / book).read_text(encoding="utf-8"))
