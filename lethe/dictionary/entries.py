"""The dictionary of anchors and their generic translations, checked for contradictions."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lethe.core.errors import StageError
from lethe.core.tables import (
    ANCHORS,
    DICTIONARY,
    DROPPED,
    JUDGED_OVERRIDES,
    OVERRIDES,
    has_header,
    numbered_csv,
    read_csv,
)
from lethe.dictionary.entity_types import KINDS, Usage
from lethe.dictionary.inflection import in_form, plural_forms, plural_of, singular_of
from lethe.text.matching import TermFinder, owners, same_name
from lethe.text.spelling import MARKS

Terms = Mapping[str, Sequence[str]]  # anchor -> all its forms, the anchor first

POSSESSIVE = re.compile(r"['’][sS]$")
NO_ANCHOR = "-"  # as the translation of an anchor: it is none
PRINTED = re.compile(r"\S(?:[^|\r\n]*\S)?")
LETTERS = rf"[^\W\d_](?:[^\W\d_]|[{MARKS}])*"
WORD_LIKE = re.compile(rf"{LETTERS}(?:[ '’-]{LETTERS})*")


class Choice(NamedTuple):
    """One translation of an anchor in the singular and the plural; no score where none was measured."""

    singular: str
    plural: str
    score: float | None


class Override(NamedTuple):
    """A line of data/overrides.csv; what is empty is left to lethe."""

    line: int
    anchor: str
    translation: str
    kind: str = ""
    gender: str = ""
    group: str = ""  # another name of the same person or thing; NO_ANCHOR: it has none


class Given(NamedTuple):
    """{anchor: kind} and {anchor: gender} as a user gives them."""

    kinds: dict[str, str]
    genders: dict[str, str]


def read_terms(path: Path) -> dict[str, list[str]]:
    """The anchors with their forms; a form that two anchors share goes to the anchor it equals, else to the first."""
    rows = read_csv(path, ANCHORS, unique=("anchor",), filled=("anchor", "forms"))
    owner = owners({row["anchor"]: row["forms"].split("|") for row in rows})
    terms: dict[str, list[str]] = {row["anchor"]: [] for row in rows}
    for form, anchor in owner.items():
        terms[anchor].append(form)
    return terms


def read_dropped(path: Path) -> dict[str, list[str]]:
    """term -> its forms, of the terms that extract dropped; none where there is no such file."""
    rows = read_csv(path, DROPPED, unique=("term",), filled=("term", "forms")) if path.exists() else []
    return {row["term"]: row["forms"].split("|") for row in rows}


def read_overrides(path: Path) -> list[Override]:
    """The user's own translations, kinds, genders and groups; several lines for an anchor give several translations.

    Raises StageError at `path:line` for a line that says nothing or what cannot be.
    """
    header = JUDGED_OVERRIDES if has_header(path, JUDGED_OVERRIDES) else OVERRIDES
    read_csv(path, header, unique=OVERRIDES, filled=OVERRIDES if header == OVERRIDES else OVERRIDES[:1])
    found = [Override(line, *(cell.strip() for cell in row.values())) for line, row in numbered_csv(path, header)]
    for line, anchor, translation, kind, gender, group in found:
        allowed = {"kind": (kind, KINDS), "gender": (gender, ("male", "female"))}
        for column, (value, values) in allowed.items():
            if value and value not in values:
                raise StageError(f"{path}:{line}: expected a {column} among {', '.join(values)}, got {value}")
        if translation == NO_ANCHOR and (kind or gender or group):
            raise StageError(
                f"{path}:{line}: expected nothing beside the {NO_ANCHOR} that takes {anchor} out, got more"
            )
        if not (translation or kind or gender or group):
            raise StageError(f"{path}:{line}: expected a translation, kind, gender or group of {anchor}, got none")
    return found


def as_listed(overrides: Iterable[Override], terms: Terms) -> list[Override]:
    """The overrides with their names spelled as extract lists them: O'Mara where the user has O’Mara."""
    listed = {same_name(anchor): anchor for anchor in terms}

    def spelled(name: str) -> str:
        return name if name in terms or name in ("", NO_ANCHOR) else listed.get(same_name(name), name)

    return [row._replace(anchor=spelled(row.anchor), group=spelled(row.group)) for row in overrides]


def given_groups(overrides: Iterable[Override], terms: Terms, path: Path) -> dict[str, str]:
    """anchor -> another of its group, itself where the user wants it alone. Raises StageError if that is no anchor."""
    found = {}
    for line, anchor, _, _, _, group in overrides:
        if group and group != NO_ANCHOR and group not in terms:
            raise StageError(f"{path}:{line}: expected an anchor as the group of {anchor}, got {group}")
        if group:
            found[anchor] = anchor if group == NO_ANCHOR else group
    return found


