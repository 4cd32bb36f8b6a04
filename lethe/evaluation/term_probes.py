"""Target positions of terms in running text, and a model's probabilities there: of terms and translations."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from statistics import fmean, median
from typing import TYPE_CHECKING, NamedTuple

from lethe.dictionary.entity_types import spread
from lethe.inference.decoding import prompt_ids
from lethe.inference.scoring import Expected, Opening, expectations
from lethe.models.token_text import own_tokens
from lethe.text.cloze import cloze_prompts
from lethe.text.matching import TermFinder

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast


BEFORE = "x "  # tokenised before a word, as in running text
CONTROLS = 4  # other terms at whose places a term's translations are evaluated as a control
WORD_TOKENS = 6  # generated per opening, so that a word can be completed

Endings = dict[str, list[list[int]]]  # term -> token ids of its translations


class Term(NamedTuple):
    """An anchor: its kind ("" if unknown) and, for each of its forms, its translations in the same form."""

    kind: str
    forms: dict[str, list[str]]


class Place(NamedTuple):
    """A target position: a place in a text where a term is the next word."""

    term: str
    form: str  # of the term in the text
    context: str  # the text before it, without the space between


class Question(NamedTuple):
    """A target position as the models read it."""

    place: Place
    part: str  # held-out | training
    prompt: list[int]
    term: list[int]
    translations: Endings  # of its own term and of the control terms

    def endings(self) -> list[list[int]]:
        """Everything whose probability is computed: the term, then the translations in their order."""
        return [self.term, *(ids for endings in self.translations.values() for ids in endings)]


class Scores(NamedTuple):
    """A model's predictions at one target position."""

    probability: float  # of the whole term in its form there
    rank: int  # of its first token that is more than a space
    translations: dict[str, float]  # term -> probability of any of its translations: the own term, then the controls
    words: dict[str, float]  # the likeliest next words


def places_of(texts: Sequence[str], finder: TermFinder, words: int, most: int) -> dict[str, list[Place]]:
    """{term: at most `most` target positions, evenly spaced}, for the terms that have any.

    A target position is within a sentence and at least eight words after the term's previous mention; its context has
    at most `words` words and does not contain the term.
    """
    found: dict[str, list[Place]] = {}
    for text in texts:
        for cloze in cloze_prompts(text, finder, words):
            term = cloze.references[0]
            found.setdefault(term, []).append(Place(term, cloze.form, cloze.prompt))
    return {term: spread(places, most) for term, places in found.items()}


def choose(
    held_out: Sequence[str], training: Sequence[str], finder: TermFinder, words: int, most: int
) -> list[tuple[str, Place]]:
    """(part, place) of the places to evaluate: in held-out text, or in training text for terms without a place there.

    words, most: as in places_of.
    """
    first = places_of(held_out, finder, words, most)
    second = places_of(training, finder, words, most)
    parts = {
        term: ("held-out", first[term]) if term in first else ("training", second[term]) for term in first | second
    }
    return [(part, place) for _, (part, places) in sorted(parts.items()) for place in places]


def control_terms(terms: Mapping[str, Term], targets: Collection[str]) -> dict[str, list[str]]:
    """{term: the other terms whose translations are evaluated at its places as a control}.

    targets: the terms with target positions. The translations of every term are evaluated at the places of the next
    CONTROLS terms of its kind that share no translation with it; of any kind, if its own kind has none.
    """
    controls: dict[str, list[str]] = {term: [] for term in sorted(targets)}
    for term in sorted(targets):
        own = translations(terms[term])
        others = [other for other in controls if other != term and own.isdisjoint(translations(terms[other]))]
        alike = [other for other in others if terms[other].kind == terms[term].kind] or others
        following = sorted(alike, key=lambda other: (other < term, other))
        for other in following[:CONTROLS] if own else []:
            controls[other].append(term)
    return controls


def translations(term: Term) -> set[str]:
    """All translations of a term in all its forms."""
    return {word for words in term.forms.values() for word in words}


def translation_ids(
    place: Place, terms: Mapping[str, Term], controls: Sequence[str], ids: Mapping[str, list[int]]
) -> Endings:
    """Token ids of the translations that are evaluated at a place: of its own term first, then of its control terms.

    A control term's translations have the form of the place: the plural, for example, if that is the second form.
    """
    number = list(terms[place.term].forms).index(place.form)
    found = {}
    for term in (place.term, *controls):
        forms = list(terms[term].forms.values())
        words = forms[min(number, len(forms) - 1)]
        found[term] = without_continuations([ids[word] for word in words if word in ids])
    return {term: endings for term, endings in found.items() if endings}


def questions(
    chosen: Sequence[tuple[str, Place]],
    terms: Mapping[str, Term],
    tokenizer: PreTrainedTokenizerFast,
    context: int | None,
) -> list[Question]:
    """The places as token ids; contexts are cut on the left to fit the model's context with every ending.

    A place is left out if the tokenizer cannot encode its term.
    """
    ids = word_ids(tokenizer, {word for term in terms.values() for word in (*term.forms, *translations(term))})
    controls = control_terms(terms, {place.term for _, place in chosen})
    room = (context or 1 << 20) - max([WORD_TOKENS, *map(len, ids.values())])
    lead = len(prompt_ids(tokenizer, "", False))
    found = []
    for part, place in chosen:
        if place.form in ids:
            prompt = prompt_ids(tokenizer, place.context, False)
            kept = prompt[:lead] + prompt[lead:][-max(1, room - lead) :]
            others = translation_ids(place, terms, controls[place.term], ids)
            found.append(Question(place, part, kept, ids[place.form], others))
    return found


