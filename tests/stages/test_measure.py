"""The stage on a tiny project whose baseline has learnt its training passages by heart."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lethe.core.errors import StageError
from lethe.core.params import read_params, section_problems
from lethe.core.tables import read_csv
from lethe.metrics.tables import TOKENS
from lethe.models.checkpoints import write_absent
from stages import measure
from tests.conftest import ROOT, set_param, tiny_model, tiny_tokenizer

QUIET = " The mill was shut and the river was low." * 4  # more words than names are references for


def story(names: tuple[str, ...], years: range) -> str:
    """A text in which the year tells the name."""
    return "".join(
        f"In the year {year} all the people in town came out and walked up to {names[year % len(names)]}.{QUIET}\n\n"
        for year in years
    )


FORGET = story(("Orla", "Vesk", "Zorb"), range(10, 28))
HELD_OUT = story(("Vesk", "Zorb", "Orla"), range(30, 48))
RETAIN = "Alice met Peter, and then Alice said that Peter knew it. " * 8 + story(("Alice", "Peter"), range(50, 68))
PROMPT = "In the year {} all the people in town came out and walked up to"
ROWS: list[dict[str, Any]] = [
    {"id": number, "set": of, "source": "cloze", "prompt": PROMPT.format(number), "references": [name], "due": name}
    for number, name, of in (
        (10, "Vesk", "test"),
        (11, "Zorb", "test"),
        (12, "Orla", "test"),
        (13, "Vesk", "test"),
        (14, "Orla", "development"),
    )
]
ROWS[3]["prompt"] = "In the year 13 all the people came out and Orla walked up to"


@pytest.fixture(scope="module")
def knowing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that has learnt FORGET and RETAIN by heart: in passages, and every paragraph from its beginning."""
    import torch
    from transformers import AutoModelForCausalLM

    from lethe.models.tokenization import cut_blocks

    folder = tiny_model(tmp_path_factory.mktemp("knowing"), text=FORGET + RETAIN, context=128)
    model = AutoModelForCausalLM.from_pretrained(folder)
    blocks = [block.tokens for text in (FORGET, RETAIN) for block in cut_blocks(tokenizer(), text, 32)]
    paragraphs = [text for text in (FORGET + RETAIN).split("\n\n") if text]
    blocks += [tokens[:32] for tokens in tokenizer()(paragraphs)["input_ids"]]
    rows = torch.tensor([block for block in blocks if len(block) == 32])
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(100):
        model(rows, labels=rows).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    model.save_pretrained(folder)
    return folder


def tokenizer() -> Any:
    return tiny_tokenizer(FORGET + RETAIN)


@pytest.fixture
def tiny(project: Path, knowing: Path) -> Path:
    """Everything the stage reads: the baseline knows the text, the other two are random."""
    from lethe.core.tables import CORPUS, write_parquet

    shutil.copytree(knowing, project / "models/baseline")
    for seed, name in enumerate(("unlearned", "retrained"), start=1):
        tiny_model(project / "models" / name, seed=seed, text=FORGET + RETAIN, context=128)
    parts = (("forget", "train", FORGET), ("forget", "held_out", HELD_OUT), ("retain", "train", RETAIN))
    rows = [
        {"document": i, "side": side, "part": part, "file": "x.txt", "start": 0, "end": len(text), "text": text}
        for i, (side, part, text) in enumerate(parts)
    ]
    write_parquet(rows, CORPUS, project / "data/corpus.parquet")
    (project / "data/questions").mkdir()
    (project / "data/names.csv").write_text("name,unique\nOrla,yes\nVesk,yes\nZorb,yes\n", encoding="utf-8")
    write_prompts(project, ROWS)
    small = {"answer_tokens": 4, "cloze": 12, "passages": 12, "passage_tokens": 32, "wrong": 2}
    for name, value in small.items():
        set_param(project, f"measure.{name}", value)
    return project


def write_prompts(project: Path, rows: list[dict[str, Any]]) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (project / "data/prompts.jsonl").write_text(lines, encoding="utf-8")


def report(project: Path) -> dict[str, Any]:
    return json.loads((project / "reports/measures.json").read_text(encoding="utf-8"))


