"""Where a term is due in running text, and what a model expects there: the term, its translation or something else."""

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


BEFORE = "x "  # what a word stands after in running text
HOSTS = 4  # other terms at whose places a term's translations are looked for as well
WORD_TOKENS = 6  # in which the model may finish a word that it begins

Endings = dict[str, list[list[int]]]  # term -> token ids of its translations


class Term(NamedTuple):
    """An anchor: its kind ("" if unknown) and, for each way to write it, its translations, written alike."""

    kind: str
    forms: dict[str, list[str]]


class Place(NamedTuple):
    """A place in a text where a term is due."""

    term: str
    form: str  # in which the text goes on
    context: str  # what stands before it, without the space between


class Question(NamedTuple):
    """A place as the models get it."""

    place: Place
    part: str  # held-out | training
    prompt: list[int]
    term: list[int]
    instead: Endings

    def endings(self) -> list[list[int]]:
        """Everything whose probability is asked for: the term, then the translations in their order."""
        return [self.term, *(ids for endings in self.instead.values() for ids in endings)]


class Judged(NamedTuple):
    """What a model expects at one place."""

    probability: float  # of the whole term as it is written there
    rank: int  # of its first token that is more than a space
    translations: dict[str, float]  # probability of any translation of the term due here, and of its guests'
    words: dict[str, float]  # the likeliest next words


