"""A labelled text as a question to a language model: template, label words and token ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lethe.core.errors import StageError
from lethe.core.tables import read_json, write_json
from lethe.models.tokenization import leading_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from lethe.classification.dataset import Labelled

TASK = "task.json"


class Asking(NamedTuple):
    """The template and label words of a task, saved with the model that was trained on it."""

    template: str  # holds {text} and ends with {label}
    labels: dict[str, str]  # label of the table -> its word


class Question(NamedTuple):
    """The token ids of the question and of its answer."""

    prompt: list[int]
    answer: list[int]


def check_template(template: str) -> None:
    """Raise ValueError unless the template holds {text} once and ends with its only {label}."""
    if template.count("{text}") != 1 or template.count("{label}") != 1 or not template.endswith("{label}"):
        raise ValueError(f"expected one {{text}} and, at the end, one {{label}}, got {template!r}")


def write_asking(asking: Asking, folder: Path) -> None:
    """Write the template and the label words into a model folder."""
    write_json(asking._asdict(), folder / TASK)


def read_asking(folder: Path) -> Asking:
    """The template and label words of the folder's model. Raises StageError if it was trained on no task."""
    return Asking(**read_json(folder / TASK))


def check_labels(rows: Sequence[Labelled], labels: Mapping[str, str]) -> None:
    """Raise StageError if a label of the rows has no word, or a word no row."""
    found = {row.label for row in rows}
    if found != set(labels):
        raise StageError(
            f"params.yaml: specialise.labels: expected a word for each label of the table: {', '.join(sorted(found))}, "
            f"got words for {', '.join(sorted(labels))}"
        )


def question_text(template: str, text: str) -> str:
    """The template before the label, filled with the text and without trailing white space."""
    return template.replace("{text}", text).removesuffix("{label}").rstrip()


def prompt_tokens(tokenizer: PreTrainedTokenizerFast, template: str, text: str) -> list[int]:
    """The question's token ids, including what the tokenizer puts before a text (BOS)."""
    first = leading_ids(tokenizer.backend_tokenizer)
    return [*first, *tokenizer(question_text(template, text), add_special_tokens=False)["input_ids"]]


def answer_tokens(tokenizer: PreTrainedTokenizerFast, template: str, words: Sequence[str]) -> dict[str, list[int]]:
    """The token ids of each word after the question.

    Raises StageError for a word without a token, one that merges with the question's last token, or one with the same
    tokens as another.
    """
    plain = prompt_tokens(tokenizer, template, "a")
    first = leading_ids(tokenizer.backend_tokenizer)
    ids: dict[str, list[int]] = {}
    for word in words:
        text = template.replace("{text}", "a").replace("{label}", word)
        whole = [*first, *tokenizer(text, add_special_tokens=False)["input_ids"]]
        where = f"params.yaml: specialise.template: the label {word!r}"
        if whole[: len(plain)] != plain:
            raise StageError(
                f"{where}: expected a label that begins a token of its own, got one that merges with the text before "
                "it; add a space"
            )
        ids[word] = whole[len(plain) :]
        if not word.strip() or not ids[word]:
            raise StageError(f"{where}: expected a word of at least one token, got none")
        same = next((other for other in ids if other != word and ids[other] == ids[word]), None)
        if same is not None:
            raise StageError(f"{where}: expected tokens that differ between labels, got those of {same!r}")
    return ids


def questions(
    tokenizer: PreTrainedTokenizerFast, template: str, rows: Sequence[Labelled], answers: Sequence[Sequence[int]]
) -> list[Question]:
    """Each row as a question with the given answer's tokens."""
    return [
        Question(prompt_tokens(tokenizer, template, row.text), list(answer))
        for row, answer in zip(rows, answers, strict=True)
    ]


def check_length(found: Sequence[Question], rows: Sequence[Labelled], room: int, limit: str, remedy: str) -> None:
    """Raise StageError for the first question that, with its answer, is longer than `room` tokens."""
    for question, row in zip(found, rows, strict=True):
        length = len(question.prompt) + len(question.answer)
        if length > room:
            raise StageError(
                f"data/task.parquet: row {row.row}: expected at most {room} tokens, the {limit}, got {length}; {remedy}"
            )
