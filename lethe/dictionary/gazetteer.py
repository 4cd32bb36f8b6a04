"""Ordinary names to replace anchors with: a small gazetteer and names from the retain text."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lethe.core.tables import read_csv
from lethe.dictionary.entity_types import KINDS, MOSTLY, Rule, Usage, contexts_at, find_places, tell_genders, usage
from lethe.dictionary.inflection import head, plural_of
from lethe.text.languages import frequencies
from lethe.text.matching import TermFinder

GAZETTEER = Path(__file__).with_name("generic_names.csv")
SURNAMES = Path(__file__).with_name("surnames.csv")
MOST_NAMES = 400  # names and phrases of the retain text whose kind is determined, the most frequent ones
MINIMUM_COUNT = 4  # rarer ones are left out
CONTEXTS = 60  # of each, to determine its kind
CLEAR_MARGIN = 0.5  # minimum lead of its kind over the second

DISTINCTIVE = 2.0  # nats, as extract.minimum_keyness
RAREST, RARER = 1e-8, 0.1  # frequency of a word that English lacks, and for each further word of a name

CAPITALISED = re.compile(r"(?<=[a-z,;] )[A-Z][a-z]+(?:[ -][A-Z][a-z]+){0,2}(?![\w-])")
PHRASE = re.compile(r"\b(?:[Tt]he|[Aa]n?|his|her|their|my|your|our|every|each|no) ([a-z]+(?: [a-z]+){1,2})\b")
NO_MODIFIER = re.compile(
    r"(\w*(ed|ing|ly)|the|an?|his|her|their|and|or|of|in|on|to|at|as|for|with|from|by|before|after|is|was|had|has|be|"
    r"other|same|own|few|next|last|first|best|most|oldest|that|who|whose|he|she|it|they|saw|got|put|took|gave)$"
)
NO_NAME = re.compile(r"(Mr|Mrs|Ms|Dr|St|\w+days)$")  # abbreviations need a full stop; on Sundays
DATE = re.compile(
    r"(?:(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day|January|February|April|July|August|September|October|November|"
    r"December)\b"
)  # on Monday Alice Baker came


class Generic(NamedTuple):
    """An ordinary name in the singular: lower case where it takes an article, capitalised where it does not."""

    kind: str
    name: str
    plural: str
    gender: str  # of a person: male | female | "" for either or unknown
    frequency: int  # occurrences in the retain text


def read_gazetteer(path: Path = GAZETTEER) -> list[Generic]:
    """The gazetteer with frequency 0; its column plural is filled where the plural is irregular."""
    header = ("kind", "name", "plural", "gender")
    rows = read_csv(path, header, unique=("kind", "name"), filled=("kind", "name"))
    irregular = {head(row["name"]): head(row["plural"]) for row in rows if row["plural"]}
    return [
        Generic(row["kind"], row["name"], row["plural"] or plural_of(row["name"], irregular), row["gender"], 0)
        for row in rows
    ]


def nouns_by_kind(gazetteer: Iterable[Generic]) -> dict[str, dict[str, str]]:
    """{kind: {noun: plural}} of the gazetteer's single lower-case nouns."""
    nouns: dict[str, dict[str, str]] = {kind: {} for kind in KINDS}
    for entry in gazetteer:
        if entry.name.islower() and " " not in entry.name:
            nouns[entry.kind][entry.name] = entry.plural
    return nouns


def noun_plurals(gazetteer: Iterable[Generic]) -> dict[str, str]:
    """{noun: plural} of the gazetteer's single nouns."""
    return {noun: plural for nouns in nouns_by_kind(gazetteer).values() for noun, plural in nouns.items()}


def known_genders(gazetteer: Iterable[Generic]) -> dict[str, str]:
    """{first name, title or noun: gender}, where all persons with that word agree."""
    found: dict[str, set[str]] = {}
    for entry in gazetteer:
        if entry.kind == "person":
            word = head(entry.name) if entry.name.islower() else entry.name.split()[0]
            found.setdefault(word, set()).add(entry.gender)
    return {word: next(iter(seen)) for word, seen in found.items() if len(seen) == 1 and "" not in seen}