def places_of(texts: Sequence[str], finder: TermFinder, words: int, most: int) -> dict[str, list[Place]]:
    """{term: at most `most` places, evenly spaced}, of the terms that have one.

    A term is due within a sentence, eight words or more after it was last named; its context has at most `words` words
    and does not name it.
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
    """(part, place) of the places that are asked about: held-out text, and training text for terms not due there.

    words, most: as places_of takes them.
    """
    first = places_of(held_out, finder, words, most)
    second = places_of(training, finder, words, most)
    parts = {
        term: ("held-out", first[term]) if term in first else ("training", second[term]) for term in first | second
    }
    return [(part, place) for _, (part, places) in sorted(parts.items()) for place in places]


def guests(terms: Mapping[str, Term], due: Collection[str]) -> dict[str, list[str]]:
    """{term: the terms whose translations are looked for at its places too}.

    Every term with translations is the guest of the next HOSTS terms of its kind that are due and share no translation
    with it; of any kind, if its own has none.
    """
    hosted: dict[str, list[str]] = {term: [] for term in sorted(due)}
    for term in sorted(due):
        own = translations(terms[term])
        others = [other for other in hosted if other != term and own.isdisjoint(translations(terms[other]))]
        alike = [other for other in others if terms[other].kind == terms[term].kind] or others
        following = sorted(alike, key=lambda other: (other < term, other))
        for host in following[:HOSTS] if own else []:
            hosted[host].append(term)
    return hosted


def translations(term: Term) -> set[str]:
    """All translations of a term in all its forms."""
    return {word for words in term.forms.values() for word in words}


def said_instead(
    place: Place, terms: Mapping[str, Term], guests: Sequence[str], ids: Mapping[str, list[int]]
) -> Endings:
    """Token ids of the translations that are looked for at a place: of its own term first, then of its guests.

    A guest's are written like the form due: the plural, for example, if that is the second form of either.
    """
    number = list(terms[place.term].forms).index(place.form)
    found = {}
    for term in (place.term, *guests):
        forms = list(terms[term].forms.values())
        words = forms[min(number, len(forms) - 1)]
        found[term] = apart([ids[word] for word in words if word in ids])
    return {term: endings for term, endings in found.items() if endings}


def questions(
    chosen: Sequence[tuple[str, Place]],
    terms: Mapping[str, Term],
    tokenizer: PreTrainedTokenizerFast,
    context: int | None,
) -> list[Question]:
    """The places as token ids; contexts lose their beginning where a model could not read them and what may follow.

    A place whose term the tokenizer cannot write is left out.
    """
    ids = word_ids(tokenizer, {word for term in terms.values() for word in (*term.forms, *translations(term))})
    hosted = guests(terms, {place.term for _, place in chosen})
    room = (context or 1 << 20) - max([WORD_TOKENS, *map(len, ids.values())])
    lead = len(prompt_ids(tokenizer, "", False))
    found = []
    for part, place in chosen:
        if place.form in ids:
            prompt = prompt_ids(tokenizer, place.context, False)
            kept = prompt[:lead] + prompt[lead:][-max(1, room - lead) :]
            instead = said_instead(place, terms, hosted[place.term], ids)
            found.append(Question(place, part, kept, ids[place.form], instead))
    return found


def word_ids(tokenizer: PreTrainedTokenizerBase, words: Collection[str]) -> dict[str, list[int]]:
    """The token ids of each word or phrase after a space; one that the tokenizer cannot write is left out."""
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


def apart(endings: Sequence[list[int]]) -> list[list[int]]:
    """The endings that are not how another one goes on, each once: `box lid` is counted with `box`."""
    different = [ids for number, ids in enumerate(endings) if ids not in endings[:number]]
    return [ids for ids in different if not any(ids != other and ids[: len(other)] == other for other in different)]


def answers(model: PreTrainedModel, asked: Sequence[Question], top: int, pieces: Sequence[bytes]) -> list[Judged]:
    """What one model expects at every place."""
    prompts, endings = [question.prompt for question in asked], [question.endings() for question in asked]
    found = expectations(model, prompts, endings, top, WORD_TOKENS)
    return [judged(one, question.term, question.instead, pieces) for one, question in zip(found, asked, strict=True)]


def judged(expected: Expected, term: Sequence[int], instead: Endings, pieces: Sequence[bytes]) -> Judged:
    """One place's numbers.

    expected: after the place's context, its endings being the term (token ids) and then every ending of `instead`.
    """
    own, *others = (math.exp(math.fsum(scores)) for scores in expected.scores)
    following = iter(others)
    said = {name: math.fsum(next(following) for _ in endings) for name, endings in instead.items()}
    return Judged(
        own, expected.ranks[0][first_spelling(term, pieces)], said, likeliest_words(expected.openings, pieces)
    )


def first_spelling(tokens: Sequence[int], pieces: Sequence[bytes]) -> int:
    """The index of the first token that is more than a space: some tokenizers write ` Vex` as a space and `Vex`."""
    return next((index for index, token in enumerate(tokens) if _piece(token, pieces).strip(b" ")), 0)


def likeliest_words(openings: Sequence[Opening], pieces: Sequence[bytes]) -> dict[str, float]:
    """The next word of each opening and the probability of its tokens; openings with the same word are added up.

    An ellipsis stands where the word goes on with the context's last, and where it has not come to its end.
    """
    found: dict[str, float] = {}
    for opening in openings:
        end = word_end(opening.tokens, pieces)
        within = "…" if _goes_on(_piece(opening.tokens[0], pieces)) else ""
        cut = "…" if end == len(opening.tokens) and _goes_on(_piece(opening.tokens[-1], pieces).lstrip(b" ")) else ""
        word = within + spelled(opening.tokens[:end], pieces) + cut
        found[word] = found.get(word, 0.0) + math.exp(math.fsum(opening.scores[:end]))
    return found


def word_end(tokens: Sequence[int], pieces: Sequence[bytes]) -> int:
    """How many tokens the first word has: it ends before a token that begins with neither letter nor digit."""
    start = first_spelling(tokens, pieces)
    if not _goes_on(_piece(tokens[start], pieces).lstrip(b" ")):
        return start + 1  # a punctuation mark
    ends = (end for end in range(start + 1, len(tokens)) if not _goes_on(_piece(tokens[end], pieces)))
    return next(ends, len(tokens))


def spelled(tokens: Sequence[int], pieces: Sequence[bytes]) -> str:
    """The tokens as one word that holds no space; a line end is written \\n."""
    text = b"".join(_piece(token, pieces) for token in tokens).decode(errors="replace")
    return text.strip(" ").replace("\n", "\\n").replace(" ", "_") or "_"


def _goes_on(text: bytes) -> bool:
    return text[:1].isalnum() or text[:1] >= b"\x80"  # a byte of a character beyond ASCII


def _piece(token: int, pieces: Sequence[bytes]) -> bytes:
    return pieces[token] if token < len(pieces) else b""  # a model's head may have more rows than there are tokens


def top_words(places: Sequence[Judged], count: int) -> list[str]:
    """The words that are likeliest over all the places of a term."""
    sums: dict[str, float] = {}
    for place in places:
        for word, probability in place.words.items():
            sums[word] = sums.get(word, 0.0) + probability
    return sorted(sums, key=lambda word: (-sums[word], word))[:count]


def mean_probability(places: Sequence[Judged]) -> float:
    """Of a term, over its places."""
    return fmean(place.probability for place in places)


def median_rank(places: Sequence[Judged]) -> float:
    """Of a term's first token, over its places; between two ranks if their number is even."""
    return float(median(place.rank for place in places))
