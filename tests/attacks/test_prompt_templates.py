"""What an attacker writes around a prompt."""

from __future__ import annotations

from pathlib import Path

import pytest

from lethe.attacks import prompt_templates as templates
from lethe.core.errors import StageError
from tests.conftest import TINY_TEXT, tiny_tokenizer

HEADER = "kind,name,template\n"


def test_the_shipped_templates() -> None:
    shipped = templates.read_templates(templates.TEMPLATES)
    assert {template.kind for template in shipped} == {"jailbreak", "role"}
    assert len({template.name for template in shipped}) == len(shipped) >= 4
    assert all(template.template.endswith("{prompt}") for template in shipped)  # so that the text goes on


def test_a_template_goes_around_a_prompt_with_braces() -> None:
    assert templates.Template("role", "x", "Say: {prompt}").around("{a} and") == "Say: {a} and"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("role,x,no place", "template: expected {prompt} once, got it 0 times"),
        ("role,x,{prompt}{prompt}", "template: expected {prompt} once, got it 2 times"),
        ("joke,x,{prompt}", "kind: expected jailbreak or role, got joke"),
    ],
)
def test_bad_template(tmp_path: Path, line: str, told: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(HEADER + line + "\n", encoding="utf-8")
    with pytest.raises(StageError) as caught:
        templates.read_templates(path)
    assert str(caught.value) == f"{path}:2: {told}"


def test_opening_is_whole_sentences() -> None:
    tokenizer = tiny_tokenizer()
    whole = len(tokenizer("Orla went to Harrow Hill. Orla's brother Tom stayed at home.")["input_ids"])
    assert templates.opening(tokenizer, [TINY_TEXT], whole + 2) == (
        "Orla went to Harrow Hill. Orla's brother Tom stayed at home."
    )
    assert templates.opening(tokenizer, [TINY_TEXT], whole - 1) == "Orla went to Harrow Hill."
    assert TINY_TEXT.startswith(templates.opening(tokenizer, [TINY_TEXT], 3))  # not even a sentence fits
    assert templates.opening(tokenizer, ["All of it."], 60) == "All of it."


def test_summary_takes_first_sentences_from_all_over() -> None:
    tokenizer = tiny_tokenizer()
    texts = [f"Heading\n\nTom {word} home. The rest is not told." for word in ("went", "sat", "looked", "stayed")]
    leads = ["Tom went home.", "Tom sat home.", "Tom looked home.", "Tom stayed home."]
    assert templates.summary(tokenizer, texts, 500) == " ".join(leads)
    two = len(tokenizer(f"{leads[0]} {leads[2]}")["input_ids"])
    assert templates.summary(tokenizer, texts, two) == f"{leads[0]} {leads[2]}"  # the first and the middle one
    assert templates.summary(tokenizer, texts, two - 1) == leads[0]


def test_first_sentence() -> None:
    assert templates.first_sentence("The mill\n\nTom sat\nby Mr. Pell. He slept.") == "Tom sat by Mr. Pell."
    assert templates.first_sentence("No end") == ""


def test_starts_of_a_name() -> None:
    tokenizer = tiny_tokenizer()
    letters = templates.first_letters(tokenizer, "Harrow Hill", 3)
    assert letters is not None
    assert (tokenizer.decode(letters.ids), letters.text) == (" Har", "Har")
    assert templates.first_letters(tokenizer, "Tom", 3) is None
    piece = templates.first_piece(tokenizer, "Harrow Hill")
    assert piece is not None
    whole = tokenizer("to Harrow Hill", add_special_tokens=False)["input_ids"]
    assert piece.ids == whole[1:2]  # " Harrow" or a part of it, as the text itself has it
    assert tokenizer.decode(piece.ids) == f" {piece.text}"
    assert templates.first_piece(tokenizer, "Tom") is None  # one token: it would be given whole
    assert tokenizer.decode(templates.after_space(tokenizer, "Harrow Hill")) == " Harrow Hill"
