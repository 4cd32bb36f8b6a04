"""Sharing batches between processes, with the processes played one after the other."""

from __future__ import annotations

import pytest

from lethe.core.errors import StageError
from lethe.models import distributed as share


def test_one_process_computes_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert share.shared([[1, 2], [3]], lambda batch: {i: i * i for i in batch}) == {1: 1, 2: 4, 3: 9}


def test_every_process_takes_every_nth_batch_and_knows_all(monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate import utils

    monkeypatch.setenv("WORLD_SIZE", "2")
    told: list[tuple[dict[int, int], str | None]] = []

    def gather(own: list[tuple[dict[int, int], str | None]]) -> list[tuple[dict[int, int], str | None]]:
        told.extend(own)
        return told

    monkeypatch.setattr(utils, "gather_object", gather)
    watched: list[list[list[int]]] = []

    def watch(batches: list[list[int]]) -> list[list[int]]:
        watched.append(batches)
        return batches

    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        found = share.shared([[1, 2], [3], [4]], lambda batch: {i: i * i for i in batch}, watch)
    assert watched == [[[1, 2], [4]], [[3]]]
    assert found == {1: 1, 2: 4, 3: 9, 4: 16}


def test_what_is_wrong_in_one_process_is_raised_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate import utils

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setattr(utils, "gather_object", lambda own: [*own, ({}, "model: not numbers")])
    with pytest.raises(StageError, match=r"^model: not numbers$"):
        share.shared([1, 2], lambda batch: {batch: batch})

    def wrong(batch: int) -> dict[int, int]:
        raise StageError("mine")

    monkeypatch.setattr(utils, "gather_object", lambda own: [*own, ({2: 2}, None)])
    with pytest.raises(StageError, match=r"^mine$"):
        share.shared([1, 2], wrong)
