"""Questions with a right answer and wrong ones: from cloze prompts, from running text, from TOFU's files."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lethe.core.errors import StageError
from lethe.core.tables import numbered_jsonl
from lethe.metrics.name_swaps import Names, retain_kinds
from lethe.text.cloze import FEWEST_WORDS, cloze_prompts
from lethe.text.matching import TermFinder, name_finder
from lethe.text.passages import draw

FILES = {  # group of questions -> TOFU's file; all but the first measure what the model should still know
    "forget": "forget*_perturbed.json",
    "retain": "retain_perturbed.json",
    "authors": "real_authors_perturbed.json",
    "facts": "world_facts_perturbed.json",
}
SPARE = 3  # times as many places are sampled as needed: some have no wrong answer
CHOSEN = ("authors", "facts")  # groups in which an answer's probability is normalised over all answers


class Question(NamedTuple):
    """A question as a model reads it, with its answers."""

    item: str  # its name in data/measures.csv
    prompt: str  # the answer follows after a space
    answer: str
    paraphrase: str  # the answer itself where there is none
    wrong: list[str]  # of the same kind, none of them in the prompt; may be empty
    cloze: bool  # the text goes on after the answer


def forget_questions(
    rows: Iterable[Mapping[str, Any]], kinds: Mapping[str, str], finder: TermFinder, wrong: int, seed: int
) -> list[Question]:
    """Every prompt as a question whose answer is the target name, or the first reference.

    kinds: name -> person, place ...; finder: finds these names.
    """
    asked = [
        (f"prompt {row['id']}", row["prompt"], row.get("due") or row["references"][0], row["references"])
        for row in rows
    ]
    return with_wrong_answers(asked, kinds, finder, wrong, seed)


def text_questions(
    name: str,
    texts: Iterable[str],
    kinds: Mapping[str, str],
    finder: TermFinder,
    words: int,
    limit: int,
    wrong: int,
    seed: int,
) -> list[Question]:
    """At most `limit` sampled target positions of the names for which there is a wrong answer.

    words: most words of context before the name.
    """
    found = {cloze.prompt: cloze for text in texts for cloze in cloze_prompts(text, finder, words)}
    drawn = sorted(found.values(), key=lambda cloze: draw(cloze.prompt, seed))[: SPARE * limit]
    asked = [("", cloze.prompt, cloze.references[0], cloze.references) for cloze in drawn]
    kept = [question for question in with_wrong_answers(asked, kinds, finder, wrong, seed) if question.wrong]
    return [question._replace(item=f"{name} {number}") for number, question in enumerate(kept[:limit])]


def sampled(texts: Sequence[str], chars: int, seed: int) -> list[str]:
    """A sample of whole texts with about `chars` characters, at least one text."""
    kept: list[str] = []
    room = chars
    for text in sorted(texts, key=lambda text: draw(text, seed)):
        if room > 0:
            kept.append(text)
            room -= len(text)
    return kept


def made_questions(
    rows: Sequence[Mapping[str, Any]], names: Names, retain: Sequence[str], limit: int, wrong: int, seed: int
) -> dict[str, list[Question]]:
    """Questions by group: from the prompts, and from training text of the retain set, if it has any.

    Like TOFU's retain set, that text was trained on and should still be known.
    """
    kinds = {name: use.kind for name, use in names.uses.items()}
    prompts = forget_questions(rows, kinds, names.finder, wrong, seed)
    known = retain_kinds(names)
    asked = text_questions("retain", retain, known, name_finder(known), longest(rows), limit, wrong, seed)
    return {"forget": prompts} | ({"retain": asked} if asked else {})


def trivia_questions(
    rows: Sequence[Mapping[str, Any]], names: Names, forget: Sequence[str], limit: int, seed: int
) -> list[Question]:
    """Target positions in training text of the forget set, each with one wrong name."""
    kinds = {name: use.kind for name, use in names.uses.items()}
    return text_questions("trivia", forget, kinds, names.finder, longest(rows), limit, 1, seed)


def longest(rows: Sequence[Mapping[str, Any]]) -> int:
    """The number of words of the longest prompt, the limit for questions from running text."""
    return max(FEWEST_WORDS, *(len(row["prompt"].split()) for row in rows))


def with_wrong_answers(
    asked: Sequence[tuple[str, str, str, Sequence[str]]],
    kinds: Mapping[str, str],
    finder: TermFinder,
    wrong: int,
    seed: int,
) -> list[Question]:
    """Questions from (item, prompt, answer, references), each with at most `wrong` other names as wrong answers.

    They are sampled from the answers of all questions of the kind, as often as each is right somewhere, so knowing
    which names are frequent gains nothing. None is in the prompt or among the references.
    """
    answers = defaultdict(list)
    for _, _, answer, _ in asked:
        answers[kinds.get(answer)].append(answer)
    questions = []
    for item, prompt, answer, references in asked:
        taken = {answer, *references} | finder.terms_in(prompt)
        pool = [name for name in answers[kinds.get(answer)] if name not in taken]
        random.Random(f"{seed} {prompt}").shuffle(pool)
        questions.append(Question(item, prompt, answer, answer, list(dict.fromkeys(pool))[:wrong], cloze=True))
    return questions


def question_files(folder: Path) -> dict[str, Path]:
    """Group -> file, for those of TOFU's files that are in the folder; empty if none is.

    Raises StageError if there is no folder, two files for one group, or others without questions to forget.
    """
    if not folder.is_dir():
        raise StageError(
            f"params.yaml: measure.questions: expected a folder (it may be empty), got {folder}, which does not exist"
        )
    found = {group: sorted(folder.glob(pattern)) for group, pattern in FILES.items()}
    for group, paths in found.items():
        if len(paths) > 1:
            names = ", ".join(path.name for path in paths)
            raise StageError(f"{folder}: expected one file of questions for the group {group}, got {names}")
    files = {group: paths[0] for group, paths in found.items() if paths}
    if files and "forget" not in files:
        raise StageError(f"{folder}: expected {FILES['forget']} too, got {files.popitem()[1].name} alone")
    return files


def filed_questions(folder: Path, template: str) -> dict[str, list[Question]]:
    """The questions of TOFU's files by group; empty if none is in the folder."""
    return {group: read_questions(path, template) for group, path in question_files(folder).items()}


