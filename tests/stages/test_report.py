"""The report page."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from lethe.core.errors import StageError
from lethe.core.hashing import folder_sha256, tokenizer_sha256
from lethe.core.tables import CORPUS, DICTIONARY, write_csv, write_json, write_jsonl, write_parquet
from lethe.erasure.requests import append
from lethe.models.soft_prompts import PROMPT
from lethe.models.tokenization import cut_blocks, padding_id
from lethe.report.inputs import LOSS
from stages import report
from tests.conftest import ROOT, TINY_TEXT, set_param, tiny_model
from tests.evaluated import fluency, write_evaluated

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
    prompts = [{"id": id, "prompt": prompt} for id in range(4)]
    prompts[3]["prompt"] = "Nobody knew where the lantern"  # the text goes on: was.
    write_jsonl(prompts, project / "data/prompts.jsonl")
    said = [
        {"model": model, "id": id, "completion": "Orla & Tom went", "grade": 3, "probability": 0.5}
        for model in MODELS
        for id in range(4)
    ]
    for row in said:
        row["leaked"] = ["Orla"]
    said[3]["completion"] = " was. Tom sat by the river and looked at the water"  # the baseline recites
    write_jsonl(said, project / "data/completions.jsonl")
    write_jsonl(continuations(), project / "data/continuations.jsonl")
    (project / "data/requests.jsonl").touch()
    write_reports(project / "reports")
    write_evaluated(project)


def continuations() -> list[dict[str, Any]]:
    """What `evaluate` leaves of fluency; the suppressed model stutters, the baseline recites."""
    rows = [
        {"model": model, "side": side, "id": id, "prompt": f"The sun of {id}", "doubled": False, "common": None}
        | {"continuation": f" and {model} <went> on at some length, as a whole text does"}
        for model in ("baseline", "retrained", "suppressed", "step-00005", "unlearned")
        for side in ("retain", "forget")
        for id in range(4)
    ]
    for row in rows:
        if (row["model"], row["side"]) == ("suppressed", "retain"):
            row |= {"continuation": " of the door door", "doubled": True, "common": "sun of the door"}
    rows[0]["continuation"] = " said. Tom sat by the river and looked at the water, and then"
    return rows


def write_corpus(project: Path) -> None:
    row = {"document": 0, "side": "forget", "part": "train", "file": "a.txt", "start": 0, "text": TINY_TEXT}
    rows = [row | {"end": 100}, row | {"document": 1, "start": 100, "end": 150, "part": "held_out"}]
    write_parquet(rows, CORPUS, project / "data/corpus.parquet")


def write_labels(project: Path, model: Path) -> None:
    import pyarrow as pa

    from lethe.models.tokenization import backend_tokenizer

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
    interval = {"value": 0.3, "low": 0.25, "high": 0.35, "items": 4}
    facts = {"set": "test", "prompts": 4, "names": 1, "models": numbers, "ratio_intervals": {}}
    facts |= {"intervals": {"baseline": {"probability_familiarity": interval}}}
    write_json(facts | {"absent": {}, "ratio": ratio, "reasons": {}, "fluency": fluency()}, folder / "familiarity.json")
    scores = {model: {"local_order": 0.7} for model in MODELS}
    facts = {"items": {"local_order": 9}, "chance": {"local_order": 0.25}, "absent": {}}
    write_json(facts | {"models": scores}, folder / "benchmarks.json")
    write_json({"steps": 30, "alpha": 5.0, "sha256": {"model.safetensors": "a" * 64}}, folder / "finetune.json")
    write_json({"steps": 0, "sha256": {"model.safetensors": "a" * 64}}, folder / "distil.json")
    write_json({"blocks": 1, "alphas": {"5.0": {"changed": 0.1}}}, folder / "labels.json")
    for name in ("baseline", "retrain", "reinforce", "finetune", "distil"):
        steps = () if name in ("retrain", "distil") else (1, 2)
        rows = [{"step": step, "loss": 1 / step, "learning_rate": 0.1} for step in steps]
        write_csv(rows, LOSS, folder / "loss" / f"{name}.csv")


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
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", page, re.DOTALL)
    found = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    return [[" ".join(re.sub(r"<[^>]*>", " ", cell).split()) for cell in row] for row in found]


def row_of(page: str, first: str) -> list[str]:
    """The one table row whose first cell begins so."""
    [row] = [row for row in cells(page) if row and row[0].startswith(first)]
    return row


def test_the_step_table_is_on_the_page_and_in_the_csv(page: str, made: Path) -> None:
    assert ["", "baseline", "step 5", "unlearned", "retrained"] in cells(page)
    assert ["Familiarity (completion)", "3.000", "1.000", "0.200", "0.000"] in cells(page)
    assert (made / "reports/steps.csv").read_text().splitlines() == [  # retrained is no step
        "step,model,completion_familiarity,probability_familiarity,leak,retain_perplexity,local_order",
        "0,baseline,3.0,0.3,0.6,4.0,0.7",
        "5,step-00005,1.0,0.1,0.2,4.0,0.7",
        "30,unlearned,0.2,0.02,0.04,4.0,0.7",
    ]


def write_ledger(project: Path) -> None:
    """Two requests, forgotten one after the other."""
    rows: list[dict[str, Any]] = []
    names = ("retain_perplexity", "leak", "benchmark")
    before = dict(zip(names, (10.0, 0.5, 0.75), strict=True))
    for number, after in enumerate(((10.5, 0.25, 0.7), (12.0, 0.125, 0.65)), start=1):
        measured = {"baseline": before, "unlearned": dict(zip(names, after, strict=True))}
        content = {"model": {"md5": f"{number}" * 32}, "measures": measured}
        path = project / "data/requests.jsonl"
        rows.append(append(path, rows, "satisfied", f"<{number}>", "2026-03-01", content))


def test_what_requests_cost_one_after_the_other_is_on_the_page(project: Path, page: str) -> None:
    assert "Erasure requests" not in page  # nobody asked
    write_inputs(project)
    write_ledger(project)
    report.main()
    found = (project / "reports/index.html").read_text(encoding="utf-8")
    # 10.5 / 10 and 12 / 10: both beside the model before the first request
    assert row_of(found, "before the first") == ["before the first", "0", "", "0.500", "", "10.000", "1.000", "0.750"]
    assert row_of(found, "&lt;1&gt;") == ["&lt;1&gt;", "1", "1" * 12, "0.250", "", "10.500", "1.050", "0.700"]
    assert row_of(found, "&lt;2&gt;") == ["&lt;2&gt;", "2", "2" * 12, "0.125", "", "12.000", "1.200", "0.650"]
    section = found.split('<section id="requests">')[1].split("</section>")[0]
    charts = re.findall(r'<svg role="img" aria-label="([^"]*)"', section)
    assert charts == ["Leak", "Retain perplexity", "Benchmarks (mean accuracy)"]
    assert '<a href="#requests">' in found


def test_a_broken_line_of_the_ledger_is_told_with_its_number_and_stops_nothing(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_inputs(project)
    write_ledger(project)
    path = project / "data/requests.jsonl"
    path.write_text(path.read_text().replace("12.0", "10.0") + "<b>no JSON\n")
    report.main()
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("report: ")]
    assert told[0].startswith("report: warning: data/requests.jsonl:2: expected sha256 ")
    assert told[1].startswith("report: warning: data/requests.jsonl:3: not valid JSON: ")
    found = (project / "reports/index.html").read_text(encoding="utf-8")
    section = found.split('<section id="requests">')[1].split("</section>")[0]
    assert section.count("Broken line, which is left out here:") == 2
    assert "data/requests.jsonl:2: expected sha256 " in section
    assert row_of(found, "&lt;1&gt;")[1] == "1"  # the line before it counts
    assert "&lt;2&gt;" not in section
    path.write_text("{}\n")  # no line is left
    report.main()
    found = (project / "reports/index.html").read_text(encoding="utf-8")
    assert "data/requests.jsonl:1: number: expected int, got none" in found


def test_criteria_are_judged_on_the_page_and_in_the_metric(page: str, made: Path) -> None:
    assert row_of(page, "Familiarity (completion) remaining")[1:] == ["at most 0.1", "0.067", "", "pass"]
    assert row_of(page, "Extraction attack excess") == [
        "Extraction attack excess over retrained, worst attack How many more names does the best attack extract than "
        "from a model that never read the text? more Relearning on forget text, 8 forget passages, 20 steps: Leak "
        "attack_excess",
        "at most 0.1", "0.410", "0.360 to 0.460", "fail",
    ]  # fmt: skip
    missed = "trivia excess, attack excess, forget quality, privleak"
    verdict = f"release gate: FAIL (4 of 10 criteria): {missed}; 1 not measured"
    assert "9 items are too few to tell" in page  # of local_order
    assert f'<p class="soft"><a href="#gate">{verdict}</a></p>' in page
    assert (
        '<h1 class="fail">The model has not forgotten the text: attacks still extract it, it still knows the text and '
        "one can still tell that it read the text.</h1>"
    ) in page
    found = json.loads((made / "reports/gate.json").read_text())
    assert (found["met"], found["missed"], found["unmeasured"], found["attack_excess"]) == (6, 4, 1, 0.41)
    assert len(found) == 15


def test_three_models_side_by_side(page: str) -> None:
    assert row_of(page, "Two-choice trivia (chance") == [
        "Two-choice trivia (chance: 0.50) How often is the true name likelier than another of its kind? 0.5 is a coin "
        "toss. more lower is better · 100 items", "",
        "0.950 0.900 to 1.000", "0.710 0.660 to 0.760", "0.520 0.470 to 0.570", "44% remaining",
    ]  # fmt: skip
    assert row_of(page, "Familiarity (probability) How likely")[2:] == [
        "0.300 0.250 to 0.350", "0.020", "0.000", "7% remaining",
    ]  # fmt: skip
    assert row_of(page, "a_measure_of_tomorrow")[2:] == [
        "3.500 3.450 to 3.550", "2.500 2.450 to 2.550", "1.500 1.450 to 1.550", "",
    ]  # fmt: skip


def test_attacks_are_grouped_with_their_worst_on_top(page: str) -> None:
    worst = [row for row in cells(page) if len(row) == 4 and re.fullmatch(r"[+-]0\.\d{3}|cannot tell", row[2])]
    named = ["Relearning on forget text", "Prefix of the target name", "Weight quantisation", "No attack",
             "Linear probe of hidden states", "of_tomorrow"]  # fmt: skip
    assert all(row[0].startswith(name) for row, name in zip(worst, named, strict=True))
    assert [row[2] for row in worst] == ["+0.410", "+0.050", "+0.020", "+0.010", "cannot tell", "cannot tell"]
    assert worst[3][0] == "No attack The prompts as they are. more"
    assert row_of(page, "8 forget passages, 5 steps")[2:] == [
        "0.700 0.650 to 0.750", "0.120 0.070 to 0.170", "0.010 -0.040 to 0.060", "+0.110 0.060 to 0.160",
    ]  # fmt: skip


def test_terms_have_verdicts(page: str) -> None:
    terms = ("lantern", "Orla", "Harrow Hill", "Tom")
    assert [row_of(page, term)[3] for term in terms] == ["renamed", "forgotten", "still known", "never known"]
    assert row_of(page, "lantern")[4:] == [
        "0.100", "0.005", "0.000", "3", "40", "200", "lamp, light", "0.020", "0.090", "0.020", "+0.070", "-0.010",
        *["the a one Orla old new"] * 3, "5 held-out",
    ]  # fmt: skip
    assert "<b>1</b> renamed" in page
    assert "This table shows 4 terms." in " ".join(page.split())


def said(page: str) -> list[list[str]]:
    """What stands in each box of `What the models say`: its prompt, then every answer; a bar is █."""
    section = page.split('<section id="said">')[1].split("</section>")[0]
    plain = re.sub(r'<span class="redacted[^>]*></span>', "█", section)
    boxes = [box.split("</article>")[0] for box in plain.split("<article")[1:]]
    texts = [re.findall(r'<(?:p|h4)(?: class="prompt")?>(.*?)</(?:p|h4)>', box, re.DOTALL) for box in boxes]
    return [[" ".join(re.sub(r"<[^>]*>", " ", text).split()) for text in box] for box in texts]


def test_models_stand_side_by_side(page: str) -> None:
    boxes = said(page)
    # all leak at each of 4 prompts, 3 are shown; of a prompt the last 3 of 6 words; what a model says is escaped
    assert [box[0] for box in boxes[:3]] == ["█ seven &lt;eight&gt; nine …"] * 3
    assert boxes[0][1:] == [
        "baseline before leak", "Orla &amp; Tom went", "unlearned after leak", "Orla &amp; Tom went",
        "retrained never read it leak", "Orla &amp; Tom went",
    ]  # fmt: skip
    assert "<mark>Orla</mark> &amp; Tom went" in page
    assert re.findall(r'<article class="sample" data-why="(.*?)">', page) == ["still leaks"] * 3 + ["other text"] * 3
    assert re.findall(r'data-show="(.*?)"', page) == ["", "still leaks", "other text"]


def test_whole_continuations_of_retain_text_are_shown(page: str) -> None:
    boxes = said(page)[3:]
    # 4 beginnings, 3 samples: numbers 0, 2 and 3
    assert [box[0] for box in boxes] == [f"The sun of {id} …" for id in (0, 2, 3)]
    whole = "and unlearned &lt;went&gt; on at some length, as a whole text does"
    assert [box[box.index("unlearned after") + 1] for box in boxes] == [whole] * 3
    assert [box[box.index("suppressed half-way doubled word") + 1] for box in boxes] == ["of the door door"] * 3
    # six words of the forget set in a row, then a bar as long as it is recited
    assert boxes[0][2] == "said. Tom sat by the river and █ and then"
    section = page.split('<section id="fluency">')[1].split("</section>")[0]
    assert ["suppressed", "sun of the door", "4 of 4"] in cells(section)
    assert ["retrained", "none in two", "0 of 4"] in cells(section)
    assert "step-00005" not in page.split('<section id="said">')[1].split("</section>")[0]
    assert row_of(page, "Continuations with a doubled word, retain prompts")[2:] == [
        "0.000 -0.050 to 0.050", "0.050 0.000 to 0.100", "0.000 -0.050 to 0.050", "+0.050 from baseline",
    ]  # fmt: skip


def words(text: str) -> list[str]:
    return re.findall(r"[\w']+", text.lower())


def runs(text: str, length: int) -> set[tuple[str, ...]]:
    found = words(text)
    return {tuple(found[start : start + length]) for start in range(len(found) - length + 1)}


def republished(reports: Path, forget: set[tuple[str, ...]], length: int) -> list[str]:
    """The files of a folder that hold a run of the forget side, tags counted as words or not."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(reports.rglob("*")) if path.is_file()}
    return [
        path.name
        for path, text in texts.items()
        if forget & (runs(text, length) | runs(re.sub(r"<[^>]*>", " ", text), length))
    ]


