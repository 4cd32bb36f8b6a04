"""The prompts and names that a model is evaluated on, as the stages read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lethe.core.errors import StageError
from lethe.core.tables import read_csv
from lethe.evaluation.familiarity import name_matcher
from lethe.evaluation.name_tokens import content_ids, first_tokens
from lethe.inference.decoding import prompt_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


NAMES_HEADER = ("name", "unique")


class Prompt(NamedTuple):
    """A prompt as the models read it."""

    id: int
    text: str
    references: list[str]
    tokens: list[int]
    content: set[int]  # next tokens that leak a name


def read_names(path: Path) -> dict[str, bool]:
    """Name -> True if it is unique to the forget set. Raises StageError for an invalid row."""
    rows = read_csv(path, NAMES_HEADER, unique=("name",), filled=NAMES_HEADER)
    for row in rows:
        if row["unique"] not in ("yes", "no"):
            raise StageError(f"{path}: {row['name']}: unique: expected yes or no, got {row['unique']}")
    return {row["name"]: row["unique"] == "yes" for row in rows}


def prepared(
    rows: Sequence[Mapping[str, Any]],
    names: Mapping[str, bool],
    distinctive: set[int],
    tokenizer: PreTrainedTokenizerFast,
    chat_template: bool,
) -> list[Prompt]:
    """Every prompt's token ids, and the next tokens that leak a name which the prompt does not contain.

    distinctive: ids from `name_tokens.distinctive_tokens`.
    """
    matcher = name_matcher(names)
    starts = first_tokens(tokenizer, sorted({*names, *(name for row in rows for name in row["references"])}))
    prompts = []
    for row in rows:
        given = matcher.exact.terms_in(row["prompt"])
        content = content_ids(starts, {*names, *row["references"]}, given, distinctive)
        tokens = prompt_ids(tokenizer, row["prompt"], chat_template)
        prompts.append(Prompt(row["id"], row["prompt"], row["references"], tokens, content))
    return prompts


def check_lengths(prompts: Sequence[Prompt], room: int) -> None:
    """Raise StageError for the first prompt that leaves no room for its completion in the model's context."""
    for prompt in prompts:
        if len(prompt.tokens) > room:
            raise StageError(
                f"data/prompts.jsonl: prompt {prompt.id}: expected at most {room} tokens, the model's context "
                f"less evaluate.new_tokens, got {len(prompt.tokens)}; shorten it or lower prompt.words"
            )
