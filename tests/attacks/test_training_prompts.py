"""Prompts from training text."""

from __future__ import annotations

from lethe.attacks import training_prompts as module
from lethe.attacks.training_prompts import training_prompts

TEXT = "At noon the miller of the old valley gave bread to Orla and then slept. "


def test_cues_end_where_a_name_is_due() -> None:
    found = training_prompts([TEXT * 2 + "Nobody else came."], ["Orla"], 40, 10, 0)
    assert {cloze.references[0] for cloze in found} == {"Orla"}
    assert found[0].prompt == "At noon the miller of the old valley gave bread to"
    assert len({cloze.prompt for cloze in found}) == len(found)  # the same sentence again is one prompt


def test_cues_come_from_all_over_and_are_as_many_as_wanted() -> None:
    texts = [TEXT.replace("noon", word) for word in ("one", "two", "three", "four")]
    found = [training_prompts(texts, ["Orla"], 40, 2, seed) for seed in range(9)]
    assert {len(several) for several in found} == {2}
    assert len({cloze.prompt for several in found for cloze in several}) == 4  # which, the seed decides
    assert training_prompts(texts, ["Orla"], 40, 2, 0) == found[0]
    assert len(training_prompts(texts, ["Orla"], 40, 9, 0)) == 4
    assert module.training_prompts([], ["Orla"], 40, 9, 0) == []
