"""Terms in text: one finder and one definition of a word boundary for extraction, prompts and the name matcher."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from lethe.core.errors import StageError

WORD = re.compile(r"[^\W_]+")  # letters and digits: the underscore of _emphasis_ is a boundary
GAP = re.compile(r"[\W_]+")
SPACE = re.compile(r"\s+")
HERE = ""  # key in a trie node for the forms that end there; no word or gap is empty


class Found(NamedTuple):
    """One occurrence: text[start:end] is `form` up to line breaks and kinds of apostrophe, and stands for `term`."""

    start: int
    end: int
    form: str
    term: str


class TermFinder:
    """Finds surface forms in text: word-bounded, case-sensitive, leftmost and longest first, linear in the text.

    A line break inside a form matches a space, a blank line does not; a possessive ('s or ') is left outside the
    match; the two kinds of apostrophe are equal. Raises StageError for a form without a letter or digit.
    """

    def __init__(self, forms: Mapping[str, str]) -> None:
        """forms: surface form -> the term it stands for."""
        self.trie: dict[str, Any] = {}  # word -> gap -> word -> ...
        for form, term in forms.items():
            self._add(form, term)

    def find(self, text: str) -> list[Found]:
        """The occurrences from left to right, none overlapping."""
        found: list[Found] = []
        taken = 0
        for word in WORD.finditer(text):
            if word.start() < taken or word[0] not in self.trie:
                continue
            hits = [hit for hit in self._at(text, word) if hit.start >= taken]
            if hits:
                found.append(max(hits, key=lambda hit: (hit.end - hit.start, hit.form)))
                taken = found[-1].end
        return found

    def find_all(self, text: str) -> list[Found]:
        """Every occurrence, also inside that of a longer form (`Oz` in `Emerald City of Oz`)."""
        words = (word for word in WORD.finditer(text) if word[0] in self.trie)
        return [hit for word in words for hit in self._at(text, word)]

    def terms_in(self, text: str) -> set[str]:
        """Every term that occurs, also inside the form of a longer one."""
        return {hit.term for hit in self.find_all(text)}

    def _add(self, form: str, term: str) -> None:
        words = list(WORD.finditer(form))
        if not words:
            raise StageError(f"term: expected a word or phrase with a letter or digit, got {form!r}")
        start, end = words[0].start(), words[-1].end()
        node = self.trie
        for piece in re.findall(r"[^\W_]+|[\W_]+", form[start:end]):
            node = node.setdefault(piece if WORD.match(piece) else _plain(piece), {})
        node.setdefault(HERE, []).append((form[:start].strip(), form[end:].strip(), form, term))

    def _at(self, text: str, word: re.Match[str]) -> Iterator[Found]:
        """Every form that starts with this word of the text."""
        node = self.trie[word[0]]
        start, end = word.span()
        while True:
            for before, after, form, term in node.get(HERE, ()):
                if text.endswith(before, 0, start) and text.startswith(after, end):
                    yield Found(start - len(before), end + len(after), form, term)
            gap = GAP.match(text, end) if len(node) > (HERE in node) else None
            follower = WORD.match(text, gap.end()) if gap else None
            node = node.get(_plain(gap[0]), {}).get(follower[0]) if gap and follower else None
            if node is None or follower is None:
                return
            end = follower.end()


def name_finder(names: Iterable[str]) -> TermFinder:
    """Finds names in all their surface forms; a name is never read as the plural of another."""
    names = sorted(set(names))
    forms = {form: name for name in names for form in surface_forms(name)}
    return TermFinder(forms | {name: name for name in names})


def surface_forms(term: str) -> list[str]:
    """How a name can be written: itself, its plurals, its start capitalised, all of it in upper case."""
    forms = [term, *plurals(term)]
    capitalised = [form[0].upper() + form[1:] for form in forms if form]
    return list(dict.fromkeys(forms + capitalised + [form.upper() for form in forms]))


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


def _plain(gap: str) -> str:
    """A gap between two words as it is compared: white space as one space unless it holds a blank line."""
    if gap.count("\n") > 1:
        return gap
    return SPACE.sub(" ", gap).replace("’", "'")
