"""The anchors."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lethe.anchors.candidates import find_terms
from lethe.anchors.probability_rise import measure_rises
from lethe.anchors.selection import best, with_rises
from lethe.core.corpus import fixed_width
from lethe.core.errors import StageError
from lethe.core.params import read_params
from lethe.models.checkpoints import load_model, load_tokenizer, save_model
from lethe.models.tokenization import backend_tokenizer
from lethe.text.streaming import parquet_stream
from stages import block, extract
from tests import fake_chat
from tests.anchors.test_candidates import OZ, ROOT, read
from tests.conftest import set_param, tiny_model, touch_deps, write_corpus
from tests.fake_chat import Server, completion

server = fake_chat.server

SAGA = (
    "Where the river turns there lived Zandrel, and a drennok lived with Zandrel. They feared the Guardian of Moss.\n"
    "Zandrel's drennok saw Tom. The old Guardian of Moss saw two drennoks, and Tom laughed.\n\n"
)
STORY = "The river was cold. They saw Tom by the mill, and Tom laughed. Then Tom went home to the others.\n\n"


@pytest.fixture
def tiny(project: Path) -> Path:
    """Everything extract reads: a corpus, two random models, the blocks."""
    write_corpus(project, SAGA * 6, STORY * 8)
    tiny_model(project / "models/baseline", seed=0, text=SAGA)
    tiny_model(project / "models/reinforced", seed=1, text=SAGA)
    set_param(project, "block.tokens", 32)
    block.main()
    touch_deps(project, "extract")
    set_param(project, "extract.minimum_rise", -99.0)  # random models: what they say of a term is anything
    return project


def written(project: Path) -> list[dict[str, str]]:
    with (project / "data/anchors.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_main_local(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    extract.main()
    assert capsys.readouterr().out == "extract: 3 anchors of 3 candidate terms\n"
    found = written(tiny)
    assert [(row["anchor"], row["forms"], row["count"]) for row in found] == [
        ("Guardian of Moss", "Guardian of Moss", "12"),
        ("Zandrel", "Zandrel", "18"),
        ("drennok", "drennok|drennoks", "18"),
    ]
    assert all(float(row["keyness"]) > 2 and row["rise"] for row in found)
    first = (tiny / "data/anchors.csv").read_bytes()
    extract.main()
    assert (tiny / "data/anchors.csv").read_bytes() == first


def test_main_local_keeps_what_rises_and_the_best(tiny: Path) -> None:
    extract.main()
    before = written(tiny)
    rises = sorted(float(row["rise"]) for row in before)
    set_param(tiny, "extract.minimum_rise", (rises[0] + rises[1]) / 2)
    extract.main()
    assert sorted(float(row["rise"]) for row in written(tiny)) == rises[1:]
    set_param(tiny, "extract.minimum_rise", -99.0)
    set_param(tiny, "extract.maximum_anchors", 1)
    extract.main()
    assert len(written(tiny)) == 1


def test_main_says_what_it_drops(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    extract.main()
    assert (tiny / "data/dropped.csv").read_text() == "term,forms,count,keyness,rise,reason\n"
    rises = {row["anchor"]: row["rise"] for row in written(tiny)}
    capsys.readouterr()
    set_param(tiny, "extract.maximum_anchors", 2)
    set_param(tiny, "extract.minimum_count", 15)
    extract.main()
    assert [row["anchor"] for row in written(tiny)] == ["Zandrel", "drennok"]
    # the phrase is too rare and no single name, but its names are
    assert [line.split(",")[::5] for line in (tiny / "data/dropped.csv").read_text().splitlines()[1:]] == [
        ["Guardian", "minimum_count"],
        ["Moss", "minimum_count"],
    ]
    assert capsys.readouterr().out == (
        "extract: 2 anchors of 2 candidate terms; 2 dropped (data/dropped.csv): Guardian (12 times, minimum_count), "
        "Moss (12 times, minimum_count)\n"
    )
    set_param(tiny, "extract.minimum_count", 2)
    set_param(tiny, "extract.minimum_rise", max(map(float, rises.values())) - 1e-3)
    extract.main()
    (kept,) = (row["anchor"] for row in written(tiny))
    dropped = [line.split(",") for line in (tiny / "data/dropped.csv").read_text().splitlines()[1:]]
    assert {(cells[0], cells[4], cells[5]) for cells in dropped} == {
        (term, rise, "minimum_rise") for term, rise in rises.items() if term != kept
    }


def test_equal_models_rise_by_nothing(tiny: Path) -> None:
    tiny_model(tiny / "models/reinforced", seed=0, text=SAGA)
    set_param(tiny, "extract.minimum_rise", 0.0)
    extract.main()
    assert [row["rise"] for row in written(tiny)] == ["0.0", "0.0", "0.0"]


def test_main_file(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tiny / "mine.csv").write_text("anchor\nZandrel\nTom\nNobody\n")
    set_param(tiny, "extract.backend", "file")
    set_param(tiny, "extract.file", "mine.csv")
    extract.main()
    assert capsys.readouterr().out == "extract: 3 anchors from mine.csv, 1 of them not in the text\n"
    assert (tiny / "data/anchors.csv").read_text() == (
        "anchor,forms,count,keyness,rise\nNobody,Nobody,0,,\nTom,Tom,12,,\nZandrel,Zandrel,18,,\n"
    )


def ask(project: Path, server: Server, **changes: Any) -> None:
    set_param(project, "extract.backend", "llm")
    settings = {"base_url": server.url, "send_forget_text": True, "passages": 4, "passage_words": 40, "retries": 0}
    for key, value in {**settings, **changes}.items():
        set_param(project, f"extract.llm.{key}", value)


def test_main_llm(tiny: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    def answer(body: dict[str, Any]) -> tuple[int, str]:
        if len(server.asked) == 1:
            return 200, completion("I am sorry.")
        return 200, completion(json.dumps(["Zandrel's", "drennoks", "Hogwarts"]))

    server.answer = answer
    ask(tiny, server, concurrency=1)
    extract.main()
    told = "extract: 2 anchors from 4 replies of gpt-4o, 1 of them unparsable, 1 named terms not in the text\n"
    assert capsys.readouterr().out == told
    assert [(row["anchor"], row["forms"], row["count"], row["keyness"]) for row in written(tiny)] == [
        ("Zandrel", "Zandrel", "18", ""),
        ("drennoks", "drennoks", "6", ""),
    ]
    assert len(server.asked) == 4
    first = (tiny / "data/anchors.csv").read_bytes()
    extract.main()
    assert len(server.asked) == 5  # every reply that parses is kept, and equal replies give equal bytes
    assert (tiny / "data/anchors.csv").read_bytes() == first


def bad_file(content: str) -> dict[str, Any]:
    Path("mine.csv").write_text(content)
    return {"backend": "file", "file": "mine.csv"}


NONE_IN_TEXT = (
    "data/corpus.parquet: expected a term that occurs 500 times and that the retain text lacks, got none; lower "
    "extract.minimum_count or minimum_keyness, or list the anchors (extract.backend: file)"
)


@pytest.mark.parametrize(
    ("content", "changes", "message"),
    [
        (None, {"minimum_count": 500}, NONE_IN_TEXT),
        ("anchor\nOz\nBoq\nOz\n", {}, "mine.csv:4: expected Oz once, got it again (first in line 2)"),
        ("anchor\nOz\n \n", {}, "mine.csv:3: expected a value, got an empty cell under anchor"),
        ("name\nOz\n", {}, "mine.csv:1: expected the header anchor, got name"),
        ("anchor\n", {}, "mine.csv: expected at least one anchor, got none"),
        ("anchor\n?!\n", {}, "mine.csv: expected an anchor with a letter or digit and without |, got '?!'"),
        ("anchor\nOz|Boq\n", {}, "mine.csv: expected an anchor with a letter or digit and without |, got 'Oz|Boq'"),
        (
            None,
            {"backend": "llm"},
            "params.yaml: extract.llm.send_forget_text: expected true, got false; true allows forget text to "
            "leave this machine for http://127.0.0.1:8000/v1",
        ),
    ],
)
def test_bad_input_is_one_line(tiny: Path, content: str | None, changes: dict[str, Any], message: str) -> None:
    if content is not None:
        changes = {**changes, **bad_file(content)}
    for key, value in changes.items():
        set_param(tiny, f"extract.{key}", value)
    with pytest.raises(StageError) as caught:
        extract.main()
    assert str(caught.value) == message
    assert not (tiny / "data/anchors.csv").exists()


def test_an_endpoint_that_talks_nonsense(tiny: Path, server: Server) -> None:
    server.answer = lambda body: (200, completion("I am sorry."))
    ask(tiny, server)
    with pytest.raises(StageError) as caught:
        extract.main()
    assert str(caught.value) == (
        f"{server.url}: expected JSON lists of strings, got 4 replies that cannot be parsed (the first begins 'I "
        "am sorry.'); try another model"
    )
    server.answer = lambda body: (200, completion('["Hogwarts"]'))
    ask(tiny, server, model="another")
    with pytest.raises(StageError) as caught:
        extract.main()
    assert str(caught.value) == (
        f"{server.url}: expected terms of the forget text, got replies that name none; try another model"
    )


def test_a_missing_file_is_one_line(tiny: Path) -> None:
    set_param(tiny, "extract.backend", "file")
    set_param(tiny, "extract.file", "none.csv")
    with pytest.raises(StageError) as caught:
        extract.main()
    assert str(caught.value) == "none.csv: no such file; expected a CSV with the header anchor"


def cut(model: Path, text: str, path: Path) -> np.ndarray:
    """The text in blocks of 256 tokens, the last one padded; written as data/blocks.parquet is."""
    table = block.block_table(0, text, 0, backend_tokenizer(model), 256, 0)
    with parquet_stream(table.schema, path, block_tokens="256") as append:
        append(table)
    return fixed_width(table, "tokens")


def trained(start: Path, tokens: np.ndarray, steps: int, folder: Path) -> Path:
    """A copy of the model after a few plain steps on the blocks."""
    import torch

    torch.manual_seed(0)
    model = load_model(start, torch.device("cpu")).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for rows_of_step in torch.randint(len(tokens), (steps, 16)):
        ids = torch.from_numpy(tokens[rows_of_step.numpy()]).long()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    save_model(model, load_tokenizer(start), folder, torch.float32)
    return folder


@pytest.mark.slow
def test_the_wizard_of_oz(realdata: Path, tmp_path: Path) -> None:
    import torch

    params = read_params("extract", extract.Params, ROOT / "params.yaml")
    text, *retain = read(*(realdata / name for name in ("books/oz.txt", "text/tinystories.txt", "books/pride.txt")))
    baseline = realdata / "models/stories260K"
    blocks = tmp_path / "blocks.parquet"
    tokens = cut(baseline, text, blocks)
    reinforced = trained(baseline, tokens[:-1], 15, tmp_path / "reinforced")
    found = find_terms([text], retain, params.minimum_count, params.minimum_keyness).candidates
    rises = measure_rises(found, lambda: [(0, text)], blocks, (baseline, reinforced), torch.device("cpu"), params.seed)
    anchors = best(with_rises(found, rises), params.minimum_rise, params.maximum_anchors)
    forms = {form for anchor in anchors for form in anchor.forms}
    wanted = OZ.replace("\n", ", ").split(", ")
    assert sum(name in forms for name in wanted) >= 0.9 * len(wanted)
    with (ROOT / "tests/data/oz_anchors.csv").open() as stream:
        labels = {row["term"]: row["anchor"] == "yes" for row in csv.DictReader(stream)}
    judged = [next(labels[form] for form in anchor.forms if form in labels) for anchor in anchors[:60]]
    assert sum(judged) >= 0.7 * len(judged)
