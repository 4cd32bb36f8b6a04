"""How far reinforcement raised the probability of the forget text's terms: the models' evidence for them."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from heapq import heappush, heappushpop
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lethe.anchors.candidates import Candidate
from lethe.core.conversation import has_conversations
from lethe.models.checkpoints import load_model, quick_dtype
from lethe.models.conversations import text_tokenizer
from lethe.models.output_head import headless
from lethe.models.tokenization import spelled
from lethe.text.matching import Found, TermFinder
from lethe.text.streaming import read_batches, read_facts

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

OCCURRENCES = 20  # of a term, enough to measure its rise
BATCH_TOKENS = 8192  # of one forward pass
CHUNK_LOGITS = 1 << 22  # float32 logits held at a time: 16 MB


class Index(NamedTuple):
    """Where the blocks lie in the text: 24 bytes a block, without its tokens."""

    document: np.ndarray  # int32 [N], ascending
    end: np.ndarray  # int64 [N], the character of the document where the block ends
    length: np.ndarray  # int32 [N], real tokens


class Sighting(NamedTuple):
    """A term in the text, and the rows of the blocks that hold its first and its last character."""

    found: Found
    first_row: int
    last_row: int


class Occurrences(NamedTuple):
    """Terms in chosen blocks, in the order of the text: number i is tokens[row[i], first[i] : last[i] + 1]."""

    term: np.ndarray  # int32 [M], number of the term
    row: np.ndarray  # int32 [M]
    first: np.ndarray  # int32 [M]
    last: np.ndarray  # int32 [M]


def read_index(path: Path) -> Index:
    """The index of data/blocks.parquet."""
    columns = ("document", "end", "length")
    batches = [[batch[name].to_numpy() for name in columns] for batch in read_batches(path, columns)]
    return Index(*(np.concatenate(column) for column in zip(*batches, strict=True)))


def sightings(finder: TermFinder, number: int, text: str, index: Index) -> Iterator[Sighting]:
    """The finder's terms in document `number`, in their order."""
    start, stop = np.searchsorted(index.document, [number, number + 1])
    ends = index.end[start:stop]
    found = finder.find(text)
    # a token belongs to the block in which it ends: the first that ends after the character, or at it
    firsts = start + np.searchsorted(ends, [hit.start for hit in found], side="right")
    lasts = start + np.searchsorted(ends, [hit.end for hit in found], side="left")
    yield from map(Sighting, found, firsts.tolist(), lasts.tolist())


def whole_rows(finder: TermFinder, documents: Iterable[tuple[int, str]], index: Index) -> Iterator[tuple[str, int]]:
    """(term, row) of every occurrence that one block holds as a whole, in the order of the text."""
    for number, text in documents:
        for found, first, last in sightings(finder, number, text, index):
            if first == last:
                yield found.term, first


def rows_to_read(whole: Callable[[], Iterable[tuple[str, int]]], blocks: int, seed: int) -> np.ndarray:
    """Enough blocks, drawn at random, for OCCURRENCES of every term, or all it has; int64, ascending.

    whole: gives `whole_rows`, iterated twice, because the drawn blocks are known only after the first pass. In the
    order of the draw a block is read if one of its terms has not yet been seen often enough. Until then every block
    with the term is read, so its first OCCURRENCES are all that has to be held.
    """
    holds = np.zeros(blocks, dtype=bool)
    for _, row in whole():
        holds[row] = True
    drawn = np.random.default_rng(seed).permutation(np.flatnonzero(holds))
    place = np.zeros(blocks, np.int64)
    place[drawn] = np.arange(len(drawn))
    first: dict[str, list[int]] = {}  # term -> heap of the negative places of its first occurrences
    for term, row in whole():
        heap = first.setdefault(term, [])
        (heappush if len(heap) < OCCURRENCES else heappushpop)(heap, -int(place[row]))
    places = sorted({-negative for heap in first.values() for negative in heap})
    return np.sort(drawn[np.array(places, np.int64)])


def find_occurrences(
    finder: TermFinder,
    numbers: Mapping[str, int],
    documents: Iterable[tuple[int, str]],
    rows: np.ndarray,
    index: Index,
    tokenizer: Tokenizer | PreTrainedTokenizerFast,
) -> Occurrences:
    """Where these rows of the blocks hold the terms. A term cut by the end of a block is left out.

    numbers: term -> its number. Only documents with such a row are tokenised. A block's first token is left out too:
    nothing predicts it. Raises ValueError if the blocks are not made of these documents.
    """
    columns = [array("i") for _ in Occurrences._fields]
    for number, text in documents:
        start, stop = np.searchsorted(index.document, [number, number + 1])
        chosen = set(rows[slice(*np.searchsorted(rows, [start, stop]))].tolist())
        if not chosen:
            continue
        first_ids, _, ends_of, _ = spelled(tokenizer, text)
        lead, ends = len(first_ids), np.asarray(ends_of)
        before = np.concatenate([[0], np.cumsum(index.length[start:stop] - lead)])  # tokens of the text
        if before[-1] != len(ends):
            raise ValueError(f"document {number} of {len(ends)} tokens, blocks of {before[-1]}")
        for found, row, last_row in sightings(finder, number, text, index):
            if row == last_row and row in chosen:
                first = np.searchsorted(ends, found.start, side="right") - before[row - start] + lead
                last = np.searchsorted(ends, found.end, side="left") - before[row - start] + lead
                if first > 0:
                    for column, value in zip(columns, (numbers[found.term], row, first, last), strict=True):
                        column.append(int(value))
    return Occurrences(*(np.frombuffer(column, np.int32) for column in columns))


