"""Prompts from training text."""

from __future__ import annotations

from lethe.attacks import training_prompts as cues
from lethe.attacks.training_prompts import training_cues

TEXT = "At noon the miller of the old valley gave bread to Orla and then slept. "


def test_cues_end_where_a_name_is_due() -> None:
    found = training_cues([TEXT * 2 + "Nobody else came."], ["Orla"], 40, 10, 0)
    assert {cue.references[0] for cue in found} == {"Orla"}
    assert found[0].prompt == "At noon the miller of the old valley gave bread to"
    assert len({cue.prompt for cue in found}) == len(found)  # the same sentence again is one prompt


def test_cues_come_from_all_over_and_are_as_many_as_wanted() -> None:
    texts = [TEXT.replace("noon", word) for word in ("one", "two", "three", "four")]
    found = [training_cues(texts, ["Orla"], 40, 2, seed) for seed in range(9)]
    assert {len(several) for several in found} == {2}
    assert len({cue.prompt for several in found for cue in several}) == 4  # which, the seed decides
    assert training_cues(texts, ["Orla"], 40, 2, 0) == found[0]
    assert len(training_cues(texts, ["Orla"], 40, 9, 0)) == 4
    assert cues.training_cues([], ["Orla"], 40, 9, 0) == []
