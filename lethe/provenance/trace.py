"""Which models were made from this corpus, file or passage."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from lethe.console import Json, console, end, line, print_json
from lethe.core.errors import StageError
from lethe.provenance.audit import Every, Ref

if TYPE_CHECKING:
    from rich.console import Console

    from lethe.provenance.artifact_store import Store
    from lethe.provenance.history import History, Lock
    from lethe.provenance.lineage import Index

UNKNOWN = "cannot tell"
SHOWN = 20  # passages of a corpus on the screen
NAMED = re.compile(r"(.+):([0-9]{1,15})-([0-9]{1,15})")
BLOCKS = "data/blocks.parquet"
RELATIONS = {  # how a model used training text of each side
    ("models/baseline", "forget"): "trained on it",
    ("models/baseline", "retain"): "trained on it",
    ("models/reinforced", "forget"): "trained on it twice",
    ("models/reinforced", "retain"): "made from a model that was trained on it",
    ("models/retrained", "forget"): "never trained on it",
    ("models/retrained", "retain"): "trained on it",
    ("models/references", "forget"): "never trained on it",
    ("models/references", "retain"): "trained on it",
    ("models/unlearned", "forget"): "was made to forget it",
    ("models/unlearned", "retain"): "was trained to retain it",
    ("models/suppressed", "forget"): "was made to forget it",
    ("models/suppressed", "retain"): "was trained to retain it",
    ("models/checkpoints", "forget"): "was being made to forget it",
    ("models/checkpoints", "retain"): "was trained to retain it",
}


class Asked(NamedTuple):
    """What is traced: a corpus or folder by its hash, text to search for, or a span of a file named in the corpus."""

    given: str
    md5: str
    text: str
    span: tuple[str, int, int] | None


def command(
    file: Annotated[
        str,
        typer.Argument(help="A text file or folder, data/corpus.parquet, a hash, NAME:START-END, or - for stdin"),
    ],
    span: Annotated[str, typer.Option(help="START-END: only these characters of the file.")] = "",
    least: Annotated[
        float, typer.Option(min=0, max=1, help="The least share of the text's words that a corpus must contain.")
    ] = 0.5,
    ref: Ref = "HEAD",
    every: Every = False,
    json: Json = False,
) -> None:
    """Show which models were made from a corpus, a FILE or a passage, and how each of them used it.

    Searches every corpus that dvc.lock records in the commits that HEAD, or the --ref, was made from. Reformatted text
    is found too: line breaks, case, quotes and hyphens are ignored. Similar texts share phrases, so a corpus with less
    than --least of the words is only named in a note. Exit code 0: there are such models. 3: there are none. 1: none
    was found, but not every corpus could be read, so it cannot be told.
    """
    from lethe.provenance.artifact_store import open_store
    from lethe.provenance.history import open_history

    asked = what_is_asked(file, span)
    history = open_history(Path(), "" if every else ref)
    answer = trace(history, open_store(history.project), asked, least)
    print_json(answer) if json else show(answer, console())
    if answer["verdict"] == UNKNOWN:
        raise typer.Exit(1)
    end(answer["verdict"] == "yes")


def what_is_asked(given: str, span: str) -> Asked:
    """The text or hash to search for. Raises StageError for anything else."""
    from lethe.provenance.fingerprint import HASH, path_md5

    path, named = Path(given), NAMED.fullmatch(given)
    if len(os.fsencode(path.name)) > 255:
        raise StageError(f"{given[:40]}…: no such file; expected a text file, a folder, NAME:START-END or a hash")
    if given == "-":
        return Asked(given, "", part_of(sys.stdin.read(), span, given), None)
    if path.is_file() and path.suffix == ".parquet":
        return Asked(given, path_md5(path), "", None)
    if named and not int(named[2]) < int(named[3]) and not path.exists():
        raise StageError(f"{given}: expected NAME:START-END with START before END, got another order")
    if path.exists():
        text = part_of("\n\n".join(texts_of(path)), span, given)
        return Asked(given, "" if span else path_md5(path), text, None)
    if named:
        return Asked(given, "", "", (named[1], int(named[2]), int(named[3])))
    if HASH.fullmatch(given):
        return Asked(given, given, "", None)
    raise StageError(f"{given}: no such file; expected a text file, a folder, NAME:START-END or a hash")


def texts_of(path: Path) -> list[str]:
    """The texts of a file, or of every text file below a folder. Raises StageError for a file that is not text."""
    from lethe.provenance.fingerprint import own_files
    from lethe.text.passages import SUFFIXES, read_texts

    if path.is_file():
        return [text for _, text in read_texts(path)]
    files = [found for _, found in own_files(path).items() if found.suffix.lower() in SUFFIXES]
    return [text for found in files for _, text in read_texts(found)]


def part_of(text: str, span: str, given: str) -> str:
    """The characters START-END of a text. Raises StageError for a span that is not in it, and for no words at all."""
    from lethe.text.overlap import words_of

    found = re.fullmatch(r"([0-9]{1,15})-([0-9]{1,15})", span)
    if span and (not found or not int(found[1]) < int(found[2]) <= len(text)):
        raise StageError(f"--span: expected START-END within the {len(text)} characters of {given}, got {span}")
    part = text[int(found[1]) : int(found[2])] if found else text
    if not words_of(part):
        raise StageError(f"{given}: expected text with at least one word, got none")
    return part


def trace(history: History, store: Store, asked: Asked, least: float) -> dict[str, Any]:
    """Every corpus that holds what is asked, where, and the models made from it, ready for JSON."""
    from lethe.provenance.audit import former_places, notes, scope_row
    from lethe.provenance.lineage import CORPUS, outs_of

    index = outs_of(history)
    corpora = {md5: numbers[CORPUS] for md5, numbers in index.items() if CORPUS in numbers}
    models = models_by_corpus(history, index)
    rows, unread, said = [], [], []
    for md5, numbers in corpora.items():
        found = in_corpus(history, store, asked, md5, numbers)
        if found is None:
            unread.append(md5)
        elif found["how"] and found["share"] < least:
            said.append(f"corpus {md5} has {found['how']}, less than --least {least}, and is left out")
        elif found["how"]:
            sides = found.pop("sides")
            made = [model_row(history, each, sides) for each in models.get(md5, [])]
            rows.append({"md5": md5, **found, "models": made})
    said += [f"corpus {md5} is not available, so it is unknown whether the text was in it" for md5 in unread]
    said += unsearched(history, corpora)
    moved = former_places(history)
    left = unread or history.skipped or moved
    verdict = "yes" if any(row["models"] for row in rows) else UNKNOWN if left else "no"
    answer = {"history": scope_row(history), "given": asked.given, "verdict": verdict, "corpora": rows}
    return {**answer, "unread": unread, "notes": [*said, *notes(history, store, moved)]}


def unsearched(history: History, corpora: Mapping[str, Any]) -> Iterator[str]:
    """A line if refs beside this history record other corpora."""
    from lethe.provenance.history import open_history, others
    from lethe.provenance.lineage import CORPUS, outs_of

    if others(history):
        whole = outs_of(open_history(history.project.folder, ""))
        left = [md5 for md5, paths in whole.items() if CORPUS in paths and md5 not in corpora]
        if left:
            yield f"{len(left)} corpora of other branches, tags or experiments were not searched; --all searches them"


def models_by_corpus(history: History, index: Index) -> dict[str, list[Any]]:
    """{corpus md5: chains of the models made from it, oldest first}."""
    from lethe.provenance.lineage import CORPUS, Found, chain

    made: dict[str, list[Any]] = {}
    for md5, paths in index.items():
        for path in paths:
            if path.startswith("models/"):
                links = chain(history, Found(path, md5, ""), index)
                for link in links:
                    if link.path == CORPUS:
                        made.setdefault(link.md5, []).append(links)
    return made


def in_corpus(history: History, store: Store, asked: Asked, md5: str, numbers: Sequence[int]) -> dict[str, Any] | None:
    """How a corpus holds what is asked, and where; `how` is "" if it does not; None if it is unknown.

    sides: the (side, part) pairs of what was found, a part "" where only the side is known, empty where neither is.
    """
    from lethe.provenance.audit import documents_of

    how, side, known = by_hash(history, store, asked, md5, numbers)
    documents, place = documents_of(history, store, md5)
    every = {(row["side"], row["part"]) for row in documents if side in ("", row["side"])}
    sides = {(side, "")} if side else every
    if how and (not asked.text or not place):
        return {"at_hand": place, "how": how, "share": 1.0, "hits": [], "sides": sides}
    if not asked.text and not asked.span:  # a hash alone: no text could tell
        return {"at_hand": place, "how": "", "share": 0.0, "hits": [], "sides": set()} if known else None
    if not place:
        return None
    share, hits = by_span(documents, asked.span) if asked.span else by_text(documents, asked.text)
    sides = {(hit["side"], hit["part"]) for hit in hits} or sides
    blocks = blocks_of(history, store, numbers) if hits else []
    for hit in hits:
        hit["blocks"] = blocks_within(blocks, hit)
        del hit["document"], hit["within"]
    how = how or (f"{100 * share:.0f} % of its words" if hits else "")
    return {"at_hand": place, "how": how, "share": round(share, 4), "hits": hits, "sides": sides}


def by_hash(history: History, store: Store, asked: Asked, md5: str, numbers: Sequence[int]) -> tuple[str, str, bool]:
    """(words, side, known) of what the hash asked about is: the corpus, its folder of text, or a file in that.

    Words are "" if it is none, and known then says whether every such folder's list of files could be read. A folder
    that git holds is listed from git. side: forget or retain, "" where the corpus itself was asked about.
    """
    from lethe.provenance.history import is_code, params_of, recorded
    from lethe.provenance.lineage import CORPUS

    if not asked.md5:
        return "", "", True
    if md5.startswith(asked.md5):
        return "is the corpus", "", True
    known, seen = True, set[tuple[str, str]]()
    for number in numbers:
        lock = history.locks[number]
        entry = next((entry for entry in recorded(lock.text).values() if entry.outs.get(CORPUS) == md5), None)
        params = params_of(lock.text, "corpus")
        for path, folder in entry.deps.items() if entry else ():
            if path == CORPUS or is_code(path) or (path, folder) in seen:
                continue
            seen.add((path, folder))
            side = next((name for name in ("forget", "retain") if params.get(name) == path), "")
            if folder.startswith(asked.md5):
                return f"is {path}", side, True
            files = listed_folder(history, store, lock, path, folder)
            known = known and files is not None
            names = [name for name, file_md5 in (files or {}).items() if file_md5.startswith(asked.md5)]
            if names:
                return f"is {path}/{names[0]}", side, True
    return "", "", known


def listed_folder(history: History, store: Store, lock: Lock, path: str, md5: str) -> dict[str, str] | None:
    """{file: md5} of a folder that a dvc.lock names, by the cache, a remote, git or the project; None if it is gone."""
    from lethe.provenance.artifact_store import manifest
    from lethe.provenance.fingerprint import bytes_md5, folder_md5, md5_of, own_files
    from lethe.provenance.history import folder_at

    if not md5.endswith(".dir"):
        return {}
    found = manifest(store, md5)
    if found is not None:
        return found
    for commit in lock.commits:
        held = folder_at(history.project, commit.id, path)
        files = {name: bytes_md5(content) for name, content in held.items()}
        if folder_md5(files) == md5:
            return files
    here = history.project.folder / path
    files = {name: md5_of(file) for name, file in own_files(here).items()} if here.is_dir() else {}
    return files if folder_md5(files) == md5 else None


def by_text(documents: Sequence[Mapping[str, Any]], text: str) -> tuple[float, list[dict[str, Any]]]:
    """The share of the text's words that the corpus has, and every place of them."""
    from lethe.text.normal import edits_of, in_source
    from lethe.text.overlap import common

    share, found = common(text, [row["text"] for row in documents])
    spans = [(row, span) for row, own in zip(documents, found, strict=True) for span in own]
    places = [(row, *in_source(edits_of(row), *span)) for row, span in spans]
    return share, [hit_row(row, row["start"] + start, row["start"] + last) for row, start, last in places]


