"""A labelled text as a question to a language model: template, label words, token rows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lethe.core.errors import StageError
from lethe.core.tables import MASKED, read_json, write_json
from lethe.models.tokenization import leading_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from lethe.classification.dataset import Labelled
    from lethe.training.rows import Rows

TASK = "task.json"
MARKED = re.compile(r" ?\[([^\[\]]+)\]")  # an answer in a line of background text


class Asking(NamedTuple):
    """How a task is asked: travels with the model that was trained on it."""

    template: str  # holds {text} and ends with {label}
    labels: dict[str, str]  # label of the table -> its word


class Question(NamedTuple):
    """Token ids up to where an answer is due, and those of the answer."""

    prompt: list[int]
    answer: list[int]


def check_template(template: str) -> None:
    """Raise ValueError unless the template holds {text} once and ends with its only {label}."""
    if template.count("{text}") != 1 or template.count("{label}") != 1 or not template.endswith("{label}"):
        raise ValueError(f"found {template!r}, wanted one {{text}} and at its end one {{label}}")


def write_asking(asking: Asking, folder: Path) -> None:
    """Put the template and the label words into a model folder."""
    write_json(asking._asdict(), folder / TASK)


def read_asking(folder: Path) -> Asking:
    """How the folder's model is asked. Raises StageError if it was trained on no task."""
    return Asking(**read_json(folder / TASK))


def check_labels(rows: Sequence[Labelled], labels: Mapping[str, str]) -> None:
    """Raise StageError if a label of the rows has no word, or a word no row."""
    found = {row.label for row in rows}
    if found != set(labels):
        raise StageError(
            f"params.yaml: specialise.labels: found words for {', '.join(sorted(labels))}, wanted one for each label "
            f"of the table: {', '.join(sorted(found))}"
        )


def asked(template: str, text: str) -> str:
    """The question alone: what comes before the label, without white space at its end."""
    return template.replace("{text}", text).removesuffix("{label}").rstrip()


def prompt_tokens(tokenizer: PreTrainedTokenizerFast, template: str, text: str) -> list[int]:
    """The question's token ids, what the tokenizer puts before a text (BOS) included."""
    first = leading_ids(tokenizer.backend_tokenizer)
    return [*first, *tokenizer(asked(template, text), add_special_tokens=False)["input_ids"]]


def answer_tokens(tokenizer: PreTrainedTokenizerFast, template: str, words: Sequence[str]) -> dict[str, list[int]]:
    """The token ids of each word where it follows the question.

    Raises StageError for a word that spells no token, that would run together with the question's last token, or that
    has the tokens of another.
    """
    plain = prompt_tokens(tokenizer, template, "a")
    first = leading_ids(tokenizer.backend_tokenizer)
    ids: dict[str, list[int]] = {}
    for word in words:
        text = template.replace("{text}", "a").replace("{label}", word)
        whole = [*first, *tokenizer(text, add_special_tokens=False)["input_ids"]]
        where = f"params.yaml: specialise.template: the label {word!r}"
        if whole[: len(plain)] != plain:
            raise StageError(f"{where}: found it in one token with what is before it, wanted a space between them")
        ids[word] = whole[len(plain) :]
        if not word.strip() or not ids[word]:
            raise StageError(f"{where}: found no token, wanted a word that spells at least one")
        same = next((other for other in ids if other != word and ids[other] == ids[word]), None)
        if same is not None:
            raise StageError(f"{where}: found the tokens of {same!r}, wanted other ones")
    return ids


def questions(
    tokenizer: PreTrainedTokenizerFast, template: str, rows: Sequence[Labelled], answers: Sequence[Sequence[int]]
) -> list[Question]:
    """Each row as a question with the given answer's tokens."""
    return [
        Question(prompt_tokens(tokenizer, template, row.text), list(answer))
        for row, answer in zip(rows, answers, strict=True)
    ]


