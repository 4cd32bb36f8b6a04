"""More attacks of docs/security.md: on the ledger, on purges, and on what `purge --check` could miss."""

from __future__ import annotations

import base64
import binascii
import gzip
import html
import io
import json
import lzma
import os
import shutil
import tarfile
import urllib.parse
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lethe.core.errors import StageError
from lethe.erasure import check, passages, places, reading
from lethe.erasure.ledger_lines import inside_project, opened, skeleton
from lethe.erasure.plan import noted
from lethe.erasure.requests import day
from lethe.erasure.streams import Hashed
from lethe.provenance.artifact_store import open_store
from lethe.provenance.history import open_history, open_project
from lethe.report.request_ledger import FIRST
from tests import recorded
from tests.conftest import TINY_TEXT
from tests.custody.test_hostile import Run, forged, precious, refused
from tests.custody.test_hostile_files import GERMAN, found, line
from tests.recorded import json_of, lethe


@pytest.fixture
def here(judged_copy: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The copy of the recorded project, as the current folder."""
    monkeypatch.chdir(judged_copy[0])
    return judged_copy[0]


# The ledger

ADDED: dict[str, Any] = {"event": "added", "request": "r", "folder": "data/forget", "corpus": "x", "files": {}}
PURGED: dict[str, Any] = {"event": "purged", "request": "r", "purged": {"objects": []}}
ANSWERED: dict[str, Any] = {"event": "satisfied", "request": "r", "measures": {}, "model": {"md5": "m"}}


def ledger(folder: Path, *rows: dict[str, Any]) -> Path:
    """A ledger of these lines with their right hashes."""
    path, previous, lines = folder / "ledger.jsonl", FIRST, []
    for number, row in enumerate(rows, start=1):
        lines.append(line(number, previous, **row))
        previous = lines[-1]["sha256"]
    path.write_text("".join(json.dumps(row) + "\n" for row in lines))
    return path


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ((ADDED, PURGED, ADDED), "was added before"),
        ((ADDED, PURGED, ANSWERED), "was purged before"),
        ((ADDED | {"supersedes": "r"},), "cannot supersede itself"),
    ],
)
def test_a_line_that_undoes_earlier_ones(rows: tuple[dict[str, Any], ...], said: str, tmp_path: Path) -> None:
    got = opened(ledger(tmp_path, *rows))
    assert len(got.rows) == len(rows) - 1
    assert said in got.problems[0]


@pytest.mark.parametrize(
    "row",
    [ADDED | {"supersedes": []}, ADDED | {"folder": "data/\0x"}, ADDED | {"folder": "data/\ud800"},
     ADDED | {"files": {"../../x": {"md5": "a" * 32, "sha256": "b"}}},
     PURGED | {"purged": {"objects": [{"md5": "a" * 32, "paths": [3]}]}},
     PURGED | {"purged": {"objects": [], "bodies": 3}}, PURGED | {"purged": {"objects": [], "kept": [3]}}],
)  # fmt: skip
def test_a_line_with_another_shape_inside(row: dict[str, Any], tmp_path: Path) -> None:
    got = opened(ledger(tmp_path, row))
    assert (got.rows, len(got.problems)) == ([], 1)


def test_dates_that_go_back_or_have_not_come(tmp_path: Path) -> None:
    rows = [ADDED, ANSWERED | {"date": "1999-01-01"}, ADDED | {"request": "s", "date": "2999-01-01"}]
    rows += [ADDED | {"request": "t", "date": "soon"}]
    got = opened(ledger(tmp_path, *rows))
    assert len(got.rows) == 4  # they count: what they say of texts is no less true
    assert [said.split("date: expected ")[1].split(",")[0] for said in got.problems] == [
        "2026-01-01 or later", "one that has come", "YYYY-MM-DD",
    ]  # fmt: skip
    with pytest.raises(StageError, match="expected today or earlier"):
        day("2999-01-01")


def test_ids_that_look_alike(here: Path) -> None:
    assert len({skeleton(each) for each in ("case-p", "Case-P", "case-р", "ｃase-p", "сase-p")}) == 1
    assert skeleton("case-p") != skeleton("case-q")
    (here / "params.yaml").write_text("corpus: {forget: data/forget}\n")
    for name in ("one", "two"):
        (here / "data/forget" / name).mkdir()
        (here / "data/forget" / name / "b.txt").write_text(name)
    assert lethe(here, "requests", "add", "case-p", "data/forget/one").exit_code == 0
    assert "looks like case-p" in refused(here, "requests", "add", "case-р", "data/forget/two")


def test_a_ledger_that_is_a_link(here: Path) -> None:
    path = precious(here)
    (here / "params.yaml").write_text("corpus: {forget: data/forget}\n")
    (here / "data/forget/one").mkdir()
    (here / "data/forget/one/b.txt").write_text("one")
    (here / "data/requests.jsonl").symlink_to(path)
    assert "got a link to" in refused(here, "requests", "add", "r", "data/forget/one")
    assert path.read_text() == "x"


@pytest.mark.parametrize("folder", ["/usr", "..", "data/../..", ".git", ""])
def test_a_request_on_a_folder_elsewhere_is_not_read(folder: str, here: Path) -> None:
    forged(here, folder)
    assert not inside_project(folder)
    assert "expected a folder of text inside the project" in refused(here, "purge", "r", "--check")


# Purge


@pytest.mark.parametrize(
    "text", ["[1]", "{", "3", "null", '{"objects": 3}', '{"objects": {"%s": 3}}' % ("a" * 32), '{"folders": [3]}',
             '{"bodies": [3]}', '{"experiments": 3}', '{"folders": "abc"}', "PIPE"],
)  # fmt: skip
def test_notes_of_a_purge_in_another_shape(text: str, here: Path) -> None:
    path = here / ".dvc/tmp/purge-r.json"
    path.parent.mkdir(exist_ok=True)
    os.mkfifo(path) if text == "PIPE" else path.write_text(text)
    with pytest.raises(StageError, match=r"purge-r\.json: expected"):
        noted(open_history(here, ""), "r")


def test_a_link_where_a_purge_writes_its_notes(here: Path) -> None:
    path = precious(here)
    forged(here, "data/forget")
    (here / ".dvc/tmp").mkdir(exist_ok=True)
    for name in ("purge-r.half", "purge-r.json.part"):
        (here / ".dvc/tmp" / name).symlink_to(path)
    assert lethe(here, "purge", "r", "--confirm", "r").exit_code == 0
    assert path.read_text() == "x"


def test_a_hidden_file_beside_the_text(here: Path) -> None:
    path = here / "data/forget/.thesis.txt"
    path.write_text("mine")
    forged(here, "data/forget")
    assert "expected only files that the request names" in refused(here, "purge", "r", "--confirm", "r")
    assert path.exists()


# What `purge --check` could miss


def lines(text: str, width: int, before: str = "") -> bytes:
    return "\n".join(before + text[place : place + width] for place in range(0, len(text), width)).encode()


def dumped(text: str, apart: int) -> bytes:
    rows = []
    for place in range(0, len(text), 16):
        octets = text[place : place + 16].encode()
        digits = octets.hex()
        pairs = " ".join(digits[at : at + apart] for at in range(0, len(digits), apart))
        rows.append(f"{place:08x}: {pairs}  {octets.decode().translate({10: '.'})}")
    return "\n".join(rows).encode()


def bold(text: str) -> str:
    small = {number: chr(0x1D41A + number - 97) for number in range(97, 123)}
    return text.translate(small | {number: chr(0x1D400 + number - 65) for number in range(65, 91)})


WORDS = TINY_TEXT.split()
SPELT: dict[str, Callable[[str], bytes]] = {
    "base64 in short lines": lambda text: lines(base64.b64encode(text.encode()).decode(), 48),
    "base64, indented": lambda text: lines(base64.b64encode(text.encode()).decode(), 40, "    "),
    "base64 of UTF-16": lambda text: base64.b64encode(text.encode("utf-16-le")),
    "base64 of base64": lambda text: base64.b64encode(base64.b64encode(text.encode())),
    "base32": lambda text: base64.b32encode(text.encode()),
    "base85": lambda text: base64.b85encode(text.encode()),
    "ASCII85": lambda text: base64.a85encode(text.encode()),
    "uuencode": lambda text: b"".join(
        binascii.b2a_uu(text.encode()[place : place + 45]) for place in range(0, len(text.encode()), 45)
    ),
    "an address twice": lambda text: urllib.parse.quote(urllib.parse.quote(text)).encode(),
    "entities twice": lambda text: html.escape("".join(f"&#{ord(each)};" for each in text)).encode(),
    "a dump of bytes": lambda text: dumped(text, 2),
    "a dump of pairs": lambda text: dumped(text, 4),
    "digits in lines": lambda text: lines(text.encode().hex(), 60),
    "digits of UTF-16": lambda text: text.encode("utf-16-le").hex().encode(),
    "numbers of C": lambda text: ", ".join(f"0x{each:02x}" for each in text.encode()).encode(),
    "numbers of bytes": lambda text: json.dumps(list(text.encode())).encode(),
    "numbers of characters": lambda text: json.dumps([ord(each) for each in text]).encode(),
    "binary digits": lambda text: " ".join(f"{each:08b}" for each in text.encode()).encode(),
    "braces of JavaScript": lambda text: "".join(f"\\u{{{ord(each):x}}}" for each in text).encode(),
    "pairs of surrogates": lambda text: json.dumps(bold(text)).encode(),
    "colours of a terminal": lambda text: " ".join(f"\x1b[31m{word}\x1b[0m" for word in text.split()).encode(),
    "letters typed twice": lambda text: "".join(f"{each}\b{each}" for each in text).encode(),
    "long tags": lambda text: " ".join(f"{word} <span style='{'x' * 400}'>" for word in text.split()).encode(),
    "tokens of GPT-2": lambda text: json.dumps([f"Ġ{word}" for word in text.split()]).encode(),
    "a word an object": lambda text: json.dumps([{"word": word, "start": 1} for word in text.split()]).encode(),
    "a word a numbered line": lambda text: "\n".join(f"{n}\t{word}" for n, word in enumerate(text.split())).encode(),
    "letters that look alike": lambda text: text.translate(str.maketrans("aeopcxy", "аеорсху")).encode(),
    "letters struck through": lambda text: "".join(f"{each}\u0336" for each in text).encode(),
    "selectors of variants": lambda text: "".join(f"{each}\ufe0f" for each in text).encode(),
    "characters of tags": lambda text: "".join(f"{each}\U000e0061" for each in text).encode(),
    "letters apart": lambda text: "  ".join(" ".join(word) for word in text.split()).encode(),
    "gzip behind a script": lambda text: b"#!/bin/sh\nexit 0\n" + gzip.compress(text.encode() * 3),
    "zlib amid numbers": lambda text: bytes(range(256)) * 3 + zlib.compress(text.encode() * 3) + bytes(50),
    "zlib in a picture": lambda text: b"\x89PNG\r\n\x1a\n\0\0\0\x10zTXtc\0\0" + zlib.compress(text.encode()),
    "LZMA of the older form": lambda text: lzma.compress(text.encode(), format=lzma.FORMAT_ALONE),
}
GERMANS: dict[str, Callable[[str], bytes]] = {
    "UTF-7": lambda text: text.encode("utf-7"),
    "rich text": lambda text: "".join(
        each if each.isascii() else f"\\'{each.encode('cp1252').hex()}" for each in f"{{\\rtf1\\ansi {text}}}"
    ).encode(),
    "TeX": lambda text: text.replace("ü", '\\"u').replace("ö", '\\"o').replace("ä", '\\"a').encode(),
}


@pytest.mark.parametrize("how", SPELT)
def test_a_passage_is_found_however_it_is_spelt(how: str) -> None:
    assert found(SPELT[how](TINY_TEXT), TINY_TEXT) > 0.8


@pytest.mark.parametrize("how", GERMANS)
def test_a_passage_with_accents_is_found_however_it_is_spelt(how: str) -> None:
    assert found(GERMANS[how](GERMAN), GERMAN) == 1.0


@pytest.mark.parametrize("packing", ["lz4", "zstd", "uncompressed"])
def test_a_passage_in_a_table_of_arrow(packing: str) -> None:
    import pyarrow as pa
    from pyarrow import feather

    stream = io.BytesIO()
    feather.write_feather(pa.table({"text": [TINY_TEXT]}), stream, compression=packing)
    assert found(stream.getvalue(), TINY_TEXT) == 1.0


def test_readings_of_readings_end() -> None:
    nested = "%5C<&amp;\\u0041=41" * 20_000  # every reading suggests further ones
    assert sum(map(len, passages.forms(nested))) < 40 * len(nested)
    for start in (b"x\x9c", b"\x1f\x8b\x08"):
        assert (
            passages.passages_in(reading.pieces(io.BytesIO(b"!" + start * 9_000), reading.Reader(None)), ASKED) == set()
        )


ASKED = passages.wanted([TINY_TEXT])


def test_weights_in_an_archive(here: Path) -> None:
    weights = here / "models/reinforced/model.safetensors"
    with weights.open("rb") as stream:
        whole, body = Hashed(stream).finish()
    packed, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(weights, "w")
    with tarfile.open(fileobj=tarred, mode="w:gz") as archive:
        archive.add(weights, "w")
    for content in (packed.getvalue(), tarred.getvalue(), gzip.compress(weights.read_bytes())):
        item = places.Item("folder", "x", len(content), lambda content=content: io.BytesIO(content))  # type: ignore[misc]
        for asked in (check.Asked(ASKED, {whole: "it"}, {}), check.Asked(ASKED, {}, {body: "it"})):
            rows, why = check.examined(item, asked, reading.Reader(None))
            assert ([row.what for row in rows], why) == (["the bytes of it, by their hash"], "")


def names_of(here: Path) -> tuple[set[str], set[str]]:
    """The names of what is searched, and of what is not."""
    history = open_history(here, "")
    every = list(places.everything(history, open_store(history.project)))
    return ({each.name for each in every if isinstance(each, places.Item)},
            {each.name for each in every if isinstance(each, places.Unread)})  # fmt: skip


def test_what_git_left_or_cannot_read_among_its_objects(here: Path) -> None:
    (here / ".git/objects/ab").mkdir(exist_ok=True)
    (here / ".git/objects/ab/tmp_obj_x").write_bytes(zlib.compress(b"blob 9\0" + TINY_TEXT.encode()))
    recorded.git(here, "bundle", "create", "all.bundle", "--all")
    blob = recorded.git(here, "hash-object", "-w", "--stdin", given="something")
    path = here / ".git/objects" / blob[:2] / blob[2:]
    path.chmod(0o644)
    path.write_bytes(b"x\1")
    searched, unread = names_of(here)
    assert ".git/objects/ab/tmp_obj_x" in searched
    assert any("missing" in name or name == "objects" for name in unread)
    assert found((here / "all.bundle").read_bytes(), TINY_TEXT) == 1.0
    assert found((here / ".git/objects/ab/tmp_obj_x").read_bytes(), TINY_TEXT) == 1.0


def test_a_mark_of_a_virtual_environment_hides_nothing(here: Path) -> None:
    for place in ("data", "notes", ".env/lib"):
        (here / place).mkdir(exist_ok=True, parents=True)
    (here / ".env/bin").mkdir()
    (here / ".env/bin/python").touch()
    for place in ("data", "notes", ".env"):
        (here / place / "pyvenv.cfg").touch()
    for place in ("notes", ".env", ".env/lib"):
        (here / place / "a.txt").write_text(TINY_TEXT)
    searched, unread = names_of(here)
    assert {"data/forget/a.txt", "notes/a.txt", ".env/a.txt"} <= searched
    assert {".env/lib", ".env/bin"} <= unread


def test_git_outside_of_the_projects_folder(here: Path) -> None:
    top = here.parent / "top"
    top.mkdir()
    shutil.move(here / ".git", top / ".git")
    project = Path(shutil.move(here, top / "sub"))
    os.chdir(project)
    recorded.commit(top, "moved")
    searched, unread = names_of(project)
    assert str(top / ".git/logs/HEAD") in searched
    assert str(top) in unread  # its other folders
    assert open_project(project).prefix == "sub/"


def test_links_and_pipes_in_a_cache(here: Path) -> None:
    path = precious(here)
    cache = here / ".dvc/cache/files/md5"
    (cache / "zz").symlink_to(path.parent)
    os.mkfifo(cache / "pipe")
    assert {"files/md5/zz", "files/md5/pipe"} <= names_of(here)[1]


def test_text_in_the_attributes_of_a_file(here: Path) -> None:
    path = here / "data/forget/a.txt"
    try:
        os.setxattr(path, "user.note", TINY_TEXT.encode())
    except (OSError, AttributeError):
        pytest.skip("no extended attributes; run on Linux, on a file system that has them")
    (item,) = places.attributes(open_project(here), path)
    assert item.name == "data/forget/a.txt, its attributes"
    assert item.open().read() == b"user.note\n" + TINY_TEXT.encode()


def test_a_text_without_words(here: Path) -> None:
    (here / "data/forget/a.txt").write_text("🙂 … !!")
    forged(here, "data/forget")
    said = json_of(here, "purge", "r", "--check")
    assert "no words in it, so only its bytes were searched for" in {row["why"] for row in said["unread"]}
    assert said["clean"] is not True
