"""What to attack with by hand: the templates, contexts and prompts of the stage `attack`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lethe.attacks.params import AttackParams
from lethe.attacks.prompt_templates import SLOT, TEMPLATES, opening, read_templates, summary
from lethe.core.corpus import training_documents
from lethe.core.errors import StageError
from lethe.core.params import read_params
from lethe.core.tables import numbered_jsonl

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CORPUS = Path("data/corpus.parquet")
PROMPTS = Path("data/prompts.jsonl")
SHOWN = 24  # prompts to choose from


def examples(path: Path = PROMPTS) -> list[dict[str, Any]]:
    """Prompts of the evaluation to choose from, evenly spaced, with the name that is due next; none without a file."""
    if not path.exists():
        return []
    rows = [row for _, row in numbered_jsonl(path, {"id": int, "prompt": str})]
    count = min(SHOWN, len(rows))
    chosen = [rows[(2 * i + 1) * len(rows) // (2 * count)] for i in range(count)]
    return [{"id": row["id"], "prompt": row["prompt"], "due": row.get("due") or ""} for row in chosen]


def offered() -> dict[str, Any]:
    """The templates, with the place where the prompt goes, and the numbers that the stage attacks with."""
    templates = [{"name": f"{one.kind}: {one.name}", "text": one.template} for one in read_templates(TEMPLATES)]
    found: dict[str, Any] = {"templates": templates, "slot": SLOT, "examples": examples()}
    try:
        params = read_params("attack", AttackParams)
    except StageError as error:
        return found | {"samples": None, "problem": str(error)}
    sample = params.sample
    return found | {"samples": {"completions": sample.completions, "temperature": sample.temperature}, "problem": None}


def contexts(tokenizer: PreTrainedTokenizerFast, room: int) -> dict[str, str]:
    """Sentences of the corpus to put before a prompt, as many as the stage takes, or as fit into `room` tokens.

    Raises StageError without a corpus.
    """
    params = read_params("attack", AttackParams)
    if not CORPUS.exists():
        raise StageError(f"{CORPUS}: no such file; `dvc checkout` restores it")
    texts = [text for text, _ in training_documents(CORPUS, ["forget"])]
    if not texts:
        raise StageError(f"{CORPUS}: expected forget text, got none")
    tokens = min(params.context_tokens, room)
    return {"opening": opening(tokenizer, texts, tokens), "summary": summary(tokenizer, texts, tokens)}