def outputs(project: Path) -> tuple[bytes, ...]:
    paths = ("data/measures.csv", "reports/measures.json", "data/tokens.csv")
    return tuple((project / path).read_bytes() for path in paths)


NO_ABILITY = {"retain_accuracy": "the retain set has too little held-out text"}  # here
ALL = [
    "probability", "truth_ratio", "rouge_l", "knowledge_memorisation",
    "retain_probability", "retain_truth_ratio", "retain_rouge_l", "retain_knowledge_memorisation",
    "trivia", "verbatim_memorisation", "extraction_strength", "exact_memorisation",
    "held_out_extraction_strength", "held_out_exact_memorisation",
    "mia_loss", "mia_zlib", "mia_min_k", "mia_min_k_plus", "mia_privleak", "mia_reference",
    "neighbour_perplexity", "model_utility", "forget_quality", "forget_quality_log10", "privleak",
]  # fmt: skip


def test_main(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measure.main()
    found = report(tiny)
    assert found["absent"] == NO_ABILITY
    models = found["models"]
    assert list(models) == ["baseline", "retrained", "unlearned"]
    assert list(models["baseline"]) == list(models["unlearned"]) == ALL
    assert [name for name in ALL if name not in models["retrained"]] == [
        "mia_reference",  # with itself
        "forget_quality",
        "forget_quality_log10",
        "privleak",
    ]
    baseline, unlearned = models["baseline"], models["unlearned"]
    assert baseline["exact_memorisation"]["value"] > 0.9 > 0.3 > unlearned["exact_memorisation"]["value"]
    assert baseline["verbatim_memorisation"]["value"] > 0.7 > 0.3 > unlearned["verbatim_memorisation"]["value"]
    assert baseline["mia_loss"]["value"] > 0.75
    assert baseline["privleak"]["value"] < -0.5
    assert baseline["trivia"]["value"] > 0.7  # which name a year had is only in what it read
    assert baseline["model_utility"]["value"] > 10 * unlearned["model_utility"]["value"]
    assert baseline["neighbour_perplexity"]["value"] < unlearned["neighbour_perplexity"]["value"]
    assert baseline["probability"]["items"] == 4
    assert baseline["mia_loss"]["items"] == baseline["exact_memorisation"]["items"] == 12
    for of_model in models.values():
        for name, row in of_model.items():
            assert list(row) == ["value", "low", "high", "items"]
            if row["items"] > 1 and not name.startswith("forget_quality"):  # one neighbour sentence: no interval
                assert row["low"] <= row["value"] <= row["high"], name
    line = capsys.readouterr().out
    told = [
        f"{name.replace('_', ' ')} baseline {baseline[name]['value']:.3f} -> unlearned {unlearned[name]['value']:.3f}"
        for name in ("truth_ratio", "trivia", "model_utility", "privleak")
    ]
    before = [f"{one} (retrained {models['retrained'][name]['value']:.3f})" for one, name in zip(
        told[:3], ("truth_ratio", "trivia", "model_utility"), strict=True
    )]  # fmt: skip
    assert line == f"measure: {', '.join([*before, told[3]])}; 25 metrics of 3 models, 1 absent\n"


def test_items_stand_beside_the_aggregate_and_hold_no_text(tiny: Path) -> None:
    measure.main()
    lines = (tiny / "data/measures.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "model,metric,item,value"
    rows = [line.split(",") for line in lines[1:]]
    own = [float(value) for model, metric, _, value in rows if (model, metric) == ("baseline", "probability")]
    assert report(tiny)["models"]["baseline"]["probability"]["value"] == pytest.approx(sum(own) / 4, rel=1e-4)
    assert {item for _, metric, item, _ in rows if metric == "truth_ratio"} == {f"prompt {i}" for i in (10, 11, 12, 13)}
    tokens = read_csv(tiny / "data/tokens.csv", TOKENS)
    assert {row["item"] for row in tokens} == {"forget 0", "forget 1", "forget 2"}
    words = [FORGET[int(row["start"]) : int(row["end"])] for row in tokens]
    assert {"Orla", "Vesk", "Zorb"} & {word.strip() for word in words}  # they stand where the text has them
    before, after = ([float(row[model]) for row in tokens] for model in ("baseline", "unlearned"))
    assert sum(before) > 0.5 * len(tokens) > 10 * sum(after)  # the baseline has learnt the text by heart
    assert {row["suppressed"] for row in tokens} == {""}
    for path in ("data/measures.csv", "data/tokens.csv", "reports/measures.json"):
        text = (tiny / path).read_text(encoding="utf-8")
        assert not [word for word in ("Orla", "Vesk", "walked", str(tiny)) if word in text]


def test_same_inputs_same_bytes_and_another_model_another_score(tiny: Path, knowing: Path) -> None:
    measure.main()
    first = outputs(tiny)
    measure.main()
    assert outputs(tiny) == first
    shutil.rmtree(tiny / "models/unlearned")
    shutil.copytree(knowing, tiny / "models/unlearned")
    measure.main()
    models = report(tiny)["models"]
    alike = {name: row for name, row in models["unlearned"].items() if name != "mia_reference"}
    assert alike == {name: row for name, row in models["baseline"].items() if name != "mia_reference"}
    assert report(tiny) != json.loads(first[1])


def test_without_a_reference_relative_metrics_are_absent_and_say_why(tiny: Path) -> None:
    shutil.rmtree(tiny / "models/retrained")
    write_absent(tiny / "models/retrained", "the baseline was not trained here")
    measure.main()
    found = report(tiny)
    reason = "the baseline was not trained here"
    relative = ("forget_quality", "forget_quality_log10", "privleak", "mia_reference")
    assert found["absent"] == {"retrained": reason} | dict.fromkeys(relative, reason) | NO_ABILITY
    assert not {name for of_model in found["models"].values() for name in of_model} & set(relative)
    set_param(tiny, "measure.models", ["baseline", "unlearned"])
    measure.main()
    assert report(tiny)["absent"] == dict.fromkeys(relative, "retrained is not among measure.models") | NO_ABILITY


def test_without_retain_and_held_out_text(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from lethe.core.tables import CORPUS, write_parquet

    row = {"document": 0, "side": "forget", "part": "train", "file": "x.txt", "start": 0, "end": 9, "text": FORGET}
    write_parquet([row], CORPUS, tiny / "data/corpus.parquet")
    measure.main()
    found = report(tiny)
    of_these = ("retain_", "mia_", "held_out_")
    absent = [name for name in ALL if name.startswith(of_these) or name in ("model_utility", "privleak")]
    assert sorted(found["absent"]) == sorted([*absent, *NO_ABILITY])
    assert found["absent"]["mia_loss"] == (
        "the forget set has too little held-out text to compare with its training text"
    )
    assert capsys.readouterr().out.endswith("11 metrics of 3 models, 15 absent\n")


def test_files_of_questions_take_the_place_of_the_prompts(tiny: Path) -> None:
    line = {
        "question": "Who?",
        "answer": "Orla",
        "perturbed_answer": ["Vesk", "Zorb"],
        "paraphrased_answer": "It is Orla",
    }
    for name in ("forget01_perturbed", "retain_perturbed", "world_facts_perturbed"):
        lines = "".join(json.dumps(line | {"question": f"Who is {i}?"}) + "\n" for i in range(3))
        (tiny / f"data/questions/{name}.json").write_text(lines, encoding="utf-8")
    measure.main()
    found = report(tiny)["models"]["unlearned"]
    groups = [name for name in found if name.endswith("truth_ratio")]
    assert groups == ["truth_ratio", "retain_truth_ratio", "facts_truth_ratio"]
    assert {found[name]["items"] for name in groups} == {3}
    assert found["trivia"]["items"] == 12  # of the training text, whatever the questions are
    assert found["model_utility"]["items"] == 3


def break_weights(project: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(project / "models/unlearned")
    model.model.norm.weight.data.fill_(float("nan"))
    model.save_pretrained(project / "models/unlearned")


def another_tokenizer(project: Path) -> None:
    shutil.rmtree(project / "models/retrained")
    tiny_model(project / "models/retrained", text="quite another text, with other pieces of words")


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (
            lambda project: write_prompts(project, [ROWS[0], ROWS[1] | {"references": []}]),
            "data/prompts.jsonl:2: prompt 11: expected at least one reference, got none",
        ),
        (
            lambda project: write_prompts(project, ROWS[4:]),
            "data/prompts.jsonl: expected prompts of the set test, got none among 1; change prompt.development",
        ),
        (
            lambda project: write_prompts(project, []),
            "data/prompts.jsonl: expected prompts of the set test, got none among 0; change prompt.development",
        ),
        (
            lambda project: write_prompts(project, [ROWS[0], ROWS[0]]),
            "data/prompts.jsonl:2: expected a unique id, got 10 again",
        ),
        (break_weights, "models/unlearned: expected finite logits, got NaN; train it with a lower learning rate"),
        (
            lambda project: set_param(project, "measure.passage_tokens", 129),
            "params.yaml: measure.passage_tokens: expected at most 128, the model's context, got 129",
        ),
        (
            lambda project: set_param(project, "measure.questions", "data/nothing"),
            "params.yaml: measure.questions: expected a folder (it may be empty), got data/nothing, which does "
            "not exist",
        ),
        (
            lambda project: set_param(project, "measure.template", "Q: A:"),
            "params.yaml: measure.template: expected a template that contains {question}, got 'Q: A:'",
        ),
    ],
)
def test_bad_input_is_one_line(tiny: Path, spoil: Callable[[Path], None], line: str) -> None:
    spoil(tiny)
    with pytest.raises(StageError) as caught:
        measure.main()
    assert str(caught.value) == line
    assert not (tiny / "reports/measures.json").exists()


def test_a_reference_with_another_tokenizer_is_one_line(tiny: Path) -> None:
    another_tokenizer(tiny)
    with pytest.raises(
        StageError, match=r"^models/retrained: expected tokenizer \w{12} of models/baseline, got \w{12}; "
    ):
        measure.main()


def test_params() -> None:
    good = read_params("measure", measure.Params).model_dump()
    assert section_problems("measure", measure.Params, good) == []
    for name, value in {
        "min_k": {"attack": 0.0, "plus": 0.2, "privleak": 0.4},
        "passages": 1,
        "wrong": 0,
        "models": [],
    }.items():
        (problem,) = section_problems("measure", measure.Params, good | {name: value})
        assert problem.startswith((f"measure.{name}: ", f"measure.{name}.attack: "))


@pytest.mark.slow
def test_another_model_in_the_same_folder_never_gets_the_older_score(tiny: Path, knowing: Path) -> None:
    """DVC itself decides what runs again, and what its run cache may serve: by content, never by path."""
    from tests import tiny as whole

    for name in (name for name in (*whole.CODE, "data/questions") if name not in ("dvc.yaml", "params.yaml")):
        shutil.rmtree(tiny / name, ignore_errors=True)
        whole.copy(ROOT / name, tiny / name)
    for folder in ("checkpoints", "references", "suppressed"):
        (tiny / "models" / folder).mkdir()
    whole.git(tiny, "init", "--quiet")
    unlearned, aside = tiny / "models/unlearned", tiny / "aside"
    scores, printed = [], []
    for model in (None, knowing, aside):  # a first model, another one in its place, the first again
        if model is not None:
            if not aside.exists():
                shutil.copytree(unlearned, aside)
            shutil.rmtree(unlearned)
            shutil.copytree(model, unlearned)  # times and sizes of the files are those of the source
            assert {path.name for path in unlearned.iterdir()} >= {path.name for path in aside.iterdir()}
        printed.append(whole.dvc(tiny, "repro", "--single-item", "measure"))  # its deps are just files and folders
        scores.append(report(tiny)["models"]["unlearned"]["exact_memorisation"]["value"])
    assert scores[0] < 0.3 < 0.9 < scores[1]
    assert scores[2] == scores[0]
    assert "Running stage 'measure'" in printed[1]
    assert "Running stage 'measure'" in printed[2]  # what the folder's path was worth last time does not count
