"""Text as blocks of tokens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from lethe.core.errors import StageError
from lethe.models import tokenization as blocks
from lethe.models.tokenization import Block, backend_tokenizer, cut_blocks, leading_ids, padding_id
from tests.conftest import TINY_TEXT, tiny_tokenizer

TOKENIZER = tiny_tokenizer(vocabulary=259)  # 256 bytes and three special tokens: one token a byte


def spelled(block: Block) -> str:
    return TOKENIZER.backend_tokenizer.decode(block.tokens)


def gpt2(realdata: Path) -> Tokenizer:
    """GPT-2's byte-level BPE, which puts nothing before a text."""
    from tokenizers import decoders, models, pre_tokenizers, processors

    folder = realdata / "tokenizers"
    tokenizer = Tokenizer(models.BPE.from_file(str(folder / "gpt2_vocab.json"), str(folder / "gpt2_merges.txt")))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    return tokenizer


def test_cut_blocks_by_hand() -> None:
    # five tokens: <s> and four bytes; ten letters make blocks of 4, 4 and 2
    found = cut_blocks(TOKENIZER, "abcdefghij", 5)
    assert [(spelled(block), block.start, block.end) for block in found] == [
        ("abcd", 0, 4),
        ("efgh", 4, 8),
        ("ij", 8, 10),
    ]
    assert [len(block.tokens) for block in found] == [5, 5, 3]
    assert {block.tokens[0] for block in found} == {TOKENIZER.bos_token_id}


def test_a_full_tail_is_kept_and_no_empty_block_follows() -> None:
    assert [spelled(block) for block in cut_blocks(TOKENIZER, "abcdefgh", 5)] == ["abcd", "efgh"]


def test_nothing_from_nothing() -> None:
    assert cut_blocks(TOKENIZER, "", 5) == []


def test_a_character_split_between_blocks_belongs_to_the_first() -> None:
    # aé is three bytes; blocks of <s> and two bytes: a and half of é | the other half and b
    assert [block[1:3] for block in cut_blocks(TOKENIZER, "aéb", 3)] == [(0, 2), (2, 3)]


def test_white_space_that_the_tokenizer_drops_stays_in_the_span() -> None:
    content = json.loads(TOKENIZER.backend_tokenizer.to_str())
    content["normalizer"] = {"type": "Strip", "strip_left": True, "strip_right": True}
    stripping = Tokenizer.from_str(json.dumps(content))
    assert [block[1:3] for block in cut_blocks(stripping, "  abcdef  ", 5)] == [(0, 6), (6, 10)]


def test_a_tokenizer_without_bos_fills_the_block_with_text() -> None:
    content = json.loads(TOKENIZER.backend_tokenizer.to_str()) | {"post_processor": None}
    plain = Tokenizer.from_str(json.dumps(content))
    assert leading_ids(plain) == []
    assert [len(block.tokens) for block in cut_blocks(plain, "abcdefgh", 5)] == [5, 3]


def test_no_room_for_text_is_a_bug() -> None:
    with pytest.raises(ValueError, match="leaves no room"):
        cut_blocks(TOKENIZER, "abc", 1)


@given(st.text(max_size=60), st.integers(2, 9))
def test_blocks_tile_the_text_and_lose_no_token(text: str, block_tokens: int) -> None:
    found = cut_blocks(TOKENIZER, text, block_tokens)
    ids = TOKENIZER.backend_tokenizer.encode(text, add_special_tokens=False).ids
    assert [token for block in found for token in block.tokens[1:]] == ids
    assert all(len(block.tokens) == block_tokens for block in found[:-1])
    assert "".join(text[block.start : block.end] for block in found) == (text if ids else "")


def test_long_text_is_tokenized_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    text = TINY_TEXT * 5
    whole = cut_blocks(TOKENIZER, text, 16)
    monkeypatch.setattr(blocks, "PIECE_CHARS", 100)
    # one token a byte: where the text is cut makes no difference
    assert cut_blocks(TOKENIZER, text, 16) == whole
    assert [piece for _, piece in blocks._pieces("a" * 250)] == ["a" * 100, "a" * 100, "a" * 50]
    pieces = list(blocks._pieces(text))
    assert all(text[start:].startswith(piece) for start, piece in pieces)
    assert all(piece.startswith("\n") for _, piece in pieces[1:])  # cut where a line ends


def test_real_sentencepiece_and_byte_level(realdata: Path) -> None:
    text = (realdata / "books" / "oz.txt").read_text(encoding="utf-8")
    for tokenizer, first in ((backend_tokenizer(realdata / "models" / "stories260K"), [1]), (gpt2(realdata), [])):
        found = cut_blocks(tokenizer, text, 256)
        assert leading_ids(tokenizer) == first
        assert all(len(block.tokens) == 256 for block in found[:-1])
        assert [block.start for block in found] == [0, *(block.end for block in found[:-1])]
        assert found[-1].end == len(text)
        block = found[len(found) // 2]
        assert tokenizer.decode(block.tokens).split() == text[block.start : block.end].split()


def test_backend_and_padding_agree_with_transformers(realdata: Path, tmp_path: Path) -> None:
    from lethe.models.checkpoints import load_tokenizer

    TOKENIZER.save_pretrained(tmp_path)
    for folder in (tmp_path, realdata / "models" / "stories260K"):
        tokenizer = load_tokenizer(folder)
        assert backend_tokenizer(folder).encode(TINY_TEXT).ids == tokenizer(TINY_TEXT).input_ids
        assert padding_id(folder) == tokenizer.pad_token_id


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(StageError) as error:
        backend_tokenizer(tmp_path)
    assert str(error.value) == f"{tmp_path}: expected a model folder with its fast tokenizer, got no tokenizer.json"
    TOKENIZER.save_pretrained(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{}")
    with pytest.raises(StageError) as error:
        padding_id(tmp_path)
    line = f"{tmp_path}: expected a tokenizer with a padding, end or unknown token, got none of them"
    assert str(error.value) == line
