"""Questions to several models at once: what each writes, token by token, with the names of the corpus marked."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field, NonNegativeInt

from lethe.app.marks import Marker
from lethe.app.shelf import Reader
from lethe.attacks.leaks import UNREADABLE
from lethe.attacks.prompt_templates import after_space
from lethe.core.errors import StageError
from lethe.core.params import StageParams

if TYPE_CHECKING:
    from torch import Tensor

    from lethe.inference.kv_cache import Prefill

Event = dict[str, Any]  # a line of an answer's stream
EVERY = 0.03  # seconds between two events of one model: more would only be drawn over
WORDS = 8  # of the likeliest next words
WORD_TOKENS = 6  # in which a word has to end
FIRST_WORD = re.compile(r"\s*(?:[^\W_]+(?:['’-][^\W_]+)*|\S)")


class Sampling(StageParams):
    """How the next token is chosen."""

    temperature: Annotated[float, Field(ge=0, le=10)]  # 0: the likeliest
    top_k: NonNegativeInt  # among the likeliest; 0: among all
    top_p: Annotated[float, Field(gt=0, le=1)]  # among the likeliest that have this much probability together
    new_tokens: Annotated[int, Field(ge=1, le=2048)]
    seed: NonNegativeInt
    samples: Annotated[int, Field(ge=1, le=64)]  # completions of one prompt


class Turn(StageParams):
    """What was said before in a chat."""

    role: Literal["user", "assistant"]
    content: str


class Question(StageParams):
    """A prompt for several models, with what an attack puts around it."""

    models: list[str]
    prompt: Annotated[str, Field(min_length=1, max_length=100_000)]
    chat: bool
    earlier: dict[str, list[Turn]]  # model -> the chat so far
    start: Annotated[str, Field(max_length=1000)]  # how the answer begins, "" for an answer that the model begins
    sampling: Sampling


class Asked(NamedTuple):
    """A prompt as one model reads it."""

    ids: list[int]  # of the prompt, and of the answer's start
    text: str  # what counts as given: all that was said before the answer
    start: str


def asked(question: Question, name: str, reader: Reader) -> Asked:
    """The question as a model reads it. Raises StageError if it leaves no room for the answer."""
    from lethe.inference.decoding import prompt_ids

    tokenizer, turns = reader.tokenizer, question.earlier.get(name, []) if question.chat else []
    if question.chat and tokenizer.chat_template is None:
        raise StageError("chat: expected a tokenizer with a chat template, got one without")
    if turns:
        said = [{"role": turn.role, "content": turn.content} for turn in turns]
        said.append({"role": "user", "content": question.prompt})
        encoded: Any = tokenizer.apply_chat_template(said, add_generation_prompt=True, return_dict=True)
        ids = encoded["input_ids"]
    else:
        ids = prompt_ids(tokenizer, question.prompt, question.chat)
    ids = [*ids, *(after_space(tokenizer, question.start) if question.start else [])]
    room = reader.context - question.sampling.new_tokens
    if room < 1:
        raise StageError(f"new tokens: expected fewer than {reader.context}, the context, got {reader.context - room}")
    if len(ids) > room:
        raise StageError(
            f"prompt: expected at most {room} tokens, the context less the new tokens, got {len(ids)}; shorten it"
        )
    given = "\n".join([*(turn.content for turn in turns), question.prompt])
    return Asked(ids, given, question.start)


def answers(question: Question, readers: Mapping[str, Reader], lock: Lock, marker: Marker) -> Iterator[Event]:
    """The events of all models, a step of each in turn, then the words that each expects next."""
    read: dict[str, Asked] = {}
    streams: dict[str, Iterator[Event]] = {}
    for name, reader in readers.items():
        try:
            read[name] = asked(question, name, reader)
        except StageError as error:
            yield {"model": name, "error": str(error)}
            continue
        several = question.sampling.samples > 1
        streams[name] = (sampled if several else written)(reader, read[name], question.sampling, lock, marker)
    while streams:
        for name in list(streams):
            event = step(streams[name])
            if event is None or "error" in event:
                del streams[name]
            if event is not None:
                read = {own: found for own, found in read.items() if own != name or "error" not in event}
                yield {"model": name} | event
    for name, own in read.items():
        yield {"model": name, "next": next_words(readers[name], own, lock, marker)}
    yield {"end": True}


def step(stream: Iterator[Event]) -> Event | None:
    """A stream's next event, what stopped it, or None at its end."""
    try:
        return next(stream, None)
    except StageError as error:
        return {"error": str(error)}