def given_kinds(overrides: Iterable[Override], groups: Mapping[str, Sequence[str]]) -> Given:
    """What the user says of kinds and genders, of a group's name as of the first of the group."""
    first = {name: head for head, names in groups.items() for name in names}
    rows = list(overrides)
    kinds = {first.get(row.anchor, row.anchor): row.kind for row in rows if row.kind}
    return Given(kinds, {first.get(row.anchor, row.anchor): row.gender for row in rows if row.gender})


def override_rows(overrides: Sequence[Override]) -> tuple[tuple[str, ...], list[dict[str, str]]]:
    """Header and rows of data/overrides.csv; the columns of kinds, genders and groups only where a line has one."""
    header = JUDGED_OVERRIDES if any(any(override[3:]) for override in overrides) else OVERRIDES
    return header, [dict(zip(header, override[1:], strict=False)) for override in overrides]


def with_kinds(uses: Mapping[str, Usage], kinds: Mapping[str, str]) -> dict[str, Usage]:
    """The uses with other kinds."""
    return {anchor: use._replace(kind=kinds.get(anchor, use.kind)) for anchor, use in uses.items()}


def with_overridden(terms: Terms, overrides: Iterable[Override], path: Path) -> dict[str, Sequence[str]]:
    """The terms without those that the user takes out, and the overridden anchors that are not among them, each with
    only its own form.

    Raises StageError for one that is a form of another anchor, is taken out and translated, or is taken out and absent.
    """
    owner = {form: anchor for anchor, forms in terms.items() for form in forms}
    added: dict[str, list[str]] = {}
    out: set[str] = set()
    kept: set[str] = set()
    for line, anchor, translation, *_ in overrides:
        if owner.get(anchor, anchor) != anchor:
            raise StageError(f"{path}:{line}: expected the anchor {owner[anchor]}, got its form {anchor}")
        (out if translation == NO_ANCHOR else kept).add(anchor)
        if anchor in out & kept:
            raise StageError(f"{path}:{line}: expected a translation of {anchor} or {NO_ANCHOR}, got both")
        if anchor not in terms:
            if translation == NO_ANCHOR:
                raise StageError(f"{path}:{line}: expected an anchor of data/anchors.csv to take out, got {anchor}")
            added[anchor] = [anchor]
    return {anchor: forms for anchor, forms in terms.items() if anchor not in out} | added


def translated(overrides: Iterable[Override]) -> list[Override]:
    """The overrides that give a translation."""
    return [override for override in overrides if override.translation not in ("", NO_ANCHOR)]


def remarks_on(overrides: Sequence[Override], there: Container[str]) -> list[str]:
    """For the stage's sentence: the anchors that were taken out, and those that are not in the forget text.

    there: the anchors that it has.
    """
    out = [override.anchor for override in overrides if override.translation == NO_ANCHOR]
    kept = dict.fromkeys(override.anchor for override in overrides if override.translation != NO_ANCHOR)
    lacking = [anchor for anchor in kept if anchor not in there]
    told = [f"taken out: {'; '.join(out)}"] * bool(out)
    return told + [f"not in the forget text: {'; '.join(lacking)} (data/overrides.csv)"] * bool(lacking)


def pruned(terms: Terms) -> dict[str, Sequence[str]]:
    """The terms without those that others cover, so that no person gets two unrelated translations."""
    keys = {form for forms in terms.values() for form in forms}
    return {anchor: forms for anchor, forms in terms.items() if not covered(anchor, keys.difference(forms))}


def covered(anchor: str, keys: set[str]) -> str:
    """Why an anchor is redundant, or nothing: its stem is an anchor, or each of its several words is."""
    if POSSESSIVE.search(anchor) and POSSESSIVE.sub("", anchor) in keys:
        return f"{POSSESSIVE.sub('', anchor)} is an anchor too"
    words = anchor.split()
    return "every word of it is an anchor" if len(words) > 1 and all(word in keys for word in words) else ""


def check_overrides(overrides: Iterable[Override], terms: Terms, uses: Mapping[str, Usage], path: Path) -> None:
    """Raise StageError for the first override that would make the dictionary contradict itself.

    terms: all of them, nothing pruned.
    """
    keys = {form for forms in terms.values() for form in forms}
    finder = finder_of(terms)
    for line, anchor, translation, *_ in overrides:
        reason = covered(anchor, keys)
        if reason:
            raise StageError(f"{path}:{line}: expected an anchor that no other anchor covers, got {anchor}: {reason}")
        choice = given(translation, uses[anchor].plural, {})
        any_sign = not WORD_LIKE.fullmatch(anchor)  # an address, a number: so may be what stands for it
        reason = fault(form_texts(terms[anchor], anchor, uses[anchor], choice), finder, any_sign)
        if reason:
            raise StageError(f"{path}:{line}: translation of {anchor}: {reason}, got {translation}")


