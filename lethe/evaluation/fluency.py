"""Fluency: is what a model writes still language? Greedy continuations of retain and forget prompts, and measures."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import NonNegativeInt, PositiveInt

from lethe.core.errors import StageError
from lethe.core.params import Seed, StageParams
from lethe.evaluation.familiarity import without_cut_word
from lethe.evaluation.intervals import Interval, bootstrap, rate_interval
from lethe.evaluation.prompts import Prompt
from lethe.inference.decoding import continue_greedily, end_ids, prompt_ids, texts_after
from lethe.inference.scoring import MOST_NATS, expectations
from lethe.text.passages import draw, sentence_starts

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from lethe.served import Write

SIDES = ("retain", "forget")
GRAM = 4  # words
# Thai, Lao, Burmese, Khmer, kana and Han have no spaces between words: there each character counts as a word.
SPACELESS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
PIECE = re.compile(rf"[{SPACELESS}]|[^\s{SPACELESS}]+")
STUTTER = re.compile(rf"([{SPACELESS}]{{2,}})\1")  # a single character is often doubled for good

Gram = tuple[str, ...]


class FluencyParams(StageParams):
    """evaluate.fluency: the prompts of each side and the length of their continuations; prompts 0: not measured."""

    prompts: NonNegativeInt
    words: PositiveInt
    new_tokens: PositiveInt
    seed: Seed


class Start(NamedTuple):
    """A prompt that every model continues. id: of data/prompts.jsonl on the forget side, else a running number."""

    side: str
    id: int
    text: str
    tokens: list[int]


class Written(NamedTuple):
    """One model's continuation of a start."""

    model: str
    start: Start
    text: str
    tokens: list[int]
    ended: bool  # False: cut by the token limit


def starts_of(
    retain: Sequence[str],
    prompts: Sequence[Prompt],
    tokenizer: PreTrainedTokenizerFast,
    chat_template: bool,
    room: int,
    params: FluencyParams,
) -> list[Start]:
    """Beginnings of the retain texts, and as many evenly spaced prompts.

    room: tokens of a prompt and its continuation. Raises StageError if a start leaves too little for the latter.
    """
    begun = beginnings(retain, params.words, params.prompts, params.seed)
    starts = [
        Start("retain", number, text, prompt_ids(tokenizer, text, chat_template)) for number, text in enumerate(begun)
    ]
    starts += [Start("forget", one.id, one.text, one.tokens) for one in spaced(prompts, params.prompts)]
    most = room - params.new_tokens
    for start in starts:
        if len(start.tokens) > most:
            raise StageError(
                f"evaluate.fluency: {start.side} prompt {start.id}: expected at most {most} tokens, the model's "
                f"context less new_tokens, got {len(start.tokens)}; lower evaluate.fluency.new_tokens"
            )
    return starts


def beginnings(texts: Iterable[str], words: int, count: int, seed: int) -> list[str]:
    """At most `count` different runs of `words` whole words that begin a sentence and after which the text goes on.

    Which ones follows from the seed and each run's own words alone.
    """
    found: dict[str, str] = {}
    for text in texts:
        for start in sorted(sentence_starts(text)):
            places = [match.end() for match, _ in zip(PIECE.finditer(text, start), range(words + 1), strict=False)]
            if len(places) > words:
                begun = text[start : places[words - 1]]
                found.setdefault(draw(begun, seed), begun)
    return [found[key] for key in sorted(found)[:count]]


