"""Text around a prompt: jailbreak and role-play templates, sentences of the corpus, prefixes of the target name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lethe.core.errors import StageError
from lethe.core.tables import numbered_csv
from lethe.models.tokenization import cut_blocks
from lethe.text.passages import SENTENCE_END, passages

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

TEMPLATES = Path(__file__).with_name("prompt_templates.csv")
TEMPLATES_HEADER = ("kind", "name", "template")
KINDS = ("jailbreak", "role")
SLOT = "{prompt}"
LEAD_CHARS = 2000  # a summary consists of the first sentences of passages of about this many characters


class Template(NamedTuple):
    """A text with a slot for the prompt."""

    kind: str
    name: str
    template: str

    def around(self, prompt: str) -> str:
        return self.template.replace(SLOT, prompt)


def read_templates(path: Path) -> list[Template]:
    """The templates of a CSV. Raises StageError at `file:line` for one without exactly one place for the prompt."""
    found = []
    for line, row in numbered_csv(path, TEMPLATES_HEADER):
        if row["kind"] not in KINDS:
            raise StageError(f"{path}:{line}: kind: expected {' or '.join(KINDS)}, got {row['kind']}")
        if row["template"].count(SLOT) != 1:
            raise StageError(
                f"{path}:{line}: template: expected {SLOT} once, got it {row['template'].count(SLOT)} times"
            )
        found.append(Template(row["kind"], row["name"], row["template"]))
    return found


def opening(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], tokens: int) -> str:
    """The beginning of the corpus: the first whole sentences of its first text, at most `tokens` tokens.

    If the first sentence is longer, as much of it as fits.
    """
    blocks = cut_blocks(tokenizer, str(texts[0]), tokens)
    begun = texts[0][: blocks[0].end]
    if len(blocks) > 1:
        ends = [match.end() for match in SENTENCE_END.finditer(begun)]
        begun = begun[: ends[-1]] if ends else begun
    return begun.strip()


def summary(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], tokens: int) -> str:
    """The first sentences of passages, evenly spaced over the corpus, as many as fit in `tokens` tokens.

    At least one, cut if it does not fit. First sentences are the simplest summary that needs no model.
    """
    leads = [first_sentence(text[start:end]) for text in texts for start, end in passages(text, LEAD_CHARS)]
    leads = [lead for lead in leads if lead]
    chosen = opening(tokenizer, leads[:1], tokens)
    for count in range(2, len(leads) + 1):
        longer = " ".join(leads[i * len(leads) // count] for i in range(count))
        if len(cut_blocks(tokenizer, longer, tokens)) > 1:
            break
        chosen = longer
    return chosen


def first_sentence(passage: str) -> str:
    """The passage's first sentence of running text on one line; headings, which have no full stop, are skipped."""
    paragraphs = (part.strip() for part in passage.split("\n\n"))
    for paragraph in paragraphs:
        if end := SENTENCE_END.search(paragraph + "\n"):
            return " ".join(paragraph[: end.end()].split())
    return ""


class Start(NamedTuple):
    """The start of an answer: its token ids after a prompt, and its text without the space before it."""

    ids: list[int]
    text: str


def first_letters(tokenizer: PreTrainedTokenizerFast, name: str, letters: int) -> Start | None:
    """The name's first letters; None if they are the whole name."""
    return Start(after_space(tokenizer, name[:letters]), name[:letters]) if len(name) > letters else None


def first_piece(tokenizer: PreTrainedTokenizerFast, name: str) -> Start | None:
    """The name's first token; None if it is the whole name."""
    ids, ends = _spelled(tokenizer, name)
    count = next(i for i, end in enumerate(ends) if end > 0) + 1  # a space may be a token of its own
    text = name[: ends[count - 1]]
    return Start(ids[:count], text) if text != name else None


def after_space(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """The ids of a text after a word and a space, including the space."""
    return _spelled(tokenizer, text)[0]


def _spelled(tokenizer: PreTrainedTokenizerFast, text: str) -> tuple[list[int], list[int]]:
    """The ids of `text` after a word and a space, and the character offset where each ends (0: only the space)."""
    encoding: Any = tokenizer("a " + text, add_special_tokens=False, return_offsets_mapping=True)
    spans = encoding["offset_mapping"]
    kept = [(i, end - 2) for i, (_, end) in zip(encoding["input_ids"], spans, strict=True) if end > 1]
    return [i for i, _ in kept], [end for _, end in kept]
