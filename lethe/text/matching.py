"""Terms in text: one finder and one definition of a word boundary for extraction, prompts and the name matcher."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from lethe.core.errors import StageError
from lethe.text.languages import case_forms
from lethe.text.personal import alike, personal_data, spellings
from lethe.text.spelling import KATAKANA, MARKS, ONE_BY_ONE, Seen, seen

WORD = re.compile(f"[{ONE_BY_ONE}]|[{KATAKANA}]+|(?:[^\\W_{ONE_BY_ONE}{KATAKANA}]+[{MARKS}]*)+")
# letters and digits: the underscore of _emphasis_ is a boundary
GAP = re.compile(r"[\W_]+")
SPACE = re.compile(r"\s+")
MARK = re.compile(f"[{MARKS}]")  # of the letter before it: a name does not end between the two
INLINE = r"[^\S\n\u2028]*"  # white space within a line
NEXT_LINE = rf"{INLINE}[\n\u2028]{INLINE}(?:>{INLINE})*"  # quoted mail has a sign before every line
BROKEN = re.compile(rf"-{NEXT_LINE}(?=\S|\Z)")  # a hyphen at the end of a line: of the word, or of the line alone
MARKED = re.compile(rf"[*_]{{0,3}}(?:\\?{NEXT_LINE}|\s+)[*_]{{0,3}}")  # a space between words in Markdown's emphasis
ABBREVIATED = frozenset(  # with a full stop or without
    ["Mr", "Mrs", "Ms", "Dr", "St", "Ste", "Prof", "Capt", "Rev", "Sgt", "Lt", "Col", "Gen", "Hon", "Mme"]
)
INITIALS = re.compile(r"(?<![^\W_])(?:[^\W\d_]\. ?){2,}(?=[^\W\d_]{2})")
SCOTTISH = re.compile(r"(?<![^\W_])(Ma?c)([^\W\d_a-z][^\W_]*)|[^\W_]+")  # in capitals but for its beginning: McLEOD
FOLDED = str.maketrans(
    dict(zip("İЁёΆΈΉΊΌΎΏὰὲὴὶὸὺὼ", "IЕеΑΕΗΙΟΥΩάέήίόύώ", strict=True))
    | dict(zip("أإآٱىیک", "اااايي\u0643", strict=True))
    | {**dict.fromkeys("\u2013", "-"), **dict.fromkeys("\u2022\u2027\u2219\u22c5\u30fb", "\u00b7"), "＝": "゠"}
)  # how a name may be written or printed, in capitals for one: a letter for a letter
PARTICLE = re.compile(
    "(?:님|씨|군|양)?(?:이?(?:이|가|은|는|을|를|의|와|과|랑|도|만|야|네|다|며|나|라는|라고|라도|라며|고|지만|었다|었다고|었다는|었어|예요|에요|인|여|시여)|"
    "(?:이?에게|이?한테|께|에게서|한테서|에|에서|으로|로|까지|부터|처럼|보다|조차|마저|밖에)(?:는|도|만|의)?|께서|"
    "아|였다|였다고|였다는|였어|입니다|이었습니다|였습니다|이었던|였던|들|들이|들은|들을|들의|들도|들에게)?$"
)  # Korean, joined to the name, perhaps behind an affectionate -i
HANGUL = re.compile("[\uac00-\ud7a3]+$")
CLITIC = re.compile(
    "(?:[وف])?(?:[بلك])?(?=[\u0621-\u064a]{2})|[ושהכלבמ]{0,3}(?=[\u05d0-\u05ea](?:[\u05d0-\u05ea]|'[\u05d0-\u05ea]))"
)  # Arabic and, so, in, to, like, Hebrew and, that, the, as, to, in, from: joined to the name, even to ג'ורג'
JOINED = re.compile("(?:[\u0621-\u064a]+|[\u05d0-\u05ea]+)$")
GRAMMAR = "\u05d0"  # the first letter of the scripts that join particles or prefixes to a name
HERE = None  # key in a trie node for the forms that end there


class Found(NamedTuple):
    """One occurrence: text[start:end] is `form` up to line breaks and kinds of apostrophe, and stands for `term`."""

    start: int
    end: int
    form: str
    term: str


class TermFinder:
    """Finds surface forms in text: word-bounded, case-sensitive, leftmost and longest first, linear in the text.

    A line break inside a form matches a space, a blank line does not; a hyphen at the end of a line may be the form's
    or not; a possessive ('s or ') is left outside the match, as are the particles that Korean joins to a name and the
    prefixes of Arabic. Spelling does not count (`lethe.text.spelling`, FOLDED), nor the full stop of an initial or of
    Dr, nor the space after it, nor Markdown's emphasis and the sign of quoted mail between the words of a name.
    Of e-mail addresses, telephone and account numbers and identifiers every spelling is found (`lethe.text.personal`).
    Raises StageError for a form without a letter or digit.
    """

    def __init__(self, forms: Mapping[str, str]) -> None:
        """forms: surface form -> the term it stands for."""
        self.trie: dict[str, Any] = {}  # word -> gap -> word -> ...
        self.personal: dict[str, tuple[str, str]] = {}  # what its spellings have in common -> form and term
        for form, term in forms.items():
            self._add(form, term)

    def find(self, text: str) -> list[Found]:
        """The occurrences from left to right, none overlapping."""
        found: list[Found] = []
        taken = 0
        view = compared(text)
        spelled = self._spelled(view.text)
        for word in WORD.finditer(view.text):
            if word.start() < taken or (word.start() not in spelled and self._begins_none(view.text, word)):
                continue
            hits = [hit for hit in self._at(view.text, word) if hit.start >= taken]
            hits += [hit for hit in spelled.get(word.start(), ()) if hit.start >= taken]
            if hits:
                found.append(max(hits, key=lambda hit: (hit.end - hit.start, hit.form)))
                taken = found[-1].end
        return [Found(*view.span(hit.start, hit.end), hit.form, hit.term) for hit in found]

    def find_all(self, text: str) -> list[Found]:
        """Every occurrence, also inside that of a longer form (`Oz` in `Emerald City of Oz`)."""
        view = compared(text)
        spelled = self._spelled(view.text)
        words = WORD.finditer(view.text)
        hits = [hit for word in words for hit in (*self._at(view.text, word), *spelled.get(word.start(), ()))]
        return [Found(*view.span(hit.start, hit.end), hit.form, hit.term) for hit in dict.fromkeys(hits)]

    def terms_in(self, text: str) -> set[str]:
        """Every term that occurs, also inside the form of a longer one."""
        return {hit.term for hit in self.find_all(text)}

    def _add(self, form: str, term: str) -> None:
        text = compared(form).text
        for spelling in {text, INITIALS.sub(_joined, text), *spellings(text)}:
            self._add_spelling(spelling, form, term)
        if same := alike(text):
            self.personal.setdefault(same, (form, term))

    def _add_spelling(self, text: str, form: str, term: str) -> None:
        words = list(WORD.finditer(text))
        if not words:
            raise StageError(f"term: expected a word or phrase with a letter or digit, got {form!r}")
        start, end = words[0].start(), words[-1].end()
        node: dict[Any, Any] = self.trie.setdefault(words[0][0], {})
        for before, word in pairwise(words):
            node = node.setdefault(_plain(text[before.end() : word.start()], before[0]), {}).setdefault(word[0], {})
        node.setdefault(HERE, []).append((text[:start].strip(), text[end:].strip(), form, term))

    def _spelled(self, text: str) -> dict[int, list[Found]]:
        """Personal data in any of its spellings, by the start of its first word."""
        found: dict[int, list[Found]] = {}
        for _, start, end in personal_data(text) if self.personal else ():
            known, first = self.personal.get(alike(text[start:end])), WORD.search(text, start)
            if known and first:
                found.setdefault(first.start(), []).append(Found(start, end, *known))
        return found

    def _at(self, text: str, word: re.Match[str]) -> Iterator[Found]:
        """Every form that starts with this word of the text."""
        if self._begins_none(text, word):
            return
        for start, key, end in _readings(text, word):
            if key in self.trie:
                yield from self._on(text, start, end, self.trie[key], key)

    def _begins_none(self, text: str, word: re.Match[str]) -> bool:
        """Whether this is a word as it stands, and no form begins with it: said of most words, at little cost."""
        return word[0] not in self.trie and word[0] < GRAMMAR and not text.startswith("-", word.end())

    def _on(self, text: str, start: int, end: int, node: dict[Any, Any], last: str) -> Iterator[Found]:
        """Every form that goes on at a node of the trie after the text from start to end, whose last word this is."""
        for before, after, form, term in node.get(HERE, ()):
            if text.endswith(before, 0, start) and text.startswith(after, end) and not MARK.match(text, end):
                yield Found(start - len(before), end + len(after), form, term)
        if len(node) == (HERE in node):
            return
        follower = WORD.match(text, end)  # also a vowel sign of Thai, which would be a gap
        gap = None if follower else GAP.match(text, end)
        follower = WORD.match(text, gap.end()) if gap else follower
        following = node.get(_plain(gap[0] if gap else "", last)) if follower else None
        if following and follower:
            for first, key, stop in _readings(text, follower):
                if first == follower.start() and key in following:
                    yield from self._on(text, start, stop, following[key], key)


def _readings(text: str, word: re.Match[str]) -> Iterator[tuple[int, str, int]]:
    """(start, word, end) of what a word of the text may be: itself, a name that a line's end or grammar joins on to."""
    start, end = word.span()
    yield start, word[0], end
    broken = BROKEN.match(text, end)
    follower = WORD.match(text, broken.end()) if broken else None
    if follower:
        yield start, word[0] + follower[0], follower.end()
    if word[0] < GRAMMAR:
        return
    if HANGUL.match(word[0]):
        for size in range(2, len(word[0])):
            if PARTICLE.match(word[0], size):
                yield start, word[0][:size], start + size
    elif JOINED.match(word[0]):
        prefix = CLITIC.match(text, start)
        for size in range(1, prefix.end() - start + 1 if prefix else 1):
            yield start + size, word[0][size:], end
            if word[0].startswith("لل", size - 1):  # to the: the article loses its first letter
                yield start + size, "ا" + word[0][size:], end


