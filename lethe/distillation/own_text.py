"""Text that the teacher writes itself, to be distilled on beside the retain text or where there is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lethe.core.errors import StageError
from lethe.core.stage import is_main_process
from lethe.inference.decoding import end_ids, sample_continuations
from lethe.models.checkpoints import load_model, load_tokenizer
from lethe.models.tokenization import leading_ids
from lethe.training.rows import pad_rows

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

    from lethe.training.rows import Rows

SHORTEST = 8  # tokens; what ends sooner teaches too little to be a row


def own_rows(teacher: Path, retain: Rows, count: int, seed: int, device: torch.device, work: Path) -> Rows:
    """Rows of `count` texts that the model folder writes, as wide as the retain rows.

    A text begins as one of the retain rows does, or, where there are none, with any token; then each token is drawn
    from the model's own distribution (temperature 1). It depends on the seed alone, not on the number of processes. A
    resumed run finds it in `work`. Raises StageError if all texts end within SHORTEST tokens.
    """
    tokenizer, kept = load_tokenizer(teacher), work / "own_text.json"
    if kept.exists():
        texts = json.loads(kept.read_text(encoding="utf-8"))
    else:
        texts = written(teacher, tokenizer, retain, count, seed, device)
        if is_main_process():
            part = kept.with_suffix(".part")
            part.write_text(json.dumps(texts), encoding="utf-8")
            part.rename(kept)
    if not texts:
        raise StageError(
            f"{teacher}: expected texts of {SHORTEST} tokens and more from it, got none; distil.own_text: 0"
        )
    return pad_rows(texts, [False] * len(texts), retain.tokens.shape[1], tokenizer)


def written(
    teacher: Path, tokenizer: PreTrainedTokenizerFast, retain: Rows, count: int, seed: int, device: torch.device
) -> list[list[int]]:
    """The token ids of the texts, without those that end too soon."""
    model = load_model(teacher, device)
    opening, ends = leading_ids(tokenizer.backend_tokenizer), end_ids(model, tokenizer)
    begun = retain.length > len(opening)
    ordinary = np.setdiff1d(np.arange(len(tokenizer)), tokenizer.all_special_ids)
    beginnings = retain.tokens[begun, len(opening)] if begun.any() else ordinary
    first = np.random.default_rng(seed).choice(beginnings, count)
    prompts = [[*opening, int(token)] for token in first]
    new_tokens = retain.tokens.shape[1] - len(opening) - 1
    found = sample_continuations(model, prompts, 1, new_tokens, ends, 1.0, seed)
    texts = [[*prompt, *continuation.tokens] for prompt, [continuation] in zip(prompts, found, strict=True)]
    return [text for text in texts if len(text) >= SHORTEST]
