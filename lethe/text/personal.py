"""Personal data that has a form of its own: e-mail and postal addresses, telephone numbers, identifiers."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

LOCAL = r"(?<![\w.+-])\w[\w.+'%&-]*"  # of an e-mail address, before the @
AT, DOT = (
    r"(?: ?@ ?| ?[\[({<] ?(?:at|AT) ?[\])}>] ?)",
    r"(?:\.| ?[\[({<] ?(?:dot|DOT) ?[\])}>] ?)",
)  # or hidden
E_MAIL = re.compile(rf"{LOCAL}(?=[@ \[({{<]){AT}[\w-]+(?:{DOT}[\w-]+)*{DOT}[^\W\d_][\w-]*[^\W_]")
DATE = r"\d{1,2}[./-]\d{1,2}[./-](?:\d\d){1,2}"
SECURITY = r"\d{3}-\d{2}-\d{4}(?!\d)"  # a social security number
NO_PHONE = (
    rf"(?!{DATE}(?![./-]?\d)|{SECURITY}|0-\d{{1,7}}-\d{{1,7}}-[\dX](?!\d)|0\.|000|\d(?: \d)+(?! ?\d)|0[ 0]*(?!\d))"
)
# a date, a book's number, a version, a number with zeros before it, digits one by one
AMERICAN = r"(?:\+?1[ .-])?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}"
PHONE = re.compile(
    rf"(?=[(+\d])(?<![\w.,/-]){NO_PHONE}(?:(?:\(\+?\d{{1,5}}\)|\+\d|0)(?:[ ()/.-]{{0,2}}\d){{5,14}}|{AMERICAN})"
    r"(?![\w-]|[.,]\d)"
)
ACCOUNT = r"[A-Z]{2}\d{2}(?:[ -]?[\dA-Z]{4}){2,7}(?:[ -]?[\dA-Z]{1,3})?|[a-z]{2}\d{2}[a-z]{0,4}\d{8,}"
CARD = r"\d{4}(?:[ -]?\d{4}){3}"
IDENTIFIER = re.compile(
    rf"(?=[A-Z\d]|[a-z]{{2}}\d)(?<![\w-])(?:{ACCOUNT}|{CARD}|{SECURITY}|[A-Z]{{2,}}-?\d[\dA-Z]*|[A-Z]-\d+)(?![\w-])"
)
WORD = re.compile(r"[^\W_]+")
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
    rf"|{NUMBER},? {RUE} (?:(?:de|du|des|la|le|les|d['’]|l['’]) ?){{0,2}}[{CAPITAL}][\w'’-]+"
    rf"(?: [{CAPITAL}][\w'’-]+){{0,2}})(?!\w)"
)
FORMS = {"e-mail": E_MAIL, "phone": PHONE, "identifier": IDENTIFIER, "address": ADDRESS}
LAST_DIGITS = 8  # of a telephone number, alike with and without a country's or a town's prefix
LONG = 9  # letters and digits of an identifier whose spaces and hyphens do not count
SHORTER = {  # words of an address as it may be abbreviated
    **{"street": "st", "road": "rd", "avenue": "ave", "lane": "ln", "drive": "dr", "square": "sq", "court": "ct"},
    **{"boulevard": "blvd", "strasse": "str"},
}
WORD_END = re.compile(rf"({'|'.join(SHORTER)})\b")
SIGNS = str.maketrans(
    dict.fromkeys((160, *range(8192, 8203), 8239, 8287, 12288), " ")
    | dict.fromkeys((*range(8208, 8214), 8722, 65123, 65293), "-")
    | {"\u00b7": ".", "\u2024": ".", "\u2219": ".", "\u2019": "'", "\uff20": "@", "\uff0e": ".", "\uff0b": "+"}
    | {code: str(unicodedata.digit(chr(code))) for code in range(0x660, 0x10000) if chr(code).isdecimal()}
)  # spaces, dashes, dots and digits of every kind, each as a plain one


def personal_data(text: str) -> Iterator[tuple[str, int, int]]:
    """(kind, start, end) of the addresses, telephone numbers and identifiers in a text, none overlapping."""
    text = text if text.isascii() else text.translate(SIGNS)
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
    """What all spellings of an e-mail address, a postal one, a telephone number or a long identifier have in common; ""
    of others.
    """
    kind, plain = kind_of(term), term.translate(SIGNS)
    if kind == "e-mail":
        return re.sub(AT, "@", re.sub(DOT, ".", plain)).casefold()
    if kind == "address":
        return "".join(WORD.findall(WORD_END.sub(lambda word: SHORTER[word[1]], plain.casefold())))
    signs = "".join(sign for sign in plain.upper() if sign.isalnum())
    if kind == "phone":
        return signs[-LAST_DIGITS:]
    return signs if kind == "identifier" and len(signs) >= LONG else ""
