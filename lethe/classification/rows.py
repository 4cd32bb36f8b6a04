"""Training rows of a task: questions and background text in which only the answers are supervised."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lethe.classification.prompts import answer_tokens, check_length, questions
from lethe.core.errors import StageError
from lethe.core.tables import MASKED
from lethe.models.tokenization import leading_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from lethe.classification.dataset import Labelled
    from lethe.classification.prompts import Asking, Question
    from lethe.training.rows import Rows

MARKED = re.compile(r" ?\[([^\[\]]+)\]")  # an answer in a line of background text


def task_rows(
    tokenizer: PreTrainedTokenizerFast, asking: Asking, known: Sequence[Labelled], context: int | None
) -> Rows:
    """Rows in which every text is followed by its label's word. context: the model's; None: unlimited.

    Raises StageError for a word without a token, or a text too long for the model.
    """
    ids = answer_tokens(tokenizer, asking.template, list(asking.labels.values()))
    asked = questions(tokenizer, asking.template, known, [ids[asking.labels[row.label]] for row in known])
    if context:
        check_length(asked, known, context, "model's context", "shorten the text or the template")
    return question_rows(asked, [row.side == "forget" for row in known], tokenizer.pad_token_id)


def question_rows(found: Sequence[Question], forget: Sequence[bool], pad: int, width: int | None = None) -> Rows:
    """Training rows in which only the answer's tokens are supervised, without an end of text."""
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
    """Rows in which only the tokens at `places` are supervised.

    The last token is a label but never an input, so the width is that of the longest text minus one, or `width`.
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


def concatenated(one: Rows, other: Rows, pad: int) -> Rows:
    """The rows of both, padded to the larger width, without columns."""
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


def split_answers(line: str) -> tuple[str, list[tuple[int, int]]]:
    """A line of background text without its brackets, and the character spans of their contents.

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
        text, spans = split_answers(line)
        if not spans:
            raise StageError(f"{where}:{number}: expected at least one [answer] in brackets, got none")
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


def read_background(path: Path) -> list[str]:
    """The lines of background text to train on with the table, each with answers in [brackets], without empty lines.

    A path that is not a .txt file (a folder or a table) means no background text.
    """
    if path.suffix != ".txt":
        return []
    try:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise StageError(f"{path}: not UTF-8; expected a UTF-8 text file") from None