def by_span(documents: Iterable[Mapping[str, Any]], span: tuple[str, int, int]) -> tuple[float, list[dict[str, Any]]]:
    """The part of a named span that the corpus has, and every document it lies in."""
    name, start, last = span
    rows = [row for row in documents if row["file"] == name and row["start"] < last and start < row["end"]]
    hits = [hit_row(row, max(start, row["start"]), min(last, row["end"])) for row in rows]
    sides = {hit["side"] for hit in hits}
    held = max((sum(hit["end"] - hit["start"] for hit in hits if hit["side"] == side) for side in sides), default=0)
    return held / (last - start), hits


def hit_row(row: Mapping[str, Any], start: int, last: int) -> dict[str, Any]:
    """A place in a document: its file's characters, and what is needed to find the blocks."""
    from lethe.text.normal import edits_of, in_text

    kept = {name: row[name] for name in ("side", "part", "file")}
    within = in_text(edits_of(row), start - row["start"], last - row["start"])
    return {**kept, "start": start, "end": last, "document": row["document"], "within": within}


def blocks_of(history: History, store: Store, numbers: Sequence[int]) -> list[dict[str, Any]]:
    """The blocks cut from a corpus, of the last dvc.lock that has both; [] if they are not available."""
    from lethe.provenance.artifact_store import read_object
    from lethe.provenance.audit import parquet_rows
    from lethe.provenance.history import recorded

    for number in reversed(numbers):
        for entry in recorded(history.locks[number].text).values():
            content = read_object(store, entry.outs[BLOCKS]) if BLOCKS in entry.outs else None
            if content is not None:
                return parquet_rows(content, ["block", "document", "start", "end"])
    return []