def written(reader: Reader, asked: Asked, how: Sampling, lock: Lock, marker: Marker) -> Iterator[Event]:
    """The answer so far, in parts, now and then, and the whole; an empty event is a step that shows nothing."""
    from lethe.inference.decoding import texts_after

    started = shown = time.monotonic()
    first: float | None = None
    ids: list[int] = []
    ended, text = False, asked.start
    for token in tokens(reader, asked.ids, how, lock):
        if token is None:
            ended = True
            break
        ids.append(token)
        now = time.monotonic()
        if first is not None and now - shown < EVERY:
            yield {}
            continue
        text = asked.start + texts_after(reader.tokenizer, [asked.ids], [ids])[0]
        if not text.endswith(UNREADABLE):
            first, shown = first or now - started, now
            yield {"parts": marker.parts(asked.text, text)[0]}
    text = asked.start + texts_after(reader.tokenizer, [asked.ids], [ids])[0]
    parts, leaked = marker.parts(asked.text, text, ended)
    taken = round(time.monotonic() - started, 2)
    first_token = None if first is None else round(first, 3)
    yield {
        "parts": parts, "text": text, "leaked": leaked, "tokens": len(ids), "ended": ended, "seconds": taken,
        "first": first_token, "done": True,
    }  # fmt: skip


def tokens(reader: Reader, prompt: list[int], how: Sampling, lock: Lock) -> Iterator[int | None]:
    """The ids that a model writes after a prompt, one by one; None at its end of text.

    The lock is held for one pass at a time, so that several tabs write at once.
    """
    import numpy as np
    import torch

    from lethe.inference.decoding import end_ids
    from lethe.inference.kv_cache import extend, finite, prefill
    from lethe.models.output_head import headless

    model, ends = reader.model, end_ids(reader.model, reader.tokenizer)
    chances = torch.from_numpy(np.random.default_rng([how.seed, 0]).random(how.new_tokens))
    read: Prefill | None = None
    token: Tensor | None = None
    for step in range(how.new_tokens):
        with lock, torch.inference_mode(), headless(model) as head:
            read = extend(model, read, token)[1] if read and token is not None else prefill(model, [prompt])
            logits = head(read.hidden).float()
            finite(model, float(logits.sum()))
            token = chosen(logits, how, chances[step : step + 1].to(model.device))
            number = int(token)
        if number in ends:
            yield None
            return
        yield number


def chosen(logits: Tensor, how: Sampling, chance: Tensor) -> Tensor:
    """The next id, int64 [1, 1]. logits: float32 [1, V]; chance: float64 [1], uniform in [0, 1)."""
    from lethe.inference.scoring import by_chance, likeliest

    if how.temperature == 0:
        return likeliest(logits)
    return by_chance(narrowed(logits / how.temperature, how.top_k, how.top_p), chance)


def narrowed(logits: Tensor, top_k: int, top_p: float) -> Tensor:
    """The logits [1, V], minus infinity where a token is neither among the top k nor among those that make up top p."""
    import torch

    order = logits.argsort(dim=-1, descending=True, stable=True)
    probabilities = logits.gather(1, order).softmax(dim=-1).double()
    before = probabilities.cumsum(dim=-1) - probabilities  # of the likelier ones: the likeliest is always kept
    place = torch.arange(logits.shape[1], device=logits.device)
    out = (before >= top_p) | ((place >= top_k) if top_k else torch.zeros_like(place, dtype=torch.bool))
    return logits.masked_fill(torch.zeros_like(out).scatter(1, order, out), -math.inf)


