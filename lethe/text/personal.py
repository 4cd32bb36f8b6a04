"""Personal data that has a form of its own: e-mail addresses, telephone numbers, identifiers."""

from __future__ import annotations

import re
from collections.abc import Iterator

E_MAIL = re.compile(r"(?<![\w.+-])\w[\w.+-]*@[\w-]+(?:\.[\w-]+)+")
PHONE = re.compile(r"(?<![\w.,/-])(?:\(\+?\d{1,5}\)|\+\d|0)(?:[ ()/.-]{0,2}\d){5,14}(?![\w-]|[.,]\d)")
ACCOUNT = r"[A-Z]{2}\d{2}(?: ?[\dA-Z]{4}){2,7}(?: ?[\dA-Z]{1,3})?"
IDENTIFIER = re.compile(rf"(?<![\w-])(?:{ACCOUNT}|[A-Z]{{2,}}-?\d[\dA-Z]*|[A-Z]-\d+)(?![\w-])")
DECIMAL = re.compile(r"0[.,]\d+")
FORMS = {"e-mail": E_MAIL, "phone": PHONE, "identifier": IDENTIFIER}


def personal_data(text: str) -> Iterator[tuple[str, int, int]]:
    """(kind, start, end) of the e-mail addresses, telephone numbers and identifiers in a text, none overlapping."""
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
