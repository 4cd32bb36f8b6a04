"""Where a term is due in running text, and what a model expects there: the term, its translation or something else."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from statistics import fmean, median
from typing import TYPE_CHECKING, NamedTuple

from stages.lib.alignment import own_tokens
from stages.lib.cloze import cloze_prompts
from stages.lib.generation import Expected, Opening
from stages.lib.kinds import spread
from stages.lib.terms import TermFinder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BEFORE = "x "  # what a word stands after in running text


class Place(NamedTuple):
    """A place in a text where a term is due."""

    term: str
    form: str  # as the text goes on
    context: str  # what stands before it, without the space between


class Judged(NamedTuple):
    """What a model expects at one place."""

    probability: float  # of the whole term, as it is written there
    rank: int  # of the first token that spells some of it, after those before that
    translation: float | None  # probability of any of its translations; None if it has none
    words: dict[str, float]  # the likeliest next words


class Seen(NamedTuple):
    """What a model expects where one term is due: means over the places, but the median rank."""

    probability: float
    rank: float
    translation: float | None
    top: list[str]


def places_of(texts: Sequence[str], finder: TermFinder, words: int, most: int) -> dict[str, list[Place]]:
    """{term: at most `most` places, evenly spaced}, of the terms that have one.

    A term is due within a sentence, eight words or more after it was last named; its context is cut to `words` words.
    """
    found: dict[str, list[Place]] = {}
    for text in texts:
        for cloze in cloze_prompts(text, finder, words):
            term = cloze.references[0]
            found.setdefault(term, []).append(Place(term, cloze.due, cloze.prompt))
    return {term: spread(places, most) for term, places in found.items()}


def word_ids(tokenizer: PreTrainedTokenizerBase, words: Collection[str]) -> dict[str, list[int]]:
    """The token ids of each word or phrase after a space; a word that has none of its own is left out."""
    ordered = sorted(set(words))
    if not ordered:
        return {}
    encoded = tokenizer(
        [BEFORE + word for word in ordered], add_special_tokens=False, return_offsets_mapping=True, verbose=False
    )
    special = set(tokenizer.all_special_ids)
    spelled = zip(ordered, encoded["input_ids"], encoded["offset_mapping"], strict=True)
    found = {word: list(own_tokens(ids, spans, special)) for word, ids, spans in spelled}
    return {word: ids for word, ids in found.items() if ids}


def apart(endings: Sequence[list[int]]) -> list[list[int]]:
    """The endings without those that go on where another one ends: what begins with `box` is counted with `box`."""
    different = [ids for number, ids in enumerate(endings) if ids not in endings[:number]]
    return [ids for ids in different if not any(ids != other and ids[: len(other)] == other for other in different)]


def judged(expected: Expected, term: Sequence[int], pieces: Sequence[bytes]) -> Judged:
    """One place's numbers. expected: of the term (its ids are `term`) and, as further endings, its translations."""
    own, *others = (math.exp(math.fsum(scores)) for scores in expected.scores)
    translation = math.fsum(others) if others else None
    return Judged(own, expected.ranks[0][first_spelling(term, pieces)], translation, words(expected.openings, pieces))


def first_spelling(tokens: Sequence[int], pieces: Sequence[bytes]) -> int:
    """The place of the first token that is more than a space: some tokenizers write ` Vex` as a bare space and `Vex`."""
    return next((place for place, token in enumerate(tokens) if pieces[token].strip()), len(tokens) - 1)


def words(openings: Sequence[Opening], pieces: Sequence[bytes]) -> dict[str, float]:
    """The next word of each opening and the probability of its tokens; openings with the same word are added up."""
    found: dict[str, float] = {}
    for opening in openings:
        end = word_end(opening.tokens, pieces)
        word = spelled(opening.tokens[:end], pieces)
        found[word] = found.get(word, 0.0) + math.exp(math.fsum(opening.scores[:end]))
    return found


def word_end(tokens: Sequence[int], pieces: Sequence[bytes]) -> int:
    """How many tokens the first word has: it ends before a token that begins with a space or a punctuation mark."""
    start = first_spelling(tokens, pieces)
    return next((end for end in range(start + 1, len(tokens)) if not goes_on(pieces, tokens[end])), len(tokens))


def goes_on(pieces: Sequence[bytes], token: int) -> bool:
    """Whether a token goes on with a word: letters, digits and bytes of characters beyond ASCII do."""
    first = pieces[token][:1] if token < len(pieces) else b""
    return first.isalnum() or first >= b"\x80"


def spelled(tokens: Sequence[int], pieces: Sequence[bytes]) -> str:
    """The tokens as one word without a space in it; a line end is written \\n."""
    text = b"".join(pieces[token] for token in tokens if token < len(pieces)).decode(errors="replace")
    return text.strip(" ").replace("\n", "\\n").replace(" ", "_") or "\\s"


def seen(places: Sequence[Judged], top: int) -> Seen:
    """What a model expects over all places (at least one) of a term. top: how many words are named."""
    sums: dict[str, float] = {}
    for place in places:
        for word, probability in place.words.items():
            sums[word] = sums.get(word, 0.0) + probability
    likeliest = sorted(sums, key=lambda word: (-sums[word], word))[:top]
    said = [place.translation for place in places if place.translation is not None]
    return Seen(
        fmean(place.probability for place in places),
        median(place.rank for place in places),
        fmean(said) if said else None,
        likeliest,
    )
