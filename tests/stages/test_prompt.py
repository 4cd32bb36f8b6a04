"""The prompts that test what a model still knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lethe.core.errors import StageError
from lethe.core.tables import CORPUS, write_parquet
from lethe.text.matching import name_finder
from stages import prompt
from tests.conftest import set_param

NAMES = ["Oz", "Toto", "Tin Woodman", "Dorothy"]
HELD_OUT = (
    "On the third day the girl and her friends came to the Tin Woodman.\n\n"
    "Nobody in the whole green country had ever seen the great Oz and his dog Toto."
)


def prepare(
    project: Path, held_out: str = HELD_OUT, retain: str = "Stories.", own: dict[str, str] | None = None
) -> None:
    texts = [("forget", "train", "The Tin Woodman."), ("forget", "held_out", held_out), ("retain", "train", retain)]
    rows = [
        {"document": number, "side": side, "part": part, "file": "a.txt", "start": 0, "end": len(text), "text": text}
        for number, (side, part, text) in enumerate(texts)
    ]
    write_parquet(rows, CORPUS, project / "data" / "corpus.parquet")
    (project / "data" / "prompts").mkdir(exist_ok=True)
    for name, content in (own or {}).items():
        (project / "data" / "prompts" / name).write_text(content, encoding="utf-8")
    (project / "data" / "anchors.csv").write_text("anchor,forms,count,keyness,rise\nToto,Toto,3,,\n", encoding="utf-8")
    (project / "data" / "my_names.csv").write_text(
        "name,kind\n" + "".join(f"{name},\n" for name in NAMES), encoding="utf-8"
    )
    set_param(project, "prompt.names", "data/my_names.csv")


def written(project: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (project / "data" / "prompts.jsonl").read_text(encoding="utf-8").splitlines()]


def test_main(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = '{"prompt": "The best friend of the girl is ", "references": ["Toto", "Oz"]}\n'
    prepare(project, retain="TOTO'S day.", own={"mine.jsonl": own})
    set_param(project, "prompt.development", 0.0)
    prompt.main()
    third_day = "On the third day the girl and her friends came to the"
    nobody = f"{third_day} Tin Woodman.\n\nNobody in the whole green country had ever seen the great"
    wanted = [
        ("cloze", third_day, ["Tin Woodman", "Oz", "Toto"], "Tin Woodman"),
        ("cloze", nobody, ["Oz", "Toto"], "Oz"),
        ("cloze", f"{nobody} Oz and his dog", ["Toto"], "Toto"),
        ("own", "The best friend of the girl is", ["Toto", "Oz"], None),
    ]
    assert written(project) == [
        {"id": number, "set": "test", "source": source, "prompt": text, "references": references, "due": due}
        for number, (source, text, references, due) in enumerate(wanted)
    ]
    # Dorothy is a name although no prompt asks for her; Toto occurs on the retain side
    assert (project / "data" / "names.csv").read_text() == (
        "name,unique\nDorothy,yes\nOz,yes\nTin Woodman,yes\nToto,no\n"
    )
    assert capsys.readouterr().out == (
        "prompt: 3 cloze prompts with 3 target names and 1 of your own: 4 for the test set and 0 for the "
        "development set\n"
        "prompt: 1 of 4 names are nowhere in the forget text: Dorothy\n"
    )


def test_names_that_the_text_lacks_are_told(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(project)
    lacking = [f"Zzyzx{letter}" for letter in "abcdef"]
    (project / "data" / "my_names.csv").write_text("name,kind\nOz,\n" + "".join(f"{name},\n" for name in lacking))
    prompt.main()
    assert capsys.readouterr().out.splitlines()[1] == (
        "prompt: 6 of 7 names are nowhere in the forget text: Zzyzxa, Zzyzxb, Zzyzxc, Zzyzxd, Zzyzxe and 1 more"
    )


def test_without_names_of_its_own_the_matcher_takes_the_anchors(project: Path) -> None:
    prepare(project)
    (project / "data" / "my_names.csv").write_text("name,kind\n", encoding="utf-8")
    prompt.main()
    assert {row["due"] for row in written(project)} == {"Toto"}
    assert (project / "data" / "names.csv").read_text() == "name,unique\nToto,yes\n"


def test_own_prompts_are_enough(project: Path) -> None:
    prepare(project, held_out=" ", own={"b.jsonl": '{"prompt": "b", "references": ["Oz"]}', "a.jsonl": ""})
    prompt.main()
    assert [row["prompt"] for row in written(project)] == ["b"]


def test_same_inputs_same_bytes(project: Path) -> None:
    prepare(project)
    prompt.main()
    once = [(project / "data" / name).read_bytes() for name in ("prompts.jsonl", "names.csv")]
    prompt.main()
    assert [(project / "data" / name).read_bytes() for name in ("prompts.jsonl", "names.csv")] == once


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": "p"}', "references: expected list, got none"),
        ('{"prompt": "p", "references": "Oz"}', "references: expected list, got str"),
        (
            '{"prompt": "p", "references": []}',
            "references: expected the names that a completion must not leak, got none",
        ),
        ('{"prompt": "p", "references": ["Oz", 3]}', "references: expected a name, got 3"),
        ('{"prompt": "p", "references": [" "]}', "references: expected a name, got ' '"),
        ('{"prompt": "p", "references": ["?"]}', "references: expected a name, got '?'"),
        ('{"prompt": " ", "references": ["Oz"]}', "prompt: expected text, got an empty one"),
        (
            '{"prompt": "In Oz\'s land", "references": ["Oz"]}',
            "references: expected names that the prompt does not contain, got 'Oz'",
        ),
        ("{", "not valid JSON: Expecting property name enclosed in double quotes"),
    ],
)
def test_bad_own_prompts(line: str, message: str, project: Path) -> None:
    prepare(project, own={"mine.jsonl": '{"prompt": "p", "references": ["Oz"]}\n' + line})
    with pytest.raises(StageError) as error:
        prompt.main()
    assert str(error.value) == f"data/prompts/mine.jsonl:2: {message}"
    assert not (project / "data" / "prompts.jsonl").exists()


def test_bad_input(project: Path) -> None:
    prepare(project, held_out="Nobody was there.")
    cases = [
        (
            lambda: None,
            "data/corpus.parquet: expected prompts, got none: none of 4 target names occurs in 17 characters of "
            "held-out forget text, and data/prompts holds no prompts; raise corpus.held_out or write prompts",
        ),
        (
            lambda: (project / "data" / "my_names.csv").write_text("name,kind\nOz,\nOz,\n"),
            "data/my_names.csv:3: expected Oz once, got it again (first in line 2)",
        ),
        (
            lambda: (project / "data" / "my_names.csv").write_text("name,kind\nO'Mara,\nO’Mara,\n", encoding="utf-8"),
            "data/my_names.csv: expected O'Mara once, got it again in another spelling, O’Mara",
        ),
        (
            lambda: (project / "data" / "my_names.csv").write_text("name\nOz\n"),
            "data/my_names.csv:1: expected the header name,kind, got name",
        ),
        (
            lambda: (project / "data" / "my_names.csv").write_text("name,kind\n?!,\n"),
            "data/my_names.csv: expected a name with a letter or digit, got '?!'",
        ),
        (
            lambda: set_param(project, "prompt.own", "nowhere"),
            "nowhere: no such folder; expected the folder of your prompts; it may be empty",
        ),
        (
            lambda: set_param(project, "prompt.words", 7),
            "params.yaml: prompt.words: expected at least 8, got 7",
        ),
    ]
    for spoil, message in cases:
        spoil()
        with pytest.raises(StageError) as error:
            prompt.main()
        assert str(error.value) == message
        (project / "data" / "my_names.csv").write_text("name,kind\nOz,\n")


def test_a_real_book(realdata: Path, project: Path) -> None:
    book = (realdata / "books" / "oz.txt").read_text(encoding="utf-8")
    prepare(project, held_out=book, retain=(realdata / "books" / "alice.txt").read_text(encoding="utf-8"))
    prompt.main()
    rows = written(project)
    assert len(rows) > 200
    assert 0.35 < sum(row["set"] == "development" for row in rows) / len(rows) < 0.45
    finder = name_finder(NAMES)
    for row in rows:
        assert row["prompt"] in book
        assert row["prompt"] == row["prompt"].rstrip()
        assert 8 <= len(row["prompt"].split()) <= 40
        assert not finder.terms_in(row["prompt"]) & set(row["references"])
    texts = {name: " ".join(row["prompt"] for row in rows if row["set"] == name) for name in ("test", "development")}
    runs = {name: set(zip(*(text.split()[i:] for i in range(12)), strict=False)) for name, text in texts.items()}
    assert len(runs["test"] & runs["development"]) / len(runs["test"]) < 0.01
