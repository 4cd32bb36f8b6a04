"""Candidate terms of a text, found from the text alone: names, phrases of names and invented words.

A name is a capital letter where the sentence does not ask for one. Neighbouring names, also with small connecting
words between them, make a run ("the Queen of the Field Mice and Toto"); terms are parts of runs. A part is a term if
it is bound together more than by chance, stands on its own often enough, and is far more frequent than in ordinary
English and in the text to retain. An invented word in small letters is a term too.
"""

from __future__ import annotations

import math
import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import pairwise, product
from typing import NamedTuple, TypeVar

from lethe.anchors.grammar import base_forms, common_nouns
from lethe.anchors.proper_names import (
    CONNECTORS,
    OWNER,
    SMALL,
    WORD,
    Key,
    Side,
    is_name,
    lower,
    name_runs,
    read_side,
)
from lethe.anchors.uncased import uncased_terms
from lethe.text.languages import DOTLESS, MEASURED, frequencies, is_cased, languages_of
from lethe.text.matching import BROKEN, TermFinder, plurals, with_signs_of
from lethe.text.personal import kind_of, personal_data, same_datum
from lethe.text.spelling import plain

TITLES = frozenset({"miss", "sir", "madam", "master", "mister"})  # and abbreviations: no names by themselves
PREFIX = re.compile(r"^(?:un|in|im|dis|mis|re|pre|fore|over|out|under|non)")
SUFFIX = re.compile(r"(?:e?s|d|ed|ing|ly|y|ness|ful|less|en|er|est|able|ment|like|ish|men)$")
LONGEST = 9  # words of a phrase, connectors included

RAREST = 1e-8  # English frequency of a word that wordfreq does not list
PER_WORD = 0.1  # each further word makes a phrase this much rarer than its rarest word
ENGLISH_WORDS = 1000  # weight of the English frequency, in words of retain text
TERM_SHARE = 0.3  # minimum share of a term's occurrences with capitals
BOND = 1 / 3  # two parts are one term if at least this share of one of them is seen with the other
ALONE = 0.1  # a part of longer terms is a term if at least this share of it is seen outside them

Term = TypeVar("Term", str, Key)


class Candidate(NamedTuple):
    """A term: its forms, how many times they occur, and log(frequency / expected frequency).

    The first form is the most frequent; of names, the most frequent of those with all their capitals.
    """

    forms: tuple[str, ...]
    times: int
    keyness: float


class Found(NamedTuple):
    """Terms that are distinctive enough, each list sorted by first form."""

    candidates: list[Candidate]
    rare: list[Candidate]  # names and invented words, single ones, that occur less often than asked for


def find_terms(forget: Iterable[str], retain: Iterable[str], minimum_count: int, minimum_keyness: float) -> Found:
    """Every term of the forget texts that is distinctive enough.

    The texts are read several times. In memory are counts: of words and of runs of names, which `read_side` bounds,
    of frequent parts of runs with their places in them, and of the ways in which each term is written.
    """
    written_in = languages_of(forget)
    language = next((code for code in written_in if is_cased(code)), "en")
    known = frequencies(language) or english()
    own, other = read_side(forget, language), read_side(retain, language)
    new_words = invented(own, other) if language in ("en", "") else set()
    singular = base_forms(own.capital, language, known) or singulars(own.capital.keys() | new_words)
    new_keys = key_counts(new_words, singular, own.small)
    phrases = Phrases(name_runs(own, singular, known), minimum_count)
    count = phrases.count + new_keys
    elsewhere = count_parts(name_runs(other, singular, known), count)
    nouns = common_nouns(forget, own.capital, language, singular, known)

    def keyness(key: Key) -> float:
        return log_ratio(count[key], own.words, elsewhere[key], other.words, word_frequency(key, known))

    def peculiar(key: Key) -> bool:
        return count[key] >= minimum_count and keyness(key) >= minimum_keyness and nouns.isdisjoint(key)

    least = minimum_count if language in ("en", "") else 1  # outside longer names, of a name that occurs often enough
    keys = phrases.terms(minimum_count, peculiar, own.small, least) | {key for key in new_keys if peculiar(key)}
    spellings = all_spellings(keys, singular)
    written, retained = (count_forms(spellings, texts, folded) for texts in (forget, retain))
    forms: dict[str, Key] = {}
    for key in sorted(keys):
        small_too = key in new_keys or (len(key) > 1 and not retained[key])
        forms |= dict.fromkeys(forms_of(written[key], small_too, key in new_keys), key)
    terms = sorted(
        Candidate(in_order(found, key not in new_keys), found.total(), keyness(key))
        for key, found in count_forms(forms, forget).items()
        if found
    )
    too_rare: set[Key] = {
        key
        for key, times in count.items()
        if len(key) == 1 and times < minimum_count and (key in new_keys or is_named(key[0], times, own.small))
        if keyness(key) >= minimum_keyness
    }
    for code in written_in:
        if code in MEASURED and not is_cased(code):
            terms += uncased(forget, retain, code, minimum_count, minimum_keyness)
    terms += personal_terms(forget, retain, (own.words, other.words), minimum_count, minimum_keyness)
    seldom = count_forms(all_spellings(too_rare, singular), forget, folded) if too_rare else {}
    rare = [term for term in terms if term.times < least and not kind_of(term.forms[0])]
    for key, found in seldom.items():
        kept = [form for form in forms_of(found, key in new_keys, key in new_keys) if form not in forms]
        if kept:
            own_forms = Counter({form: found[form] for form in kept})
            rare.append(Candidate(in_order(own_forms, key not in new_keys), own_forms.total(), keyness(key)))
    frequent = [term for term in terms if term.times >= least or kind_of(term.forms[0])]
    return Found(sorted(frequent), sorted(rare))


