"""The numbers of the labels and their twin for the eye."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe.core.corpus import Blocks
from lethe.core.tables import write_parquet
from lethe.labels import artifact
from lethe.labels.artifact import marked, statistics
from lethe.labels.generic_labels import MASKED, Labels, Settings, unlabelled
from lethe.labels.translation import Rule, Spliced

OWN = Rule(9, (8,))  # in force from the start: no insertion forbade it


def test_statistics_by_hand() -> None:
    blocks = Blocks(
        block=np.array([0, 1]),
        document=np.array([0, 0]),
        tokens=np.array([[1, 2, 3, 4], [1, 5, 9, 9]], np.int32),
        length=np.array([4, 2]),
    )
    spliced = [
        Spliced(anchors=["a", "b", "a"], interior=1, repeats=1, forbidden={Rule(7, ()): 0, Rule(8, (6,)): 2, OWN: -1}),
        Spliced(anchors=["a"], cut=2),
    ]
    next_ids = np.array([[[2, 7, MASKED, 7], [5, 7, MASKED, MASKED]]], np.int32)
    none = np.zeros((0, *next_ids.shape[1:], 0))
    numbers = statistics(blocks, spliced, Labels(next_ids, np.array([3]), np.array([1]), none, none), [5.0])
    # followed by a token of their block: positions 0, 1 of the first (2 = 2, 7 != 3) and 0 of the second (5 = 5)
    assert numbers == {
        "blocks": 2,
        "tokens": 6,
        "trained": 5,
        "masked_repeats": 1,
        "masked_interior": 1,
        "cut_by_context": 2,
        "anchors_matched": 4,
        "distinct_anchors": 2,
        "forbidden_rules": 2,
        "pair_rules": 1,
        "alphas": {"5.0": {"changed": 0.3333, "forbidden_avoided": 3, "forbidden_taught": 1}},
    }


@pytest.mark.parametrize("conversations", [False, True])
def test_labels_are_written_a_few_blocks_at_a_time_as_if_they_were_one_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, conversations: bool
) -> None:
    monkeypatch.setattr(artifact, "AT_ONCE", 2)
    settings = Settings([5.0, 0.0], False, 0, 0, [5.0, 1.0], 3, True, tmp_path)
    tokens = np.arange(20, dtype=np.int32).reshape(5, 4)
    trained = np.arange(20).reshape(5, 4) % 3 > 0 if conversations else None
    blocks = Blocks(np.arange(5), np.zeros(5, int), tokens, np.full(5, 4), trained)
    labels = unlabelled(tokens, settings)
    labels.next_ids[:] = np.arange(40).reshape(2, 5, 4)
    labels.target_ids[:] = np.arange(120).reshape(2, 5, 4, 3)
    labels.target_probabilities[:] = 0.25
    artifact.write_labels(blocks, labels, settings, tmp_path / "labels.parquet", pad_token="2")
    columns = {"block": blocks.block, "length": blocks.length, "tokens": tokens}
    columns |= dict(zip(("next_ids_5.0", "next_ids_0.0"), labels.next_ids, strict=True))
    for number, alpha in enumerate((5.0, 1.0)):
        columns[f"target_ids_{alpha}"] = labels.target_ids[number].reshape(5, -1)
        columns[f"target_probabilities_{alpha}"] = labels.target_probabilities[number].reshape(5, -1)
    columns |= {"trained": trained} if conversations else {}
    rows = [{name: column[row] for name, column in columns.items()} for row in range(5)]
    schema = artifact.labels_schema(4, settings, conversations)
    write_parquet(rows, schema, tmp_path / "whole.parquet", pad_token="2")
    assert (tmp_path / "labels.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert {"int32.npy", "float16.npy"} <= {path.name for path in tmp_path.iterdir()}


PIECES = [b"\n", b"So", b" Orla", b" Jane", b",", b" she", b"\n", b"\xe2\x80", b"\x99"]


@pytest.mark.parametrize(
    ("tokens", "targets", "expected"),
    [
        ([0, 1, 2], [1, 2, 5], "So Orla"),  # as in the text; the last label has no counterpart
        ([0, 1, 2, 4], [1, 3, 4, 5], "So [Orla -> Jane],"),  # the space they share stands before
        ([0, 1, 2, 4], [1, 4, 5, 1], "So[ Orla -> ,][, ->  she]"),
        ([0, 1, 2, 4], [1, MASKED, 4, 1], "So [Orla -> ],"),
        ([0, 1, 6, 1], [1, 6, MASKED, 1], "So\n[So -> ]"),
        ([0, 1, 2, 1, 4, 1], [1, MASKED, MASKED, 4, 1], "So [OrlaSo -> ],So"),  # one bracket for a whole run
        ([0, 1, 7, 8, 1], [5, 7, 8, 6, 1], "[So ->  she]’[So -> \\n]"),  # a character of two tokens
        ([0, 1], [99, 1], "[So -> <99>]"),  # a head with more rows than the tokenizer has tokens
    ],
)
def test_marked(tokens: list[int], targets: list[int], expected: str) -> None:
    assert marked(tokens, targets, PIECES) == expected


@given(st.lists(st.integers(1, 5), min_size=1, max_size=20))
def test_marked_is_the_text_where_the_labels_are_its_own(tokens: list[int]) -> None:
    text = b"".join(PIECES[token] for token in tokens).decode()
    assert marked(tokens, [*tokens[1:], 1], PIECES) == text