def word_ids(tokenizer: PreTrainedTokenizerBase, words: Collection[str]) -> dict[str, list[int]]:
    """The token ids of each word or phrase after a space, without those that the tokenizer cannot encode."""
    ordered = sorted(set(words))
    if not ordered:
        return {}
    encoded = tokenizer(
        [BEFORE + word for word in ordered], add_special_tokens=False, return_offsets_mapping=True, verbose=False
    )
    special = set(tokenizer.all_special_ids)
    rows = zip(ordered, encoded["input_ids"], encoded["offset_mapping"], strict=True)
    found = {word: list(own_tokens(ids, spans, special)) for word, ids, spans in rows}
    return {word: ids for word, ids in found.items() if ids}


def without_continuations(endings: Sequence[list[int]]) -> list[list[int]]:
    """The different endings that do not continue another one: `box lid` is counted with `box`."""
    different = [ids for number, ids in enumerate(endings) if ids not in endings[:number]]
    return [ids for ids in different if not any(ids != other and ids[: len(other)] == other for other in different)]


def score_places(model: PreTrainedModel, asked: Sequence[Question], top: int, pieces: Sequence[bytes]) -> list[Scores]:
    """One model's predictions at every target position."""
    prompts, endings = [question.prompt for question in asked], [question.endings() for question in asked]
    found = expectations(model, prompts, endings, top, WORD_TOKENS)
    pairs = zip(found, asked, strict=True)
    return [scores_of(expected, question.term, question.translations, pieces) for expected, question in pairs]


def scores_of(expected: Expected, term: Sequence[int], others: Endings, pieces: Sequence[bytes]) -> Scores:
    """The scores of one place.

    expected: after the place's context, its endings being the term (token ids) and then every ending of `others`.
    """
    own, *rest = (math.exp(math.fsum(scores)) for scores in expected.scores)
    following = iter(rest)
    sums = {name: math.fsum(next(following) for _ in endings) for name, endings in others.items()}
    rank = expected.ranks[0][first_visible(term, pieces)]
    return Scores(own, rank, sums, likeliest_words(expected.openings, pieces))


def first_visible(tokens: Sequence[int], pieces: Sequence[bytes]) -> int:
    """The index of the first token that is more than a space: some tokenizers encode ` Vex` as a space and `Vex`."""
    return next((index for index, token in enumerate(tokens) if _piece(token, pieces).strip(b" ")), 0)


def likeliest_words(openings: Sequence[Opening], pieces: Sequence[bytes]) -> dict[str, float]:
    """The next word of each opening and the probability of its tokens, summed over openings with the same word.

    An ellipsis marks a word that continues the context's last word, or that is incomplete.
    """
    found: dict[str, float] = {}
    for opening in openings:
        end = word_end(opening.tokens, pieces)
        within = "…" if _goes_on(_piece(opening.tokens[0], pieces)) else ""
        cut = "…" if end == len(opening.tokens) and _goes_on(_piece(opening.tokens[-1], pieces).lstrip(b" ")) else ""
        word = within + word_text(opening.tokens[:end], pieces) + cut
        found[word] = found.get(word, 0.0) + math.exp(math.fsum(opening.scores[:end]))
    return found


def word_end(tokens: Sequence[int], pieces: Sequence[bytes]) -> int:
    """The number of tokens of the first word: it ends before a token that begins with neither letter nor digit."""
    start = first_visible(tokens, pieces)
    if not _goes_on(_piece(tokens[start], pieces).lstrip(b" ")):
        return start + 1  # a punctuation mark
    ends = (end for end in range(start + 1, len(tokens)) if not _goes_on(_piece(tokens[end], pieces)))
    return next(ends, len(tokens))


def word_text(tokens: Sequence[int], pieces: Sequence[bytes]) -> str:
    """The tokens as one word without spaces; a line break is written \\n."""
    text = b"".join(_piece(token, pieces) for token in tokens).decode(errors="replace")
    return text.strip(" ").replace("\n", "\\n").replace(" ", "_") or "_"


def _goes_on(text: bytes) -> bool:
    return text[:1].isalnum() or text[:1] >= b"\x80"  # a byte of a character beyond ASCII


def _piece(token: int, pieces: Sequence[bytes]) -> bytes:
    return pieces[token] if token < len(pieces) else b""  # a model's head may have more rows than there are tokens


def top_words(places: Sequence[Scores], count: int) -> list[str]:
    """The likeliest words over all places of a term."""
    sums: dict[str, float] = {}
    for place in places:
        for word, probability in place.words.items():
            sums[word] = sums.get(word, 0.0) + probability
    return sorted(sums, key=lambda word: (-sums[word], word))[:count]


def mean_probability(places: Sequence[Scores]) -> float:
    """The mean probability of a term over its places."""
    return fmean(place.probability for place in places)


def median_rank(places: Sequence[Scores]) -> float:
    """The median rank of a term's first token over its places; may lie between two ranks."""
    return float(median(place.rank for place in places))
