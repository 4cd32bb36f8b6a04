"""The forget side in blocks."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lethe.core.errors import StageError
from lethe.core.hashing import tokenizer_sha256
from lethe.core.tables import CORPUS, blocks_schema, write_parquet
from lethe.text import streaming as streams
from stages import block
from tests.conftest import set_param, tiny_tokenizer

TOKENIZER = tiny_tokenizer(vocabulary=259)  # one token a byte


def prepare(project: Path, documents: list[tuple[str, str, str]], tokens: int = 5, context: int = 64) -> None:
    """A corpus of (side, part, text) and a model folder without weights: block reads none."""
    folder = project / "models" / "baseline"
    TOKENIZER.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": context}))
    rows = [
        {"document": number, "side": side, "part": part, "file": "a.txt", "start": 0, "end": len(text), "text": text}
        for number, (side, part, text) in enumerate(documents)
    ]
    write_parquet(rows, CORPUS, project / "data" / "corpus.parquet")
    set_param(project, "block.tokens", tokens)


def test_block_table_pads_the_tail() -> None:
    # <s> and four bytes a block: six letters make a full block and one of <s> and two bytes, padded by two
    bos, pad = TOKENIZER.bos_token_id, TOKENIZER.pad_token_id
    a, b, c, d, e, f = (TOKENIZER.convert_tokens_to_ids(letter) for letter in "abcdef")
    table = block.block_table(3, "abcdef", 7, TOKENIZER.backend_tokenizer, 5, pad)
    assert table.to_pylist() == [
        {"block": 7, "document": 3, "start": 0, "end": 4, "length": 5, "tokens": [bos, a, b, c, d]},
        {"block": 8, "document": 3, "start": 4, "end": 6, "length": 3, "tokens": [bos, e, f, pad, pad]},
    ]
    assert table.schema == blocks_schema(5)
    assert len(block.block_table(3, "", 7, TOKENIZER.backend_tokenizer, 5, pad)) == 0


def test_groups_and_batches_do_not_show(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["abcdefgh" * 40, "", "xyz", "the mill " * 30]
    prepare(project, [("forget", "train", text) for text in texts])
    block.main()
    whole = pq.read_table(project / "data/blocks.parquet")
    monkeypatch.setattr(streams, "GROUP_BYTES", 1000)
    monkeypatch.setattr(streams, "BATCH_BYTES", 1)
    block.main()
    parts = pq.ParquetFile(project / "data/blocks.parquet")
    assert parts.num_row_groups > 1
    assert parts.read().equals(whole)
    assert whole["block"].to_pylist() == list(range(len(whole)))


def test_main(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = ["abcdefgh", "xyz"]
    others = [("forget", "held_out", "secret"), ("retain", "train", "kept"), ("retain", "held_out", "also")]
    prepare(project, [("forget", "train", train[0]), *others, ("forget", "train", train[1])])
    block.main()
    table = pq.read_table(project / "data" / "blocks.parquet")
    rows = table.to_pylist()
    assert [(row["block"], row["document"], row["start"], row["end"], row["length"]) for row in rows] == [
        (0, 0, 0, 4, 5),
        (1, 0, 4, 8, 5),
        (2, 4, 0, 3, 4),
    ]
    assert all(len(row["tokens"]) == 5 for row in rows)
    facts = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    pad = str(TOKENIZER.pad_token_id)
    sha256 = tokenizer_sha256(project / "models" / "baseline")
    assert facts == {"tokenizer": sha256, "block_tokens": "5", "pad_token": pad}
    assert capsys.readouterr().out == "block: 3 blocks of 5 tokens from 2 documents, 14 tokens in all\n"


def test_same_inputs_same_bytes(project: Path) -> None:
    prepare(project, [("forget", "train", "abcdefghij")])
    block.main()
    once = (project / "data" / "blocks.parquet").read_bytes()
    block.main()
    assert (project / "data" / "blocks.parquet").read_bytes() == once


def test_a_block_as_long_as_the_context_is_allowed(project: Path) -> None:
    prepare(project, [("forget", "train", "a" * 99)], tokens=64, context=64)
    block.main()


@pytest.mark.parametrize(
    ("text", "tokens", "message"),
    [
        ("a" * 99, 65, "params.yaml: block.tokens: expected at most 64, the context of models/baseline, got 65"),
        # <s> and three bytes are four tokens
        (
            "abc",
            5,
            "data/corpus.parquet: corpus shorter than one block: expected at least 5 tokens of forget text to "
            "train on, got 4; add text or lower block.tokens",
        ),
        ("abc", 0, "params.yaml: block.tokens: expected a value greater than 1, got 0"),
        ("abc", 1, "params.yaml: block.tokens: expected a value greater than 1, got 1"),
    ],
)
def test_bad_input(text: str, tokens: int, message: str, project: Path) -> None:
    prepare(project, [("forget", "train", text)], tokens=tokens)
    with pytest.raises(StageError) as error:
        block.main()
    assert str(error.value) == message
    assert not (project / "data" / "blocks.parquet").exists()


def test_a_model_folder_without_tokenizer(project: Path) -> None:
    prepare(project, [("forget", "train", "abc")])
    (project / "models" / "baseline" / "tokenizer.json").unlink()
    with pytest.raises(StageError) as error:
        block.main()
    assert str(error.value) == (
        "models/baseline: expected a model folder with its fast tokenizer, got no tokenizer.json"
    )


def test_a_real_book_and_model(realdata: Path, project: Path) -> None:
    prepare(project, [("forget", "train", (realdata / "books" / "oz.txt").read_text(encoding="utf-8"))], tokens=512)
    model = realdata / "models" / "stories260K"
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (project / "models" / "baseline" / name).write_bytes((model / name).read_bytes())
    block.main()
    rows = pq.read_table(project / "data" / "blocks.parquet").to_pylist()
    assert {row["tokens"][0] for row in rows} == {1}  # <s>
    assert all(row["length"] == 512 for row in rows[:-1])
    assert set(rows[-1]["tokens"][rows[-1]["length"] :]) <= {2}  # </s>: it has no padding token of its own
