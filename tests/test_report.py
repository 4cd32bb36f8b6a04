"""The report page."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from stages import report
from stages.lib.blocks import cut_blocks, padding_id
from stages.lib.errors import StageError
from stages.lib.hashing import folder_sha256
from stages.lib.models import tokenizer_sha256
from stages.lib.steps import Bar
from stages.lib.tables import CORPUS, DICTIONARY, write_csv, write_json, write_jsonl, write_parquet
from tests.conftest import ROOT, TINY_TEXT, set_param, tiny_model

MODELS = {"baseline": 3.0, "retrained": 0.0, "step-00005": 1.0, "unlearned": 0.2}


def write_inputs(project: Path) -> None:
    """Everything the stage reads, as the earlier stages would leave it."""
    model = tiny_model(project / "models/baseline", text=TINY_TEXT * 5)
    write_json(
        {"sha256": {"corpus": "c" * 64}, "versions": {"torch": "9.9"}}, project / "models/unlearned/provenance.json"
    )
    write_corpus(project)
    write_labels(project, model)
    write_csv(
        [{"anchor": "Orla", "kind": "person", "choice": 0, "form": "Orla", "translation": "Ann", "score": 1}],
        DICTIONARY,
        project / "data/dictionary.csv",
    )
    prompt = "one two three four five six seven <eight> nine"
    write_jsonl([{"id": id, "prompt": prompt} for id in range(4)], project / "data/prompts.jsonl")
    said = [
        {"model": model, "id": id, "completion": "Orla & Tom went", "grade": 3} for model in MODELS for id in range(4)
    ]
    write_jsonl(said, project / "data/completions.jsonl")
    write_reports(project / "reports")


def write_corpus(project: Path) -> None:
    row = {"document": 0, "side": "forget", "part": "train", "file": "a.txt", "start": 0, "text": TINY_TEXT}
    rows = [row | {"end": 100}, row | {"document": 1, "start": 100, "end": 150, "part": "held_out"}]
    write_parquet(rows, CORPUS, project / "data/corpus.parquet")


def write_labels(project: Path, model: Path) -> None:
    import pyarrow as pa

    from stages.lib.blocks import backend_tokenizer

    tokenizer = backend_tokenizer(model)
    [block] = cut_blocks(tokenizer, TINY_TEXT, 200)
    next_ids = [*block.tokens[1:], -100]
    orla, tom = (tokenizer.token_to_id(f"Ġ{name}") for name in ("Orla", "Tom"))
    next_ids[next_ids.index(orla)] = tom  # `Orla went to Harrow Hill. Orla`
    schema = pa.schema(
        [("block", pa.int32()), ("length", pa.int32())]
        + [(name, pa.list_(pa.int32(), len(next_ids))) for name in ("tokens", "next_ids_5.0")]
    )
    row = {"block": 7, "length": len(next_ids), "tokens": block.tokens, "next_ids_5.0": next_ids}
    facts = {"tokenizer": tokenizer_sha256(model), "alphas": "[5.0]", "pad_token": str(padding_id(model))}
    write_parquet([row], schema, project / "data/labels.parquet", **facts)


def write_reports(folder: Path) -> None:
    numbers = {
        model: {
            "completion_familiarity": value,
            "probability_familiarity": value / 10,
            "leak": value / 5,
            "retain_perplexity": 4.0,
        }
        for model, value in MODELS.items()
    }
    ratio = {"completion_familiarity": 0.067, "probability_familiarity": 0.067, "retain_perplexity_factor": 1.0}
    facts = {"set": "test", "prompts": 4, "names": 1, "models": numbers}
    write_json(facts | {"absent": {}, "ratio": ratio, "reasons": {}}, folder / "familiarity.json")
    scores = {model: {"local_order": 0.7} for model in MODELS}
    facts = {"items": {"local_order": 9}, "chance": {"local_order": 0.25}, "absent": {}}
    write_json(facts | {"models": scores}, folder / "benchmarks.json")
    write_json({"steps": 30, "alpha": 5.0, "sha256": {"model.safetensors": "a" * 64}}, folder / "finetune.json")
    write_json({"blocks": 1, "alphas": {"5.0": {"changed": 0.1}}}, folder / "labels.json")
    for name in ("baseline", "retrain", "reinforce", "finetune"):
        rows = [] if name == "retrain" else [{"step": step, "loss": 1 / step, "learning_rate": 0.1} for step in (1, 2)]
        write_csv(rows, report.LOSS, folder / "loss" / f"{name}.csv")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny project whose report has been made."""
    folder = tmp_path_factory.mktemp("made")
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, folder / name)
    for name, value in {"report.samples": 3, "report.words": 6, "finetune.alpha": 5.0}.items():
        set_param(folder, name, value)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_inputs(folder)
        report.main()
    return folder


@pytest.fixture
def page(made: Path) -> str:
    """Its page."""
    return (made / "reports/index.html").read_text(encoding="utf-8")


