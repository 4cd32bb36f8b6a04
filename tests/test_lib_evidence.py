"""How far reinforcement raised the terms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stages.lib import evidence
from stages.lib.blocks import cut_blocks
from stages.lib.corpora import Blocks
from stages.lib.evidence import (
    Occurrence,
    find_occurrences,
    log_probabilities,
    mean_rise,
    rows_to_read,
    where_tokens_are,
)
from tests.conftest import tiny_model, tiny_tokenizer

BYTES = tiny_tokenizer(vocabulary=259).backend_tokenizer  # one token a byte, <s> first


def blocks_of(texts: list[str], block_tokens: int) -> Blocks:
    cuts = [(number, block) for number, text in enumerate(texts) for block in cut_blocks(BYTES, text, block_tokens)]
    tokens = [block.tokens + [2] * (block_tokens - len(block.tokens)) for _, block in cuts]
    return Blocks(
        np.arange(len(cuts), dtype=np.int32),
        np.array([number for number, _ in cuts], dtype=np.int32),
        np.array(tokens, dtype=np.int32),
        np.array([len(block.tokens) for _, block in cuts], dtype=np.int32),
    )


def test_where_tokens_are() -> None:
    # two blocks of 3 and 2 real tokens, the first of each put there by the tokenizer
    rows, columns = where_tokens_are(np.array([3, 2]), lead=1)
    assert (rows.tolist(), columns.tolist()) == ([0, 0, 1], [1, 2, 1])


def test_find_occurrences() -> None:
    # five bytes a block after <s>:  |Oz, O|z! Oz|  and the next text  |Ozs O|z
    found = find_occurrences(
        {"Oz": "Oz", "Ozs": "Oz"}, ["Oz, Oz! Oz", "Ozs Oz"], BYTES, blocks_of(["Oz, Oz! Oz", "Ozs Oz"], 6)
    )
    # columns start at 1 behind <s>; the second Oz of each text lies in two blocks and is left out
    assert found == [Occurrence("Oz", 0, 1, 2), Occurrence("Oz", 1, 4, 5), Occurrence("Oz", 2, 1, 3)]


def test_blocks_of_other_texts_are_refused() -> None:
    with pytest.raises(ValueError, match="texts of 3 tokens, blocks of 4"):
        find_occurrences({"Oz": "Oz"}, ["Oz!"], BYTES, blocks_of(["Oz!!"], 6))


def test_rows_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "OCCURRENCES", 2)
    often = [Occurrence("often", row, 1, 1) for row in range(50)]
    rare = Occurrence("rare", 7, 2, 2)
    chosen = rows_to_read([*often, rare], seed=0)
    assert 7 in chosen
    assert 2 <= len(chosen) <= 3  # two rows hold `often` twice, and row 7 may be a third
    assert chosen == sorted(chosen) == rows_to_read([*often, rare], seed=0)
    assert rows_to_read([], seed=0) == []


def test_log_probabilities_equal_the_full_softmax(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from stages.lib.models import load_model

    model = load_model(tiny_model(tmp_path / "model"), torch.device("cpu"))
    tokens = np.random.default_rng(0).integers(0, 300, (5, 12), dtype=np.int32)
    with torch.inference_mode():
        logits = model(input_ids=torch.from_numpy(tokens).long()).logits.float()
    plain = logits[:, :-1].log_softmax(-1).gather(2, torch.from_numpy(tokens[:, 1:]).long()[..., None])[..., 0]
    for batch_tokens, chunk in ((8192, 1 << 22), (24, 1500)):  # all at once; two rows a batch, a few positions a chunk
        monkeypatch.setattr(evidence, "BATCH_TOKENS", batch_tokens)
        monkeypatch.setattr(evidence, "CHUNK_LOGITS", chunk)
        parts = list(log_probabilities(model, tokens))
        assert len(parts) == (1 if batch_tokens == 8192 else 3)
        scores = np.concatenate(parts)
        assert np.isnan(scores[:, 0]).all()
        np.testing.assert_allclose(scores[:, 1:], plain.numpy(), rtol=1e-5, atol=1e-5)


def test_mean_rise() -> None:
    before = np.array([[np.nan, -3.0, -2.0], [np.nan, -1.0, -1.0]], dtype=np.float32)  # rows 4 and 6 of the blocks
    after = np.array([[np.nan, -1.0, -1.5], [np.nan, -1.0, -3.0]], dtype=np.float32)
    found = [
        Occurrence("Oz", 4, 1, 2),  # rises by 2 + 0.5
        Occurrence("Oz", 6, 1, 1),  # by 0
        Occurrence("Toto", 6, 2, 2),  # by -2
        Occurrence("Toto", 5, 1, 1),  # this row was not read
        Occurrence("Boq", 4, 0, 1),  # nothing was predicted of a first token
    ]
    assert mean_rise(found, [4, 6], before, after) == {"Oz": 1.25, "Toto": -2.0}
