"""Every preset changes the default where it says so, and makes a whole, valid params file."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest

from lethe.core.params import merged, read_yaml
from lethe.core.tables import NAMES, read_csv
from lethe.core.whole_params import schema_of, validated
from lethe.evaluation.lm_eval import STOCK
from lethe.preflight import presets as overlays
from lethe.preflight.check import contradictions
from lethe.preflight.estimate import known_shape
from lethe.preflight.memory import weight_count
from lethe.preflight.presets import dumped, presets, read_whole, round_trip, sentence, whole_text
from lethe.text.matching import name_finder
from tests import tiny
from tests.conftest import ROOT
from tools import preset_table

DEFAULT = ROOT / "presets/default.yaml"
PRESETS = [path for path in presets(ROOT / "presets").values() if path != DEFAULT]
RELEASED = {  # presets of models of the Hub whose commit is to be looked up
    "smollm2-135m": "HuggingFaceTB/SmolLM2-135M",
    "smollm2-360m": "HuggingFaceTB/SmolLM2-360M",
    "smollm2-1.7b": "HuggingFaceTB/SmolLM2-1.7B",
    "llama3.2-1b": "meta-llama/Llama-3.2-1B",
    "llama3.2-3b": "meta-llama/Llama-3.2-3B",
    "llama3.1-8b": "meta-llama/Llama-3.1-8B",
    "llama3.1-70b": "meta-llama/Llama-3.1-70B",
    "qwen3-0.6b": "Qwen/Qwen3-0.6B-Base",
    "qwen3-1.7b": "Qwen/Qwen3-1.7B-Base",
    "qwen3-4b": "Qwen/Qwen3-4B-Base",
    "qwen3-8b": "Qwen/Qwen3-8B-Base",
    "gemma3-1b": "google/gemma-3-1b-pt",
    "gemma3-4b": "google/gemma-3-4b-pt",
    "pythia-1.4b": "EleutherAI/pythia-1.4b",
    "opt-1.3b": None,  # a converted folder
    "llama2-7b": "meta-llama/Llama-2-7b-hf",
    "llama2-13b": "meta-llama/Llama-2-13b-hf",
}
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
    return read_whole(ROOT / "presets" / f"{name}.yaml")


def effective(values: dict[str, Any], stage: str) -> Any:
    """A stage's parameters, those it shares among them."""
    schema = schema_of(stage)
    return merged(stage, schema, values) if schema else values[stage]


def test_there_are_presets() -> None:
    assert sorted(path.stem for path in PRESETS) == sorted(["book", "llama2-7b-chat", "llama2-7b-lora-24gb", *RELEASED])


def test_params_yaml_is_the_default() -> None:
    assert (ROOT / "params.yaml").read_text(encoding="utf-8") == DEFAULT.read_text(encoding="utf-8"), (
        "change both, or: lethe preset default > params.yaml"
    )


def test_the_default_is_written_as_it_is_read() -> None:
    text = DEFAULT.read_text(encoding="utf-8")
    assert dumped(round_trip().load(text)) == text


@each_preset
def test_holds_only_what_differs(preset: Path) -> None:
    default, own = read_yaml(DEFAULT), read_yaml(preset)
    for name in keys(own):
        section, *path = name.split(".")
        before, after = effective(default, section), own[section]
        for key in path:
            before, after = before[key], after[key]
        assert before != after, name


@each_preset
def test_a_whole_file_has_the_presets_values_and_words_among_the_defaults(preset: Path) -> None:
    text = whole_text(preset)
    assert round_trip().load(text) == read_whole(preset)
    written, said = text.splitlines(), preset.read_text(encoding="utf-8").splitlines()
    words = {line.split("#", 1)[1] for line in said if "#" in line}
    assert words <= {line.split("#", 1)[1] for line in written if "#" in line}
    kept = [line for line in DEFAULT.read_text(encoding="utf-8").splitlines() if line in written]
    assert len(kept) > 0.75 * len(DEFAULT.read_text(encoding="utf-8").splitlines())
    assert text.count("\n\n") == DEFAULT.read_text(encoding="utf-8").count("\n\n")  # one between sections, none within


def test_a_preset_becomes_params_yaml_through_a_shell(tmp_path: Path) -> None:
    # the shell empties params.yaml before lethe starts; there is no git either
    for name in ("dvc.yaml", "presets", "params.yaml"):
        tiny.copy(ROOT / name, tmp_path / name)
    tiny.run(tmp_path, "sh", "-c", "python -m lethe preset book > params.yaml", check=True)
    assert (tmp_path / "params.yaml").read_text(encoding="utf-8") == whole_text(ROOT / "presets/book.yaml")
    tiny.run(tmp_path, "sh", "-c", "python -m lethe preset default > params.yaml", check=True)
    assert (tmp_path / "params.yaml").read_text(encoding="utf-8") == DEFAULT.read_text(encoding="utf-8")


def test_presets_are_listed_and_a_bad_one_is_not_printed(tmp_path: Path) -> None:
    for name in ("dvc.yaml", "presets"):
        tiny.copy(ROOT / name, tmp_path / name)
    listed = tiny.run(tmp_path, "python", "-m", "lethe", "preset", check=True).stdout.splitlines()
    assert [line.split()[0] for line in listed] == ["default", *(path.stem for path in PRESETS)]
    assert all(line.endswith(".") for line in listed)
    wrong = tiny.run(tmp_path, "python", "-m", "lethe", "preset", "bok")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr.endswith("got bok; did you mean book?\n")
    (tmp_path / "presets/mine.yaml").write_text("finetune:\n  step: 3\ntraining:\n  warmup: 2.0\n", encoding="utf-8")
    bad = tiny.run(tmp_path, "python", "-m", "lethe", "preset", "mine")
    assert (bad.returncode, bad.stdout) == (1, "")
    assert "  training.warmup: expected a value less than 1, got 2.0\n" in bad.stderr
    assert "  finetune.step: unknown parameter; did you mean steps?\n" in bad.stderr