def sampled(reader: Reader, asked: Asked, how: Sampling, lock: Lock, marker: Marker) -> Iterator[Event]:
    """Several completions by chance, as the attack `sample` draws them, and how many of them leak."""
    from lethe.inference.decoding import end_ids, sample_continuations, texts_after

    if how.temperature == 0 or how.top_k or how.top_p < 1:
        raise StageError("samples: expected a temperature above 0, top k 0 and top p 1 with more than one sample")
    yield {}  # so that the page shows who is at work
    started, (model, tokenizer) = time.monotonic(), reader[:2]
    ends = end_ids(model, tokenizer)
    with lock:
        [found] = sample_continuations(model, [asked.ids], how.samples, how.new_tokens, ends, how.temperature, how.seed)
    texts = texts_after(tokenizer, [asked.ids] * len(found), [one.tokens for one in found])
    judged = [marker.parts(asked.text, asked.start + text, one.ended) for text, one in zip(texts, found, strict=True)]
    rows = [{"parts": parts, "leaked": leaked} for parts, leaked in judged]
    names = dict.fromkeys(name for _, leaked in judged for name in leaked)
    counts = {"leaking": sum(bool(leaked) for _, leaked in judged), "leaked": list(names)}
    yield {"samples": rows, **counts, "seconds": round(time.monotonic() - started, 2), "done": True}


def next_words(reader: Reader, asked: Asked, lock: Lock, marker: Marker) -> list[dict[str, Any]]:
    """The words that most likely come next: each likely next token, continued greedily until its word ends.

    p: the probability of these tokens. name: of the corpus, that begins with the word; None for another word.
    """
    from lethe.inference.scoring import expectations

    vocabulary = reader.model.get_output_embeddings().weight.shape[0]
    length = max(1, min(WORD_TOKENS, reader.context - len(asked.ids)))
    with lock:
        [found] = expectations(
            reader.model, [asked.ids], [[asked.ids[-1:]]], openings=min(WORDS, vocabulary), new_tokens=length
        )
    words: dict[str, dict[str, Any]] = {}
    for opening in found.openings:
        word, p, name = first_word(reader, asked, opening.tokens, opening.scores, marker)
        if word in words:
            words[word]["p"] += p
        else:
            words[word] = {"word": word, "p": p, "name": name}
    rows = sorted(words.values(), key=lambda row: -row["p"])
    return [row | {"p": float(f"{row['p']:.4g}")} for row in rows]


def first_word(
    reader: Reader, asked: Asked, ids: Sequence[int], scores: Sequence[float], marker: Marker
) -> tuple[str, float, str | None]:
    """The first word that the ids spell, the probability of those that do, and the name that begins with it."""
    from lethe.inference.decoding import end_ids, texts_after

    if ids[0] in end_ids(reader.model, reader.tokenizer):
        return "(end)", math.exp(scores[0]), None
    growing = texts_after(reader.tokenizer, [asked.ids] * len(ids), [ids[: count + 1] for count in range(len(ids))])
    whole = growing[-1].rstrip(UNREADABLE)
    found = FIRST_WORD.match(whole)
    if found is None:
        return "(space)", math.exp(scores[0]), None
    count = next((i for i, text in enumerate(growing, start=1) if len(text) >= found.end()), len(ids))
    hits = marker.hits(asked.text, asked.start + whole)
    places = range(len(asked.start) + len(whole) - len(whole.lstrip()), len(asked.start) + found.end())
    name = next((name for start, end, name, _ in hits if start in places or start < places.start < end), None)
    return found[0].strip(), math.exp(math.fsum(scores[:count])), name
