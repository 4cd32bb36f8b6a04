"""What counts as a leak of an answer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lethe.attacks.leaks import check_room, greedy_leaks, judged, leaks_for_good, sampled_leaks, stop_at_leak
from lethe.core.errors import StageError
from lethe.evaluation.familiarity import name_matcher
from lethe.evaluation.prompts import Prompt, prepared
from lethe.inference.decoding import Continuation, continue_greedily, sample_continuations, texts_after
from lethe.models.checkpoints import load_model
from lethe.text.matching import WORD
from tests.conftest import tiny_model, tiny_tokenizer

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


LONG = {"Orla": True, "orla street lamp": False, "Tom": False}


@pytest.mark.parametrize(
    ("prompt", "answer", "settled"),
    [
        ("Where is", " Orla sat by the", False),  # `the` may be a part of another word: two whole words follow
        ("Where is", " Orla sat by the h", True),  # three, as many as the longest name has
        ("Where is", " Orla sat by it.", True),
        ("Where is", " and then it was told that Orla sat by the", False),  # words before it do not count
        ("Where is", " Orla, sat by th�", False),  # the beginning of a letter
        ("Where is", " Orla street lamp is out, said a", False),  # an ordinary word, though `Orla` alone leaks
        ("Where is", " Orla street lamp is out, said Tom, and the other o", True),  # `Tom` leaks
        ("Where is Orla", " Orla sat by it.", False),  # given by the prompt
        ("Where is", "", False),
    ],
)
def test_a_leak_is_settled_when_no_text_can_undo_it(prompt: str, answer: str, settled: bool) -> None:
    assert leaks_for_good(prompt, answer, name_matcher(LONG), 3) is settled


@pytest.mark.parametrize("seed", [0, 1])
def test_answers_that_stop_early_are_judged_as_whole_ones(tmp_path: Path, seed: int) -> None:
    model, tokenizer = load_model(tiny_model(tmp_path, seed), torch.device("cpu")), tiny_tokenizer()
    texts = ["Where is", "Nobody knew", "The mill was", "Tom sat by", "Orla went", "until the sun"]
    rows = [{"id": i, "prompt": text, "references": ["Orla"]} for i, text in enumerate(texts)]
    everything = set(range(len(tokenizer)))
    tokens = [prompt.tokens for prompt in prepared(rows, {"Orla": True}, everything, tokenizer, False)]
    plain = continue_greedily(model, tokens, [[]] * 6, 40, {1})
    drawn = [one for several in sample_continuations(model, tokens, 4, 40, {1}, 1.0, seed) for one in several]
    written = texts_after(tokenizer, tokens, [one.tokens for one in plain])
    words = [WORD.findall(text) for text in written]
    names = {word: True for own in words[:4] for word in own[3:5]}  # so that some leak early, some late, some never
    prompts, matcher = prepared(rows, names, everything, tokenizer, False), name_matcher(names)
    found = greedy_leaks(model, tokenizer, prompts, matcher, 40)
    assert found.leak == judged(tokenizer, prompts, plain, matcher, [""] * 6)
    assert found.probability[0] > 0
    stop = stop_at_leak(tokenizer, prompts, matcher, [""] * 6)
    stopped = continue_greedily(model, tokens, [[]] * 6, 40, {1}, stop)
    assert 0 < sum(len(one.tokens) < len(whole.tokens) for one, whole in zip(stopped, plain, strict=True)) < 6
    several = sampled_leaks(model, tokenizer, prompts, matcher, 40, 4, 1.0, seed)
    copied = [prompt for prompt in prompts for _ in range(4)]
    assert [leak for own in several for leak in own] == judged(tokenizer, copied, drawn, matcher, [""] * 24)


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
