"""The snapshot of the text."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe.core.errors import StageError
from stages import corpus
from stages.corpus import Passage, Source, choose_held_out, cut, documents, without_duplicates
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


def passage(number: int, text: str = "x", side: str = "forget") -> Passage:
    return Passage(Source(side, "a.txt", text), number, 0, len(text))


def test_documents_are_runs_of_neighbours_with_the_same_part() -> None:
    source = Source("forget", "a.txt", "aa bb cc dd ee")
    passages = [Passage(source, number, 3 * number, 3 * number + 2) for number in range(5)]
    found = documents(passages, held_out={2})
    assert [(row["document"], row["part"], row["start"], row["end"], row["text"]) for row in found] == [
        (0, "train", 0, 5, "aa bb"),
        (1, "held_out", 6, 8, "cc"),
        (2, "train", 9, 14, "dd ee"),
    ]
    # a passage that was dropped as a repetition parts its neighbours
    assert [row["text"] for row in documents(passages[:2] + passages[3:], set())] == ["aa bb", "dd ee"]


def test_documents_have_a_longest_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "LONGEST", 8)
    source = Source("forget", "a.txt", "aa bb cc dd ee")
    passages = [Passage(source, number, 3 * number, 3 * number + 2) for number in range(5)]
    found = documents(passages, held_out=set())
    # three passages and the two spaces between them are eight characters
    assert [(row["start"], row["end"], row["text"]) for row in found] == [(0, 8, "aa bb cc"), (9, 14, "dd ee")]


def test_documents_end_with_their_file() -> None:
    one, two = Source("forget", "a.txt", "aa"), Source("forget", "b.txt", "bb")
    assert [row["file"] for row in documents([Passage(one, 0, 0, 2), Passage(two, 1, 0, 2)], set())] == [
        "a.txt",
        "b.txt",
    ]


def test_forget_wins_over_the_same_passage_on_the_retain_side() -> None:
    found = without_duplicates([passage(0, "a  b"), passage(1, "a b"), passage(0, "a b\n", "retain"), passage(1, "c")])
    assert [(kept.source.side, kept.text) for kept in found] == [("forget", "a  b"), ("forget", "c")]


@pytest.mark.parametrize(
    ("count", "share", "wanted"),
    [(20, 0.1, 2), (20, 0.0, 0), (3, 0.1, 1), (2, 0.9, 1), (1, 0.5, 0), (0, 0.5, 0)],  # at least one, never all
)
def test_share_held_out(count: int, share: float, wanted: int) -> None:
    passages = [passage(number, f"text {number}") for number in range(count)]
    assert len(choose_held_out(passages, [False] * count, share, seed=0)) == wanted


def test_what_is_alike_is_never_held_out() -> None:
    passages = [passage(number, f"text {number}") for number in range(10)]
    assert choose_held_out(passages, [number != 7 for number in range(10)], 0.5, seed=0) == {7}


def test_the_draw_hardly_moves_when_text_is_added() -> None:
    before = [passage(number, f"text {number}") for number in range(50)]
    after = [passage(0, "something new"), *before]
    chosen = choose_held_out(before, [False] * 50, 0.2, seed=0)
    moved = {index - 1 for index in choose_held_out(after, [False] * 51, 0.2, seed=0)}
    assert len(chosen & moved) >= 9  # of ten
    assert choose_held_out(before, [False] * 50, 0.2, seed=1) != chosen


@given(st.text("ab. \n", max_size=200), st.integers(5, 40), st.floats(0, 0.9))
def test_spans_are_exact_and_nothing_but_white_space_is_lost(text: str, passage_chars: int, share: float) -> None:
    passages = cut(Source("forget", "a.txt", text), passage_chars)
    found = documents(passages, choose_held_out(passages, [False] * len(passages), share, seed=0))
    assert all(row["text"] == text[row["start"] : row["end"]] for row in found)
    assert "".join("".join(row["text"] for row in found).split()) == "".join(text.split())
    assert all(row["text"] == row["text"].strip() != "" for row in found)


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
        "11 repeated passages dropped, 0 passages too like others to hold out, 1 other files left out\n"
    )


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
    assert ", 2 passages too like others to hold out, " in capsys.readouterr().out


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
        (None, {}, "data/forget: no such folder, wanted the forget text in it"),
        ({"a.txt": STORY}, None, "data/retain: no such folder, wanted the retain text in it; it may be empty"),
        ({}, {}, "data/forget: found no text, wanted UTF-8 text in .txt, .md or .jsonl files"),
        ({"a.pdf": "x"}, {}, "data/forget: found no text, wanted UTF-8 text in .txt, .md or .jsonl files"),
        ({"a.txt": " \n\n"}, {}, "data/forget: found no text, wanted UTF-8 text in .txt, .md or .jsonl files"),
        ({"a.txt": b"caf\xe9"}, {}, "data/forget/a.txt: not UTF-8, wanted a UTF-8 text file"),
        (
            {"a.txt": STORY},
            {"b/c.md": b"\x00"},
            "data/retain/b/c.md: found U+0000, which no text holds, wanted UTF-8 text",
        ),
        ({"a.jsonl": "{}"}, {}, "data/forget/a.jsonl:1: found no text, wanted text as str"),
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
        ("held_out", 1, "params.yaml: corpus.held_out: found 1, wanted less than 1"),
        ("held_out", "0.1", "params.yaml: corpus.held_out: found '0.1', wanted a number"),
        ("passage_chars", 0, "params.yaml: corpus.passage_chars: found 0, wanted greater than 0"),
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
