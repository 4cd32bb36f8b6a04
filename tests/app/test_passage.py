"""The heat map: every token's probability as the model itself gives it, in windows where the passage is long."""

from __future__ import annotations

import math
from threading import Lock

import pytest

from lethe.app.marks import Marker
from lethe.app.passage import Passage, Piece, heat, merged, probability, read, score_of
from lethe.app.shelf import Shelf
from lethe.evaluation.familiarity import name_matcher
from tests.conftest import TINY_TEXT

TEXT = "Orla went to Harrow Hill."


def test_every_token_has_the_probability_that_the_model_gives_it(shelf: Shelf) -> None:
    import torch

    model, tokenizer, _ = shelf.ready["baseline"]
    pieces = read(shelf.ready["baseline"], TEXT, shelf.lock)
    ids = tokenizer(TEXT)["input_ids"]  # with <s> before
    with torch.inference_mode():
        logs = model(torch.tensor([ids])).logits[0].log_softmax(dim=-1)
    wanted = [float(logs[place, token]) for place, token in enumerate(ids[1:])]
    assert [one.score for one in pieces] == pytest.approx(wanted, abs=1e-4)
    assert [one.hit for one in pieces] == [bool(logs[place].argmax() == token) for place, token in enumerate(ids[1:])]
    assert "".join(TEXT[one.start : one.end] for one in pieces) == TEXT


def test_a_long_passage_is_read_in_windows_and_no_token_is_lost(shelf: Shelf) -> None:
    import torch

    reader = shelf.ready["baseline"]  # a context of 64, one of which is <s>: windows of 63, a new one every 31
    ids = reader.tokenizer(TINY_TEXT * 3, add_special_tokens=False)["input_ids"]
    assert len(ids) > 150
    pieces = read(reader, TINY_TEXT * 3, shelf.lock)
    assert len(pieces) == len(ids)
    assert all(one.score is not None for one in pieces)
    with torch.inference_mode():
        for place, start in ((62, 0), (63, 31), (93, 31), (94, 62), (140, 93)):
            window = [reader.tokenizer.bos_token_id, *ids[start : place + 1]]
            logs = reader.model(torch.tensor([window])).logits[0].log_softmax(dim=-1)
            assert pieces[place].score == pytest.approx(float(logs[-2, ids[place]]), abs=1e-4), place


def test_a_single_token_is_read_after_the_beginning(shelf: Shelf) -> None:
    [piece] = read(shelf.ready["baseline"], "a", shelf.lock)
    assert (piece.start, piece.end) == (0, 1)
    assert piece.score is not None


def test_a_model_without_a_beginning_knows_nothing_of_the_first_token(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lethe.models.tokenization.leading_ids", lambda backend: [])
    pieces = read(shelf.ready["baseline"], TINY_TEXT, shelf.lock)
    assert [one.score is None for one in pieces] == [True] + [False] * (len(pieces) - 1)
    assert [one.score for one in read(shelf.ready["baseline"], "a", shelf.lock)] == [None]


def test_tokens_of_one_character_are_one_piece() -> None:
    found = merged([1, 2, 2, 3], [(None, False), (-1.0, True), (-2.0, True), (-0.5, False)])
    assert found == [Piece(0, 1, None, False), Piece(1, 2, -3.0, True), Piece(2, 3, -0.5, False)]


def test_the_probability_of_a_name_is_that_of_its_tokens(shelf: Shelf) -> None:
    pieces = [Piece(0, 3, None, False), Piece(3, 8, -1.0, False), Piece(8, 12, -0.5, True)]
    assert score_of(pieces, 4, 12) == -1.5  # a space belongs to a name's first token
    assert score_of(pieces, 0, 5) is None
    marker = Marker(name_matcher({"Harrow Hill": True}))
    found = heat(Passage(models=["baseline"], text=TEXT), shelf.ask(["baseline"]), shelf.lock, marker)
    [row] = found["names"]
    start = TEXT.index("Harrow")
    wanted = probability(score_of(read(shelf.ready["baseline"], TEXT, shelf.lock), start, start + len("Harrow Hill")))
    assert (row["name"], row["at"], row["p"]) == ("Harrow Hill", start, {"baseline": wanted})


def test_the_map_is_in_few_digits_and_has_its_perplexity(shelf: Shelf) -> None:
    passage = Passage(models=["baseline", "unlearned"], text=TEXT)
    found = heat(passage, shelf.ask(passage.models), Lock(), Marker(None))
    assert list(found["models"]) == ["baseline", "unlearned"]
    scores = [one.score for one in read(shelf.ready["baseline"], TEXT, shelf.lock)]
    mean = math.fsum(score for score in scores if score is not None) / len(scores)
    assert found["models"]["baseline"]["perplexity"] == pytest.approx(math.exp(-mean), rel=1e-3)
    assert all(len(str(p)) < 12 for _, p, _ in found["models"]["baseline"]["tokens"])
