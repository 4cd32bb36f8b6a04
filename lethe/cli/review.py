"""`lethe review`: the anchors with counts, contexts, kinds, aliases and stand-ins, and corrections of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from lethe.cli.cost import FOLDER as COSTS
from lethe.cli.cost import recorded, shown
from lethe.console import Json, console, print_json
from lethe.core.errors import StageError
from lethe.core.stage import stages_after
from lethe.core.tables import DROPPED, read_csv, write_csv
from lethe.dictionary.entries import (
    NO_ANCHOR,
    Override,
    Terms,
    as_listed,
    check_overrides,
    override_rows,
    read_dictionary,
    read_entries,
    read_overrides,
    read_terms,
    translated,
    with_overridden,
)

if TYPE_CHECKING:
    from rich.table import Table

    from lethe.dictionary.entity_types import Context

ANCHORS, DROPPED_TERMS, DICTIONARY = (Path(f"data/{name}.csv") for name in ("anchors", "dropped", "dictionary"))
OVERRIDDEN, CORPUS = Path("data/overrides.csv"), Path("data/corpus.parquet")
PAGE = Path(".scratch/review/index.html")  # not an artifact; `lethe purge` deletes it
TEMPLATE = Path(__file__).with_name("review.html.j2")
AROUND = 60  # characters of a context on either side
OUT = "taken out"


class Reviewed(NamedTuple):
    """An anchor as label will have it."""

    anchor: str
    forms: Sequence[str]
    count: int  # type: ignore[assignment]  # which hides a method of tuples
    kind: str  # "" where translate gave it none
    alias_of: str  # the longest name of the same person or thing; "" of that itself
    stand_ins: Sequence[str]  # one for each choice, in the anchor's own form
    own: str  # what data/overrides.csv says of it: "", taken out, or its stand-ins
    contexts: Sequence[Context]


def command(
    names: Annotated[list[str] | None, typer.Argument(help="Only these anchors. Default: all.")] = None,
    contexts: Annotated[int, typer.Option(min=0, help="Places of the text to show of each anchor.")] = 1,
    dropped: Annotated[bool, typer.Option("--dropped", help="Show the terms that extract dropped, too.")] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="NAME=STAND-IN; more than one for as many choices; NAME=- takes it out; NAME= undoes."
        ),
    ] = None,
    html: Annotated[bool, typer.Option("--html", help=f"Write the page {PAGE}, too.")] = False,
    json: Json = False,
) -> None:
    """Show the anchors with counts, places in the text, kinds, aliases and stand-ins, and correct them.

    --set writes **data/overrides.csv**, if `translate` will accept it, and nothing else; the last line says which
    stages would run again and what they cost when they last ran here. The page shows forget text: it is for you, and no
    artifact.
    """
    if not ANCHORS.exists():
        raise StageError(f"{ANCHORS}: expected the anchors that `extract` found, got none; `lethe repro translate`")
    before = read_overrides(OVERRIDDEN)
    terms = read_terms(ANCHORS)
    wanted = as_listed(changed(before, set_ or []), terms)
    if set_:
        check(wanted, terms)
    known = {override.anchor for override in wanted} | terms.keys()
    if missing := [name for name in names or () if name not in known]:
        raise StageError(f"{missing[0]}: expected an anchor of {ANCHORS}, got none of this name")
    found = reviewed(terms, wanted, contexts, set(names or known))
    left = read_csv(DROPPED_TERMS, DROPPED) if dropped and DROPPED_TERMS.exists() else []
    edited = [one[1:] for one in wanted] != [one[1:] for one in before]
    again = reruns(OVERRIDDEN.as_posix())
    if edited:
        header, rows = override_rows(wanted)
        write_csv(rows, header, OVERRIDDEN)
    if html:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(page(found, left, again), encoding="utf-8")
    if json:
        print_json(as_dict(found, left, again, edited))
        return
    out = console()
    out.print(table(found), *([dropped_table(left)] if dropped else []), sep="\n")
    out.print(sentence(found, edited), told(again, edited), *([f"As a page: {PAGE}"] if html else []), sep="\n")


# Corrections


def changed(overrides: Sequence[Override], settings: Iterable[str]) -> list[Override]:
    """The lines of data/overrides.csv after these settings; those of one anchor replace what was said of it.

    Raises StageError for a setting without a name or an equals sign.
    """
    given: dict[str, list[str]] = {}
    for setting in settings:
        name, sign, translation = (part.strip() for part in setting.partition("="))
        if not name or not sign:
            raise StageError(f"--set: expected NAME=STAND-IN, NAME=- or NAME=, got {setting}")
        given.setdefault(name, []).append(translation)
    for name, translations in given.items():
        if len(translations) > 1 and {"", NO_ANCHOR} & set(translations):
            raise StageError(f"--set: expected of {name} stand-ins alone, {NO_ANCHOR} alone or nothing alone, got both")
    judged = {one.anchor: one[3:] for one in overrides if any(one[3:])}  # kind, gender and group stay with a stand-in
    kept = [one[1:] for one in overrides if one.anchor not in given]
    for name, translations in given.items():
        for text in filter(None, dict.fromkeys(translations)):
            cells = ("", "", "") if text == NO_ANCHOR else judged.pop(name, ("", "", ""))
            kept.append((name, text, *cells))
    return [Override(line, *row) for line, row in enumerate(kept, 2)]


def check(overrides: Sequence[Override], terms: Terms) -> None:
    """Raise StageError, as translate would, for the first line that it would not accept."""
    from lethe.dictionary.contexts import read_uses
    from lethe.dictionary.entity_types import read_rules
    from lethe.dictionary.gazetteer import nouns_by_kind, read_gazetteer
    from lethe.text.streaming import Texts

    whole = with_overridden(terms, overrides, OVERRIDDEN)
    if given := translated(overrides):
        uses, _ = read_uses(whole, Texts(CORPUS, "forget"), read_rules(nouns_by_kind(read_gazetteer())), 0)
        check_overrides(given, whole, uses, OVERRIDDEN)


# What is shown


def reviewed(terms: Terms, overrides: Sequence[Override], contexts: int, names: set[str]) -> list[Reviewed]:
    """The anchors of these names, the most frequent first. Reads the forget text twice."""
    from lethe.dictionary.contexts import find_contexts
    from lethe.dictionary.entity_types import spread
    from lethe.dictionary.entries import finder_of
    from lethe.text.streaming import Texts

    given: dict[str, list[str]] = {}
    for override in overrides:
        given.setdefault(override.anchor, []).append(override.translation)
    whole: dict[str, Sequence[str]] = {name: [name] for name in given if name not in terms} | dict(terms)
    dictionary, texts = read_dictionary(DICTIONARY), Texts(CORPUS, "forget")
    kinds = {row["anchor"]: row["kind"] for row in read_entries(DICTIONARY)}
    firsts = {form: anchor for anchor, forms in dictionary.items() for form in forms}
    finder = finder_of(whole)
    counts = Counter(hit.term for text in texts for hit in finder.find(text))
    places = find_contexts(texts, finder, {name: counts[name] for name in sorted(names)}) if contexts else {}
    found = []
    for name in sorted(names, key=lambda name: (-counts[name], name)):
        first, own = firsts.get(name, ""), given.get(name, [])
        stand_ins = dictionary[first][name] if first and not own else [text for text in own if text != NO_ANCHOR]
        said = OUT if NO_ANCHOR in own else ", ".join(own)
        alias = "" if own or first == name else first
        row = (kinds.get(first, ""), alias, stand_ins, said, spread(places.get(name, []), contexts))
        found.append(Reviewed(name, whole[name], counts[name], *row))
    return found


def around(context: Context) -> tuple[str, str, str]:
    """A context on one line: before, the name, after, no more than AROUND characters on either side."""
    before, after = (" ".join(text.split()) for text in (f"|{context.before}|", f"|{context.after}|"))
    return before[1:-1][-AROUND:], context.form, after[1:-1][:AROUND]


def table(found: Sequence[Reviewed]) -> Table:
    """A row for each anchor. Nothing in it is read as markup, and control characters are spelt out."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from lethe.custody.stated import printable

    titles = ("anchor", "count", "kind", "stand-ins", "alias of", "in the text")
    made = Table(*titles, box=box.SIMPLE_HEAD, pad_edge=False)
    made.columns[1].justify = "right"
    for one in found:
        places = Text("\n").join(
            Text.assemble(printable(before), (printable(form), "bold"), printable(after))
            for before, form, after in map(around, one.contexts)
        )
        cells = (one.anchor, str(one.count), one.kind, stood_for(one), one.alias_of)
        made.add_row(*(Text(printable(cell)) for cell in cells), places)
    return made


