"""The snapshot of the text."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from lethe.core.errors import StageError
from lethe.core.tables import CORPUS
from lethe.text.normal import edits_of, original
from lethe.text.passages import KINDS
from stages import corpus
from tests.conftest import set_param

STORY = "\n\n".join(
    f"{name} walked {number} miles to the river and sat there.\n" for number, name in enumerate("ABCDEFGHIJ")
)


def sides(project: Path, forget: dict[str, str | bytes], retain: dict[str, str | bytes]) -> None:
    """Write the files of both sides and point params.yaml at them; passages of about 60 characters."""
    for side, files in (("forget", forget), ("retain", retain)):
        folder = project / "data" / side
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        set_param(project, f"corpus.{side}", f"data/{side}")
    set_param(project, "corpus.passage_chars", 60)


def rows(project: Path) -> list[dict[str, Any]]:
    return pq.read_table(project / "data" / "corpus.parquet").to_pylist()


def test_main(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = '{"text": "One line of its own."}\n\n{"text": "And another, further down."}\n'
    sides(
        project,
        {
            "b.txt": STORY.replace("\n", "\r\n"),
            "a/c.md": STORY,
            "a/d.jsonl": lines,
            "cover.png": b"\xff",
            ".hidden": "x",
        },
        {"r.txt": "Here nobody walked.\n", "s.TXT": "One line  of its own.\n"},
    )
    corpus.main()
    found = rows(project)
    assert [row["document"] for row in found] == list(range(len(found)))
    files = {(row["side"], row["file"]) for row in found}
    # b.txt repeats a/c.md but for its line ends, s.TXT a line of a/d.jsonl
    assert files == {("forget", "a/c.md"), ("forget", "a/d.jsonl:1"), ("forget", "a/d.jsonl:3"), ("retain", "r.txt")}
    text = (project / "data/forget/a/c.md").read_text(encoding="utf-8")
    assert all(text[row["start"] : row["end"]] == row["text"] for row in found if row["file"] == "a/c.md")
    assert sum(row["part"] == "held_out" for row in found if row["side"] == "forget") == 1  # a tenth of 12 passages
    # words: ten walks of ten and lines of five and four; the line of five is the passage held out, 5 / 109 = 4.6 %
    assert capsys.readouterr().out == (
        "corpus: 3 forget documents of 109 words (4.6 % held out) and 1 retain documents of 3 words (0.0 % held out); "
        "11 repeated passages dropped, 0 near-duplicates never held out; left out: 1 hidden, 1 of another kind (.png)\n"
    )


def test_text_is_brought_to_one_form_and_leads_back_to_its_file(project: Path) -> None:
    told = (
        "Zoe\u0308 ran to the mill.\r\n\r\nBru\u0302le\u0301 said that nobody was there, and she went home again.\r\n"
    )
    sides(project, {"a.txt": told, "b.txt": STORY}, {"r.txt": "Here nobody walked.\n"})
    corpus.main()
    found = [row for row in rows(project) if row["file"] == "a.txt"]
    text = "".join(row["text"] for row in found)
    assert text.startswith("Zoë ran")
    assert "Brûlé said" in text
    assert "\r" not in text
    for row in found:
        # start and end are characters of the file, and what stands there is what the text was made from
        assert original(row["text"], edits_of(row)) == told[row["start"] : row["end"]]
    assert {row["edits"] is None for row in rows(project) if row["file"] != "a.txt"} == {True}


def test_text_in_that_form_already_has_no_edits(project: Path) -> None:
    sides(project, {"b.txt": STORY}, {"r.txt": "Zoë.\n"})
    corpus.main()
    assert pq.read_schema(project / "data/corpus.parquet").names == CORPUS.names


def test_tables_and_what_is_left_out_of_them(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sides(
        project, {"t.csv": "id,text\n1,Orla ran.\n2,\n3,Tom slept.\n", "a/x.doc": "x", "y.doc": "y"}, {".h/z.txt": "z"}
    )
    corpus.main()
    assert [row["file"] for row in rows(project)] == ["t.csv:2", "t.csv:4"]
    assert capsys.readouterr().out.endswith("; left out: 1 hidden, 2 of another kind (.doc), 1 without text\n")


def test_near_duplicates_are_told_and_stay_in_training(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tale = "the river ran down to the sea and nobody ever saw it come back again"
    sides(project, {"a.txt": f"Once {tale}", "b.txt": f"Long ago {tale}", "c.txt": "Nothing of the kind."}, {})
    set_param(project, "corpus.passage_chars", 500)
    set_param(project, "corpus.held_out", 0.9)
    corpus.main()
    assert [(row["file"], row["part"]) for row in rows(project)] == [
        ("a.txt", "train"),
        ("b.txt", "train"),
        ("c.txt", "held_out"),
    ]
    assert ", 2 near-duplicates never held out; left out: nothing\n" in capsys.readouterr().out


def test_same_text_same_bytes_whatever_the_file_system_says(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sides(project, {"a.txt": STORY, "b.txt": STORY.upper()}, {"c.txt": STORY.lower()})
    corpus.main()
    once = (project / "data/corpus.parquet").read_bytes()
    found = Path.rglob
    monkeypatch.setattr(Path, "rglob", lambda self, pattern: reversed(list(found(self, pattern))))
    os.utime(project / "data/forget/a.txt", (1, 1))
    corpus.main()
    assert (project / "data/corpus.parquet").read_bytes() == once


@pytest.mark.parametrize(
    ("forget", "retain", "message"),
    [
        (None, {}, "data/forget: no such folder; expected the forget text in it"),
        ({"a.txt": STORY}, None, "data/retain: no such folder; expected the retain text in it; it may be empty"),
        ({}, {}, f"data/forget: expected UTF-8 text in {KINDS} files, got none"),
        ({"a.doc": "x"}, {}, f"data/forget: expected UTF-8 text in {KINDS} files, got none"),
        ({"a.txt": " \n\n"}, {}, f"data/forget: expected UTF-8 text in {KINDS} files, got none"),
        ({"a.txt": b"caf\xe9"}, {}, "data/forget/a.txt: not UTF-8; expected a UTF-8 text file"),
        (
            {"a.txt": STORY},
            {"b/c.md": b"\x00"},
            "data/retain/b/c.md: expected UTF-8 text, got U+0000, which no text contains",
        ),
        (
            {"a.jsonl": "{}"},
            {},
            "data/forget/a.jsonl:1: expected text, messages, question and answer, or prompt and completion, "
            "got nothing",
        ),
    ],
)
def test_bad_input(forget: dict | None, retain: dict | None, message: str, project: Path) -> None:
    sides(project, forget or {}, retain or {})
    for side, files in (("forget", forget), ("retain", retain)):
        if files is None:
            (project / "data" / side).rmdir()
    with pytest.raises(StageError) as error:
        corpus.main()
    assert str(error.value) == message
    assert not (project / "data/corpus.parquet").exists()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("held_out", 1, "params.yaml: corpus.held_out: expected a value less than 1, got 1"),
        ("held_out", "0.1", "params.yaml: corpus.held_out: expected a number, got '0.1'; leave out the quotes"),
        ("passage_chars", 0, "params.yaml: corpus.passage_chars: expected a value greater than 0, got 0"),
    ],
)
def test_bad_params(key: str, value: object, message: str, project: Path) -> None:
    set_param(project, f"corpus.{key}", value)
    with pytest.raises(StageError) as error:
        corpus.main()
    assert str(error.value) == message


def test_real_books(realdata: Path, project: Path) -> None:
    books = {name: (realdata / "books" / f"{name}.txt").read_bytes() for name in ("oz", "alice")}
    stories = (realdata / "text" / "tinystories.txt").read_text(encoding="utf-8").split("\n\n")[:200]
    lines = "".join(json.dumps({"text": story}) + "\n" for story in stories)
    sides(project, {"oz.txt": books["oz"]}, {"alice.txt": books["alice"], "stories.jsonl": lines})
    set_param(project, "corpus.passage_chars", 5000)
    corpus.main()
    found = rows(project)
    oz = books["oz"].decode()
    assert all(oz[row["start"] : row["end"]] == row["text"] for row in found if row["side"] == "forget")
    for side in ("forget", "retain"):
        own = [row for row in found if row["side"] == side]
        held_out = sum(len(row["text"]) for row in own if row["part"] == "held_out")
        assert 0.05 < held_out / sum(len(row["text"]) for row in own) < 0.2