def spaced(prompts: Sequence[Prompt], count: int) -> list[Prompt]:
    """At most `count` evenly spaced prompts, the first among them."""
    taken = min(count, len(prompts))
    return [prompts[number * len(prompts) // taken] for number in range(taken)]


def written(
    name: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    starts: Sequence[Start],
    new_tokens: int,
    write: Write = continue_greedily,
) -> list[Written]:
    """The model's greedy continuation of every start. write: as for `complete`."""
    if not starts:
        return []
    tokens = [start.tokens for start in starts]
    found = write(model, tokens, [()] * len(starts), new_tokens, end_ids(model, tokenizer))
    texts = texts_after(tokenizer, tokens, [one.tokens for one in found])
    return [
        Written(name, start, text, one.tokens, one.ended) for start, text, one in zip(starts, texts, found, strict=True)
    ]


def surprise(judge: PreTrainedModel, items: Sequence[Written]) -> list[float]:
    """The summed negative log-likelihood, in nats, of each continuation's tokens given its prompt; 0.0 of none."""
    asked = [i for i, item in enumerate(items) if item.tokens]
    found = [0.0] * len(items)
    if asked:
        scored = expectations(judge, [items[i].start.tokens for i in asked], [[items[i].tokens] for i in asked])
        for i, one in zip(asked, scored, strict=True):
            found[i] = -math.fsum(one.scores[0])
    return found


def fluency_report(
    items: Sequence[Written],
    judge: Iterable[tuple[str, PreTrainedModel]],
    params: FluencyParams,
    absent: Mapping[str, str],
) -> dict[str, Any]:
    """The section `fluency` of reports/familiarity.json: model -> `retain_distinct_4grams` and so on -> numbers.

    judge: the retrained model with its name, nothing without one. absent: model -> why it was not measured.
    """
    nats: list[float] | None = None
    for _, model in judge:
        nats = surprise(model, items)
    counts = {side: len({item.start.id for item in items if item.start.side == side}) for side in SIDES}
    reasons = {}
    if nats is None:
        reasons["continuation_perplexity"] = f"retrained: {absent.get('retrained', 'not among the models measured')}"
    if not params.prompts:
        reasons["fluency"] = "evaluate.fluency.prompts is 0"
    elif not counts["retain"]:
        reasons["retain_fluency"] = f"no held-out retain text goes on after {params.words} words"
    return {"prompts": counts, "models": scores(items, nats), "absent": reasons}


def scores(items: Sequence[Written], nats: Sequence[float] | None) -> dict[str, dict[str, Any]]:
    """Model -> `retain_distinct_4grams` and so on -> value, low, high, items; without what has no value.

    nats: from `surprise` of the retrained model, None without one.
    """
    found: dict[str, dict[str, Any]] = {}
    for model in dict.fromkeys(item.model for item in items):
        found[model] = {}
        for side in SIDES:
            own = [i for i, item in enumerate(items) if (item.model, item.start.side) == (model, side)]
            numbers = measures([items[i] for i in own]) if own else {}
            if nats is not None:
                lengths = [len(items[i].tokens) for i in own]
                numbers["continuation_perplexity"] = perplexity([nats[i] for i in own], lengths)
            shown = {name: number.row() for name, number in numbers.items() if number is not None}
            found[model] |= {f"{side}_{name}": row for name, row in shown.items()}
    return found


def measures(items: Sequence[Written]) -> dict[str, Interval | None]:
    """The measures of one model's continuations of one side, at least one."""
    grams = [ngrams(whole_words(item)) for item in items]
    return {
        "doubled_words": rate_interval([stutters(item) for item in items]),
        "common_4gram": rate_interval(common(grams)[1]),
        "distinct_4grams": distinct(grams),
        "short": rate_interval([not own for own in grams]),
    }


def whole_words(item: Written) -> str:
    """The continuation without a last word that the token limit may have cut."""
    return item.text if item.ended else without_cut_word(item.text)


def stutters(item: Written) -> bool:
    """Whether the continuation has a doubled word, the prompt's last word and its own first one included."""
    return doubled(last_word(item.start.text) + whole_words(item))


def words_of(text: str) -> list[str]:
    """The words of a text in any script, case-folded and without punctuation around them."""
    return [word for piece in PIECE.findall(text) if (word := bare(piece))]


def bare(piece: str) -> str:
    """A piece of text without white space in it, case-folded, without what is no letter, mark or digit at its ends."""
    held = [place for place, letter in enumerate(piece) if letter.isalnum() or unicodedata.category(letter)[0] == "M"]
    return piece[held[0] : held[-1] + 1].casefold() if held else ""


def last_word(prompt: str) -> str:
    """What a prompt ends in, which a continuation may repeat or complete; empty after white space."""
    return "" if prompt[-1:].isspace() else (PIECE.findall(prompt) or [""])[-1]


def doubled(text: str) -> bool:
    """Whether two words in a row are equal in any case, with nothing but white space between them (`door Door`).

    `door, door` is not doubled. `had had` is: no language's good doublings are excused, for the models that a model is
    compared with write them too. Without spaces between words: two or more characters twice in a row.
    """
    folded = text.casefold()
    for before, after in pairwise(folded.split()):
        word = bare(before)
        if word and before.endswith(word) and after.startswith(word) and bare(after) == word:
            return True
    return STUTTER.search(folded) is not None


def ngrams(text: str) -> list[Gram]:
    """Every run of four words of the text."""
    words = words_of(text)
    return list(zip(*(words[start:] for start in range(GRAM)), strict=False))


def common(grams: Sequence[Sequence[Gram]]) -> tuple[Gram | None, list[bool]]:
    """The 4-gram that the most continuations hold, the first in the alphabet of several, and which ones hold it.

    None, and no continuation, if no 4-gram is in two of them. grams: of each continuation.
    """
    counts = Counter(gram for own in grams for gram in set(own))
    most = max(counts.values(), default=0)
    if most < 2:
        return None, [False] * len(grams)
    commonest = min(gram for gram, count in counts.items() if count == most)
    return commonest, [commonest in own for own in grams]


def distinct(grams: Sequence[Sequence[Gram]]) -> Interval | None:
    """The number of different 4-grams over that of all (Li et al. 2016, arXiv 1510.03055); None without a 4-gram.

    A gram that occurs n times counts 1/n at each place, so the number is a ratio of two sums over continuations. The
    interval draws continuations with these values: counted anew, those drawn twice would repeat every gram of theirs.
    """
    counts = Counter(gram for own in grams for gram in own)
    if not counts:
        return None
    shares = [math.fsum(1 / counts[gram] for gram in own) for own in grams]
    return bootstrap(_ratio, shares, [float(len(own)) for own in grams], paired=True)


def perplexity(nats: Sequence[float], tokens: Sequence[int]) -> Interval | None:
    """exp of the mean loss per token of all continuations; None without tokens. nats: the sum of each."""
    import numpy as np

    spoken = [(loss, float(count)) for loss, count in zip(nats, tokens, strict=True) if count]
    if not spoken:
        return None
    losses, counts = zip(*spoken, strict=True)

    def of_means(loss: Any, count: Any, axis: int) -> Any:
        return np.exp(np.minimum(_ratio(loss, count, axis), MOST_NATS))

    return bootstrap(of_means, losses, counts, paired=True)


def continuation_rows(items: Sequence[Written]) -> list[dict[str, Any]]:
    """Rows of data/continuations.jsonl. common: the commonest 4-gram of the model's side where this text holds it."""
    rows = []
    for _, group in groupby(items, key=lambda item: (item.model, item.start.side)):
        own = list(group)
        commonest, held = common([ngrams(whole_words(item)) for item in own])
        for item, hit in zip(own, held, strict=True):
            row = {"model": item.model, "side": item.start.side, "id": item.start.id, "prompt": item.start.text}
            row |= {"continuation": item.text, "ended": item.ended, "doubled": stutters(item)}
            rows.append(row | {"common": " ".join(commonest or ()) if hit else None})
    return rows


def _ratio(above: Any, below: Any, axis: int = -1) -> Any:
    return above.sum(axis=axis) / below.sum(axis=axis)
