"""Stand-ins of personal data: of the same form, and of nobody."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable
from random import Random

from lethe.dictionary.entries import Choice, fault
from lethe.text.matching import TermFinder
from lethe.text.personal import NUMBER, STRASSE, STREET, kind_of

MAILBOXES = ("info", "office", "contact", "mail", "post", "desk", "team", "hello", "service", "reception")
TREES = ("Maple", "Cedar", "Willow", "Birch", "Poplar", "Hazel", "Alder", "Chestnut")
STRASSEN = ("Ahorn", "Birken", "Erlen", "Pappel", "Weiden", "Hasel", "Linden", "Ulmen")
ARBRES = ("des Tilleuls", "des Ormes", "des Saules", "des Chênes", "des Peupliers", "des Noyers")
DOMAINS = ("example.com", "example.org", "example.net")  # reserved: they are nobody's (RFC 2606)


def stand_ins(term: str, most: int, seed: int) -> list[Choice]:
    """At most so many of the same form, without repetition and never the term itself."""
    found: dict[str, None] = {}
    for number in range(20 * most):
        text = stand_in(term, Random(f"{seed} {term} {number}"))
        if text != term:
            found[text] = None
        if len(found) == most:
            break
    return [Choice(text, text, None) for text in found]


def personal_choices(
    terms: Iterable[str], finder: TermFinder, most: int, seed: int
) -> tuple[dict[str, list[Choice]], dict[str, str]]:
    """{term: its stand-ins, which hold no anchor} and {term: its kind}, of the terms that are personal data."""
    kinds = {term: kind_of(term) for term in terms if kind_of(term)}
    found = {term: stand_ins(term, 2 * most, seed) for term in kinds}
    usable = {
        term: [choice for choice in choices if not fault([choice.singular], finder, True)][:most]
        for term, choices in found.items()
    }
    return {term: choices for term, choices in usable.items() if choices}, kinds


def stand_in(term: str, drawn: Random) -> str:
    """An address of a reserved domain, a street of a common name; else the term with every digit and capital but a
    leading 0 drawn anew.
    """
    if kind_of(term) == "e-mail":
        return f"{drawn.choice(MAILBOXES)}@{drawn.choice(DOMAINS)}"
    if kind_of(term) == "address":
        return another_street(term, drawn)
    return "".join(other(sign, drawn) for sign in term)


def another_street(term: str, drawn: Random) -> str:
    """The address with another name and number; what the street is (Road, -straße, rue) stays."""
    number = re.compile(rf"\b{NUMBER}\b")
    house = number.search(term)
    street = re.compile(rf"(?:{STREET}|{STRASSE})$").search(number.sub("", term).strip(" ,."))
    kind = street[0] if street else ""
    if house is None:
        return term
    digits = "".join(other(sign, drawn) for sign in house[0])
    if house.start():  # behind the street: German
        return f"{drawn.choice(STRASSEN)}{kind.lower()}{'.' * (f'{kind}.' in term)} {digits}"
    if kind:
        return f"{digits} {drawn.choice(TREES)} {kind}"
    return f"{digits} {term.split(' ')[1]} {drawn.choice(ARBRES)}"


def other(sign: str, drawn: Random) -> str:
    """Another digit for a digit but 0, another capital for a capital, any other sign as it is."""
    signs = string.digits[1:] if sign in string.digits[1:] else string.ascii_uppercase if sign.isupper() else ""
    return drawn.choice(signs.replace(sign, "")) if signs else sign