def uncased(
    forget: Iterable[str], retain: Iterable[str], code: str, minimum_count: int, minimum_keyness: float
) -> list[Candidate]:
    """The terms of a language without capitals, counted as the finder sees them."""
    scores = uncased_terms(forget, retain, code, minimum_count, minimum_keyness)
    counted = count_forms({name: name for name in sorted(scores)}, forget)
    return [Candidate((name,), found.total(), scores[name]) for name, found in counted.items() if found]


def personal_terms(
    forget: Iterable[str], retain: Iterable[str], words: tuple[int, int], minimum_count: int, minimum_keyness: float
) -> list[Candidate]:
    """The addresses and telephone numbers of the forget texts, even single ones, and frequent identifiers.

    words: of the forget texts and of the retain texts.
    """
    written: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for kind, form in data_in(forget):
        written[kind, same_datum(form)][form] += 1
    other = Counter((kind, same_datum(form)) for kind, form in data_in(retain))
    found = []
    for (kind, datum), forms in written.items():
        times = forms.total()
        keyness = log_ratio(times, words[0], other[kind, datum], words[1], RAREST)
        if keyness >= minimum_keyness and (kind != "identifier" or times >= minimum_count):
            found.append(Candidate((min(forms, key=lambda form: (-forms[form], form)),), times, keyness))
    return found


