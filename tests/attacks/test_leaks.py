"""What counts as a leak of an answer."""

from __future__ import annotations

import pytest

from lethe.attacks.leaks import check_room, judged
from lethe.core.errors import StageError
from lethe.evaluation.familiarity import name_matcher
from lethe.evaluation.prompts import Prompt, prepared
from lethe.inference.decoding import Continuation
from tests.conftest import tiny_tokenizer

NAMES = {"Orla": True, "Tom": False, "lantern": False}


def asked(text: str) -> Prompt:
    return prepared([{"id": 7, "prompt": text, "references": ["Orla"]}], NAMES, set(), tiny_tokenizer(), False)[0]


@pytest.mark.parametrize(
    ("prompt", "forced", "written", "ended", "leaks"),
    [
        ("Where is", "", " Orla? said", False, True),  # unique: grade 3
        ("Where is", "", " Tom? said", False, True),  # used by the retain side too: grade 2
        ("Where is", "", " the lantern? said", False, False),  # an ordinary word: grade 1
        ("Orla! Where is", "", " Orla? said", False, False),  # given by the prompt
        ("Where is", "", " the Orla", False, False),  # perhaps cut in the middle of another word
        ("Where is", "", " the Orla", True, True),
        ("Where is", "Or", "la? said", False, True),  # half of it given, half of it known
        ("Where is", "Or", "chards? said", False, False),
    ],
)
def test_leaks(prompt: str, forced: str, written: str, ended: bool, leaks: bool) -> None:
    tokenizer = tiny_tokenizer()
    ids = tokenizer(written, add_special_tokens=False)["input_ids"]
    found = judged(tokenizer, [asked(prompt)], [Continuation(ids, ended, 0.0)], name_matcher(NAMES), [forced])
    assert found == [leaks]


def test_a_prompt_without_room_is_told() -> None:
    prompt = asked("Where is")
    check_room([prompt], len(prompt.tokens), "role")
    with pytest.raises(StageError) as caught:
        check_room([prompt], len(prompt.tokens) - 1, "role")
    assert str(caught.value) == (
        f"params.yaml: attack.attacks: role makes prompt 7 {len(prompt.tokens)} tokens long; expected at most "
        f"{len(prompt.tokens) - 1}, the model's context less attack.new_tokens; lower prompt.words or what the attack "
        "adds"
    )
