"""Entity types: what kind of thing a name denotes and how it is used, by a table of rules over the words around it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from lethe.core.tables import read_csv
from lethe.dictionary.inflection import head, singular_form, singular_of
from lethe.text.matching import TermFinder

KINDS = ("person", "place", "thing", "creature", "group", "event")  # on a tie the earlier one
RULES = Path(__file__).with_name("kind_rules.csv")
REACH = 160  # characters of text kept on either side of an occurrence
NEAR = 6  # words on either side that count as near
HEAD_WEIGHT = 2.0
MOSTLY = 0.5  # share of its contexts with an article from which on a name is used with one
CLEAR = 2.5  # pronouns decide a gender if one is this many times as frequent as the other
SIGMAS = 2.0  # or if their share is this many standard deviations from that around all persons

TOKEN = re.compile(r"[^\W_]+|[^\w\s]")
NUMBERS = {"two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "several", "many"}
COUNTS = frozenset({"a", "an", "every", "each", "no", "one", "another", *NUMBERS})
POSSESSIVES = {"my", "your", "his", "her", "its", "our", "their"}
DETERMINERS = COUNTS | POSSESSIVES | {"the", "this", "that", "these", "some", "any"}
PLURAL_SIGNS = frozenset({"are", "were", "have", "do", "two", "three", "these", "those", "many", "few", "all"})
SINGULAR_SIGNS = frozenset({"is", "was", "has", "does", "a", "an", "this", "every", "each", "one"})
PRONOUNS = {
    **dict.fromkeys(("he", "him", "his", "himself"), "male"),
    **dict.fromkeys(("she", "her", "hers", "herself"), "female"),
}
MALE_HEAD = re.compile(r"(?:(?<!wo)man|boy|lord|father)$")  # Footman
FEMALE_HEAD = re.compile(r"(?:woman|girl|lady|maid|mother|wife)$")
Item = TypeVar("Item")
Slots = Mapping[str, frozenset[str]]


class Place(NamedTuple):
    """An occurrence of a name: number of the text, span in it."""

    text: int
    start: int
    end: int


class Context(NamedTuple):
    """One occurrence of a name: the text before it, its form there without line breaks, the text after it."""

    before: str
    form: str
    after: str


class Rule(NamedTuple):
    """The share of a name's contexts whose slot holds one of `words`, times `weight`, is evidence for `kind`."""

    kind: str
    slot: str
    weight: float
    words: frozenset[str]


class Usage(NamedTuple):
    """How a name is used; article, a, an and counted are shares of its contexts."""

    name: str
    kind: str
    margin: float  # score of the kind less that of the second best
    article: float  # after the, a, his ...
    a: float  # directly after `a`
    an: float  # directly after `an`
    counted: float  # after a, every, two ...
    singular: str  # the name in the singular
    plural: bool  # the name itself is a plural
    male: int  # contexts in which the first personal pronoun after the name is he, him ...
    female: int  # she, her ...


def read_rules(nouns: Mapping[str, Iterable[str]]) -> list[Rule]:
    """The table of rules, and for each kind of `nouns` one more: the Golden Cap is a cap, and a cap is a thing."""
    rows = read_csv(RULES, Rule._fields, filled=Rule._fields)
    table = [Rule(row["kind"], row["slot"], float(row["weight"]), frozenset(row["words"].split())) for row in rows]
    return table + [Rule(kind, "head", HEAD_WEIGHT, frozenset(names)) for kind, names in nouns.items()]


def find_places(texts: Sequence[str], finder: TermFinder, terms: Iterable[str]) -> dict[str, list[Place]]:
    """Every place where one of the finder's terms occurs, in the order of the texts."""
    places: dict[str, list[Place]] = {term: [] for term in terms}
    for number, text in enumerate(texts):
        for found in finder.find(text):
            places[found.term].append(Place(number, found.start, found.end))
    return places


def contexts_at(texts: Sequence[str], places: Sequence[Place], most: int) -> list[Context]:
    """The surroundings of at most `most` of the places, spread evenly."""
    return [context_at(texts[place.text], place.start, place.end) for place in spread(places, most)]