def read_questions(path: Path, template: str) -> list[Question]:
    """The questions of one of TOFU's files: question, answer, perturbed_answer and, if there, paraphrased_answer.

    template: holds {question}. Raises StageError at `path:line`, or if there are none.
    """
    questions: list[Question] = []
    for line, row in numbered_jsonl(path, {"question": str, "answer": str, "perturbed_answer": list}):
        texts = [row["answer"], row.get("paraphrased_answer") or row["answer"], *row["perturbed_answer"]]
        if not row["perturbed_answer"] or not all(isinstance(text, str) and text.strip() for text in texts):
            raise StageError(
                f"{path}:{line}: expected a question, an answer and at least one perturbed answer, got an empty one"
            )
        prompt = template.replace("{question}", row["question"].strip())
        answer, paraphrase, *wrong = (text.strip() for text in texts)
        questions.append(Question(f"{path.stem} {len(questions)}", prompt, answer, paraphrase, wrong, cloze=False))
    if not questions:
        raise StageError(f"{path}: expected at least one question, got none")
    return questions


def candidates(question: Question) -> list[str]:
    """The answers whose probability is computed: the true one, its paraphrase, the wrong ones."""
    return list(dict.fromkeys([question.answer, question.paraphrase, *question.wrong]))


def written_answer(question: Question, text: str) -> str:
    """The model's answer in its continuation: for a cloze as many words as the true answer has, for a question the
    first line.
    """
    if question.cloze:
        return " ".join(text.split()[: len(question.answer.split())])
    return next(iter(text.strip().splitlines()), "")
