"""English number, case and articles of names: inflects one name like another."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from lethe.text.matching import plurals

HEAD_END = re.compile(r"\s+(?:of|the|in|on|at|for|and)\s.*")
VOWEL = re.compile(r"(?:[aeio]|u(?!ni|s[eu])|hou?r|hono)", re.IGNORECASE)


def head(name: str) -> str:
    """The head noun of a noun phrase: the last word before `of`, `in` and the like."""
    return HEAD_END.sub("", name).split()[-1]


def takes_an(name: str) -> bool:
    """Whether the article before it is `an`."""
    return VOWEL.match(name) is not None


def plural_of(name: str, irregular: Mapping[str, str]) -> str:
    """The plural: of the head (Cups of Tea), by the table of irregular nouns (wolf: wolves) before the rules."""
    noun = head(name)
    plural = irregular.get(noun.lower()) or plurals(noun)[-1]
    return _with_head(name, plural)


def plural_forms(name: str) -> set[str]:
    """Every regular plural of the name's head that a text may use, in lower case."""
    return {_with_head(name, plural).casefold() for plural in plurals(head(name))}


def singular_of(name: str) -> str:
    """The name with its head in the singular if that looks like a regular plural, else unchanged."""
    noun = head(name)
    if re.search(r"[^aeiou\W]ies$", noun):
        return _with_head(name, noun[:-3] + "y")
    if re.search(r"(x|z|ch|sh|ss)es$", noun):
        return _with_head(name, noun[:-2])
    return _with_head(name, noun[:-1]) if re.search(r"[^s\Wui]s$", noun) else name


def singular_form(name: str, forms: Iterable[str]) -> str | None:
    """The one of a term's other forms whose plural the name is; None if there is none."""
    singular = (form for form in forms if name.casefold() in plural_forms(form) and form[:1] == name[:1])
    return next(singular, None)


def in_form(form: str, anchor: str, plural: bool, translation: str, translation_plural: str) -> str:
    """The translation inflected like `form`: plural if `plural`, upper or lower case or capitalised if the form is.

    anchor: how the term is usually written; a case that form and anchor share says nothing about the translation's.
    """
    text = translation_plural if plural else translation
    if form.isupper() and not anchor.isupper():
        return text.upper()
    if form.islower() and not anchor.islower():
        return text.lower()
    return text[:1].upper() + text[1:] if form[:1].isupper() and anchor[:1].islower() else text


def _with_head(name: str, noun: str) -> str:
    old = head(name)
    start = name.rindex(old, 0, len(HEAD_END.sub("", name)))
    return name[:start] + noun + name[start + len(old) :]
