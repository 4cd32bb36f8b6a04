"""A passage as each model reads it: the probability of every token, and of every name of the corpus in it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from threading import Lock
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from lethe.app.marks import Marker
from lethe.app.shelf import Reader
from lethe.core.params import StageParams

LONGEST = 20_000  # characters
WIDEST = 2048  # tokens read at once


class Passage(StageParams):
    """A text to read with several models."""

    models: list[str]
    text: Annotated[str, Field(min_length=1, max_length=LONGEST)]


class Piece(NamedTuple):
    """text[start:end] is a token, or several that share a character."""

    start: int
    end: int
    score: float | None  # log-probability, nats; None where nothing comes before
    hit: bool  # it is what the model itself would write


def heat(passage: Passage, readers: Mapping[str, Reader], lock: Lock, marker: Marker) -> dict[str, Any]:
    """What every model makes of the passage, and of the names in it."""
    pieces = {name: read(reader, passage.text, lock) for name, reader in readers.items()}
    shown = {
        name: {
            "tokens": [[passage.text[one.start : one.end], probability(one.score), one.hit] for one in own],
            "perplexity": perplexity(own),
        }
        for name, own in pieces.items()
    }
    names = [
        {"name": term, "text": passage.text[start:end], "at": start}
        | {"p": {name: probability(score_of(own, start, end)) for name, own in pieces.items()}}
        for start, end, term, _ in marker.hits("", passage.text)
    ]
    return {"models": shown, "names": names}


def read(reader: Reader, text: str, lock: Lock) -> list[Piece]:
    """The passage's tokens with their scores, each given all that comes before it, as far as the context reaches.

    A longer passage is read in windows that overlap by half, so that every token has at least that much before it.
    """
    from lethe.metrics.token_scores import tokenwise
    from lethe.models.tokenization import leading_ids, spell

    backend = reader.tokenizer.backend_tokenizer
    (ids, ends), first = spell(backend, text), leading_ids(backend)
    room = max(2, min(reader.context, WIDEST) - len(first))
    starts = range(0, max(1, len(ids) - room // 2), room // 2) if len(ids) > room else range(1)
    windows = [[*first, *ids[start : start + room]] for start in starts]
    with lock:
        found = iter(tokenwise(reader.model, [window for window in windows if len(window) > 1]))
    scores: list[tuple[float | None, bool]] = [(None, False)] * len(ids)
    done = 0
    for start, window in zip(starts, windows, strict=True):
        if len(window) < 2:
            continue
        own = next(found)
        for i in range(max(done, start + (not first)), start + len(window) - len(first)):
            place = len(first) + i - start - 1
            scores[i] = float(own.chosen[place]), bool(own.hit[place])
        done = start + len(window) - len(first)
    return merged(list(ends), scores)


def merged(ends: list[int], scores: list[tuple[float | None, bool]]) -> list[Piece]:
    """A piece for every token; tokens that end with the same character are one, of their common probability."""
    pieces: list[Piece] = []
    for end, (score, hit) in zip(ends, scores, strict=True):
        start = pieces[-1].end if pieces else 0
        if pieces and end <= start:
            last = pieces[-1]
            both = None if last.score is None or score is None else last.score + score
            pieces[-1] = last._replace(score=both, hit=last.hit and hit)
        else:
            pieces.append(Piece(start, end, score, hit))
    return pieces


def score_of(pieces: list[Piece], start: int, end: int) -> float | None:
    """The log-probability of text[start:end] by the pieces that hold it; None where one of them has none."""
    scores = [one.score for one in pieces if one.start < end and start < one.end]
    return None if None in scores else math.fsum(score for score in scores if score is not None)


def probability(score: float | None) -> float | None:
    """exp of a log-probability, to four digits."""
    return None if score is None else float(f"{math.exp(score):.4g}")


def perplexity(pieces: list[Piece]) -> float | None:
    """exp of the mean loss of the pieces; None where none has a score."""
    scores = [one.score for one in pieces if one.score is not None]
    return float(f"{math.exp(min(-math.fsum(scores) / len(scores), 100.0)):.4g}") if scores else None