def token_batches(path: Path, rows: np.ndarray, block_tokens: int) -> Iterator[np.ndarray]:
    """The tokens of these rows of data/blocks.parquet, int32 [B, T], about BATCH_TOKENS at a time."""
    at_once = max(1, BATCH_TOKENS // block_tokens)
    waiting, seen = np.empty((0, block_tokens), np.int32), 0
    for batch in read_batches(path, ("tokens",)):
        wanted = rows[slice(*np.searchsorted(rows, [seen, seen + len(batch)]))] - seen
        seen += len(batch)
        tokens = batch["tokens"].flatten().to_numpy().reshape(-1, block_tokens)
        waiting = np.concatenate([waiting, tokens[wanted]])
        while len(waiting) >= at_once:
            yield waiting[:at_once]
            waiting = waiting[at_once:]
    if len(waiting):
        yield waiting


def log_probabilities(model: PreTrainedModel, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Batch by batch, float32 [B, T]: the log-probability of every token after those before it; NaN for the first.

    batches: int32 [B, T], padded on the right. Full logits exist for a few positions at a time only.
    """
    import torch

    with headless(model) as head, torch.inference_mode():
        for tokens in batches:
            ids = torch.from_numpy(tokens).long().to(model.device)
            hidden = model(input_ids=ids, use_cache=False).logits[:, :-1].flatten(0, 1)  # [B * (T - 1), d]
            parts = []
            rows = max(1, CHUNK_LOGITS // head.weight.shape[0])
            for some, wanted in zip(hidden.split(rows), ids[:, 1:].flatten().split(rows), strict=True):
                logits = head(some).float()
                parts.append(logits.gather(1, wanted[:, None])[:, 0] - logits.logsumexp(dim=1))
            scores = torch.cat(parts).view(len(ids), -1)
            yield torch.nn.functional.pad(scores, (1, 0), value=torch.nan).cpu().numpy()


def scores_of(found: Occurrences, rows: np.ndarray, batches: Iterable[np.ndarray]) -> np.ndarray:
    """The log-probabilities of the tokens of all occurrences, one after another: float32.

    batches: those of these rows, float32 [B, T].
    """
    length = found.last - found.first + 1
    place = np.searchsorted(rows, found.row)
    parts, seen = [np.empty(0, np.float32)], 0
    for batch in batches:
        own = slice(*np.searchsorted(place, [seen, seen + len(batch)]))
        parts.append(batch[np.repeat(place[own] - seen, length[own]), columns_of(found.first[own], length[own])])
        seen += len(batch)
    return np.concatenate(parts)


def columns_of(first: np.ndarray, length: np.ndarray) -> np.ndarray:
    """first[0], first[0] + 1 ... for length[0] columns, then those of number 1, and so on."""
    begun = np.cumsum(length) - length
    return np.arange(length.sum()) + np.repeat(first - begun, length)


def mean_rise(found: Occurrences, before: np.ndarray, after: np.ndarray) -> dict[int, float]:
    """Number of a term -> mean over its occurrences of the summed rise of its tokens, in nats.

    before, after: of `scores_of`.
    """
    rises: dict[int, array[float]] = {}
    ends = np.cumsum(found.last - found.first + 1)
    for term, start, end in zip(found.term.tolist(), [0, *ends[:-1].tolist()], ends.tolist(), strict=False):
        rise = after[start:end].astype(np.float64) - before[start:end]
        rises.setdefault(term, array("d")).append(float(rise.sum()))
    return {term: sum(values) / len(values) for term, values in rises.items()}


def measure_rises(
    found: Sequence[Candidate],
    documents: Callable[[], Iterable[tuple[int, str]]],
    blocks: Path,
    models: tuple[Path, Path],
    device: torch.device,
    seed: int,
) -> dict[str, float]:
    """Term -> rise of its log-probability from the first model to the second, nats; one model is in memory at a time.

    documents: gives the (number, text) of the blocks' documents. Held are an index of the blocks, OCCURRENCES places
    of every term, and the log-probabilities of the terms in the chosen blocks.
    """
    from tqdm import tqdm

    finder = TermFinder({form: term.forms[0] for term in found for form in term.forms})
    index, width = read_index(blocks), int(read_facts(blocks)["block_tokens"])
    rows = rows_to_read(lambda: whole_rows(finder, documents(), index), len(index.document), seed)
    if not len(rows):
        return {}
    terms = [term.forms[0] for term in found]
    numbers = {term: number for number, term in enumerate(terms)}
    tokenizer = text_tokenizer(models[0], has_conversations(blocks))
    occurrences = find_occurrences(finder, numbers, documents(), rows, index, tokenizer)
    scores = []
    for folder in models:
        model = load_model(folder, device, quick_dtype(folder, device))
        batches = log_probabilities(model, token_batches(blocks, rows, width))
        shown = tqdm(batches, desc=f"extract: {folder.name}", unit="batch")
        scores.append(scores_of(occurrences, rows, shown))
        del model
    return {terms[number]: rise for number, rise in mean_rise(occurrences, *scores).items()}