def blocks_within(blocks: Iterable[Mapping[str, Any]], hit: Mapping[str, Any]) -> list[int]:
    """The numbers of the blocks that a hit lies in. A block's span counts the characters of its document's text."""
    start, last = hit["within"]
    return [
        row["block"]
        for row in blocks
        if row["document"] == hit["document"] and row["start"] < last and start < row["end"]
    ]


def model_row(history: History, links: Sequence[Any], sides: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """A model made from the corpus: how it used the text of each side, who recorded it first and when."""
    from lethe.provenance.audit import commit_row
    from lethe.provenance.lineage import params_used

    model, commit = links[0], history.locks[links[0].lock].commits[0]
    epochs = params_used(history, links).get("baseline", {}).get("epochs")
    parts: dict[str, set[str]] = {}
    for side, part in sorted(sides):
        parts.setdefault(side, set()).add(part)
    said = {side: relation(model.path, side, found, epochs) for side, found in parts.items()}
    both = len(said) > 1
    words = "; ".join(f"{side} text: {text}" if both else text for side, text in said.items())
    words = words or "was made from a corpus that has it"
    return {"path": model.path, "md5": model.md5, "relation": words, "sides": said, **commit_row(commit)}


def relation(path: str, side: str, parts: set[str], epochs: float | None) -> str:
    """How a model used text of one side, which lies in these parts; "" is a part that is not known."""
    if parts == {"held_out"}:
        return "was measured on the held-out part, not trained on it"
    if path == "models/baseline" and epochs == 0:
        return "was not trained on it here"
    found = RELATIONS.get((path, side), "was made from it")
    return found if parts == {"train"} else f"{found}; what was held out of it was only measured"


def show(answer: Mapping[str, Any], out: Console) -> None:
    """Print the answer as text."""
    from lethe.provenance.history import Scope, scope_words

    scope = {name: value for name, value in answer["history"].items() if name != "commits"}
    line(out, "history", scope_words(Scope(**scope), answer["history"]["commits"]))
    if answer["verdict"] == UNKNOWN:
        text = "no corpus that can be read here contains it, and the others may"
        line(out, "", f"{answer['given']}: cannot tell: {text}; `dvc fetch` may restore them", "yellow")
    elif not answer["corpora"]:
        line(out, "", f"{answer['given']}: no recorded corpus contains it: no recorded model was made from it", "red")
    for corpus in answer["corpora"]:
        line(out, "corpus", f"{corpus['md5']}: {corpus['how']}", "bold")
        shown = longest(corpus["hits"])
        for hit in shown:
            blocks = f", blocks {ranges(hit['blocks'])}" if hit["blocks"] else ""
            line(out, "", f"{hit['side']} {hit['part']} {hit['file']}:{hit['start']}-{hit['end']}{blocks}")
        if len(corpus["hits"]) > len(shown):
            line(out, "", f"and {len(corpus['hits']) - len(shown)} shorter passages; --json lists all")
        for model in corpus["models"]:
            by = f"{model['date'][:10]} by {model['author']} in {model['commit'][:10]}"
            named = f", experiment {model['experiment']}" if model["experiment"] else ""
            line(out, "model", f"{model['path']} {model['md5']} {model['relation']}; {by}{named}")
    for note in answer["notes"]:
        line(out, "note", note, "yellow")


def longest(hits: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The longest passages, in the order of the corpus: a whole file shares short phrases with many others."""
    least = sorted((hit["end"] - hit["start"] for hit in hits), reverse=True)[:SHOWN][-1] if hits else 0
    return [hit for hit in hits if hit["end"] - hit["start"] >= least][:SHOWN]


def ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers, neighbours joined: `0-2, 5`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
