"""Tables: what is written is read back; what is broken is named by file and line."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from lethe.core import tables
from lethe.core.errors import StageError
from lethe.core.hashing import file_sha256, path_sha256

SCHEMA = pa.schema([("a", pa.int32()), ("b", pa.string())])


def test_parquet_keeps_rows_and_facts_and_bytes(tmp_path: Path) -> None:
    rows = [{"a": 1, "b": "x"}, {"a": 2, "b": "ü"}]
    for name in ("one", "two"):
        tables.write_parquet(rows, SCHEMA, tmp_path / name, tokenizer="abc", width="4")
    table, facts = tables.read_parquet(tmp_path / "one", ("a", "b"))
    assert table.to_pylist() == rows
    assert facts == {"tokenizer": "abc", "width": "4"}
    assert file_sha256(tmp_path / "one") == file_sha256(tmp_path / "two")
    with pytest.raises(StageError, match=r"one: expected columns c, got a, b"):
        tables.read_parquet(tmp_path / "one", ("a", "c"))


def test_csv_round_trip(tmp_path: Path) -> None:
    rows = [{"name": 'a, "quoted"', "kind": "thing"}, {"name": "two\nlines", "kind": ""}]
    tables.write_csv(rows, tables.NAMES, tmp_path / "n.csv")
    assert tables.read_csv(tmp_path / "n.csv", tables.NAMES) == rows


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name\nx\n", "n.csv:1: expected the header name,kind, got name"),
        ("", "n.csv:1: expected the header name,kind, got "),
        ("name,kind\nx\n", "n.csv:2: expected 2 cells, got 1"),
        ("name,kind\nx,y\n,z\n", "n.csv:3: expected a value, got an empty cell under name"),
        ("name,kind\nx,y\n\nx,z\n", "n.csv:4: expected x once, got it again (first in line 2)"),
    ],
)
def test_bad_csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("n.csv").write_text(text)
    with pytest.raises(StageError) as error:
        tables.read_csv(Path("n.csv"), tables.NAMES, unique=("name",), filled=("name",))
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"prompt": "x"}\n[1]\n', "p.jsonl:2: expected an object, got list"),
        (b'\n{"prompt": 1}\n', "p.jsonl:2: prompt: expected str, got int"),
        (b"{}\n", "p.jsonl:1: prompt: expected str, got none"),
        (b"{\n", "p.jsonl:1: not valid JSON: Expecting property name enclosed in double quotes"),
        (b'{"prompt": "x", "prompt": "y"}\n', "p.jsonl:1: expected every name once in an object, got 'prompt' again"),
        (b"\xff\n", "p.jsonl: not UTF-8; expected a UTF-8 text file"),
    ],
)
def test_bad_jsonl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.jsonl").write_bytes(content)
    with pytest.raises(StageError) as error:
        tables.read_jsonl(Path("p.jsonl"), {"prompt": str})
    assert str(error.value) == message


def test_a_cell_may_be_long(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"a\n{'x' * 200_000}\n")
    assert [len(row["a"]) for row in tables.read_csv(tmp_path / "t.csv", ("a",))] == [200_000]


def test_missing_files(tmp_path: Path) -> None:
    for read in (lambda p: tables.read_csv(p, ("a",)), lambda p: tables.read_jsonl(p, {}), tables.read_json):
        with pytest.raises(StageError, match="no such file"):
            read(tmp_path / "none")


def test_a_folders_hash_is_its_content(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "x").write_text("x")
    assert path_sha256(tmp_path / "one") == path_sha256(tmp_path / "two")
    (tmp_path / "two" / "sub" / "x").rename(tmp_path / "two" / "sub" / "y")
    assert path_sha256(tmp_path / "one") != path_sha256(tmp_path / "two")


def test_rounded_reaches_into_objects() -> None:
    report = {"a": {"b": 0.12345678, "c": None}, "d": 3, "e": "0.12345678"}
    assert tables.rounded(report) == {"a": {"b": 0.123457, "c": None}, "d": 3, "e": "0.12345678"}
