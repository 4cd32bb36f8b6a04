"""Contexts of anchors: spread evenly, a few anchors at a time."""

from __future__ import annotations

import pytest

from lethe.dictionary.contexts import find_contexts, groups, retain_sample
from lethe.dictionary.entity_types import contexts_at, find_places
from lethe.dictionary.entries import finder_of


def test_contexts_are_those_of_all_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lethe.dictionary.contexts.CONTEXTS", 4)
    texts = [f"{n} Oz, {n} Boq. " * (n % 5) for n in range(9)]
    finder = finder_of({"Oz": ["Oz"], "Boq": ["Boq"], "Em": ["Em"]})
    places = find_places(texts, finder, ["Oz", "Boq", "Em"])
    counts = {term: len(found) for term, found in places.items()}
    found = find_contexts(texts, finder, counts)
    assert found == {term: contexts_at(texts, places[term], 4) for term in places}
    assert [len(contexts) for contexts in found.values()] == [4, 4, 0]


def test_groups() -> None:
    sizes = {"a": 3, "b": 2, "c": 9, "d": 0, "e": 1}
    assert list(groups(sizes, sizes, 5)) == [["a", "b"], ["c"], ["d", "e"]]
    assert list(groups([], sizes, 5)) == []


def test_retain_sample_is_spread_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lethe.dictionary.contexts.RETAIN_CHARS", 12)
    # eight texts of four characters: 8 * 12 // 32 = 3 of them, numbers 0, 2 and 5
    assert retain_sample([f"a\n{n}b" for n in range(8)]) == ["a 0b", "a 2b", "a 5b"]
    assert retain_sample([]) == []