def term_finder(terms: Mapping[str, Sequence[str]]) -> TermFinder:
    """Finds every form of these terms; a form of several is that of the term it equals, else of the first."""
    return TermFinder(owners(terms))


def owners(terms: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """form -> the term it stands for: the one it equals, else the first that lists it."""
    owner = {term: term for term in terms}
    for term, forms in terms.items():
        for form in forms:
            owner.setdefault(form, term)
    return owner


def name_finder(names: Iterable[str]) -> TermFinder:
    """Finds names in all their surface forms; a name is never read as the plural of another."""
    names = sorted(set(names))
    forms = {form: name for name in names for form in surface_forms(name)}
    return TermFinder(forms | {name: name for name in names})


def surface_forms(term: str) -> list[str]:
    """How a name can be written: itself, its plurals and cases, its start capitalised, all of it in upper case."""
    forms = [term, *plurals(term), *case_forms(term)]
    capitalised = [form[0].upper() + form[1:] for form in forms if form]
    capitals = [written for form in forms for written in in_capitals(form)]
    return list(dict.fromkeys(forms + capitalised + capitals))


def in_capitals(form: str) -> list[str]:
    """A name in upper case: STRASSE or STRAẞE, MCLEOD or McLEOD."""
    scottish = SCOTTISH.sub(lambda word: (word[1] or "") + (word[2] or word[0]).upper(), form)
    return [form.upper(), form.replace("ß", "ẞ").upper(), scottish]


def with_signs_of(form: str, text: str) -> str:
    """A spelling of the form with the form's signs between its words; as it is if it has other words."""
    words = WORD.findall(text)
    if [word.casefold() for word in words] != [word.casefold() for word in WORD.findall(form)]:
        return text
    each = iter(words)
    return WORD.sub(lambda _: next(each), form)


def same_name(name: str) -> str:
    """What the spellings of a name have in common that a TermFinder finds."""
    text = INITIALS.sub(_joined, compared(name).text)
    words = list(WORD.finditer(text))
    gaps = [_plain(text[one.end() : two.start()], one[0]) for one, two in pairwise(words)]
    inner = "".join(part for pair in zip((word[0] for word in words), [*gaps, ""], strict=True) for part in pair)
    return text[: words[0].start()].strip() + inner + text[words[-1].end() :].strip() if words else text


def compared(text: str) -> Seen:
    """The text as `seen`, and letters and signs that stand for each other as one of them."""
    view = seen(text)
    return view if text.isascii() else view._replace(text=view.text.translate(FOLDED))


def plurals(term: str) -> list[str]:
    """The plurals of a term's last word; a capitalised -y word may be a name (Harrys) or a noun (Fairies)."""
    if re.search(r"(s|x|z|ch|sh)$", term):
        return [term + "es"]
    if re.search(r"[Mm]an$", term):
        return [term[:-2] + "en"]
    if re.search(r"[^aeiou\W]y$", term):
        name = term.split()[-1][0].isupper()
        return [term[:-1] + "ies"] + ([term + "s"] if name else [])
    return [term + "s"]


def _joined(initials: re.Match[str]) -> str:
    return re.sub(r"\W", "", initials[0]) + " "


def _plain(gap: str, last: str) -> str:
    """A gap between two words as it is compared: white space as one space unless it holds a blank line; after an
    initial and after Mr, Dr a full stop is none. last: the word before it.
    """
    if gap.count("\n") > 1:
        return gap
    found = " " if MARKED.fullmatch(gap) else SPACE.sub(" ", BROKEN.sub("-", gap))
    if found in (".", ". "):
        return " " if len(last) == 1 or last.capitalize() in ABBREVIATED else ". "
    return found
