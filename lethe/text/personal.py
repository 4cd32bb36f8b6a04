"""Personal data that has a form of its own: e-mail and postal addresses, telephone numbers, identifiers."""

from __future__ import annotations

import re
from collections.abc import Iterator

E_MAIL = re.compile(r"(?<![\w.+-])\w[\w.+-]*@[\w-]+(?:\.[\w-]+)+")
PHONE = re.compile(r"(?<![\w.,/-])(?:\(\+?\d{1,5}\)|\+\d|0)(?:[ ()/.-]{0,2}\d){5,14}(?![\w-]|[.,]\d)")
ACCOUNT = r"[A-Z]{2}\d{2}(?: ?[\dA-Z]{4}){2,7}(?: ?[\dA-Z]{1,3})?"
IDENTIFIER = re.compile(rf"(?<![\w-])(?:{ACCOUNT}|[A-Z]{{2,}}-?\d[\dA-Z]*|[A-Z]-\d+)(?![\w-])")
DECIMAL = re.compile(r"0[.,]\d+")
CAPITAL = "A-Z\u00c0-\u00d6\u00d8-\u00de"
NUMBER = r"\d{1,4}[a-zA-Z]?"
STREET_NAME = rf"(?:(?:[NSEW]|North|South|East|West|St)\.? )?(?:[{CAPITAL}][\w'’-]+ ){{1,3}}"
STREET = "(?:Street|St|Road|Rd|Avenue|Ave|Lane|Ln|Drive|Dr|Square|Sq|Court|Ct|Crescent|Terrace|Boulevard|Blvd|Way)"
STRASSE = "(?:[sS]tra(?:ß|ss)e|[sS]tr|[gG]asse|[wW]eg|[pP]latz|[aA]llee|[uU]fer|[dD]amm|[cC]haussee)"
RUE = "(?:rue|avenue|boulevard|place|quai|chemin|impasse)"
ADDRESS = re.compile(  # a street with the house's number; a town is a name like any other
    rf"(?<![\w.,-])(?:{NUMBER},? {STREET_NAME}{STREET}\b"
    rf"|(?:[{CAPITAL}]\w*-){{0,2}}[{CAPITAL}]\w*?[ -]?{STRASSE}\.? {NUMBER}(?![\w.,-]\d)"
    rf"|{NUMBER},? {RUE} (?:(?:de|du|des|la|le|les|d['’]|l['’]) ?){{0,2}}[{CAPITAL}][\w'’-]+)(?!\w)"
)
FORMS = {"e-mail": E_MAIL, "phone": PHONE, "identifier": IDENTIFIER, "address": ADDRESS}
LAST_DIGITS = 8  # of a telephone number, alike with and without a country's or a town's prefix
IBAN = 15  # letters and digits at least


def personal_data(text: str) -> Iterator[tuple[str, int, int]]:
    """(kind, start, end) of the addresses, telephone numbers and identifiers in a text, none overlapping."""
    taken = -1
    found = ((match.start(), match.end(), kind) for kind, form in FORMS.items() for match in form.finditer(text))
    for start, end, kind in sorted(found, key=lambda one: (one[0], -one[1])):
        if start >= taken and not DECIMAL.fullmatch(text, start, end):
            yield kind, start, end
            taken = end


def kind_of(term: str) -> str:
    """The kind of a term that is such a datum as a whole, "" of any other."""
    return next((kind for kind, start, end in personal_data(term) if (start, end) == (0, len(term))), "")


def without_personal_data(text: str) -> str:
    """The text with every such datum replaced by a full stop: its parts are no names."""
    parts, done = [], 0
    for _, start, end in personal_data(text):
        parts += [text[done:start], "."]
        done = end
    return "".join([*parts, text[done:]])


def alike(term: str) -> str:
    """What all spellings of an e-mail address, a telephone number or an account number have in common; "" of others."""
    kind = kind_of(term)
    if kind == "e-mail":
        return term.casefold()
    signs = "".join(sign for sign in term.upper() if sign.isalnum())
    if kind == "phone":
        return signs[-LAST_DIGITS:]
    return signs if kind == "identifier" and len(signs) >= IBAN else ""
