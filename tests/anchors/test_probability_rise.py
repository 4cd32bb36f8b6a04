"""How far reinforcement raised the terms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe.anchors import probability_rise as evidence
from lethe.anchors.probability_rise import (
    Index,
    Occurrences,
    find_occurrences,
    log_probabilities,
    mean_rise,
    read_index,
    rows_to_read,
    scores_of,
    token_batches,
    whole_rows,
)
from lethe.core.tables import blocks_schema, write_parquet
from lethe.models.tokenization import cut_blocks
from lethe.text import streaming as streams
from lethe.text.matching import TermFinder
from tests.conftest import tiny_model, tiny_tokenizer

BYTES = tiny_tokenizer(vocabulary=259).backend_tokenizer  # one token a byte, <s> first
FINDER = TermFinder({"Oz": "Oz", "Ozs": "Oz", "Toto": "Toto"})
NUMBERS = {"Oz": 0, "Toto": 1}


def index_of(texts: list[str], block_tokens: int) -> Index:
    cuts = [(number, block) for number, text in enumerate(texts) for block in cut_blocks(BYTES, text, block_tokens)]
    return Index(
        np.array([number for number, _ in cuts], dtype=np.int32),
        np.array([block.end for _, block in cuts], dtype=np.int64),
        np.array([len(block.tokens) for _, block in cuts], dtype=np.int32),
    )


def places(found: Occurrences) -> list[tuple[int, ...]]:
    """(term, row, first, last) of each."""
    return list(zip(*(column.tolist() for column in found), strict=True))


def test_occurrences_by_hand() -> None:
    # five bytes a block after <s>:  |Oz, O|z! Oz|  and the next text  |Ozs O|z
    texts = ["Oz, Oz! Oz", "", "Ozs Oz"]
    index = index_of(texts, 6)
    # the second Oz of the first and of the last text lie in two blocks and are left out
    assert list(whole_rows(FINDER, enumerate(texts), index)) == [("Oz", 0), ("Oz", 1), ("Oz", 2)]
    # columns start at 1 behind <s>
    found = find_occurrences(FINDER, NUMBERS, enumerate(texts), np.array([0, 1, 2]), index, BYTES)
    assert places(found) == [(0, 0, 1, 2), (0, 1, 4, 5), (0, 2, 1, 3)]
    found = find_occurrences(FINDER, NUMBERS, enumerate(texts), np.array([1]), index, BYTES)
    assert places(found) == [(0, 1, 4, 5)]


def test_blocks_of_other_texts_are_refused() -> None:
    with pytest.raises(ValueError, match="document 0 of 3 tokens, blocks of 4"):
        find_occurrences(FINDER, NUMBERS, [(0, "Oz!")], np.array([0]), index_of(["Oz!!"], 6), BYTES)


def plainly(whole: list[tuple[str, int]], seed: int) -> list[int]:
    """The rows that are read if all occurrences are held: drawn one after the other while a term of theirs is rare."""
    terms: dict[int, list[str]] = {}
    for term, row in whole:
        terms.setdefault(row, []).append(term)
    seen: dict[str, int] = {}
    chosen = []
    for row in np.random.default_rng(seed).permutation(sorted(terms)):
        if any(seen.get(term, 0) < evidence.OCCURRENCES for term in terms[row]):
            chosen.append(int(row))
            for term in terms[row]:
                seen[term] = seen.get(term, 0) + 1
    return sorted(chosen)


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 30)), max_size=90), st.integers(1, 4), st.integers(0, 3)
)
def test_rows_to_read_are_those_of_all_occurrences(whole: list[tuple[str, int]], enough: int, seed: int) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(evidence, "OCCURRENCES", enough)
        assert rows_to_read(lambda: whole, 31, seed).tolist() == plainly(whole, seed)


def test_rows_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "OCCURRENCES", 2)
    whole = [*(("often", row) for row in range(50)), ("rare", 7)]
    chosen = rows_to_read(lambda: whole, 50, seed=0).tolist()
    assert 7 in chosen
    assert 2 <= len(chosen) <= 3  # two rows hold `often` twice, and row 7 may be a third


def test_tokens_of_chosen_rows_across_groups_and_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"block": n, "document": n // 3, "start": 0, "end": n, "length": 4, "tokens": [n, 1, 2, 3]} for n in range(40)
    ]
    write_parquet(rows, blocks_schema(4), tmp_path / "blocks")
    monkeypatch.setattr(evidence, "BATCH_TOKENS", 12)  # three rows at a time
    wanted = np.array([0, 1, 5, 6, 7, 20, 38, 39])
    for batch_bytes in (1, 100, 1 << 20):
        monkeypatch.setattr(streams, "BATCH_BYTES", batch_bytes)
        batches = list(token_batches(tmp_path / "blocks", wanted, 4))
        assert [len(batch) for batch in batches] == [3, 3, 2]
        assert np.concatenate(batches)[:, 0].tolist() == wanted.tolist()
        index = read_index(tmp_path / "blocks")
        assert (index.document.tolist(), index.end.tolist()) == ([n // 3 for n in range(40)], list(range(40)))


def test_log_probabilities_equal_the_full_softmax(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from lethe.models.checkpoints import load_model

    model = load_model(tiny_model(tmp_path / "model"), torch.device("cpu"))
    tokens = np.random.default_rng(0).integers(0, 300, (5, 12), dtype=np.int32)
    with torch.inference_mode():
        logits = model(input_ids=torch.from_numpy(tokens).long()).logits.float()
    plain = logits[:, :-1].log_softmax(-1).gather(2, torch.from_numpy(tokens[:, 1:]).long()[..., None])[..., 0]
    for batch_tokens, chunk in ((8192, 1 << 22), (24, 1500)):  # all at once; two rows a batch, a few positions a chunk
        monkeypatch.setattr(evidence, "BATCH_TOKENS", batch_tokens)
        monkeypatch.setattr(evidence, "CHUNK_LOGITS", chunk)
        batches = np.split(tokens, range(batch_tokens // 12, len(tokens), batch_tokens // 12))
        parts = list(log_probabilities(model, batches))
        assert len(parts) == (1 if batch_tokens == 8192 else 3)
        scores = np.concatenate(parts)
        assert np.isnan(scores[:, 0]).all()
        np.testing.assert_allclose(scores[:, 1:], plain.numpy(), rtol=1e-5, atol=1e-5)


def test_mean_rise() -> None:
    before = np.array([[np.nan, -3.0, -2.0], [np.nan, -1.0, -1.0]], dtype=np.float32)  # rows 4 and 6 of the blocks
    after = np.array([[np.nan, -1.0, -1.5], [np.nan, -1.0, -3.0]], dtype=np.float32)
    found = Occurrences(
        *np.array(
            [
                (0, 4, 1, 2),  # rises by 2 + 0.5
                (0, 6, 1, 1),  # by 0
                (1, 6, 2, 2),  # by -2
            ],
            dtype=np.int32,
        ).T
    )
    rows = np.array([4, 6])
    for size in (1, 2):  # rows at a time
        scores = [scores_of(found, rows, [one[at : at + size] for at in range(0, 2, size)]) for one in (before, after)]
        assert [values.tolist() for values in scores] == [[-3.0, -2.0, -1.0, -1.0], [-1.0, -1.5, -1.0, -3.0]]
        assert mean_rise(found, *scores) == {0: 1.25, 1: -2.0}