def context_at(text: str, start: int, end: int) -> Context:
    """The surroundings of one place."""
    form = " ".join(text[start:end].split())
    return Context(text[max(0, start - REACH) : start], form, text[end : end + REACH])


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most `most` of the items, at even distances and in their order."""
    if len(items) <= most:
        return list(items)
    return [items[index * len(items) // most] for index in range(most)]


def usage(name: str, forms: Iterable[str], contexts: Sequence[Context], rules: Sequence[Rule]) -> Usage:
    """The kind with the highest score and how the name is used; without a context its own words alone decide."""
    found = singular_form(name, forms)
    plural = found is not None or looks_plural(name, contexts)
    singular = found or (singular_of(name) if plural else name)
    seen = [slots(context, singular) for context in contexts]
    article = share(seen, "form", frozenset({"definite", "indefinite"}))
    scores = kind_scores(seen, own_slots(singular, article > MOSTLY), rules)
    best, second = sorted(scores.values(), reverse=True)[:2]
    firsts = [first_gender(context.after) for context in contexts]
    return Usage(
        name=name,
        kind=max(KINDS, key=lambda kind: scores[kind]),
        margin=best - second,
        article=article,
        a=share(seen, "touching", frozenset({"a"})),
        an=share(seen, "touching", frozenset({"an"})),
        counted=share(seen, "form", frozenset({"indefinite"})),
        singular=singular,
        plural=plural,
        male=firsts.count("male"),
        female=firsts.count("female"),
    )


def slots(context: Context, singular: str) -> Slots:
    """The lower-case words around the name by slot; rules refer to slots.

    form      bare, definite (the, his ...) or indefinite (a, every, two ...); singular or plural
    touching  the word or sign directly before the name
    before    the word before the name with its article and one adjective
    after     the word or sign after the name
    owned     the three words after a possessive
    near      the words at most six away
    """
    before, after = tokens(context.before), tokens(context.after)
    place = determiner_at(before)
    determiner = "" if place is None else before[place]
    form = "bare" if not determiner else "indefinite" if determiner in COUNTS else "definite"
    number = "singular" if context.form.casefold() == singular.casefold() else "plural"
    return {
        "form": frozenset({form, number}),
        "touching": frozenset(before[-1:]),
        "before": frozenset(before[:place][-1:]),
        "after": frozenset(after[:1]),
        "owned": frozenset(after[2:5] if after[:2] in (["'", "s"], ["’", "s"]) else ()),
        "near": frozenset(before[-NEAR:] + after[:NEAR]),
    }


def own_slots(singular: str, article: bool) -> Slots:
    """The name's own words as slots: its first word (a title) and its head noun, in lower case.

    A capitalised single word has neither, unless it is used with an article: Rook is no rook, but the Lizard is one.
    """
    if " " not in singular and not singular.islower() and not article:
        return {"title": frozenset(), "head": frozenset()}
    return {"title": frozenset({singular.lower().split()[0]}), "head": frozenset({head(singular).lower()})}


def tokens(text: str) -> list[str]:
    """Words and signs in lower case."""
    return TOKEN.findall(text.lower())


def determiner_at(before: Sequence[str]) -> int | None:
    """Index of the article or possessive that the name has, at most one adjective away; None if it has none."""
    for index in range(len(before) - 1, max(len(before) - 3, -1), -1):
        if before[index] in DETERMINERS:
            return index
        if not before[index].isalpha():
            return None
    return None


def looks_plural(name: str, contexts: Sequence[Context]) -> bool:
    """Whether a name that could be a plural is one: decided by verbs and numbers, or else by its article."""
    if singular_of(name) == name:
        return False
    uses = [(tokens(context.before), tokens(context.after)) for context in contexts]
    plural = sum(bool({*before[-1:], *after[:1]} & PLURAL_SIGNS) for before, after in uses)
    singular = sum(bool({*before[-1:], *after[:1]} & SINGULAR_SIGNS) for before, after in uses)
    if plural == singular:  # the Quadlings, but Kansas
        return 2 * sum(determiner_at(before) is not None for before, _ in uses) > len(uses)
    return plural > singular


def kind_scores(seen: Sequence[Slots], own: Slots, rules: Sequence[Rule]) -> dict[str, float]:
    """{kind: sum of the weights of its rules, each times the share of the contexts in which it holds}."""
    scores = dict.fromkeys(KINDS, 0.0)
    for rule in rules:
        holds = float(bool(own[rule.slot] & rule.words)) if rule.slot in own else share(seen, rule.slot, rule.words)
        scores[rule.kind] += rule.weight * holds
    return scores


def share(seen: Sequence[Slots], slot: str, words: frozenset[str]) -> float:
    """The share of the contexts whose slot holds one of the words."""
    return sum(bool(context[slot] & words) for context in seen) / max(1, len(seen))


def first_gender(after: str) -> str:
    """The gender of the first personal pronoun, `` if there is none."""
    return next((PRONOUNS[word] for word in tokens(after) if word in PRONOUNS), "")


def tell_genders(uses: Mapping[str, Usage], known: Mapping[str, str]) -> dict[str, str]:
    """{person: male | female | ""}. known: first name, title or noun -> gender."""
    persons = {name: use for name, use in uses.items() if use.kind == "person"}
    pronouns = sum(use.male + use.female for use in persons.values())
    male_share = sum(use.male for use in persons.values()) / max(1, pronouns)
    return {name: tell_gender(name, use, male_share, known) for name, use in persons.items()}


def tell_gender(name: str, use: Usage, male_share: float, known: Mapping[str, str]) -> str:
    """By one of the name's own words if `known` holds it, else by the pronouns after the name.

    male_share: of the pronouns after all persons; a man among women has more `her` than `him` after his name, but
    more `him` than they.
    """
    for word in (name.split()[0], name.split()[0].lower(), head(name).lower()):
        if word in known:
            return known[word]
    if MALE_HEAD.search(head(name)) or FEMALE_HEAD.search(head(name)):
        return "male" if MALE_HEAD.search(head(name)) else "female"
    pronouns = use.male + use.female
    surprise = use.male - pronouns * male_share
    usual = SIGMAS * (pronouns * male_share * (1 - male_share)) ** 0.5
    if use.male >= CLEAR * max(1, use.female) or surprise > usual:
        return "male"
    return "female" if use.female >= CLEAR * max(1, use.male) or surprise < -usual else ""
