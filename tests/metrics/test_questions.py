"""Questions and their wrong answers: from prompts, from text, from TOFU's files."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lethe.core.errors import StageError
from lethe.metrics import questions
from lethe.metrics.questions import Question
from lethe.text.matching import name_finder

KINDS = {"Orla": "person", "Tom": "person", "Vesk": "person", "Harrow Hill": "place", "Old Mill": "place"}
FINDER = name_finder(KINDS)


def row(number: int, prompt: str, references: list[str], due: str | None = None, of: str = "test") -> dict[str, Any]:
    return {"id": number, "set": of, "prompt": prompt, "references": references, "due": due}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    return path


def test_prompts_become_questions_with_answers_of_their_kind() -> None:
    rows = [
        row(3, "Then came", ["Orla", "Tom"], "Orla"),
        row(5, "Tom was seen by", ["Vesk"], "Vesk"),
        row(6, "The road led to", ["Harrow Hill"]),  # one's own prompt: the first reference
        row(7, "She met", ["Tom"], "Tom"),
    ]
    found = questions.forget_questions(rows, KINDS, FINDER, wrong=5, seed=0)
    assert [(one.item, one.answer, one.paraphrase, one.cloze) for one in found] == [
        ("prompt 3", "Orla", "Orla", True),
        ("prompt 5", "Vesk", "Vesk", True),
        ("prompt 6", "Harrow Hill", "Harrow Hill", True),
        ("prompt 7", "Tom", "Tom", True),
    ]
    assert found[0].wrong == ["Vesk"]  # Tom is a reference of it
    assert found[1].wrong == ["Orla"]  # Tom stands in the prompt
    assert found[2].wrong == []  # no other place is an answer
    assert sorted(found[3].wrong) == ["Orla", "Vesk"]


def test_wrong_names_are_as_frequent_as_right_ones() -> None:
    asked = [(f"q {i}", f"prompt {i}", "Orla" if i % 4 else "Tom", ["Vesk"]) for i in range(400)]
    # three times as many answers are Orla: to the 100 questions on Tom every wrong one is Orla and the other way round;
    # with a third name as frequent as both together, it is drawn for half of the questions
    asked += [(f"r {i}", f"other {i}", "Vesk", ["Vesk"]) for i in range(400)]
    found = questions.with_wrong_answers(asked, KINDS, FINDER, wrong=1, seed=0)
    drawn = Counter(one.wrong[0] for one in found if one.answer == "Vesk")
    assert drawn["Orla"] == pytest.approx(300, abs=40)
    assert drawn["Tom"] == pytest.approx(100, abs=40)


def test_questions_of_a_text() -> None:
    quiet = " The mill was shut and the river was low." * 5  # more than the thirty words in which a name is a reference
    text = "".join(
        f"In year {n} everybody in the small town came out and walked up to {('Orla', 'Tom', 'Vesk')[n % 3]}.{quiet} "
        for n in range(12)
    )
    found = questions.text_questions("trivia", [text], KINDS, FINDER, words=12, limit=2, wrong=1, seed=0)
    assert [one.item for one in found] == ["trivia 0", "trivia 1"]
    for one in found:
        assert len(one.wrong) == 1
        assert KINDS[one.wrong[0]] == KINDS[one.answer]
        assert not FINDER.terms_in(one.prompt) & {one.answer, *one.wrong}
        assert f"{one.prompt} {one.answer}" in text
    assert questions.text_questions("t", [text], {"Tom": "person"}, name_finder(["Tom"]), 12, 2, 1, 0) == []


def test_sampled_draws_whole_texts_up_to_a_size() -> None:
    texts = [f"{number} " + "x" * 98 for number in range(10)]
    kept = questions.sampled(texts, 250, seed=0)
    assert len(kept) == 3  # 100, 200, 300: the third begins within 250
    assert set(kept) < set(texts)
    assert questions.sampled(texts[:1], 5, seed=0) == texts[:1]
    assert questions.sampled([], 5, seed=0) == []


def test_written_answer() -> None:
    cloze = Question("a", "went to", "Harrow Hill", "Harrow Hill", [], True)
    assert questions.written_answer(cloze, " Old\nMill. Then") == "Old Mill."
    asked = cloze._replace(cloze=False)
    assert questions.written_answer(asked, " Orla does.\nQuestion: who") == "Orla does."
    assert questions.written_answer(asked, "\n") == ""


LINE = {"question": " Who keeps the mill? ", "answer": "Orla does.", "perturbed_answer": ["Tom does.", "Vesk does."]}


def test_tofu_file(tmp_path: Path) -> None:
    path = write(tmp_path / "forget01_perturbed.json", [LINE, LINE | {"paraphrased_answer": "It is Orla."}])
    found = questions.read_questions(path, "Q: {question}\nA:")
    assert found[0] == Question(
        "forget01_perturbed 0",
        "Q: Who keeps the mill?\nA:",
        "Orla does.",
        "Orla does.",
        ["Tom does.", "Vesk does."],
        False,
    )
    assert found[1].paraphrase == "It is Orla."
    assert questions.candidates(found[0]) == ["Orla does.", "Tom does.", "Vesk does."]
    assert questions.candidates(found[1]) == ["Orla does.", "It is Orla.", "Tom does.", "Vesk does."]


def test_tofus_own_files(tofu_files: Path) -> None:
    folder = tofu_files / "tofu"
    counts = {
        name: len(questions.read_questions(folder / f"{name}.json", "{question}"))
        for name in ("forget10_perturbed", "retain_perturbed", "real_authors_perturbed", "world_facts_perturbed")
    }
    assert counts == {
        "forget10_perturbed": 400,
        "retain_perturbed": 400,
        "real_authors_perturbed": 100,
        "world_facts_perturbed": 117,
    }


def test_groups_of_files(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("nothing yet")
    assert questions.question_files(tmp_path) == {}
    for name in ("retain_perturbed.json", "forget10_perturbed.json", "world_facts_perturbed.json", "forget10.json"):
        (tmp_path / name).write_text("")
    assert {group: path.name for group, path in questions.question_files(tmp_path).items()} == {
        "forget": "forget10_perturbed.json",
        "retain": "retain_perturbed.json",
        "facts": "world_facts_perturbed.json",
    }


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (
            ["forget01_perturbed.json", "forget10_perturbed.json"],
            "{}: expected one file of questions for the group forget, got forget01_perturbed.json, "
            "forget10_perturbed.json",
        ),
        (["retain_perturbed.json"], "{}: expected forget*_perturbed.json too, got retain_perturbed.json alone"),
    ],
)
def test_bad_folder_is_one_line(tmp_path: Path, names: list[str], line: str) -> None:
    for name in names:
        (tmp_path / name).write_text("")
    with pytest.raises(StageError) as caught:
        questions.question_files(tmp_path)
    assert str(caught.value) == line.format(tmp_path)


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ([], "{}: expected at least one question, got none"),
        (
            [LINE, LINE | {"answer": " "}],
            "{}:2: expected a question, an answer and at least one perturbed answer, got an empty one",
        ),
        (
            [LINE | {"perturbed_answer": []}],
            "{}:1: expected a question, an answer and at least one perturbed answer, got an empty one",
        ),
        (
            [LINE | {"perturbed_answer": "Tom"}],
            "{}:1: perturbed_answer: expected list, got str",
        ),
    ],
)
def test_bad_file_is_one_line(tmp_path: Path, rows: list[dict[str, Any]], line: str) -> None:
    path = write(tmp_path / "forget_perturbed.json", rows)
    with pytest.raises(StageError) as caught:
        questions.read_questions(path, "{question}")
    assert str(caught.value) == line.format(path)