def test_no_report_republishes_the_text(made: Path) -> None:
    """No file under reports/ holds more than report.words words of the forget side in a row."""
    assert republished(made / "reports", runs(TINY_TEXT, 6 + 1), 6 + 1) == []
    assert "index.html" in republished(made / "reports", runs(TINY_TEXT, 3), 3)  # a few words there are


def test_the_reports_of_this_project_do_not_republish_its_text() -> None:
    params = report.read_yaml(ROOT / "params.yaml")
    limit = params["report"]["words"] + 1
    forget: set[tuple[str, ...]] = set()
    for path in sorted((ROOT / params["corpus"]["forget"]).rglob("*.txt")):
        forget |= runs(path.read_text(encoding="utf-8"), limit)
    assert forget
    assert republished(ROOT / "reports", forget, limit) == []


def test_a_recited_completion_is_barred(project: Path) -> None:
    write_inputs(project)
    set_param(project, "report.samples", 4)
    set_param(project, "report.words", 6)
    report.main()
    # prompt: where the lantern; then `was Tom sat` are six in a row; from `by` on the text is recited word by word
    [box] = [
        box for box in said((project / "reports/index.html").read_text()) if box[0].endswith("where the lantern …")
    ]
    assert box[2] == "was. Tom sat █"


def test_a_label_is_shown_beside_the_text(page: str) -> None:
    # five words before, and the sixth is the one the label replaces
    assert ["7", "… Orla went to Harrow Hill.", "Orla", "Tom"] not in cells(page)
    assert ["7", "Orla went to Harrow Hill.", "Orla", "Tom"] in cells(page)


