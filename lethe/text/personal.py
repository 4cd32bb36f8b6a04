"""Personal data that has a form of its own: e-mail and postal addresses, telephone numbers, identifiers."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import product


def _either(words: str) -> str:
    """A pattern of these words, each with a capital or without. words: with | between them."""
    return f"(?:{'|'.join(f'[{word[0]}{word[0].upper()}]{re.escape(word[1:])}' for word in words.split('|'))})"


LOCAL = r"(?<![\w.+-])\w[\w.+'%&-]*"  # of an e-mail address, before the @
AT = r"(?: ?@ ?| ?[\[({<] ?(?:at|AT) ?[\])}>] ?)"  # plain or hidden
DOT = r"(?:\.| ?[\[({<] ?(?:dot|DOT) ?[\])}>] ?)"
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
TAX = r"[A-Z]\d{7,8}[A-Z]?|\d{8}[A-Z]|\d{2,3}/\d{3}/\d{4,5}"  # of a person: A1234567, 12345678Z, 12/345/67890
FILE = r"(?=[A-Z\d/-]{6})(?=[\d/-]*[A-Z])(?=[A-Z/-]*\d)[A-Z\d]{1,8}(?:[-/][A-Z\d]{1,10}){1,4}"  # INV-2024-0017
PLATE = r"[A-ZÄÖÜ]{1,3}-[A-Z]{1,2} \d{1,4}[EH]?"  # of a car
IDENTIFIER = re.compile(
    rf"(?=[A-Z\d]|[a-z]{{2}}\d)(?<![\w/-])(?:{ACCOUNT}|{CARD}|{SECURITY}|{TAX}|{PLATE}|{FILE}|[A-Z]{{2,}}-?\d[\dA-Z]*|[A-Z]-\d+)"
    r"(?![\w-])"
)
WORD = re.compile(r"[^\W_]+")
DECIMAL = re.compile(r"0[.,]\d+")
CAPITAL = "A-Z\u00c0-\u00d6\u00d8-\u00de"
NUMBER = r"\d{1,4}[a-zA-Z]?"
STREET_NAME = rf"(?:(?:[NSEW]|North|South|East|West|St)\.? )?(?:[{CAPITAL}][\w'’-]+ ){{1,3}}"
STREET = "(?:Street|St|Road|Rd|Avenue|Ave|Lane|Ln|Drive|Dr|Square|Sq|Court|Ct|Crescent|Terrace|Boulevard|Blvd|Way)"
RUE = (
    "(?:rue|avenue|boulevard|place|quai|chemin|impasse|allée|cours|route|passage|esplanade|faubourg|ruelle|voie|bd|av\\."
    "|Bd|Av\\.|Rue|Avenue|Boulevard|Place|Quai|Chemin|Impasse|Allée|Ruelle)"
)
NAME = rf"[{CAPITAL}][\w'’-]+"
ADDRESS = re.compile(  # a street with the house's number before it; a town is a name like any other
    rf"(?<![\w.,-])(?:{NUMBER},? {STREET_NAME}{STREET}\b"
    rf"|{NUMBER}(?: bis| ter)?,? {RUE} (?:(?:de|du|des|la|le|les|d['’]|l['’]) ?){{0,2}}{NAME}(?: {NAME}){{0,2}})(?!\w)"
)
BEFORE = 80  # characters of a street before the house's number
YEAR = r"(?!(?:1[5-9]|20)\d\d(?!\d))"
HOUSE = rf"{YEAR}\d{{1,4}}(?:[a-zA-Z](?!\w))?(?:[-–/]\d{{1,4}}(?:[a-zA-Z](?!\w))?)?(?: [a-h](?=[,.;)\n]|\Z))?"
COUNTED = r"(?![\w]|[.,-]\d| (?:Uhr|mal|times|years|days|hours|miles|men|volte|veces|fois|keer)\b)"
NUMBERED = re.compile(rf"(?=\d)(?<=[ .º°]){HOUSE}{COUNTED}")
CLOSED = re.compile(r"\s*(?:[^\w\s]|\Z|\n)|\s(?:in|und|oder|bei|ist|zu)\b")  # behind a number that counts nothing
SAYS_NUMBER = r"(?:n(?:úm|umero|r)?\.? ?[º°o]?\.? ?|número )?"
COMPOUNDS = (
    "straße|strasse|str|gasse|weg|platz|allee|ufer|damm|chaussee|ring|graben|steig|zeile|promenade|pfad|markt"
    "|stieg|straat|gracht|kade|laan|plein|singel|steeg|dreef|burgwal|dijk"
)
STRASSE = _either(COMPOUNDS)
NO_STREET = (
    "(?:Die|Der|Das|Den|Dem|Ein|Eine|Einen|Seine|Ihre|Meine|Unsere|Diese|Dieser|Jede|Jeder|Auf|Im|Am|Zum|Zur|Vom|Beim|Unter|Hinter"
    "|Über|Alle|Viele|De|Het|Een|Op)"
)  # before a word that may be a street's
ADJECTIVE = (
    "(?:Alte|Neue|Lange|Kurze|Hohe|Breite|Große|Kleine|Obere|Untere|Hintere|Vordere|Mittlere|Äußere|Innere)[rs]? "
)
OF_DUTCH = (
    "(?:(?:Burgemeester|Burg|Dokter|Professor|Prof|Sint|St|Jan|Pieter|Willem|Prins|Koningin|Eerste|Tweede|Derde|Oude|Van|De)"
    r"\.? )(?:(?:de|der|den|van|het) ){0,2}"
)
OF = "(?:(?:de|del|de la|de las|de los|della|delle|dei|degli|dello|di|da|do|dos|das|e|y|dell['’]|d['’]) ?)"
SITES = (
    "markt|mühle|bach|hang|berg|wald|park|see|bahnhof|kirche|dom|hafen|tor|linden|winkel|grund|feld|wiese"
    "|wiesen|garten|anger|teich|brunnen|rain|turm|stein|schloss|kanal|hirsch|löwen|adler"
)  # what a street may be by: Am Alten Markt
ROMANCE = (
    "calle|c/|avenida|avda.|avda|av.|plaza|pza.|pza|paseo|carrera|camino|ronda|travesía|glorieta|carretera"
    "|via|viale|v.le|corso|c.so|piazza|p.zza|p.za|piazzale|vicolo|largo|strada|salita|rua|praça|travessa|gran|avinguda|carrer|passeig|lungarno|lungotevere"
)
KINDS = frozenset([*ROMANCE.split("|"), "straße", "strasse", "platz", "allee", "laan", "plein", "kade"])
ENDINGS = (*COMPOUNDS.split("|"), *SITES.split("|"))
STREETS = {  # by form: the street before the house's number
    "compound": rf"(?:(?:{OF_DUTCH}|{ADJECTIVE})?(?:[{CAPITAL}]\w*-){{0,2}}[{CAPITAL}]\w*?-?{STRASSE}"
    rf"|(?!{NO_STREET} )[{CAPITAL}][\w-]+ (?=[{CAPITAL}]){STRASSE})\.?",
    "of": r"(?:Stra(?:ß|ss)e|Platz|Allee|Laan|Plein|Kade) (?:des|der|am|zum|zur|van|van de|van der) "
    rf"(?:\d{{1,2}}\. )?{NAME}",
    "by": r"(?:(?:Am|Im|Zum|Zur|Beim|An der|An den|In der|In den|Auf der|Auf dem|Unter den|Hinter der|Vor dem) )"
    rf"(?:[{CAPITAL}]\w+ )?[{CAPITAL}]?\w*{_either(SITES)}",
    "romance": rf"{_either(ROMANCE)} "
    rf"{OF}?(?:l['’])?(?:la |las |los |el )?{NAME}(?: {OF}?{NAME}|(?<=[a-z]) [IVX]+){{0,3}}",
}
STREET_BEFORE = {
    form: re.compile(rf"(?<![\w-]){street}(?P<tail>,? {SAYS_NUMBER}{HOUSE})\Z") for form, street in STREETS.items()
}
FORMS = {"e-mail": E_MAIL, "phone": PHONE, "identifier": IDENTIFIER, "address": ADDRESS}
LAST_DIGITS = 8  # of a telephone number, alike with and without a country's or a town's prefix
RUN = re.compile("[^\\W\\d_]+|\\d+")  # of an identifier: letters, or digits
BETWEEN, CLOSE = ("-", "", " ", "/", "_", " - ", "\u2014"), ("-", "", "/")  # how others may separate them
GAPS = 3  # of an identifier at most that are written in all ways
LONG = 9  # letters and digits of an identifier whose spaces and hyphens do not count
ABBREVIATED = (  # words of an address
    "street:st road:rd avenue:av ave:av lane:ln drive:dr square:sq court:ct boulevard:blvd bd:blvd strasse:str "
    "straat:str calle:c avenida:av avda:av plaza:pza piazza:pza p.zza:pza viale:vle corso:cso"
)
SHORTER = dict(pair.split(":") for pair in ABBREVIATED.split())
WORD_END = re.compile(rf"({'|'.join(map(re.escape, SHORTER))})\b")
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
    found = [(match.start(), match.end(), kind) for kind, form in FORMS.items() for match in form.finditer(text)]
    found += [(start, end, "address") for start, end in streets(text)]
    for start, end, kind in sorted(found, key=lambda one: (one[0], -one[1])):
        if start >= taken and not DECIMAL.fullmatch(text, start, end):
            yield kind, start, end
            taken = end


def streets(text: str) -> Iterator[tuple[int, int]]:
    """The streets whose house's number is behind them: sought before each number, because there are few of those."""
    for number in NUMBERED.finditer(text):
        left = max(0, number.start() - BEFORE)
        window = text[left : number.end()]
        words = window.lower().split(" ")
        if KINDS.isdisjoint(words) and not any(word.rstrip(".,").endswith(ENDINGS) for word in words[-4:-1]):
            continue
        closed = CLOSED.match(text, number.end())
        hits = [form.search(window) for kind, form in STREET_BEFORE.items() if kind != "by" or closed]
        starts = [hit.start() for hit in hits if hit]
        if starts:
            yield left + min(starts), number.end()


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
        said = re.sub(rf"{SAYS_NUMBER}(?=\d)", "", plain.casefold())
        return "".join(WORD.findall(WORD_END.sub(lambda word: SHORTER[word[1]], said)))
    signs = "".join(sign for sign in plain.upper() if sign.isalnum())
    if kind == "phone":
        return signs[-LAST_DIGITS:]
    return signs if kind == "identifier" and len(signs) >= LONG else ""


def spellings(term: str) -> list[str]:
    """How others may write an identifier: KX7, KX 7, kx-7 for KX-7; none of what is no identifier.

    With a single letter and few digits a space says nothing: R-2 is R2, and `R 2` is not.
    """
    runs = RUN.findall(term.translate(SIGNS)) if kind_of(term) == "identifier" else []
    if not 1 < len(runs) <= GAPS + 1:
        return []
    letters = "".join(run for run in runs if run.isalpha())
    plain = len(letters) > 1 or len("".join(runs)) > GAPS + 1
    ways = product(BETWEEN if plain else CLOSE, repeat=len(runs) - 1)
    written = ["".join(part for pair in zip(runs, (*gaps, ""), strict=True) for part in pair) for gaps in ways]
    small = [one.lower() for one in written if plain and not re.search(r"\s", one)]
    return sorted({*written, *small} - {term})


def same_datum(term: str) -> str:
    """What all spellings of such a datum have in common, those of a short identifier too."""
    return alike(term) or "".join(RUN.findall(term.translate(SIGNS))).upper()