def test_the_sentence_of_a_preset_is_its_first() -> None:
    assert sentence(ROOT / "presets/book.yaml").startswith("A real book: a Llama of 3.4M parameters")
    assert sentence(ROOT / "presets/book.yaml").endswith("forgets Oz.")


@each_preset
def test_every_section_is_valid_and_none_contradicts_another(preset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    sections, problems = validated(read_yaml(ROOT / "dvc.yaml")["stages"], read_whole(preset))
    # a GPU, free disk and the person's own text are the machine's business, not the preset's
    of_machine = ("disk: ", "corpus.forget: expected .txt", "baseline.folder: expected a model folder")
    problems += [problem for problem in contradictions(sections) if not problem.startswith(of_machine)]
    repo = RELEASED.get(preset.stem)
    unpinned = f"baseline.revision: expected a 40-digit commit, got null; `lethe pin {repo}` writes the current one"
    assert problems == ([unpinned] if repo else [])
    pinned = f"lethe preset {preset.stem} > params.yaml" + (f" && lethe pin {repo}" if repo else "") + " && lethe check"
    assert preset.stem not in RELEASED or pinned in preset.read_text(encoding="utf-8")


def test_the_table_of_models_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    page, cost = (path.read_text(encoding="utf-8") for path in (preset_table.PAGE, preset_table.COST))
    assert preset_table.filled(page, preset_table.table()) == page, "run `make presets`"
    assert preset_table.filled(cost, preset_table.costs()) == cost, "run `make presets`"
    assert all(f"`{name}.yaml`" in cost for name in preset_table.PRICED)
    assert all(f"`{name}.yaml`" in page for name in RELEASED)


def test_known_shapes_have_the_sizes_that_the_models_are_called_after(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    counts = {  # millions of weights, as published
        "HuggingFaceTB/SmolLM2-135M": 134.5,
        "meta-llama/Llama-3.2-1B": 1235.8,
        "meta-llama/Llama-3.1-8B": 8030.3,
        "meta-llama/Llama-3.1-70B": 70553.7,
        "Qwen/Qwen3-8B-Base": 8190.7,
        "EleutherAI/pythia-1.4b": 1414.6,
        "meta-llama/Llama-2-13b-hf": 13015.9,
    }
    found = {repo: round(weight_count(known_shape(repo)) / 1e6, 1) for repo in counts}
    assert found == counts
    assert known_shape("owner/name") is None


@each_preset
def test_files_named_are_in_the_project(preset: Path) -> None:
    values = read_whole(preset)
    named = (("prompt", "names"), ("prompt", "own"), ("benchmark", "data"), ("extract", "file"))
    assert [values[stage][key] for stage, key in named if not (ROOT / values[stage][key]).exists()] == []


@each_preset
def test_no_forget_text_leaves_the_machine_unasked(preset: Path) -> None:
    values = read_whole(preset)
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
            "tuning": "full",
            "checkpoints": [],
        },
        "benchmark": {"tasks": list(STOCK), "limit": None},
    }
    found = {stage: {key: effective(values, stage)[key] for key in section} for stage, section in wanted.items()}
    assert found == wanted


def test_lora_preset_is_the_papers_run_but_for_what_a_small_card_needs() -> None:
    paper, lora = preset("llama2-7b-chat"), preset("llama2-7b-lora-24gb")
    both = {name: (effective(paper, name), effective(lora, name)) for name in read_yaml(ROOT / "dvc.yaml")["stages"]}
    different = {f"{name}.{key}" for name, (mine, its) in both.items() for key in mine if mine[key] != its[key]}
    training = {"tuning", "weights", "learning_rate", "resume_every"}
    others = {"attack.attacks", "attack.training"}
    assert different == {f"{stage}.{key}" for stage in ("reinforce", "finetune") for key in training} | others
    settings = (ROOT / "presets/llama2-7b-lora-24gb.yaml").read_text(encoding="utf-8").split("\n\n", 1)[1]
    assert settings.count("# [24 GB]") == len(different)  # each line that differs says so


def test_book_names_are_a_sorted_list_with_every_term_of_the_matcher() -> None:
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


def test_what_a_preset_says_of_the_default_it_does_not_override() -> None:
    text = (ROOT / "presets/llama2-7b-chat.yaml").read_text(encoding="utf-8")
    said = re.search(
        r"so are these of the default: (.+?)\. The paper asked", " ".join(re.findall("^# (.+)", text, re.MULTILINE))
    )
    assert said
    section, overlay, found = "", read_yaml(ROOT / "presets/llama2-7b-chat.yaml"), []
    for named, key in re.findall(r"(\w*)\.(\w+)", said[1]):
        section = named or section
        found.append(f"{section}.{key}")
        assert key not in overlay.get(section, {}), found[-1]
    assert len(found) == 9


def test_a_list_that_was_a_block_is_replaced_in_one_line_with_its_comment() -> None:
    content = overlays.round_trip().load("a:\n  list:   # why\n  - 1\n  b:\n    c: 1\n    d: 2\n")
    overlays.put(content["a"], "list", [])
    lines = overlays.dumped(content).splitlines()
    assert [line.split() for line in lines] == [["a:"], ["list:", "[]", "#", "why"], ["b:"], ["c:", "1"], ["d:", "2"]]