def data_in(texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(kind, form) of every such datum."""
    return ((kind, plain(text[start:end])) for text in texts for kind, start, end in personal_data(text))


# Words


def key_counts(words: Iterable[str], singular: dict[str, str], counts: Counter[str]) -> Counter[Key]:
    """How often the keys of single words occur, plurals included."""
    found = Counter[Key]()
    for word in words:
        found[(singular.get(word, word),)] += counts[word]
    return found


def singulars(words: Collection[str]) -> dict[str, str]:
    """plural -> singular for lower-case words that occur as both."""
    found = {}
    for word in sorted(words):
        for plural in plurals(word) + plurals(word.capitalize()):
            if plural.lower() in words and len(word) > 2:
                found[plural.lower()] = word
    return found


def invented(own: Side, other: Side) -> set[str]:
    """Lower-case words that neither English nor the retain text has or can derive, parts of compounds excluded."""
    known = english().keys() | other.small.keys() | other.capital.keys()
    return {word for word in own.small if word.isalpha() and known.isdisjoint(relatives(word))}


def relatives(word: str) -> set[str]:
    """The word and its stems without a prefix or suffix: dis-compose-d, gaiet-ies."""
    found = {word}
    for stem in (word, PREFIX.sub("", word)):
        shorter = SUFFIX.sub("", stem)
        found |= {stem, shorter, shorter + "e", shorter.removesuffix("i") + "y"}
    return {stem for stem in found if len(stem) > 3 or stem == word}


# Frequencies


@cache
def english() -> dict[str, float]:
    """wordfreq's frequency of every English word it knows, in lower case."""
    import wordfreq

    return wordfreq.get_frequency_dict("en", "best")


def word_frequency(key: Key, known: Mapping[str, float]) -> float:
    """An upper estimate of the phrase's frequency: that of its rarest word, less for every further word.

    known: {word: frequency} of a language.
    """
    words = [part.rstrip(".") for word in key if word not in SMALL and word != OWNER for part in word.split("-")]
    rarest = min(known.get(word, RAREST) for word in words)
    return max(RAREST, rarest * PER_WORD ** (len(words) - 1))


def log_ratio(count: int, words: int, other_count: int, other_words: int, expected: float) -> float:
    """log of the frequency count / words over the higher of two expectations: English, and the retain text.

    The retain text's frequency is smoothed by the English one, which counts as ENGLISH_WORDS further words of it.
    """
    retained = (other_count + ENGLISH_WORDS * expected) / (other_words + ENGLISH_WORDS)
    return math.log(count / words / max(expected, retained)) if count else -math.inf


# Phrases


class Phrases:
    """The parts of runs that begin and end with a name, and how often they occur.

    Counted are all single names, and of the longer parts those that occur `minimum_count` times: no part is more
    frequent than the parts of it, so those with one name more are sought among what is frequent with one less.
    """

    def __init__(self, runs: Counter[Key], minimum_count: int = 1) -> None:
        self.count = Counter[Key]()
        longer = [(run, name_places(run), times) for run, times in runs.items()]
        for names in range(1, LONGEST + 1):
            found = Counter[Key]()
            for run, places, times in longer:
                for part in self.hopeful(run, places, names):
                    found[part] += times
            self.count.update({part: n for part, n in found.items() if names == 1 or n >= minimum_count})
            longer = [one for one in longer if len(one[1]) > names]
        self.times, self.places = array("q"), defaultdict[Key, array](partial(array, "q"))
        for run, times in runs.items():
            for start, last in parts(run):
                if self.count[run[start : last + 1]] >= minimum_count:
                    self.places[run[start : last + 1]].append(len(self.times) + start)
            self.times.extend([times] * len(run))

    def hopeful(self, run: Key, places: Sequence[int], names: int) -> Iterator[Key]:
        """The parts of so many names whose two parts of one name less are frequent."""
        for first in range(len(places) - names + 1):
            start, last = places[first], places[first + names - 1]
            if last - start < LONGEST and (
                names == 1
                or (
                    run[start : places[first + names - 2] + 1] in self.count
                    and run[places[first + 1] : last + 1] in self.count
                )
            ):
                yield run[start : last + 1]

    def terms(
        self, minimum_count: int, peculiar: Callable[[Key], bool], small: Counter[str], minimum_alone: int | None = None
    ) -> set[Key]:
        """The distinctive parts that are bound together and occur alone often enough, long ones before their parts.

        minimum_alone: minimum_count if none is given.
        """
        accepted: set[Key] = set()
        taken: dict[int, int] = {}  # place -> end of the longest term that begins there
        for key in sorted((key for key in self.count if peculiar(key)), key=lambda key: (-len(key), key)):
            alone = self.alone(key, taken)
            if alone < max(minimum_alone or minimum_count, ALONE * self.count[key]) or not self.bound(key):
                continue
            if len(key) == 1 and not is_named(key[0], alone, small):
                continue
            accepted.add(key)
            for place in self.places[key]:
                taken.setdefault(place, place + len(key))
        return accepted

    def alone(self, key: Key, taken: Mapping[int, int]) -> int:
        """How often the part occurs outside the longer terms taken so far."""
        return sum(
            self.times[place]
            for place in self.places.get(key, ())
            if not any(taken.get(place - back, 0) >= place + len(key) for back in range(LONGEST))
        )

    def bound(self, key: Key) -> bool:
        """Whether the two names at every gap of the part belong together.

        Of "Guardian of the Gates" one is never seen without the other. "Wizard of Oz" is two terms, "Dorothy and Toto"
        too. A possession ("Marauder's Map") must make up enough of its owner's mentions.
        """
        for left, right in pairwise(name_places(key)):
            pair, between = key[left : right + 1], key[left + 1 : right]
            shares = [self.count[pair] / self.count[(pair[0],)], self.count[pair] / self.count[(pair[-1],)]]
            if OWNER in between or between == ("the",):
                share = shares[0]
            else:
                share = min(shares) if "and" in between else max(shares)
            if share < BOND:
                return False
        return True


def count_parts(runs: Counter[Key], wanted: Container[Key]) -> Counter[Key]:
    """How often these parts occur in the runs."""
    found = Counter[Key]()
    for run, times in runs.items():
        for start, last in parts(run):
            if run[start : last + 1] in wanted:
                found[run[start : last + 1]] += times
    return found


def is_named(word: str, times: int, small: Counter[str]) -> bool:
    """Whether a lower-case word that is a name `times` times is one often enough, and no title."""
    return not is_title(word) and times >= TERM_SHARE * (times + small[word])


def is_title(word: str) -> bool:
    """Whether a lower-case word only announces a name: Mr., Miss."""
    return word in TITLES or word.endswith(".")


def name_places(run: Key) -> list[int]:
    """Positions of the names in a run; the first and the last word are names even where they look like connectors."""
    return [
        place
        for place, word in enumerate(run)
        if place in (0, len(run) - 1) or not (word in CONNECTORS or word == OWNER)
    ]


def parts(run: Key) -> Iterator[tuple[int, int]]:
    """(first word, last word) of every part of a run that begins and ends with a name, at most LONGEST words long."""
    places = name_places(run)
    for number, start in enumerate(places):
        for last in places[number : number + LONGEST]:
            if last < start + LONGEST:
                yield start, last


# Surface forms


def all_spellings(keys: set[Key], singular: dict[str, str]) -> dict[str, Key]:
    """lower-case spelling -> key, with the plurals that occur in the text."""
    variants: dict[str, list[str]] = defaultdict(list)
    for plural, word in singular.items():
        variants[word].append(plural)
    return {
        " ".join(words).replace(f" {OWNER}", OWNER): key
        for key in sorted(keys)
        for words in product(*([word, *variants[word]] for word in key))
    }


def count_forms(
    forms: dict[str, Term], texts: Iterable[str], view: Callable[[str], str] = str
) -> dict[Term, Counter[str]]:
    """For every term, its forms in the texts and their counts; the longest form wins.

    view: what is searched instead of the text, of the same length character by character.
    """
    finder = TermFinder({form: form for form in forms})
    found: dict[Term, Counter[str]] = {term: Counter() for term in forms.values()}
    for text in texts:
        for hit in finder.find(view(text)):
            found[forms[hit.term]][as_written(text[hit.start : hit.end], hit.form)] += 1
    return found


def as_written(text: str, form: str) -> str:
    """An occurrence as a form: on one line, a hyphen at the line's end only where the form that was found has one."""
    whole = plain(BROKEN.sub("", text))
    return whole if lower(whole) == lower(form) else with_signs_of(form, plain(BROKEN.sub("-", text)))


def folded(text: str) -> str:
    """The text in lower case, every character in its place (capitals with two-letter lower case stay)."""
    small = text.lower() if text.isascii() else text.translate(DOTLESS).lower()
    return small if len(small) == len(text) else "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


def forms_of(written: Counter[str], small_too: bool, new_word: bool) -> list[str]:
    """Which spellings of a term are the term: those with all their capitals, or all where lower case means the same;
    none if capitals are too rare for a name.
    """
    full = [form for form in written if capitalised(form)]
    if not new_word and sum(written[form] for form in full) < TERM_SHARE * written.total():
        return []
    return sorted(written) if small_too else full


def in_order(written: Counter[str], name: bool = False) -> tuple[str, ...]:
    """The most frequent form first; of a name, a form with all its capitals and not all in capitals."""
    return tuple(sorted(written, key=lambda form: (name and not is_titled(form), -written[form], form)))


def is_titled(form: str) -> bool:
    """Whether the form is written as a name is: Silver Shoes, but not silver shoes or SILVER SHOES."""
    return capitalised(form) and not form.isupper()


def capitalised(form: str) -> bool:
    """Whether all words of the form but connectors have a capital."""
    return all(is_name(word) for word in WORD.findall(form) if word not in CONNECTORS)