def generic_names(texts: Sequence[str], gazetteer: Sequence[Generic], rules: Sequence[Rule]) -> list[Generic]:
    """The gazetteer and the names in these texts whose kind is clear, the most frequent first."""
    nouns = nouns_by_kind(gazetteer)
    found = capitalised_names(texts) + noun_phrases(texts, nouns)
    names = [name for name, count in ranked(found)[:MOST_NAMES] if count >= MINIMUM_COUNT]
    known = noun_plurals(gazetteer)
    plurals = {name: plural_of(name, known) for name in names} | {entry.name: entry.plural for entry in gazetteer}
    forms = {plural: name for name, plural in plurals.items()} | {name: name for name in plurals}
    places = find_places(texts, TermFinder(forms), plurals)
    uses = {name: usage(name, (), contexts_at(texts, places[name], CONTEXTS), rules) for name in names}
    genders = tell_genders(uses, known_genders(gazetteer))
    typed = [
        Generic(use.kind, name, plurals[name], genders.get(name, ""), 0)
        for name, use in uses.items()
        if is_clear(name, use, nouns)
    ]
    entries = {(entry.kind, entry.name): entry for entry in [*typed, *gazetteer]}
    counted = [entry._replace(frequency=len(places[entry.name])) for entry in entries.values()]
    return sorted(counted, key=lambda entry: (-entry.frequency, entry.kind, entry.name))


def stand_ins(
    texts: Sequence[str], gazetteer: Sequence[Generic], rules: Sequence[Rule], ordinary: bool
) -> list[Generic]:
    """The generic names; if `ordinary`, without those that are the retain text's own: no Darcy, no Longbourn."""
    names = generic_names(texts, gazetteer, rules)
    words = sum(len(text.split()) for text in texts)
    return [
        name for name in names if not ordinary or name.name.islower() or not is_own(name.name, name.frequency, words)
    ]


def surnames(texts: Iterable[str], path: Path = SURNAMES) -> list[str]:
    """The surnames of the table without those that these texts have, or all of them where they have every one."""
    names = [row["name"] for row in read_csv(path, ("name",), unique=("name",), filled=("name",))]
    finder = TermFinder({name: name for name in names})
    found = Counter(hit.term for text in texts for hit in finder.find(text))
    return [name for name in names if found[name] < MINIMUM_COUNT] or names


def is_own(name: str, count: int, words: int) -> bool:
    """Whether a name is as much more frequent in so many words than in English as extract asks of an anchor."""
    known = frequencies("en")
    parts = [part for part in re.split(r"[ -]", name.lower()) if part]
    expected = min(known.get(part, RAREST) for part in parts) * RARER ** (len(parts) - 1)
    return count >= MINIMUM_COUNT and math.log(count / words / max(RAREST, expected)) >= DISTINCTIVE


def ranked(found: Counter[str]) -> list[tuple[str, int]]:
    """Most frequent first, ties in alphabetical order."""
    return sorted(found.items(), key=lambda item: (-item[1], item[0]))


def capitalised_names(texts: Iterable[str]) -> Counter[str]:
    """Runs of capitalised words within sentences, unless they are written in lower case at least as often."""
    found = Counter(match[0] for text in texts for match in CAPITALISED.finditer(text))
    found = Counter({name: count for name, count in found.items() if " " not in name or not DATE.match(name)})
    lower = Counter(word for text in texts for word in re.findall(r"\b[a-z]+\b", text))
    return Counter(
        {name: count for name, count in found.items() if lower[name.lower()] < count and not NO_NAME.match(name)}
    )


def noun_phrases(texts: Iterable[str], nouns: Mapping[str, Mapping[str, str]]) -> Counter[str]:
    """Phrases of two or three lower-case words after a determiner whose last word is one of the nouns."""
    heads = {noun for of_kind in nouns.values() for noun in of_kind}
    found: Counter[str] = Counter()
    for text in texts:
        for match in PHRASE.finditer(text):
            phrase = match[1].split()
            while len(phrase) > 1 and phrase[-1] not in heads:
                phrase.pop()
            if len(phrase) > 1 and not any(NO_MODIFIER.match(word) for word in phrase[:-1]):
                found[" ".join(phrase)] += 1
    return found


def is_clear(name: str, use: Usage, nouns: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether a name of the retain text is clearly of its kind and used as names of that kind are."""
    if use.margin < CLEAR_MARGIN:
        return False
    if name.islower():
        return head(name) in nouns[use.kind]
    return use.article <= MOSTLY and not use.plural