def stood_for(one: Reviewed) -> str:
    """The stand-ins, who gave them, or that there are none."""
    if one.own == OUT:
        return "taken out by you"
    return f"{one.own} (yours)" if one.own else ", ".join(one.stand_ins) or "none: others cover it, or none fits"


def dropped_table(rows: Sequence[Mapping[str, str]]) -> Table:
    """A row for each term that extract dropped, the most frequent first."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from lethe.custody.stated import printable

    made = Table("dropped term", "count", "reason", box=box.SIMPLE_HEAD, pad_edge=False)
    for row in sorted(rows, key=lambda row: (-int(row["count"]), row["term"])):
        made.add_row(*(Text(printable(row[name])) for name in ("term", "count", "reason")))
    return made


def sentence(found: Sequence[Reviewed], edited: bool) -> str:
    """`review: 66 anchors, 2 with a word of yours; data/overrides.csv written`."""
    own, nowhere = sum(bool(one.own) for one in found), [one.anchor for one in found if not one.count]
    line = f"review: {len(found)} anchors, {own} with a word of yours"
    line += f", {len(nowhere)} not in the forget text ({', '.join(nowhere)})" if nowhere else ""
    return line + (f"; {OVERRIDDEN} written" if edited else "")


# What would run again


def reruns(path: str) -> dict[str, float | None]:
    """Every stage that the file is an input of, or that follows from one: its CPU seconds here, None if unknown."""
    stages = [stage for stage, _ in stages_after(path)]
    return {stage: recorded(stage, COSTS / f"{stage}.json").numbers["cpu_seconds"] for stage in stages}


def told(again: Mapping[str, float | None], edited: bool) -> str:
    """What a correction costs, in a sentence."""
    known = [seconds for seconds in again.values() if seconds is not None]
    cost = (
        f"about {shown(round(sum(known), 1))} CPU seconds by their last runs here" if known else "which never ran here"
    )
    unknown = [stage for stage, seconds in again.items() if seconds is None]
    more = f" ({', '.join(unknown)} not known)" if known and unknown else ""
    when = "`dvc repro` runs again" if edited else "A correction would run again"
    return f"{when}: {', '.join(again)}: {cost}{more}"


def as_dict(
    found: Sequence[Reviewed], left: Sequence[Mapping[str, str]], again: Mapping[str, float | None], edited: bool
) -> dict[str, Any]:
    """All of it for JSON."""
    anchors = [
        {**one._asdict(), "contexts": [dict(zip(("before", "form", "after"), around(each), strict=True))
                                       for each in one.contexts]}
        for one in found
    ]  # fmt: skip
    return {"anchors": anchors, "dropped": list(left), "edited": edited, "reruns": dict(again)}


def page(found: Sequence[Reviewed], left: Sequence[Mapping[str, str]], again: Mapping[str, float | None]) -> str:
    """The same as a page. Everything is escaped: the text may hold anything."""
    from lethe.report.html import render

    rows = [{"one": one, "stood_for": stood_for(one), "places": list(map(around, one.contexts))} for one in found]
    return render(TEMPLATE, {}, rows=rows, left=left, sentence=sentence(found, False), told=told(again, False))
