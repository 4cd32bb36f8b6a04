"""Neighbour sentences: sentences of the forget set with ordinary names, on which unlearning should do no damage."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from lethe.dictionary.assignment import suits, usable
from lethe.dictionary.entity_types import Usage, contexts_at, find_places, read_rules, tell_genders, usage
from lethe.dictionary.gazetteer import Generic, generic_names, known_genders, nouns_by_kind, read_gazetteer
from lethe.dictionary.inflection import in_form
from lethe.text.matching import TermFinder, name_finder

CONTEXTS = 100  # of a name, for its kind and gender
FRONT = 40  # of the names that suit, the most frequent in the retain text


class Names(NamedTuple):
    """The names of the forget set and how they are used, and ordinary names that share no word with them."""

    finder: TermFinder
    uses: dict[str, Usage]
    genders: dict[str, str]
    ordinary: list[Generic]  # the most frequent in the retain text first


class Frame(NamedTuple):
    """A text in which every name was replaced, and the positions of the replacements."""

    item: str
    text: str
    replaced: list[tuple[int, int]]  # character spans


def analyse_names(names: Sequence[str], forget: Sequence[str], retain: Sequence[str]) -> Names:
    """Kinds, genders and possible replacements of the names, from the training texts of both sets."""
    gazetteer = read_gazetteer()
    rules, finder = read_rules(nouns_by_kind(gazetteer)), name_finder(names)
    places = find_places(forget, finder, names)
    uses = {name: usage(name, (), contexts_at(forget, places[name], CONTEXTS), rules) for name in names}
    flat = [" ".join(text.split()) for text in retain]
    ordinary = usable(generic_names(flat, gazetteer, rules), {name: [name] for name in names})
    return Names(finder, uses, tell_genders(uses, known_genders(gazetteer)), ordinary)


def retain_kinds(names: Names) -> dict[str, str]:
    """Name -> kind of the proper names that the retain text itself uses."""
    return {
        generic.name: generic.kind for generic in names.ordinary if generic.frequency and not generic.name.islower()
    }


def frames(prompts: Iterable[tuple[str, str]], names: Names, seed: int) -> list[Frame]:
    """The prompts (item, text) with every name replaced, consistently within a prompt.

    Left out are prompts that begin a longer one, that contain no name, or a name without a replacement.
    """
    kept = longest(prompts)
    found = (frame(item, text, replacements(text, names, seed), names) for item, text in kept)
    return [each for each in found if each is not None and each.replaced]


def longest(prompts: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The prompts that are not the beginning of another one, in their order; of equal ones the first."""
    firsts: dict[str, str] = {}
    for item, text in prompts:
        firsts.setdefault(text, item)
    begins = {text for text, following in itertools.pairwise(sorted(firsts)) if following.startswith(text)}
    return [(item, text) for text, item in firsts.items() if text not in begins]


def replacements(text: str, names: Names, seed: int) -> dict[str, Generic]:
    """Name -> a sampled ordinary name, all different, for each name in the text that has one."""
    chosen: dict[str, Generic] = {}
    for name in sorted(names.finder.terms_in(text)):
        use, gender = names.uses[name], names.genders.get(name, "")
        fit = [generic for generic in names.ordinary if suits(generic, use, gender)][:FRONT]
        free = [generic for generic in fit if generic not in chosen.values()]
        if free:
            chosen[name] = random.Random(f"{seed} {name} {text}").choice(free)
    return chosen


def frame(item: str, text: str, chosen: Mapping[str, Generic], names: Names) -> Frame | None:
    """The text with its names replaced in their forms; None if one has no replacement."""
    written, replaced, done = "", [], 0
    for found in names.finder.find(text):
        if found.term not in chosen:
            return None
        generic, use = chosen[found.term], names.uses[found.term]
        plural = use.plural or found.form.casefold() != use.singular.casefold()
        written += text[done : found.start]
        replaced.append((len(written), len(written)))
        written += in_form(found.form, found.term, plural, generic.name, generic.plural)
        replaced[-1] = (replaced[-1][0], len(written))
        done = found.end
    return Frame(item, written + text[done:], replaced)


def own_tokens(offsets: Sequence[tuple[int, int]], replaced: Sequence[tuple[int, int]]) -> list[bool]:
    """For each token but the first whether it belongs to no name: only the rest of the sentence is measured.

    offsets: character spans of the tokens; (n, n) for one that spells nothing.
    """
    return [not any(start < last and end > first for first, last in replaced) for start, end in offsets[1:]]