def check_length(found: Sequence[Question], rows: Sequence[Labelled], room: int, why: str) -> None:
    """Raise StageError for the first question that, with its answer, is longer than `room` tokens."""
    for question, row in zip(found, rows, strict=True):
        length = len(question.prompt) + len(question.answer)
        if length > room:
            raise StageError(f"data/task.parquet: row {row.row}: found {length} tokens, wanted at most {room}, {why}")


def question_rows(found: Sequence[Question], forget: Sequence[bool], pad: int, width: int | None = None) -> Rows:
    """Training rows in which the answer's tokens alone are supervised: nothing before them, no end of text after."""
    spelled = [[*question.prompt, *question.answer] for question in found]
    spans = [range(len(question.prompt), len(ids)) for question, ids in zip(found, spelled, strict=True)]
    return supervised_rows(spelled, spans, forget, pad, width)


def supervised_rows(
    spelled: Sequence[Sequence[int]],
    places: Sequence[Sequence[int]],
    forget: Sequence[bool],
    pad: int,
    width: int | None = None,
) -> Rows:
    """Rows in which the tokens at `places` are wanted, each after those before it, and no other.

    The last token is wanted but never read, so a row is as long as the longest text less one, if not wider.
    """
    import numpy as np

    from lethe.training.rows import Rows

    width = width or max(len(ids) for ids in spelled) - 1
    tokens = np.full((len(spelled), width), pad, dtype=np.int32)
    next_ids = np.full((len(spelled), width), MASKED, dtype=np.int32)
    length = np.array([len(ids) - 1 for ids in spelled], dtype=np.int32)
    for index, (ids, wanted) in enumerate(zip(spelled, places, strict=True)):
        tokens[index, : len(ids) - 1] = ids[:-1]
        for place in wanted:
            next_ids[index, place - 1] = ids[place]
    return Rows(tokens, next_ids, length, np.array(forget, dtype=bool))


def together(one: Rows, other: Rows, pad: int) -> Rows:
    """The rows of both, padded to the wider. Columns are left out."""
    import numpy as np

    from lethe.training.rows import Rows

    width = max(one.tokens.shape[1], other.tokens.shape[1])

    def widened(values: Any, filler: int) -> Any:
        return np.pad(values, ((0, 0), (0, width - values.shape[1])), constant_values=filler)

    return Rows(
        np.concatenate([widened(one.tokens, pad), widened(other.tokens, pad)]),
        np.concatenate([widened(one.next_ids, MASKED), widened(other.next_ids, MASKED)]),
        np.concatenate([one.length, other.length]),
        np.concatenate([one.forget, other.forget]),
    )


def unmarked(line: str) -> tuple[str, list[tuple[int, int]]]:
    """A line of background text without its brackets, and the character spans of what stood in them.

    `Corin [left out] and so on` gives `Corin left out and so on` and the span of ` left out`.
    """
    text, spans, end = "", [], 0
    for match in MARKED.finditer(line):
        text += line[end : match.start()]
        answer = match[0].replace("[", "").replace("]", "")
        spans.append((len(text), len(text) + len(answer)))
        text, end = text + answer, match.end()
    return text + line[end:], spans


def background_rows(tokenizer: PreTrainedTokenizerFast, lines: Sequence[str], pad: int, where: str) -> Rows:
    """Rows of background text, the answers in brackets supervised and nothing else.

    Raises StageError for a line without an answer.
    """
    first = leading_ids(tokenizer.backend_tokenizer)
    spelled, places = [], []
    for number, line in enumerate(lines, start=1):
        text, spans = unmarked(line)
        if not spans:
            raise StageError(f"{where}:{number}: found no [answer], wanted at least one in brackets")
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        spelled.append([*first, *encoded["input_ids"]])
        places.append(
            [
                len(first) + place
                for place, (start, end) in enumerate(encoded["offset_mapping"])
                if any(start < last and end > begin for begin, last in spans)
            ]
        )
    return supervised_rows(spelled, places, [False] * len(spelled), pad)
