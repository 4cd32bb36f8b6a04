"""Whether anything of a purged text is left in any place that can be read, and what could not be read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from lethe.console import NO, Ticker, console, line, print_json
from lethe.core.errors import StageError
from lethe.erasure.passages import Wanted, codings_of, passages_in, share, wanted
from lethe.erasure.places import Item, Unread, everything
from lethe.erasure.plan import WORST, all_locks, outs
from lethe.erasure.reading import ERRORS, SHORTEST, Reader, UnreadError, pieces
from lethe.erasure.streams import Hashed

if TYPE_CHECKING:
    from lethe.erasure.requests import State
    from lethe.provenance.artifact_store import Store
    from lethe.provenance.history import History

CANNOT_TELL = 1  # exit code
EMPTY = (hashlib.md5(b"").hexdigest(), hashlib.md5(b"[]").hexdigest() + ".dir")  # of a file, a folder


class Asked(NamedTuple):
    """What is searched for. md5s: {hash of purged bytes: what they were}; bodies: the same of weights less headers."""

    text: Wanted
    md5s: dict[str, str]
    bodies: dict[str, str]


class Found(NamedTuple):
    """A place that holds some of it. share: of the text's runs of eight words; 0 where bytes were recognised."""

    place: str
    name: str
    what: str
    passages: int
    share: float


class Answer(NamedTuple):
    """searched: {place: (items, bytes)}."""

    searched: dict[str, tuple[int, int]]
    found: list[Found]
    unread: list[Unread]

    @property
    def code(self) -> int:
        """The exit code: 3 found, 1 cannot tell, 0 nothing found and all read."""
        return NO if self.found else CANNOT_TELL if any(not each.beside for each in self.unread) else 0


def report(state: State, given: Path | None, json: bool) -> None:
    """Search every place for what a request's purge deletes, print the answer and exit with its code."""
    from lethe.provenance.artifact_store import open_store
    from lethe.provenance.history import open_history

    history = open_history(Path(), "")
    store = open_store(history.project)
    texts, missing = texts_of(history, store, state, given)
    answer = searched(history, store, asked_of(state, texts))
    answer.unread.extend(Unread("text", name, why) for name, why in missing.items())
    if json:
        print_json(as_dict(state.request, answer))
    else:
        show(state.request, answer)
    raise typer.Exit(answer.code)


def remains(history: History, store: Store, state: State, texts: Iterable[str]) -> None:
    """Print what a purge that has just ended left behind: it does not change git, for one."""
    answer = searched(history, store, asked_of(state, texts))
    show(state.request, answer)


def texts_of(history: History, store: Store, state: State, given: Path | None) -> tuple[list[str], dict[str, str]]:
    """The request's texts from a file or folder of them, its own folder or its objects; and {file: why it is missing}.

    Raises StageError for a given path that has none of the recorded files.
    """
    from lethe.erasure.ledger_lines import inside_project
    from lethe.erasure.plan import text_of
    from lethe.provenance.artifact_store import read_object
    from lethe.text.overlap import words_of

    if not given and not inside_project(state.folder):
        raise StageError(f"{state.folder}: expected a folder of text inside the project, got another place")
    own = {facts["md5"]: name for name, facts in state.files.items()}
    roots = [given] if given else [history.project.folder / state.folder]
    paths = [path for root in roots for path in ([root] if root.is_file() else sorted(root.rglob("*")))]
    contents = {path: path.read_bytes() for path in paths if path.is_file()}
    held = {hashlib.md5(content).hexdigest(): text_of(path.name, content) for path, content in contents.items()}
    if given and not held.keys() & own.keys():
        raise StageError(f"--text {given}: expected the recorded files of request {state.request}, got none of them")
    missing = {}
    for md5, name in own.items():
        content = read_object(store, md5) if md5 not in held else None
        if content is not None:
            held[md5] = text_of(name, content)
        elif md5 not in held:
            missing[f"{state.folder}/{name}"] = "gone, so its passages were not searched for; --text FOLDER gives it"
        if held.get(md5) and not words_of(held[md5]):
            missing[f"{state.folder}/{name}"] = "no words in it, so only its bytes were searched for"
    return list(held.values()), missing


def asked_of(state: State, texts: Iterable[str], objects: Mapping[str, str] | None = None) -> Asked:
    """What to search for: the texts, and the bytes that the ledger, or a purge that is going on, names."""
    purged: Mapping[str, Any] = state.purged or {}
    md5s = {facts["md5"]: f"{state.folder}/{name}" for name, facts in state.files.items()}
    md5s |= {row["md5"]: ", ".join(row["paths"]) for row in purged.get("objects", ())} | dict(objects or {})
    bodies = dict.fromkeys(purged.get("bodies", ()), ", ".join(WORST))
    known = {md5.removesuffix(".dir"): what for md5, what in md5s.items() if md5 not in EMPTY}
    return Asked(wanted(texts), known, bodies)