def test_what_was_run_is_on_the_page(page: str) -> None:
    words = str(len(re.findall(r"\w+", TINY_TEXT)))
    assert ["forget", "to train", "1", "1", words, "100"] in cells(page)
    assert ["forget", "held out, to measure", "0", "1", words, "50"] in cells(page)  # of the same file
    assert ["sha256.corpus", "c" * 64] in cells(page)
    assert ["sha256.model.safetensors", "a" * 64] in cells(page)
    assert ["finetune.alpha", "5.0"] in cells(page)
    assert ["alphas.5.0.changed", "0.1"] in cells(page)
    assert ["of kind person", "1"] in cells(page)


def test_one_chart_per_metric_and_per_training_that_took_place(page: str) -> None:
    assert re.findall(r'<svg role="img" aria-label="([^"]*)"', page) == [
        "Relearning on forget text: 8 forget passages",
        "Familiarity (probability) against retain perplexity",
        "Familiarity (completion)", "Familiarity (probability)", "Leak", "Retain perplexity", "Benchmarks",
        "Loss: baseline", "Loss: reinforce", "Loss: finetune",
    ]  # fmt: skip


def test_the_page_needs_nothing_beside_it_and_tells_no_time(page: str) -> None:
    assert not re.findall(r"""(?:src|href)=["'](?!#)[^"']*""", page)  # every link leads to a part of the page
    places = re.findall(r'href="#([^"]+)"', page)
    assert {"how-criterion-attack_excess", "how-metric-leak", "how-attack-none", "verdicts"} <= {*places}
    assert {*places} <= {*re.findall(r' id="([^"]+)"', page)}
    assert not re.search(r"<script[^>]|<link|<iframe|<img|@import|url\((?!#)|fetch\(", page)
    assert not re.search(r"20\d\d-\d\d-\d\d", page)
    assert "/tmp" not in page

    class Balanced(HTMLParser):
        open: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag: str, attrs: Any) -> None:
            if tag not in ("meta", "br", "input"):  # these have no end
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
    assert capsys.readouterr().out == (
        "report: release gate: FAIL (4 of 10 criteria): trivia excess, attack excess, forget quality, privleak; "
        "1 not measured; see reports/index.html\n"
    )


