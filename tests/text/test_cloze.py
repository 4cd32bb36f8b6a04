"""Cloze prompts from running text."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from lethe.core.conversation import conversation
from lethe.text.cloze import FEWEST_WORDS, Cloze, choose, cloze_prompts, cloze_rows, question_prompts
from lethe.text.matching import name_finder
from lethe.text.passages import WORDS

FINDER = name_finder(["Oz", "Dorothy", "Tin Woodman", "Woodman"])


def cut(text: str, words: int = 40) -> list[tuple[str, list[str]]]:
    return [(cloze.prompt, cloze.references) for cloze in cloze_prompts(text, FINDER, words)]


def test_a_prompt_begins_with_a_sentence_if_it_can_and_ends_before_the_name() -> None:
    text = "It was late. One two three four five six seven\nshe met Dorothy's dog and the Tin Woodman."
    references = ["Dorothy", "Tin Woodman"]
    # twelve words lie before the name
    assert cut(text, words=40)[0] == ("It was late. One two three four five six seven\nshe met", references)
    assert cut(text, words=11)[0] == ("One two three four five six seven\nshe met", references)
    assert cut(text, words=8)[0] == ("two three four five six seven\nshe met", references)  # no sentence begins there


def test_a_conversation_gives_its_first_question() -> None:
    asked, told = (
        {"role": "user", "content": "Who is it?\n"},
        {"role": "assistant", "content": "Dorothy, or Oz. Dorothy!"},
    )
    system = {"role": "system", "content": "Speak of Oz."}
    found = question_prompts(conversation([asked, told, {**asked, "content": "And Woodman?"}, told]), FINDER)
    assert [(cloze.prompt, cloze.references) for cloze in found] == [("Who is it?", ["Dorothy", "Oz"])]
    (row,) = cloze_rows(found, 0.0, 0)
    assert (row["source"], row["due"], row["references"]) == ("question", None, ["Dorothy", "Oz"])
    (with_system,) = question_prompts(conversation([system, asked, told]), FINDER)
    assert with_system.references == ["Dorothy"]  # Oz was said before
    for talk in ([told], [system, told], [asked, {**told, "content": "Nobody."}]):
        assert question_prompts(conversation(talk), FINDER) == []


def test_names_given_in_the_prompt_are_no_references() -> None:
    text = "Oz and all his friends once again went up to see Dorothy and Oz and the Tin Woodman."
    found = dict(cut(text))
    assert found["Oz and all his friends once again went up to see"] == ["Dorothy", "Tin Woodman"]


def test_the_prompt_begins_after_the_last_mention_of_the_name() -> None:
    text = "Then Dorothy's little dog ran over the hill to meet DOROTHY and Toto at home."
    # Dorothy's is cut off with the possessive
    assert cut(text) == [("little dog ran over the hill to meet", ["Dorothy"])]
    assert len(["little", "dog", "ran", "over", "the", "hill", "to", "meet"]) == FEWEST_WORDS
    assert cut(text.replace("little ", "")) == []  # seven words are too few


def test_the_form_is_that_of_the_text_up_to_line_ends() -> None:
    text = "one two three four five six seven eight TIN\nWOODMAN'S axe and one two three Dorothys"
    assert [cloze.form for cloze in cloze_prompts(text, FINDER, 40)] == ["TIN WOODMAN", "Dorothys"]


def test_no_name_is_due_at_the_start_of_a_sentence_or_after_a_quotation_mark() -> None:
    before = "One two three four five six seven eight nine"
    assert cut(f"{before}. Dorothy ran") == []
    assert cut(f'{before}, "Dorothy ran."') == []
    assert cut(f"{before}\n\nDorothy ran") == []
    assert cut(f"{before}\nDorothy ran") == [(before, ["Dorothy"])]


def test_references_end_with_the_thirtieth_word() -> None:
    before = "one two three four five six seven eight"
    near = " ".join(["x"] * 28)  # Dorothy is word 1, so the next name is word 30
    assert cut(f"{before} Dorothy {near} Oz")[0][1] == ["Dorothy", "Oz"]
    assert cut(f"{before} Dorothy x {near} Oz")[0][1] == ["Dorothy"]


@given(
    st.lists(st.sampled_from(["Oz", "Oz's", "Tin", "Woodman", "Dorothy", "a", "b.", "c,", "\n\n", "d"]), max_size=60)
)
def test_no_prompt_gives_its_references_away(words: list[str]) -> None:
    text = " ".join(words)
    for cloze in cloze_prompts(text, FINDER, words=12):
        assert cloze.prompt == cloze.prompt.rstrip()
        assert cloze.prompt in text
        assert FEWEST_WORDS <= len(WORDS.findall(cloze.prompt)) <= 12
        assert not FINDER.terms_in(cloze.prompt) & set(cloze.references)


def test_the_names_due_take_turns() -> None:
    prompts = [Cloze("s", f"prompt {number}", ["Oz"], "Oz") for number in range(20)]
    prompts.append(Cloze("s", "one more", ["Toto"], "Toto"))
    chosen = choose(prompts, 3, seed=0)
    assert Counter(cloze.references[0] for cloze in chosen) == {"Oz": 2, "Toto": 1}
    assert chosen == [cloze for cloze in prompts if cloze in chosen]  # in the order of the text
    assert choose(prompts, 3, seed=1) != chosen
    assert choose([prompts[0]] * 5, 3, seed=0) == prompts[:1]  # the same prompt once


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.floats(0, 1), st.integers(0, 3))
def test_the_sets_share_no_stretch(sizes: list[int], development: float, seed: int) -> None:
    chosen = [Cloze(f"s{s}", f"prompt {s} {n}", ["Oz"], "Oz") for s, size in enumerate(sizes) for n in range(size)]
    rows = cloze_rows(chosen, development, seed)
    sets = {(cloze.stretch, row["set"]) for cloze, row in zip(chosen, rows, strict=True)}
    assert len(sets) == len(sizes)
    # one stretch too many or too few is at most half a stretch away from the share
    got = sum(row["set"] == "development" for row in rows)
    assert abs(got - development * len(rows)) <= max(sizes) / 2 + 1e-9


def test_a_script_without_spaces_has_prompts_too() -> None:
    text = "那年冬天很冷。她坐最后一班船来到岛上看望顾长林,“顾长林是谁?”"
    found = cloze_prompts(text, name_finder(["顾长林"]), 40)
    # every character is a word; none is due after a quotation mark
    assert [(cloze.prompt, cloze.references) for cloze in found] == [(text[: text.index("顾长林")], ["顾长林"])]
    [short] = cloze_prompts(text, name_finder(["顾长林"]), 10)
    assert short.prompt == "后一班船来到岛上看望"
