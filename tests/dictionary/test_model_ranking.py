"""Translations by likelihood."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lethe.core.errors import StageError
from lethe.dictionary.entity_types import Context, Usage
from lethe.dictionary.gazetteer import Generic
from lethe.dictionary.model_ranking import Judging, as_written, candidates_of, frame, likeliest, mean_scores
from lethe.models.checkpoints import load_model, load_tokenizer
from tests.conftest import tiny_model

JUDGING = Judging(candidates=3, contexts=2, translations=2, seed=0)


def use(name: str, kind: str, singular: str = "") -> Usage:
    return Usage(name, kind, 1.0, float(bool(singular)), 0.0, 0.0, 0.0, singular or name, bool(singular), 0, 0)


def people(*names: str) -> list[Generic]:
    return [Generic("person", name, name + "s", "female", 0) for name in names]


def test_frame() -> None:
    words = [f"w{number}" for number in range(40)]
    found = frame(Context(" ".join(words) + " ", "Oz", ", " + " ".join(words)))
    assert found.before == " ".join(words[-18:]) + " "
    assert found.after == ", w0 w1 w2 w3 w4 w5"
    assert frame(Context("", "Oz", "")) == ("", "")
    assert frame(Context("in\n", "Oz", "'s\nland")) == ("in\n", "'s\nland")


def test_as_written() -> None:
    ducks = [Generic("creature", "duck", "ducks", "", 0), Generic("creature", "mouse", "mice", "", 0)]
    quorls = use("Quorls", "creature", "Quorl")
    assert as_written(ducks, quorls, Context("two ", "Quorls", "")) == ["ducks", "mice"]
    assert as_written(ducks, quorls, Context("a ", "Quorl", "")) == ["duck", "mouse"]
    assert as_written(ducks, quorls, Context("", "QUORLS", "")) == ["DUCKS", "MICE"]


def test_mean_scores() -> None:
    candidates = {"Oz": people("Ash", "Elm"), "Boq": people("Tom")}
    found = mean_scores(["Oz", "Oz"], [[-1.0, -2.0], [-2.0, -6.00002]], candidates)
    assert found == {"Oz": {"Ash": -1.5, "Elm": -4.0}, "Boq": {"Tom": None}}  # Boq stands nowhere


def test_candidates_of() -> None:
    pool = [*people("Ann", "Bess", "Cleo", "Dora"), Generic("place", "Elm", "Elms", "", 0)]
    uses = {"Orla": use("Orla", "person"), "Harrow": use("Harrow", "place")}
    found = candidates_of(["Orla"], uses, {"Orla": "female"}, pool, JUDGING)
    assert len(found["Orla"]) == 3
    assert set(found["Orla"]) <= set(pool[:4])
    assert candidates_of(["Orla"], uses, {"Orla": "female"}, pool[1:], JUDGING) == {"Orla": pool[1:4]}
    with pytest.raises(StageError) as caught:
        candidates_of(["Orla", "Harrow"], uses, {}, pool, JUDGING)
    assert str(caught.value) == (
        "data/anchors.csv: Harrow: expected 2 generic names of its kind (place), as translate.translations says, "
        "got 1; add rows for it to data/overrides.csv"
    )


def test_likeliest(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    model, tokenizer = load_model(folder, torch.device("cpu")), load_tokenizer(folder)
    contexts = {"Orla": [Context("Where is ", "Orla", "?"), Context("", "Orla", " went home.")], "Boq": []}
    candidates = {"Orla": people("Ann", "Bess", "Cleo"), "Boq": people("Ann", "Dora", "Eva")}
    uses = {name: use(name, "person") for name in contexts}
    found = likeliest(model, tokenizer, contexts, candidates, uses, JUDGING)
    assert found == likeliest(model, tokenizer, contexts, candidates, uses, JUDGING)
    names = [choice.singular for choices in found.values() for choice in choices]
    assert len(set(names)) == 4  # two each, none shared
    assert [choice.score for choice in found["Boq"]] == [None, None]  # not measured
    scores = [choice.score for choice in found["Orla"]]
    assert all(score is not None and score == round(score, 4) for score in scores)


def test_a_real_model_puts_a_girl_in_the_place_of_a_girl(realdata: Path) -> None:
    folder = realdata / "models/stories260K"
    model, tokenizer = load_model(folder, torch.device("cpu")), load_tokenizer(folder)
    sentences = [("there was a little girl named ", ". She was"), ("she said. ", " put on her dress and her mom")]
    contexts = {"Dorothy": [Context(before, "Dorothy", after) for before, after in sentences]}
    candidates = {"Dorothy": people("Lily", "Chester", "Walter")}
    uses = {"Dorothy": use("Dorothy", "person")}
    found = likeliest(model, tokenizer, contexts, candidates, uses, JUDGING)
    assert found["Dorothy"][0].singular == "Lily"
