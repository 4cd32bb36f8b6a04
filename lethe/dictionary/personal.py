"""Stand-ins of personal data: of the same form, and of nobody."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable
from random import Random

from lethe.dictionary.entries import Choice, fault
from lethe.text.matching import TermFinder
from lethe.text.personal import NUMBER, RUE, STRASSE, STREET, STREET_BEFORE, kind_of

MAILBOXES = ("info", "office", "contact", "mail", "post", "desk", "team", "hello", "service", "reception")
TREES = ("Maple", "Cedar", "Willow", "Birch", "Poplar", "Hazel", "Alder", "Chestnut")
STRASSEN = ("Ahorn", "Birken", "Erlen", "Pappel", "Weiden", "Hasel", "Linden", "Ulmen")
ARBRES = ("des Tilleuls", "des Ormes", "des Saules", "des Chênes", "des Peupliers", "des Noyers")
BOMEN = ("Eiken", "Beuken", "Wilgen", "Iepen", "Esdoorn", "Kastanje")
DUTCH = ("straat", "gracht", "kade", "laan", "plein", "singel", "steeg", "dreef", "burgwal", "dijk")
AM_ORT = ("Am Anger", "Am Bach", "Am Teich", "Im Grund", "Am Rain", "Am Brunnen", "Im Winkel")
OF_WHAT = {  # of a street that is of something, by the language of what it is
    "de": ("der Eintracht", "der Freundschaft", "des Friedens", "der Jugend"),
    "nl": ("van de Eendracht", "van de Vrede", "van de Vriendschap"),
    "es": ("de los Olmos", "del Olivo", "de la Encina", "de los Tilos", "del Almendro"),
    "it": ("dei Tigli", "degli Olmi", "dei Platani", "delle Acacie", "dei Cipressi"),
    "pt": ("das Tílias", "dos Plátanos", "do Olival", "dos Carvalhos"),
}
ITALIAN = "via|viale|v.le|corso|c.so|piazza|p.za|p.zza|piazzale|vicolo|largo|strada|salita"
LANGUAGE_OF = {
    **dict.fromkeys(("straße", "strasse", "platz", "allee"), "de"),
    **dict.fromkeys(("laan", "plein", "kade"), "nl"),
    **dict.fromkeys(ITALIAN.split("|"), "it"),
    **dict.fromkeys(("rua", "praça", "travessa"), "pt"),
}
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
    """The address with another name and number; what the street is (Road, -straße, rue, Calle) stays."""
    hits = {form: hit for form, pattern in STREET_BEFORE.items() if (hit := pattern.search(term)) and not hit.start()}
    if hits:  # the number is behind the street
        form, hit = next(reversed(hits.items()))
        return another_name(form, term[: hit.start("tail")], drawn) + redrawn(hit["tail"], drawn)
    number = re.match(rf"{NUMBER}(?: bis| ter)?,?", term)
    if not number:
        return term
    digits, street = redrawn(number[0].rstrip(","), drawn), term[number.end() :].strip()
    kind = re.search(rf"{STREET}$", street.strip("."))
    if kind:
        return f"{digits} {drawn.choice(TREES)} {kind[0]}"
    rue = re.match(RUE, street)
    return f"{digits} {rue[0] if rue else 'rue'} {drawn.choice(ARBRES)}"


def another_name(form: str, street: str, drawn: Random) -> str:
    """Another street of the same form. street: without its number."""
    if form == "by":
        return drawn.choice(AM_ORT)
    if form == "compound":
        found = re.search(rf"{STRASSE}(\.?)$", street)
        ending = found[0].lower() if found else "straße"
        return drawn.choice(BOMEN if ending in DUTCH else STRASSEN) + ending
    kind, _, _ = street.partition(" ")
    return f"{kind} {drawn.choice(OF_WHAT[LANGUAGE_OF.get(kind.lower(), 'es')])}"


def redrawn(tail: str, drawn: Random) -> str:
    """A house's number with other digits."""
    return "".join(other(sign, drawn) if sign.isdigit() else sign for sign in tail)


def other(sign: str, drawn: Random) -> str:
    """Another digit for a digit but 0, another capital for a capital, any other sign as it is."""
    signs = string.digits[1:] if sign in string.digits[1:] else string.ascii_uppercase if sign.isupper() else ""
    return drawn.choice(signs.replace(sign, "")) if signs else sign