def cells(page: str) -> list[list[str]]:
    """The text of every table row."""
    rows = re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)
    return [[re.sub(r"<[^>]*>", "", cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in rows]


def test_the_step_table_is_on_the_page_and_in_the_csv(page: str, made: Path) -> None:
    assert ["", "step 0", "step 5", "step 30", "retrained"] in cells(page)
    assert ["Familiarity (completion)", "3.000", "1.000", "0.200", "0.000"] in cells(page)
    assert (made / "reports/steps.csv").read_text().splitlines() == [
        "step,model,completion_familiarity,probability_familiarity,leak,retain_perplexity,local_order",
        "0,baseline,3.0,0.3,0.6,4.0,0.7",
        "5,step-00005,1.0,0.1,0.2,4.0,0.7",
        "30,unlearned,0.2,0.02,0.04,4.0,0.7",
        ",retrained,0.0,0.0,0.0,4.0,0.7",
    ]


def test_demands_are_judged(page: str) -> None:
    assert [
        "Familiarity (completion): (unlearned - retrained) / (baseline - retrained)", "0.10", "0.067", "pass",
    ] in cells(page)  # fmt: skip


def test_models_stand_side_by_side_in_few_words(page: str) -> None:
    # 4 prompts, 3 samples: numbers 0, 2 and 3; the last 6 words of the prompt; what a model says is escaped
    captions = re.findall(r"<caption>(.*?)</caption>", page)
    assert captions == [f"prompt {id}: … four five six seven &lt;eight&gt; nine" for id in (0, 2, 3)]
    assert cells(page).count(["unlearned", "Orla &amp; Tom went", "3"]) == 3


def test_a_label_is_shown_beside_the_text(page: str) -> None:
    # five words before, and the sixth is the one the label replaces
    assert ["7", "… Orla went to Harrow Hill.", "Orla", "Tom"] not in cells(page)
    assert ["7", "Orla went to Harrow Hill.", "Orla", "Tom"] in cells(page)


def test_what_was_run_is_on_the_page(page: str) -> None:
    assert ["forget", "train", "1", "100"] in cells(page)
    assert ["sha256.corpus", "c" * 64] in cells(page)
    assert ["sha256.model.safetensors", "a" * 64] in cells(page)
    assert ["finetune.alpha", "5.0"] in cells(page)
    assert ["alphas.5.0.changed", "0.1"] in cells(page)
    assert ["of kind person", "1"] in cells(page)


def test_one_chart_per_metric_and_per_training_that_took_place(page: str) -> None:
    assert re.findall(r'<svg role="img" aria-label="([^"]*)"', page) == [
        "Familiarity (completion)", "Familiarity (probability)", "Leak", "Retain perplexity", "Benchmarks",
        "Loss: baseline", "Loss: reinforce", "Loss: finetune",
    ]  # fmt: skip


def test_the_page_needs_nothing_beside_it_and_tells_no_time(page: str) -> None:
    assert not re.findall(r"""(?:src|href)=["'](?!#)[^"']*""", page)
    assert not re.search(r"<script|@import|url\(http", page)
    assert not re.search(r"20\d\d-\d\d-\d\d", page)
    assert "/tmp" not in page

    class Balanced(HTMLParser):
        open: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag: str, attrs: Any) -> None:
            if tag not in ("meta", "br"):
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

    parser = Balanced()
    parser.feed(page.partition("\n")[2])
    assert parser.open == []


def test_same_inputs_same_bytes(
    made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(made)
    before = folder_sha256(made / "reports")
    report.main()
    assert folder_sha256(made / "reports") == before
    assert capsys.readouterr().out == "report: The unlearned model meets 4 of 4 demands; see reports/index.html\n"


def test_a_run_without_retraining_or_benchmarks(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_inputs(project)
    familiarity = json.loads((project / "reports/familiarity.json").read_text())
    reason = "retrained: baseline.epochs is 0"
    for metric in ("completion_familiarity", "probability_familiarity"):
        familiarity["ratio"][metric], familiarity["reasons"][metric] = None, reason
    del familiarity["models"]["retrained"]
    write_json(familiarity, project / "reports/familiarity.json")
    write_json(
        {"items": {}, "chance": {}, "models": {}, "absent": {"local_order": "no text"}},
        project / "reports/benchmarks.json",
    )
    set_param(project, "report.samples", 0)
    report.main()
    assert capsys.readouterr().out == (
        "report: The unlearned model meets 1 of 1 demands; 2 could not be measured; see reports/index.html\n"
    )
    page = (project / "reports/index.html").read_text(encoding="utf-8")
    assert "Benchmarks" not in page
    assert "Not measured: local_order (no text)." in page
    assert "Where an anchor is due, no label differs from it." in page
    assert f"not measurable: {reason}" in page


def test_verdict_counts_what_was_judged() -> None:
    met, missed, unknown = (Bar("x", None, 1.0, met, "") for met in (True, False, None))
    assert report.verdict([met, missed, unknown]) == (
        "The unlearned model meets 1 of 2 demands; 1 could not be measured."
    )


def test_labels_of_another_tokenizer_are_refused(project: Path) -> None:
    write_inputs(project)
    tiny_model(project / "models/baseline", text="Something else entirely, and then some more of it. " * 9)
    with pytest.raises(StageError, match=r"^data/labels.parquet: made with tokenizer \w{12}, wanted \w{12} of models/"):
        report.main()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "reports/familiarity.json",
            "reports/familiarity.json: no such file, wanted the JSON that an earlier stage writes; run `dvc repro`",
        ),
        ("data/prompts.jsonl", "data/prompts.jsonl: no such file, wanted JSON lines"),
        (
            "reports/loss/finetune.csv",
            "reports/loss/finetune.csv: no such file, wanted a CSV with the header step,loss,learning_rate",
        ),
    ],
)
def test_a_missing_input(project: Path, path: str, message: str) -> None:
    write_inputs(project)
    (project / path).unlink()
    with pytest.raises(StageError) as error:
        report.main()
    assert str(error.value) == message
    assert not (project / "reports/index.html").exists()
