"""Plain text: passages, lots, shared runs of words."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe.core.errors import StageError
from lethe.text.passages import draw, passages, read_texts, sentence_starts, shared_runs, stripped, text_key


def cut(text: str, passage_chars: int) -> list[str]:
    return [text[start:end] for start, end in passages(text, passage_chars)]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("aaa\n\nbbb\n\nccc", ["aaa\n\nbbb\n\n", "ccc"]),  # 10 characters hold two paragraphs and their blank lines
        ("aaa\r\n\r\nbbbbbb", ["aaa\r\n\r\n", "bbbbbb"]),
        ("Aa b. Cc d e", ["Aa b. ", "Cc d e"]),  # a paragraph of 12 is cut at the end of a sentence
        ('A "b." Cc d e', ['A "b." ', "Cc d e"]),
        ("Mr. Bb cc dd", ["Mr. Bb cc ", "dd"]),  # no sentence ends here: between two words
        ("aa bb\ncc dd", ["aa bb\n", "cc dd"]),  # better where a line ends
        ("aaaaaaaaaaaa", ["aaaaaaaaaa", "aa"]),
        ("", []),
    ],
)
def test_passages_of_ten_characters(text: str, wanted: list[str]) -> None:
    assert cut(text, 10) == wanted


@given(st.text("ab. \n", max_size=80), st.integers(1, 20))
def test_passages_tile_the_text(text: str, passage_chars: int) -> None:
    found = cut(text, passage_chars)
    assert "".join(found) == text
    assert all(0 < len(passage) <= passage_chars for passage in found)


def test_stripped() -> None:
    assert stripped("x  ab \n", 1, 7) == (3, 5)
    start, end = stripped("x   ", 1, 4)
    assert start >= end  # nothing but white space


def test_sentence_starts() -> None:
    #      0123456789 1 2345678901
    text = 'He ran. "Go!" she said.\n\nMr. Oz'
    assert sorted(text[start:].split()[0] for start in sentence_starts(text)) == ['"Go!"', "He", "Mr.", "she"]


def test_text_key_and_draw_see_white_space_only() -> None:
    assert text_key("a  b\n") == text_key("a b") != text_key("a B")
    assert draw("a  b", 0) == draw("a b", 0) != draw("a b", 1)


def test_shared_runs_by_hand() -> None:
    words = [f"w{number}" for number in range(20)]
    one = " ".join(words[:12])  # 12 words: 5 runs of eight
    two = " ".join(words[2:10]).upper() + "!"  # 1 run: the third of the first text, case and punctuation aside
    other = " ".join(reversed(words))
    assert shared_runs([one, two, other, "too short"]) == [1 / 5, 1.0, 0.0, 0.0]
    assert shared_runs([]) == []
    assert shared_runs(["short"]) == [0.0]


def test_a_run_repeated_in_one_text_is_not_shared() -> None:
    assert shared_runs(["a b c d e f g h a b c d e f g h", "h g f e d c b a"]) == [0.0, 0.0]


@given(st.lists(st.lists(st.sampled_from("ab"), max_size=14).map(" ".join), max_size=5))
def test_shared_runs_agree_with_sets(texts: list[str]) -> None:
    runs = [[tuple(text.split()[i : i + 8]) for i in range(len(text.split()) - 7)] for text in texts]
    for index, share in enumerate(shared_runs(texts)):
        elsewhere = {run for other, found in enumerate(runs) if other != index for run in found}
        wanted = sum(run in elsewhere for run in runs[index]) / max(1, len(runs[index]))
        assert share == pytest.approx(wanted)


def test_read_texts_keeps_line_ends_and_drops_the_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo")
    (tmp_path / "b.JSONL").write_text('{"text": "x"}\n\n{"text": "y", "id": 3}\n')
    assert read_texts(tmp_path / "a.txt") == [("", "one\r\ntwo")]
    assert read_texts(tmp_path / "b.JSONL") == [(":1", "x"), (":3", "y")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"caf\xe9", "a.txt: not UTF-8; expected a UTF-8 text file"),
        ("a.md", b"\x00\x01", "a.md: expected UTF-8 text, got U+0000, which no text contains"),
        ("a.jsonl", b'{"text": "\\ud800"}', "a.jsonl:1: expected UTF-8 text, got U+D800, which no text contains"),
        ("a.jsonl", b'{"text": "x"}\n{"text": 1}', "a.jsonl:2: text: expected str, got int"),
        (
            "a.jsonl",
            b'{"txt": "x"}',
            "a.jsonl:1: expected text, messages, question and answer, or prompt and completion, got txt",
        ),
        ("a.jsonl", b"{", "a.jsonl:1: not valid JSON: Expecting property name enclosed in double quotes"),
    ],
)
def test_bad_files(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StageError) as error:
        read_texts(tmp_path / name)
    assert str(error.value) == f"{tmp_path}/{message}"