def searched(history: History, store: Store, asked: Asked) -> Answer:
    """Everything that can be read, read once, in constant memory; a line of progress now and then."""
    answer, seen = Answer({}, [], []), dict[tuple[int, int], list[Found]]()
    decode, vocabulary = tokenizer(history, store)
    reader = Reader(decode, shortest(asked.text), codings=codings_of(asked.text), vocabulary=vocabulary)
    names = paths_of(history)
    names_of, links = dict[tuple[int, int], int](), dict[tuple[int, int], Unread]()
    ticker, read = Ticker(), 0
    for item in everything(history, store):
        if isinstance(item, Unread):
            answer.unread.append(item)
            continue
        count, size = answer.searched.get(item.place, (0, 0))
        answer.searched[item.place] = count + 1, size + item.size
        read += item.size
        ticker.tell(f"purge: searched {read / 1e9:.2f} GB, now {item.place} {item.name}")
        shown = item._replace(name=f"{item.name} ({names[item.md5]})" if item.md5 in names else item.name)
        if item.same:
            names_of[item.same] = names_of.get(item.same, 0) + 1
        if item.same in seen:  # another name of the same bytes
            answer.found.extend(each._replace(place=item.place, name=shown.name) for each in seen[item.same])
            continue
        found, why = examined(shown, asked, reader)
        answer.found.extend(found)
        answer.unread.extend([Unread(item.place, shown.name, why)] if why else [])
        if item.same:
            seen[item.same] = found
            links[item.same] = Unread(item.place, shown.name, str(item.links))
    for same, found in seen.items():
        more = int(links[same].why) - names_of[same]
        if found and more > 0:
            answer.unread.append(links[same]._replace(why=f"the same file has {more} more names outside (hard links)"))
    return answer


def examined(item: Item, asked: Asked, reader: Reader) -> tuple[list[Found], str]:
    """What one item holds of what is asked for, and why it could not be read as a whole, "" if it could."""
    why, runs = "", set[str]()

    def read(stream: Hashed) -> Iterable[str]:
        nonlocal why
        try:
            yield from pieces(stream, reader)  # type: ignore[arg-type]
        except UnreadError as error:
            why = str(error)

    try:
        with item.open() as opened:
            stream, reader = Hashed(opened), reader._replace(members=[])
            runs = passages_in(chain([f"{item.name.replace('_', ' ')}\n\0\n"], read(stream)), asked.text)
            hashes = [stream.finish(), *(reader.members or ())]
    except ERRORS as error:
        return [], f"{type(error).__name__}: {(str(error).splitlines() or ['broken'])[0]}"
    except Exception as error:  # a remote of any kind, with errors of its own
        return [], (str(error).splitlines() or [type(error).__name__])[0]
    found = []
    known = [asked.md5s.get(whole, asked.bodies.get(body, "")) for whole, body in hashes]
    if was := next(filter(None, known), ""):
        found.append(Found(item.place, item.name, f"the bytes of {was}, by their hash", 0, 0.0))
    if runs:
        part = share(runs, asked.text)
        found.append(Found(item.place, item.name, f"{len(runs)} passages of the text", len(runs), round(part, 4)))
    return found, why


def shortest(text: Wanted) -> int:
    """The least bytes of text amid other data that can hold one of the runs."""
    return min([SHORTEST, *(len(run) for own in text.runs.values() for run in own)])


def tokenizer(history: History, store: Store) -> tuple[Callable[[list[int]], str] | None, int]:
    """How token ids become text, by the tokenizer of any model of the project, and how many of them there are."""
    from tokenizers import Tokenizer

    from lethe.provenance.artifact_store import read_file
    from lethe.provenance.history import recorded

    contents = [path.read_bytes() for path in sorted(history.project.folder.glob("models/*/tokenizer.json"))]
    if not contents:
        models = {
            md5 for lock in all_locks(history) for path, md5 in outs(recorded(lock.text)).items()
            if path.startswith("models/") and md5.endswith(".dir")
        }  # fmt: skip
        contents = [found for md5 in sorted(models) if (found := read_file(store, md5, "tokenizer.json"))][:1]
    for content in contents:
        try:
            tokens = Tokenizer.from_buffer(content)
            return tokens.decode, tokens.get_vocab_size()
        except Exception:  # the library raises no other kind: a file of another form
            continue
    return None, 0


def paths_of(history: History) -> dict[str, str]:
    """{md5: path} of every out that a dvc.lock names."""
    from lethe.provenance.history import recorded

    return {md5: path for lock in all_locks(history) for path, md5 in outs(recorded(lock.text)).items()}


def bodies_of(store: Store, objects: Mapping[str, Iterable[str]]) -> list[str]:
    """The md5 of the weights, less their headers, of those objects that are the reinforced model's."""
    from lethe.provenance.artifact_store import cached

    found = set()
    for md5, paths in objects.items():
        path = cached(store, md5)
        if path.is_file() and any(name in WORST for name in paths) and not md5.endswith(".dir"):
            with path.open("rb") as stream:
                hashed = Hashed(stream)
                _, body = hashed.finish()
                if 8 + int.from_bytes(hashed.start, "little") < path.stat().st_size:
                    found.add(body)
    return sorted(found)


def as_dict(request: str, answer: Answer) -> dict[str, Any]:
    """The answer as JSON."""
    return {
        "request": request,
        "searched": {place: {"items": count, "bytes": size} for place, (count, size) in answer.searched.items()},
        "found": [each._asdict() for each in answer.found],
        "unread": [each._asdict() for each in answer.unread],
        "clean": {0: True, NO: False}.get(answer.code),
    }


def show(request: str, answer: Answer) -> None:
    """Print what was searched, what was found and what could not be read. No text is shown."""
    out = console()
    for place, (count, size) in answer.searched.items():
        line(out, "searched", f"{place}: {count} items, {size / 1e6:.1f} MB")
    for each in answer.found:
        part = f" ({100 * each.share:.0f} % of it)" if each.passages else ""
        line(out, "found", f"{each.place}: {each.name}: {each.what}{part}", "red")
    for left in answer.unread:
        line(out, "beside" if left.beside else "unread", f"{left.place}: {left.name}: {left.why}", "yellow")
    open_ = sum(not left.beside for left in answer.unread)
    said = {0: "nothing of it is left in what was searched", NO: f"{len(answer.found)} places hold some of it"}
    words = said.get(answer.code, f"cannot tell: nothing found, but {open_} could not be read")
    line(out, "check", f"{request}: {words}", "green" if not answer.code else "red")