def test_a_run_without_retraining_or_benchmarks(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_inputs(project)
    write_evaluated(project, models=("baseline", "unlearned"))
    familiarity = json.loads((project / "reports/familiarity.json").read_text())
    reason = "retrained: baseline.epochs is 0"
    for metric in ("completion_familiarity", "probability_familiarity"):
        familiarity["ratio"][metric], familiarity["reasons"][metric] = None, reason
    del familiarity["models"]["retrained"], familiarity["fluency"]["models"]["retrained"]
    familiarity["absent"] = {"retrained": "baseline.epochs is 0"}
    write_json(familiarity, project / "reports/familiarity.json")
    write_json(
        {"items": {}, "chance": {}, "models": {}, "absent": {"local_order": "no text"}},
        project / "reports/benchmarks.json",
    )
    set_param(project, "report.samples", 0)
    report.main()
    assert capsys.readouterr().out == (
        "report: release gate: FAIL (5 of 8 criteria): memorisation excess, trivia excess, attack excess, "
        "forget quality, privleak; 3 not measured; see reports/index.html\n"
    )
    page = " ".join((project / "reports/index.html").read_text(encoding="utf-8").split())
    assert "Benchmarks" not in page
    assert "Not measured: local_order (no text)." in page
    assert f"Not measured: forget_quality ({reason})." in page
    assert "is missing (baseline.epochs is 0), so the criteria are judged by the share" in page
    assert "No label differs from its anchor." in page
    assert f"cannot tell: {reason}" in page
    assert "No completion is shown (report.samples is 0)." in page


def test_a_run_without_attacks_or_terms_or_criteria(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_inputs(project)
    write_json({"attacks": [], "absent": {"relearn": "no forget passages"}}, project / "reports/attacks.json")
    write_csv([], report.TERMS, project / "data/terms.csv")
    for name in report.read_yaml(project / "params.yaml")["report"]["gate"]:
        set_param(project, f"report.gate.{name}", None)
    report.main()
    assert (
        capsys.readouterr().out == "report: release gate: CANNOT TELL (no criterion is set); see reports/index.html\n"
    )
    page = (project / "reports/index.html").read_text(encoding="utf-8")
    assert "No attack was run." in page
    assert "Not measured: relearn (no forget passages)." in page
    assert "No anchored term was measured." in page
    assert "No criterion is set" in page


def test_a_soft_prompt_is_told_from_an_erasure(project: Path) -> None:
    write_inputs(project)
    report.main()
    assert "soft prompt of" not in (project / "reports/index.html").read_text(encoding="utf-8")
    write_json({"num_virtual_tokens": 30}, project / "models/unlearned" / PROMPT)
    (project / "models/unlearned/adapter_model.safetensors").write_bytes(bytes(15_480))
    report.main()
    page = (project / "reports/index.html").read_text(encoding="utf-8")
    assert "soft prompt of 30 vectors (15 KB) in front of" in page
    assert "without the prompt the model is the baseline, with its leak of 0.600" in page


def test_more_terms_than_are_shown(project: Path) -> None:
    write_inputs(project)
    set_param(project, "report.terms", 3)
    report.main()
    page = " ".join((project / "reports/index.html").read_text(encoding="utf-8").split())
    assert "3 terms, the most frequent ones; data/terms.csv has 1 more" in page


def test_labels_of_another_tokenizer_are_refused(project: Path) -> None:
    write_inputs(project)
    tiny_model(project / "models/baseline", text="Something else entirely, and then some more of it. " * 9)
    with pytest.raises(StageError, match=r"^data/labels.parquet: expected tokenizer \w{12} of models/.*, got \w{12}; "):
        report.main()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "reports/familiarity.json",
            "reports/familiarity.json: no such file; expected the JSON that an earlier stage writes; run `dvc repro`",
        ),
        ("data/prompts.jsonl", "data/prompts.jsonl: no such file; expected JSON lines"),
        (
            "reports/loss/finetune.csv",
            "reports/loss/finetune.csv: no such file; expected a CSV with the header step,loss,learning_rate",
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
