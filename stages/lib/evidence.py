"""How far further training on the forget text raised the probability of its terms: the models' evidence for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stages.lib.blocks import leading_ids, spell
from stages.lib.models import headless
from stages.lib.terms import TermFinder

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel

    from stages.lib.corpora import Blocks

OCCURRENCES = 20  # of a term are enough to tell how far it rose
BATCH_TOKENS = 8192  # of one forward pass
CHUNK_LOGITS = 1 << 22  # float32 logits held at a time: 16 MB


class Occurrence(NamedTuple):
    """A term in a block: its tokens are blocks.tokens[row, first : last + 1]."""

    term: str
    row: int
    first: int
    last: int


def find_occurrences(
    forms: Mapping[str, str], texts: Sequence[str], backend: Tokenizer, blocks: Blocks
) -> list[Occurrence]:
    """Where the blocks hold the terms. A term cut by the end of a block is left out.

    forms: surface form -> term; texts: the documents of the blocks, in the blocks' order.
    Raises ValueError if the blocks are not made of these texts.
    """
    finder, lead = TermFinder(forms), len(leading_ids(backend))
    rows, places = where_tokens_are(blocks.length, lead)
    found = []
    before = 0
    for text in texts:
        ids, last_characters = spell(backend, text)
        ends = np.asarray(last_characters)
        for hit in finder.find(text):
            first = before + np.searchsorted(ends, hit.start, side="right")  # the token that holds the first character
            last = before + np.searchsorted(ends, hit.end, side="left")  # ... and the last
            if rows[first] == rows[last]:
                found.append(Occurrence(hit.term, int(rows[first]), int(places[first]), int(places[last])))
        before += len(ids)
    if before != len(rows):
        raise ValueError(f"texts of {before} tokens, blocks of {len(rows)}")
    return found


def where_tokens_are(length: np.ndarray, lead: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and column in the blocks of every token of the text, in its order. lead: tokens put before each block."""
    rows = np.repeat(np.arange(len(length)), length - lead)
    columns = np.concatenate([np.arange(lead, end) for end in length] or [np.empty(0, dtype=np.int64)])
    return rows, columns


def rows_to_read(found: Sequence[Occurrence], seed: int) -> list[int]:
    """Enough blocks, drawn at random, for OCCURRENCES of every term, or all it has."""
    terms: dict[int, list[str]] = {}
    for occurrence in found:
        terms.setdefault(occurrence.row, []).append(occurrence.term)
    seen: dict[str, int] = {}
    chosen = []
    for row in np.random.default_rng(seed).permutation(sorted(terms)):
        if any(seen.get(term, 0) < OCCURRENCES for term in terms[row]):
            chosen.append(int(row))
            for term in terms[row]:
                seen[term] = seen.get(term, 0) + 1
    return sorted(chosen)


def log_probabilities(model: PreTrainedModel, tokens: np.ndarray) -> Iterator[np.ndarray]:
    """Batch by batch, float32 [B, T]: the log-probability of every token after those before it; NaN for the first.

    tokens: int32 [N, T], padded on the right. Full logits exist for a few positions at a time only.
    """
    import torch

    batch = max(1, BATCH_TOKENS // tokens.shape[1])
    with headless(model) as head, torch.inference_mode():
        for start in range(0, len(tokens), batch):
            ids = torch.from_numpy(tokens[start : start + batch]).long().to(model.device)
            hidden = model(input_ids=ids, use_cache=False).logits[:, :-1].flatten(0, 1)  # [B * (T - 1), d]
            parts = []
            rows = max(1, CHUNK_LOGITS // head.weight.shape[0])
            for some, wanted in zip(hidden.split(rows), ids[:, 1:].flatten().split(rows), strict=True):
                logits = head(some).float()
                parts.append(logits.gather(1, wanted[:, None])[:, 0] - logits.logsumexp(dim=1))
            scores = torch.cat(parts).view(len(ids), -1)
            yield torch.nn.functional.pad(scores, (1, 0), value=torch.nan).cpu().numpy()


def mean_rise(
    found: Sequence[Occurrence], rows: Sequence[int], before: np.ndarray, after: np.ndarray
) -> dict[str, float]:
    """term -> mean over its occurrences of the summed rise of its tokens, in nats.

    before, after: float32 [len(rows), T] log-probabilities of the tokens of these rows of the blocks.
    """
    place = {row: index for index, row in enumerate(rows)}
    rises: dict[str, list[float]] = {}
    for term, row, first, last in found:
        if row in place and first > 0:  # nothing was predicted of a block's first token
            tokens = slice(first, last + 1)
            rise = after[place[row], tokens].astype(np.float64) - before[place[row], tokens]
            rises.setdefault(term, []).append(float(rise.sum()))
    return {term: sum(values) / len(values) for term, values in rises.items()}
