"""Documents: runs of passages, what is held out of them, and what is dropped."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe.core.errors import StageError
from lethe.text import passages
from lethe.text.documents import Passage, Source, choose_held_out, cut, documents, read_side, without_duplicates


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
    monkeypatch.setattr("lethe.text.documents.LONGEST", 8)
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


def refused(folder: Path) -> str:
    with pytest.raises(StageError) as caught:
        read_side(folder, "forget")
    return str(caught.value)


def test_nothing_is_left_out_unseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget, elsewhere = tmp_path / "forget", tmp_path / "elsewhere"
    forget.mkdir()
    elsewhere.mkdir()
    (elsewhere / "b.txt").write_text("Venn.")
    (forget / "a.txt").write_text("Orla.")
    (forget / "b.txt").symlink_to(elsewhere / "b.txt")  # a link to a file is read
    assert [source.text for source in read_side(forget, "forget")[0]] == ["Orla.", "Venn."]
    (forget / "book").symlink_to(elsewhere)
    assert refused(forget) == (
        f"{forget}/book: expected files and folders, got a link to a folder; put a copy in its place"
    )
    (forget / "book").unlink()
    (forget / "gone").symlink_to(tmp_path / "nowhere")
    assert "got a link to nothing" in refused(forget)
    (forget / "gone").unlink()
    latin = os.fsencode(forget) + b"/caf\xe9.txt"
    with open(latin, "w") as stream:
        stream.write("x")
    assert refused(forget) == (
        f"{forget}/caf\\udce9.txt: expected a file name in UTF-8, got another encoding; rename it"
    )
    os.unlink(latin)

    os.mkfifo(forget / "pipe.txt")
    assert refused(forget) == f"{forget}/pipe.txt: expected a file or folder, got a device or pipe; take it out"
    (forget / "pipe.txt").unlink()

    def denied(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(passages.Path, "read_bytes", denied)
    assert refused(forget) == f"{forget}/a.txt: expected a file that can be read, got: Permission denied"


def test_a_folder_without_the_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.txt").write_text("Orla")
    (tmp_path / "b.txt").write_text("Venn")
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "in")  # root may read every folder
    with pytest.raises(StageError, match="in: expected a folder that can be read, got one without the permission"):
        read_side(tmp_path, "forget")
