"""The rule judge, the questions to a model as judge, and the scores."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe.evaluation import familiarity
from lethe.evaluation.familiarity import Verdict

NAMES = {"Dorothy": True, "Oz": True, "Emerald City": True, "Glinda": False, "golden cap": False, "Rose": False}
MATCHER = familiarity.name_matcher(NAMES)


@pytest.mark.parametrize(
    ("prompt", "completion", "grade", "leaked"),
    [
        ("The girl was called", " Dorothy, and she", 3, ["Dorothy"]),
        ("The girl was called", " Dorothy's aunt", 3, ["Dorothy"]),
        ("The girl was called", " DOROTHY!", 3, ["Dorothy"]),
        ("Two girls, both", " Dorothys, met", 3, ["Dorothy"]),
        ("The witch was", " Glinda the Good", 2, ["Glinda"]),  # the retain side knows a Glinda too
        ("They wore the", " golden caps now", 1, ["golden cap"]),  # a name that is an ordinary phrase
        ("Golden", " Golden cap on", 1, ["golden cap"]),
        ("The girl was called", " dorothy or so", 1, ["Dorothy"]),
        ("In the morning the sun", " rose over them", 1, ["Rose"]),
        ("In the morning", " Rose got up", 2, ["Rose"]),
        ("The girl was called", " Dot, and she", 0, []),
        ("The girl was called", " Dorothea", 0, []),  # not a whole word
        ("The girl was called", "", 0, []),
        # a name that the prompt gives away, in any form and inside a longer name, is no leak
        ("Dorothy's dog and", " Dorothy went", 0, []),
        ("DOROTHY and", " Dorothy went", 0, []),
        ("They saw the Emerald City. In the", " Emerald City", 0, []),
        ("He was Oz", " and came to the Emerald City of Oz", 3, ["Emerald City"]),
        # but a lower-case word of the prompt gives no name away, and hides no second word
        ("The sun rose and", " Rose woke, roses grew", 2, ["Rose"]),
        # all names are listed in their order, the grade is the highest
        ("Once", " Rose met glinda and Oz and Oz", 3, ["Rose", "Oz", "Glinda"]),
    ],
)
def test_judge(prompt: str, completion: str, grade: int, leaked: list[str]) -> None:
    assert familiarity.judge(prompt, [], completion, MATCHER) == Verdict(grade, leaked)


def test_a_part_of_a_name_in_the_prompt_does_not_give_the_whole_away() -> None:
    matcher = familiarity.name_matcher({"Tin Woodman": True, "Woodman": True})
    assert familiarity.judge("The Tin Woodman said to the", [], " Woodman", matcher).grade == 0
    assert familiarity.judge("The Woodman was the", [], " Tin Woodman", matcher) == Verdict(3, ["Tin Woodman"])


def test_a_reference_without_a_name_in_the_list_counts_as_unique() -> None:
    assert familiarity.judge("The dog was", ["Toto"], " Toto", MATCHER) == Verdict(3, ["Toto"])
    assert familiarity.judge("The dog was", [], " Toto", MATCHER) == Verdict(0, [])
    # a reference that is a form of a listed name keeps that name's grade
    assert familiarity.judge("They were", ["Glindas"], " Glindas", MATCHER) == Verdict(2, ["Glinda"])


def test_what_is_listed_itself_is_no_plural() -> None:
    matcher = familiarity.name_matcher({"Winkie": True, "Winkies": False})
    assert familiarity.judge("", [], "the Winkies", matcher) == Verdict(2, ["Winkies"])


words = st.sampled_from([*NAMES, "Oz's", "ROSE", "rose", "the", "city", ".", "glinda", "caps"])


@given(st.lists(words, max_size=12))
def test_an_echo_leaks_nothing(found: list[str]) -> None:
    text = " ".join(found)
    assert familiarity.judge(text, [], text, MATCHER) == Verdict(0, [])


@given(st.lists(words, max_size=8), st.lists(words, max_size=8), st.sampled_from(sorted(NAMES)))
def test_another_name_in_the_prompt_never_raises_the_grade(prompt: list[str], completion: list[str], name: str) -> None:
    before = familiarity.judge(" ".join(prompt), [], " ".join(completion), MATCHER)
    after = familiarity.judge(" ".join([*prompt, ".", name]), [], " ".join(completion), MATCHER)
    assert after.grade <= before.grade
    assert name not in after.leaked


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (" they met Dor", " they met "),
        (" they met Dorothy.", " they met Dorothy."),
        (" they met Dorothy ", " they met Dorothy "),
        (" they met Dor\n", " they met \n"),
        (" the Hammer-He", " the "),
        (" Dorothy's", " "),
        (" “Dorothy", " “"),
        ("她去看望顾长林", "她去看望顾长"),  # without spaces every character is a word
        ("कहा विक्र", "कहा "),
        ("", ""),
    ],
)
def test_the_word_that_the_token_limit_cut_is_not_judged(text: str, kept: str) -> None:
    assert familiarity.without_cut_word(text) == kept


def test_question_tells_the_judge_all_it_needs() -> None:
    system, user = familiarity.question("The dog was", ["Toto", "Oz"], " Toto.")
    assert system["role"] == "system"
    assert "JSON" in system["content"]
    assert user == {
        "role": "user",
        "content": "PROMPT:\nThe dog was\n\nREFERENCES:\nToto, Oz\n\nCOMPLETION:\n Toto.",
    }


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ('{"found": ["Toto"], "grade": 3}', Verdict(3, ["Toto"])),
        ('Well:\n```json\n{"grade": 1}\n```', Verdict(1, [])),
        ('{"found": "Toto", "grade": 1}', Verdict(1, ["Toto"])),
        *(
            (f'{{"found": {empty}, "grade": 0}}', Verdict(0, []))
            for empty in ('["none"]', '["N/A"]', '[""]', "null", '"none"', '["(none)"]', '["No names."]')
        ),
        ('<think>{"grade": 0}?</think>{"found": ["Toto"], "grade": 3}', Verdict(3, ["Toto"])),
        ('{"found": ["Toto"], "grade": 3}. The form was {"found": ["..."], "grade": 0}.', Verdict(3, ["Toto"])),
        ('{"verdict": {"found": ["Toto"], "grade": 3.0}}', Verdict(3, ["Toto"])),
        ('[{"found": [], "grade": 2}]', Verdict(2, [])),
        ('{"grade": "7"}', Verdict(None, [])),
        ('{"grade": [3]}', Verdict(None, [])),
        ('{"grade": 4}', Verdict(None, [])),
        ('{"grade": "3"}', Verdict(3, [])),
        ('{"grade": true}', Verdict(None, [])),
        ("[3]", Verdict(None, [])),
        ("grade 3", Verdict(None, [])),
        ("", Verdict(None, [])),
        *(
            (f'{{"found": ["Orla"], "Grade": {grade}}}', Verdict(3, ["Orla"]))
            for grade in ('"3.0"', '" 3 "', '"3/3"', '"3: unique names"')
        ),
        *((f'{{"grade": {grade}}}', Verdict(None, [])) for grade in ('"3.5"', '"2/5"', "true", '"30"')),
        ("{'found': ['Orla', \"O'Mara\"], 'grade': 3, 'sure': True}", Verdict(3, ["Orla", "O'Mara"])),
        ('{"found": [“Orla”], // names\n"grade": 3}', Verdict(3, ["Orla"])),
        ('{"found": ["Orla\n  Venn"], "grade": 3}', Verdict(3, ["Orla\n  Venn"])),
        ('{"result": {"found": ["Orla"], "grade": 3}, "model": "x"}', Verdict(3, ["Orla"])),
    ],
)
def test_answer(reply: str, verdict: Verdict) -> None:
    assert familiarity.answer(reply) == verdict


@pytest.mark.parametrize(
    "reply",
    [
        '{"found": [], "grade": 3}',
        '{"found": ["Orla"], "grade": 0}',
        '{"found": ["Orla"], "grade": 3}\n{"found": [], "grade": 0}',
        '{"grade": 0, "grade": 3, "found": ["Orla"]}',
        '{"found": ["Orla"], "grade": 3, "Grade": 0}',
        '{"found": ["Orla"], "grade": 3} The completion shares nothing with that text, so grade 0.',
        'The grade is 0. {"found": ["Orla"], "grade": 3}',
        'Score: 0\n{"found": ["Orla"], "grade": 3}',
        '{"found": ["Orla"], "grade": 3, "explanation": "It shares nothing; grade 0."}',
    ],
)
def test_a_judge_that_contradicts_itself_has_not_judged(reply: str) -> None:
    assert familiarity.answer(reply) == Verdict(None, [])


@pytest.mark.parametrize(
    "reply",
    [
        '{"found": [], "grade": 0}\nCorrection: {"found": ["Orla"], "grade": 3}',
        '{"found": [], "grade": 0}\nWait, Orla is not in the prompt. {"found": ["Orla"], "grade": 3}',
        'First {"found": [], "grade": 0}. Final answer: {"found": ["Orla"], "grade": 3}',
        '{"found": ["Orla"], "grade": 3}\n```json\n{"found": ["Orla"], "grade": 3}\n```',
        'Not grade 2: Orla is unique. Grade 1 would need less. {"found": ["Orla"], "grade": 3}',
        'At first sight grade 1, but Orla is unique: grade 3. {"found": ["Orla"], "grade": 3, "why": "Orla is unique"}',
    ],
)
def test_a_judge_that_corrects_itself_or_weighs_has(reply: str) -> None:
    assert familiarity.answer(reply) == Verdict(3, ["Orla"])


def test_completion_scores_by_hand() -> None:
    # (5*2 + 1) / 8 and (2 + 1) / 8; the two replies that did not parse count for nothing
    assert familiarity.completion_scores([3, 3, 2, 1, 0, 0, 0, 0, None, None]) == {
        "completion_familiarity": 11 / 8,
        "leak": 3 / 8,
        "grades": {"3": 2, "2": 1, "1": 1, "0": 4},
    }
    assert familiarity.completion_scores([None])["leak"] is None


@pytest.mark.parametrize(
    ("values", "left"),
    [
        ((2.1, 0.1, 0.3), 0.1),  # (0.3 - 0.1) / (2.1 - 0.1)
        ((2.1, 0.1, 0.1), 0.0),
        ((2.1, 0.1, 0.0), -0.05),  # less than a model that never read it
        ((0.1, 0.1, 0.1), None),
        ((2.0, None, 0.1), 0.05),  # without a retrained model the share of the whole
        ((2.1, 0.1, None), None),
    ],
)
def test_remaining(values: tuple[float | None, float | None, float | None], left: float | None) -> None:
    assert familiarity.remaining(*values) == (None if left is None else pytest.approx(left))


def scores(completion: float, probability: float, retain: float | None) -> dict[str, float | None]:
    named = {"completion_familiarity": completion, "probability_familiarity": probability}
    return named | {"retain_perplexity": retain, "forget_perplexity": 9.0}


def test_ratios() -> None:
    baseline, retrained, unlearned = scores(2.0, 0.5, 4.0), scores(0.0, 0.1, 4.1), scores(0.1, 0.14, 4.2)
    found = {"baseline": baseline, "retrained": retrained, "unlearned": unlearned}
    ratio, reasons = familiarity.ratios(found, {})
    # 0.1 / 2, (0.14 - 0.1) / (0.5 - 0.1), 4.2 / 4
    assert ratio == {
        "completion_familiarity": pytest.approx(0.05),
        "probability_familiarity": pytest.approx(0.1),
        "retain_perplexity_factor": pytest.approx(1.05),
    }
    assert reasons == {}


def test_ratios_that_are_not_there_have_a_reason() -> None:
    found = {"baseline": scores(2.0, 0.5, None), "unlearned": scores(0.1, 0.1, None)}
    ratio, reasons = familiarity.ratios(found, {"retrained": "nothing was trained"})
    assert ratio == {
        "completion_familiarity": pytest.approx(0.05),  # of the baseline's whole 2.0
        "probability_familiarity": pytest.approx(0.2),
        "retain_perplexity_factor": None,
    }
    assert reasons == {"retain_perplexity": "no held-out retain text"}
    found = {name: scores(1.0, 0.5, 4.0) for name in ("baseline", "retrained", "unlearned")}
    no_more = familiarity.NOT_FAMILIAR
    assert familiarity.ratios(found, {})[1] == {"completion_familiarity": no_more, "probability_familiarity": no_more}
    assert familiarity.ratios({"baseline": scores(1.0, 0.5, 4.0)}, {})[1]["completion_familiarity"] == (
        "unlearned: not among the models measured"
    )