def finder_of(terms: Terms) -> TermFinder:
    """Finds every form of every anchor."""
    return TermFinder({form: anchor for anchor, forms in terms.items() for form in forms})


def fault(texts: Iterable[str], finder: TermFinder, any_sign: bool = False) -> str:
    """Why a translation with these forms is not allowed, or nothing. finder: of all forms of all anchors.

    any_sign: whether it may hold digits and signs.
    """
    for text in texts:
        if not (PRINTED if any_sign else WORD_LIKE).fullmatch(text):
            return "expected only letters, and single spaces, hyphens or apostrophes between them"
        inside = sorted(finder.terms_in(text))
        if inside:
            return f"expected a name that holds no anchor ({inside[0]})"
    return ""


def given(translation: str, plural: bool, irregular: Mapping[str, str]) -> Choice:
    """A translation given for an anchor as written, which may be a plural."""
    if plural:
        return Choice(singular_of(translation), translation, None)
    return Choice(translation, plural_of(translation, irregular), None)


def form_texts(forms: Iterable[str], anchor: str, use: Usage, choice: Choice) -> list[str]:
    """The translation written in each of the anchor's forms: plural for plural, upper case for upper case."""
    return [in_form(form, anchor, is_plural(form, use), choice.singular, choice.plural) for form in forms]


def is_plural(form: str, use: Usage) -> bool:
    """Whether a form of a name is a plural."""
    lower = form.casefold()
    return lower != use.singular.casefold() and (lower == use.name.casefold() or lower in plural_forms(use.singular))


def dictionary_rows(
    terms: Terms,
    uses: Mapping[str, Usage],
    chosen: Mapping[str, Sequence[Choice]],
    written: Mapping[str, Callable[[Choice], list[str]]] | None = None,
) -> list[dict[str, Any]]:
    """The rows of data/dictionary.csv, sorted by anchor, choice and the order of the anchor's forms.

    written: anchor -> a function that writes a choice in each of its forms, where it is not `form_texts`.
    """
    written = written or {}
    return [
        {
            "anchor": anchor,
            "kind": uses[anchor].kind,
            "choice": number,
            "form": form,
            "translation": text,
            "score": "" if choice.score is None else f"{choice.score:.4f}",
        }
        for anchor in sorted(chosen)
        for number, choice in enumerate(chosen[anchor])
        for form, text in zip(
            terms[anchor],
            written[anchor](choice) if anchor in written else form_texts(terms[anchor], anchor, uses[anchor], choice),
            strict=True,
        )
    ]


def read_entries(path: Path) -> list[dict[str, str]]:
    """The rows of data/dictionary.csv. Raises StageError at `path:line` for an empty cell or a form given twice."""
    unique = ("anchor", "choice", "form")
    return read_csv(path, DICTIONARY, unique=unique, filled=(*unique, "translation"))


def read_dictionary(path: Path) -> dict[str, dict[str, list[str]]]:
    """anchor -> form -> its translation under each choice. Raises StageError unless all its forms have all choices."""
    cells: dict[str, dict[str, dict[str, str]]] = {}
    for row in read_entries(path):
        cells.setdefault(row["anchor"], {}).setdefault(row["form"], {})[row["choice"]] = row["translation"]
    for anchor, forms in cells.items():
        wanted = [str(choice) for choice in range(max(map(len, forms.values())))]
        for form, found in forms.items():
            if sorted(found) != sorted(wanted):
                raise StageError(
                    f"{path}: {anchor}: form {form}: expected the choices {', '.join(wanted)}, got "
                    f"{', '.join(sorted(found))}"
                )
    return {
        anchor: {form: [found[str(choice)] for choice in range(len(found))] for form, found in forms.items()}
        for anchor, forms in cells.items()
    }


def own_choices(
    overrides: Iterable[Override], uses: Mapping[str, Usage], plurals: Mapping[str, str]
) -> dict[str, list[Choice]]:
    """{anchor: the user's own translations, in the order of the lines}."""
    chosen: dict[str, list[Choice]] = {}
    for _, anchor, translation, *_ in overrides:
        chosen.setdefault(anchor, []).append(given(translation, uses[anchor].plural, plurals))
    return chosen
