"""Aliases: anchors that name one person or thing (Peter, Peter Pan, Pan), and stand-ins with the same parts."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from random import Random

from lethe.dictionary.entity_types import MOSTLY, Usage
from lethe.dictionary.entries import Choice, Terms, form_texts
from lethe.dictionary.gazetteer import Generic
from lethe.dictionary.inflection import HEAD_END, plural_of, singular_of

Groups = Mapping[str, Sequence[str]]  # the longest name of a group -> all its names, itself first

TITLE = re.compile(
    r"(?:mrs?|miss|ms|dr|sir|madam|dame|master|mistress|captain|colonel|general|major|lieutenant|professor|saint|lady|"
    r"lord|aunt|uncle|king|queen|prince(?:ss)?|doctor|judge|reverend|the|an?)\.?",
    re.IGNORECASE,
)
QUALITIES = ("old", "young", "tall", "small", "quiet", "busy", "grey", "brown", "plain", "other")


def alias_groups(terms: Terms, uses: Mapping[str, Usage], apart: Collection[str]) -> dict[str, list[str]]:
    """The longest name -> all names of the group, of every group of several. apart: names that stay alone.

    A name belongs to a longer one if it is its beginning or its end (Peter, Pan), its head noun (Lion of Cowardly
    Lion), or the same but for a title, and if no other longer name says so too: the Bennet of Mr. Bennet and Mrs.
    Bennet is neither.
    """
    names = [name for name in terms if name not in apart and uses[name].kind]
    longer: dict[str, list[str]] = {}
    for name in names:
        found = [other for other in names if other != name and is_part(name, other, uses)]
        longer[name] = sorted(found, key=lambda other: (len(other.split()), other))
    owner: dict[str, str] = {}
    for name in sorted(names, key=lambda name: (-len(name.split()), name)):
        heads = {owner.get(other, other) for other in longer[name]}
        owner[name] = heads.pop() if len(heads) == 1 else name
    groups: dict[str, list[str]] = {}
    for name in sorted(names, key=lambda name: (owner[name] != name, name)):
        groups.setdefault(owner[name], []).append(name)
    return {first: members for first, members in groups.items() if len(members) > 1}


def regrouped(groups: Groups, given: Mapping[str, str]) -> dict[str, list[str]]:
    """The groups as a person has them. given: name -> a name of its group, itself if it stays alone."""
    found = {first: [name for name in names if name not in given] for first, names in groups.items()}
    for name, head in given.items():
        if name != head:
            own = next((first for first, names in found.items() if head in names), head)
            found.setdefault(own, [head]).append(name)
    whole = {
        max(names, key=lambda name: (len(name.split()), name == first)): names
        for first, names in found.items()
        if names
    }
    return {
        first: [first, *sorted(name for name in names if name != first)]
        for first, names in whole.items()
        if len(set(names)) > 1
    }


def is_part(name: str, other: str, uses: Mapping[str, Usage]) -> bool:
    """Whether a name may be a shorter one of another."""
    own, whole = bare(name), bare(other)
    if own == whole:
        return len(name.split()) < len(other.split())
    if not own or len(own) >= len(whole) or uses[name].plural != uses[other].plural:
        return False
    if HEAD_END.search(other):  # Land of Oz is no Oz, the Witch of the East is a Witch
        whole = bare(HEAD_END.sub("", other))
        return own == whole[-len(own) :]
    person = uses[name].kind == uses[other].kind == "person"
    begins = uses[other].article <= MOSTLY and (
        person or uses[other].kind == "group"
    )  # Peter; Brenvik of Brenvik Optics
    return own == whole[-len(own) :] or (begins and own == whole[: len(own)])


def bare(name: str) -> list[str]:
    """The words of a name in lower case and the singular, without titles before it and without articles."""
    words = singular_of(name).lower().split()
    while len(words) > 1 and TITLE.fullmatch(words[0]):
        words = words[1:]
    return words


def merged(terms: Terms, groups: Groups) -> dict[str, Sequence[str]]:
    """The terms, every group as one of them with the forms of all its names."""
    members = {member for names in groups.values() for member in names}
    alone = {name: forms for name, forms in terms.items() if name not in members}
    return alone | {first: [form for name in names for form in terms[name]] for first, names in groups.items()}


def whole_forms(terms: Terms, groups: Groups, uses: Mapping[str, Usage]) -> dict[str, str]:
    """Form of a group's name -> the longest name in the same number."""
    found = {}
    for first, names in groups.items():
        for name in names:
            for form in terms[name]:
                single = form.casefold() == uses[name].singular.casefold()
                found[form] = uses[first].singular if single else first if uses[first].plural else form
    return found


def divisible(generic: Generic, use: Usage) -> bool:
    """Whether a stand-in has the parts that the names of a group need: no title that a short name would keep."""
    words = generic.name.split()
    return not TITLE.fullmatch(words[0]) if use.kind == "person" else len(words) == 1


def with_parts(first: str, use: Usage, choices: Sequence[Choice], surnames: Sequence[str], seed: int) -> list[Choice]:
    """The stand-ins of a group's longest name, long enough for its parts: Tom -> Tom Barlow, tailor -> old tailor."""
    found = []
    for number, choice in enumerate(choices):
        more = Random(f"{seed} {first} {number}")
        single = len(choice.singular.split()) == 1
        if single and len(bare(first)) > 1 and use.kind == "person" and choice.singular[:1].isupper():
            added = more.choice(surnames)
            choice = Choice(f"{choice.singular} {added}", f"{choice.plural} {added}", choice.score)
        elif single and len(bare(first)) > 1:
            quality = more.choice(QUALITIES)
            choice = Choice(f"{quality} {choice.singular}", f"{quality} {choice.plural}", choice.score)
        found.append(choice)
    return found


def part_of(choice: Choice, name: str, first: str) -> Choice:
    """What stands for one name of a group where `choice` stands for the longest: its beginning, its end, or all."""
    own, whole = bare(name), bare(first)
    words = choice.singular.split()
    if len(words) == 1 or len(own) == len(whole):
        return choice
    if own == whole[: len(own)] and own != bare(HEAD_END.sub("", first))[-len(own) :]:
        return Choice(words[0], plural_of(words[0], {}), choice.score)
    if own != whole[-len(own) :] and own[-1] != bare(HEAD_END.sub("", first))[-1]:  # Tink, as a person says
        return Choice(words[0], plural_of(words[0], {}), choice.score)
    plural = choice.plural.split()[-1]
    return Choice(words[-1], plural, choice.score)


def in_parts(terms: Terms, groups: Groups, uses: Mapping[str, Usage]) -> dict[str, Callable[[Choice], list[str]]]:
    """For each group a function that writes a choice in every form of all its names, in the order of `merged`."""

    def writer(first: str) -> Callable[[Choice], list[str]]:
        return lambda choice: [
            text
            for name in groups[first]
            for text in form_texts(terms[name], name, uses[name], part_of(choice, name, first))
        ]

    return {first: writer(first) for first in groups}


def unused(surnames: Sequence[str], terms: Iterable[str]) -> list[str]:
    """The surnames that are no word of an anchor, or all of them where every one is."""
    known = {word.lower() for name in terms for word in name.split()}
    return [name for name in surnames if name.lower() not in known] or list(surnames)
