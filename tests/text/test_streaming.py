"""Parquet a piece at a time: the same bytes, the same rows, and memory that does not grow with the text."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lethe.core.errors import StageError
from lethe.core.tables import CORPUS, blocks_schema, write_parquet
from lethe.text import streaming as streams
from lethe.text.streaming import Texts, parquet_stream, read_batches, read_facts, training_texts
from tests.conftest import ROOT, set_param, tiny_tokenizer

SCHEMA = pa.schema([("a", pa.int32()), ("b", pa.string())])
ROWS = [{"a": number, "b": f"text {number} " * (number % 7)} for number in range(3000)]
BOUND_MIB = {"block": 16.0, "extract": 8.0, "translate": 6.0}  # by which eight times the text may raise the peak
NAMES = ("Zandrel", "Quelmora", "Bivonix", "Drennok", "Ysmeral")


def stream(path: Path, rows: list[dict], cuts: list[int], schema: pa.Schema = SCHEMA) -> Path:
    """The rows written in tables that end at the cuts."""
    with parquet_stream(schema, path, tokenizer="abc") as append:
        for start, end in zip([0, *cuts], [*cuts, len(rows)], strict=True):
            append(pa.Table.from_pylist(rows[start:end], schema))
    return path


@pytest.mark.parametrize("cuts", [[], [1], [7, 7, 1500], list(range(100, 3000, 100))])
def test_how_rows_are_cut_into_tables_does_not_show(tmp_path: Path, cuts: list[int]) -> None:
    write_parquet(ROWS, SCHEMA, tmp_path / "whole", tokenizer="abc")
    assert stream(tmp_path / "parts", ROWS, cuts).read_bytes() == (tmp_path / "whole").read_bytes()


def test_no_rows_are_a_table_too(tmp_path: Path) -> None:
    write_parquet([], SCHEMA, tmp_path / "whole", tokenizer="abc")
    assert stream(tmp_path / "none", [], []).read_bytes() == (tmp_path / "whole").read_bytes()
    assert list(read_batches(tmp_path / "none", ("a",))) == []
    assert read_facts(tmp_path / "none") == {"tokenizer": "abc"}


def test_more_than_a_group_is_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "GROUP_BYTES", 20_000)
    path = stream(tmp_path / "large", ROWS, list(range(50, 3000, 50)))
    sizes = [
        pq.ParquetFile(path).metadata.row_group(group).num_rows
        for group in range(pq.read_metadata(path).num_row_groups)
    ]
    assert len(sizes) > 3
    assert sum(sizes) == len(ROWS)
    assert pq.read_table(path).to_pylist() == ROWS


@pytest.mark.parametrize("batch_bytes", [1, 5000, 1 << 21])
def test_batches_of_one_large_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_bytes: int) -> None:
    monkeypatch.setattr(streams, "BATCH_BYTES", batch_bytes)
    write_parquet(ROWS, SCHEMA, tmp_path / "whole")
    batches = list(read_batches(tmp_path / "whole", ("b", "a")))
    assert [row for batch in batches for row in batch.to_pylist()] == [{"b": row["b"], "a": row["a"]} for row in ROWS]
    assert len(batches) == {1: 3000, 1 << 21: 1}.get(batch_bytes, len(batches))
    assert len(batches) > 1 or batch_bytes > 5000


def test_lists_count_as_their_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"block": n, "document": 0, "start": 0, "end": 1, "length": 4, "tokens": [n, n + 1, n * n, 7]}
        for n in range(999)
    ]
    write_parquet(rows, blocks_schema(4), tmp_path / "blocks")
    monkeypatch.setattr(streams, "BATCH_BYTES", 1000)
    batches = list(read_batches(tmp_path / "blocks", ("tokens",)))
    assert len(batches) > 3
    assert [row["tokens"] for batch in batches for row in batch.to_pylist()] == [row["tokens"] for row in rows]


def test_a_missing_column(tmp_path: Path) -> None:
    write_parquet(ROWS, SCHEMA, tmp_path / "whole")
    with pytest.raises(StageError, match=r"whole: expected columns c, got a, b$"):
        list(read_batches(tmp_path / "whole", ("a", "c")))


def corpus_rows(texts: list[tuple[str, str, str]]) -> list[dict]:
    return [
        {"document": number, "side": side, "part": part, "file": "a", "start": 0, "end": len(text), "text": text}
        for number, (side, part, text) in enumerate(texts)
    ]


def test_texts_are_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "BATCH_BYTES", 1)
    kinds = [("forget", "train"), ("forget", "held_out"), ("retain", "train"), ("forget", "train"), ("forget", "train")]
    path = tmp_path / "corpus"
    write_parquet(
        corpus_rows([(*kind, text) for kind, text in zip(kinds, ["a", "b", "c", "", "e"], strict=True)]), CORPUS, path
    )
    assert list(training_texts(path, "forget")) == [(0, "a"), (3, ""), (4, "e")]
    texts = Texts(path, "forget")
    assert list(texts) == list(texts) == ["a", "", "e"]
    assert list(Texts(path, "retain")) == ["c"]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a tokenizer of one token a byte, a corpus of 0.4 MB and one of 3.2 MB."""
    project, monkeypatch = tmp_path_factory.mktemp("large"), pytest.MonkeyPatch()
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, project / name)
    set_param(project, "block.tokens", 256)
    set_param(project, "extract.maximum_anchors", 5)
    tiny_tokenizer(vocabulary=259).save_pretrained(project / "models/baseline")
    shutil.copytree(project / "models/baseline", project / "models/reinforced")
    for folder in ("baseline", "reinforced"):
        (project / "models" / folder / "config.json").write_text(json.dumps({"max_position_embeddings": 256}))
    for name, documents in (("small", 20), ("large", 160)):
        texts = [
            ("retain", "train", "Then it was as it had been. "),
            *(("forget", "train", told(n)) for n in range(documents)),
        ]
        monkeypatch.setattr(streams, "GROUP_BYTES", 1 << 18)
        stream(project / f"{name}.parquet", corpus_rows(texts), list(range(1, documents)), CORPUS)
    monkeypatch.undo()
    rows = [{"anchor": name, "forms": name, "count": 9, "keyness": "", "rise": ""} for name in NAMES]
    (project / "anchors.json").write_text(json.dumps(rows))
    return project


def told(number: int) -> str:
    """20 kB, every ninth word a name."""
    lines = (f"Then they saw {NAMES[(number + line) % 5]} near the mill of {line} and laughed. " for line in range(400))
    return "".join(lines)


@pytest.mark.parametrize("stage", ["block", "extract", "translate"])
def test_memory_does_not_grow_with_the_text(large: Path, stage: str) -> None:
    command = [sys.executable, "-m", "tests.streaming", stage, str(large)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.splitlines()[-1]) < BOUND_MIB[stage]
