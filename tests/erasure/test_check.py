"""`lethe purge --check`: what is left of a purged text is found wherever it lies and however it is set."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import lzma
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lethe.erasure import check, passages, places, purge, reading, requests
from lethe.provenance.fingerprint import md5_of
from lethe.report.request_ledger import read_ledger
from tests import recorded
from tests.conftest import TINY_TEXT, tiny_tokenizer
from tests.recorded import lethe

OTHER = "Wenna kept bees below the bridge, and nobody minded them at all in that wet and windy year.\n" * 4
PASSAGE = " ".join(TINY_TEXT.split()[3:23])


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose text is in no commit, with one satisfied request r."""
    folder = recorded.empty(tmp_path_factory.mktemp("check") / "project")
    with (folder / ".gitignore").open("a") as stream:
        stream.write("/data/forget/\n/.scratch/\n/notes*\n")
    (folder / "data/forget/r").mkdir(parents=True)
    (folder / "data/forget/r/letter.txt").write_text(TINY_TEXT)
    recorded.run(folder)
    (folder / "data/forget/a.txt").unlink()
    recorded.cache(folder, folder / "data/forget")
    recorded.write_lock(folder, recorded.PARAMS)
    (folder / "params.yaml").write_text("corpus: {forget: data/forget}\n")
    recorded.commit(folder, "a run")
    return folder


@pytest.fixture
def asked(past: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same as the current folder, to be changed, and the text outside of it in ../kept."""
    folder = shutil.copytree(past, tmp_path / "project", symlinks=True)
    monkeypatch.chdir(folder)
    requests.add("r", Path("data/forget/r"), None, "2026-03-01")
    event = {"model": {"path": "models/unlearned", "md5": "a" * 32}, "measures": {}}
    requests.append(requests.LEDGER, read_ledger(requests.LEDGER), "satisfied", "r", "2026-03-02", event)
    recorded.commit(folder, "satisfied")
    shutil.copytree(folder / "data/forget/r", tmp_path / "kept")
    return folder


@pytest.fixture
def purged(asked: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The same after `lethe purge r --models`."""
    purge.command("r", True, "r", json=False)
    capsys.readouterr()
    return asked


def checked(folder: Path, *more: str) -> tuple[int, dict[str, Any]]:
    done = lethe(folder, "purge", "r", "--check", "--json", *more)
    assert done.stdout.startswith("{"), (done.output, done.exception)
    return done.exit_code, json.loads(done.stdout)


def names(answer: dict[str, Any]) -> set[str]:
    return {f"{row['place']} {row['name']}" for row in answer["found"]}


def test_before_a_purge_everything_is_found(asked: Path) -> None:
    code, answer = checked(asked)
    assert code == 3
    assert answer["clean"] is False
    assert {"folder data/forget/r/letter.txt", "folder data/corpus.parquet"} <= names(answer)
    assert any(name.startswith("cache ") and name.endswith("(data/corpus.parquet)") for name in names(answer))
    assert set(answer["searched"]) == {"folder", "cache", "git"}


def test_after_a_purge_nothing_is_found_and_what_was_searched_is_said(purged: Path) -> None:
    code, answer = checked(purged, "--text", "../kept")
    assert (code, answer["found"], answer["clean"]) == (0, [], True)
    shown = lethe(purged, "purge", "r", "--check", "--text", "../kept").output
    assert "searched  folder: " in shown
    assert shown.splitlines()[-1] == "check     r: nothing of it is left in what was searched"


def test_without_the_text_it_cannot_tell_of_passages(purged: Path) -> None:
    code, answer = checked(purged)
    assert (code, answer["clean"]) == (1, None)
    assert answer["unread"][-1] == {
        "place": "text",
        "name": "data/forget/r/letter.txt",
        "why": "gone, so its passages were not searched for; --text FOLDER gives it",
        "beside": False,
    }
    (purged / "notes.txt").write_text(TINY_TEXT)  # the same bytes are known by their hash
    assert checked(purged)[0] == 3


def test_a_text_that_is_not_the_requests_is_refused(purged: Path, tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text(OTHER)
    done = lethe(purged, "purge", "r", "--check", "--text", str(tmp_path / "other.txt"))
    assert str(done.exception).startswith(f"--text {tmp_path / 'other.txt'}: expected the recorded files of request r")


def packed(name: str, content: bytes) -> bytes:
    """An archive with one file."""
    target = io.BytesIO()
    if name == "zip":
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("word/document.xml", content)
    else:
        with tarfile.open(fileobj=target, mode=name) as archive:  # type: ignore[call-overload]
            entry = tarfile.TarInfo("a.txt")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return target.getvalue()


def parquet(column: Any) -> bytes:
    target = io.BytesIO()
    pq.write_table(pa.table({"x": column}), target, compression="zstd")
    return target.getvalue()


WAYS: dict[str, Callable[[str], bytes]] = {
    "as it stands": lambda text: text.encode(),
    "in capitals": lambda text: text.upper().encode(),
    "on other lines": lambda text: "\n> ".join(text.split()).encode(),
    "with curly quotes and soft hyphens": lambda text: text.replace("ver", "v\u00ader").replace("'", "’").encode(),
    "cut at the end of a line": lambda text: text.replace("river", "riv-\ner").encode(),
    "behind a false mark of UTF-16": lambda text: b"\xff\xfe" + text.encode(),
    "behind false zeros of UTF-16": lambda text: b"\0\1" * 20 + text.encode(),
    "in UTF-16": lambda text: text.encode("utf-16"),
    "in UTF-16 without a mark": lambda text: text.encode("utf-16-le"),
    "in UTF-16 amid zeros": lambda text: bytes(64) + text.encode("utf-16-le"),
    "amid binary data": lambda text: os.urandom(99) + b"\0" + text.encode() + b"\0" + os.urandom(99),
    "as JSON": lambda text: json.dumps({"reply": "\n" + text.replace(" ", "\n")}).encode(),
    "as JSON of JSON": lambda text: json.dumps(text).encode(),
    "as HTML": lambda text: text.replace(" ", "</b>&nbsp;<b>").encode(),
    "with marks in words": lambda text: text.replace("the", "t<mark>he</mark>").encode(),
    "in gzip": lambda text: gzip.compress(text.encode()),
    "in bzip2": lambda text: bz2.compress(text.encode()),
    "in xz": lambda text: lzma.compress(text.encode()),
    "in gzip in gzip": lambda text: gzip.compress(gzip.compress(text.encode())),
    "in a document": lambda text: packed("zip", text.replace(" ", "<w:t> </w:t>").encode()),
    "in a tar": lambda text: packed("w", text.encode()),
    "in a packed tar": lambda text: packed("w:gz", text.encode()),
    "in a table": lambda text: parquet([text]),
    "word by word in a table": lambda text: parquet(text.split()),
    "in lists of a table": lambda text: parquet([text.split()]),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_passage_is_found_however_it_is_set(way: str) -> None:
    asked = passages.wanted([TINY_TEXT])
    content = WAYS[way](f"{OTHER}{PASSAGE} {OTHER}")
    found = passages.passages_in(reading.pieces(io.BytesIO(content), reading.Reader(None)), asked)
    assert len(found) >= len(PASSAGE.split()) - 7
    assert passages.passages_in([OTHER * 3], asked) == set()


def test_a_passage_across_two_pieces_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = passages.wanted([PASSAGE])
    for size in (60, 61, 75, 97):
        monkeypatch.setattr(reading, "CHUNK", size)
        for content in (PASSAGE.encode(), b"\0\1" * 20 + PASSAGE.encode()):
            read = reading.pieces(io.BytesIO(content), reading.Reader(None))
            assert len(passages.passages_in(read, asked)) == asked.total, size


def test_a_text_of_few_words_is_searched_as_a_whole() -> None:
    asked = passages.wanted(["Nobody knew.\n", "It was late."])
    assert passages.passages_in(["They said NOBODY\nknew of it."], asked) == {"nobody knew"}
    assert passages.passages_in(["Nobody ever knew; it is late."], asked) == set()
    assert check.shortest(asked) == len("nobody knew")


def test_token_ids_are_read_by_a_tokenizer_or_told() -> None:
    tokenizer = tiny_tokenizer()
    content = parquet(pa.array([tokenizer(PASSAGE)["input_ids"]], pa.list_(pa.int32())))
    asked = passages.wanted([TINY_TEXT])
    read = reading.pieces(io.BytesIO(content), reading.Reader(tokenizer.decode))
    assert passages.passages_in(read, asked)
    with pytest.raises(reading.UnreadError, match="token ids in x: no tokenizer is at hand"):
        list(reading.pieces(io.BytesIO(content), reading.Reader(None)))


def test_the_pages_of_a_pdf_are_searched_and_the_rest_is_told() -> None:
    from tests.text.test_formats import pdf

    found = []
    with pytest.raises(reading.UnreadError, match=r"^PDF, of which nothing but text of pages"):
        found.extend(reading.pieces(io.BytesIO(pdf(PASSAGE)), reading.Reader(None)))
    assert passages.passages_in(found, passages.wanted([PASSAGE]))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"%PDF-1.7 x", "PDF, of which nothing but text of pages that can be read is searched"),
        (b"\x28\xb5\x2f\xfd....", "zstandard, whose text"),
        (gzip.compress(b"x" * 999)[:-9], "EOFError: "),
        (b"\x1f\x8b........", "zlib: Error -3 "),
        (b"PAR1" + b"x" * 40, "parquet: "),
        (b"PK\x03\x04" + b"x" * 40, "BadZipFile: "),
        (gzip.compress(gzip.compress(gzip.compress(gzip.compress(gzip.compress(b"x"))))), "more than 4 archives"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # bytes of gzip hold the time
)
def test_what_cannot_be_unpacked_is_told(content: bytes, why: str) -> None:
    with pytest.raises(reading.UnreadError, match=f"^{why}"):
        list(reading.pieces(io.BytesIO(content), reading.Reader(None)))


def test_a_small_archive_that_unpacks_to_anything_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LARGEST", 5_000_000)
    with pytest.raises(reading.UnreadError, match="it unpacks to more than"):
        for _ in reading.pieces(io.BytesIO(gzip.compress(bytes(50_000_000))), reading.Reader(None)):
            pass


def in_notes(folder: Path) -> None:
    (folder / "notes.md").write_text(f"{OTHER}{PASSAGE}\n")


def in_an_earlier_version(folder: Path) -> None:
    recorded.keep(folder, "0" * 32, f"{OTHER}{PASSAGE} and then another ending".encode())


def in_the_run_cache(folder: Path) -> None:
    path = folder / ".dvc/cache/runs/ab/abcd"
    path.parent.mkdir(parents=True)
    path.write_text(PASSAGE)


def in_git(folder: Path) -> None:
    (folder / "once.txt").write_text(PASSAGE)
    recorded.commit(folder, "by mistake")
    (folder / "once.txt").unlink()
    recorded.commit(folder, "taken out again")


def in_no_commit_any_more(folder: Path) -> None:
    recorded.git(folder, "hash-object", "-w", "--stdin", given=f"{PASSAGE} once more")


def in_the_message_of_a_commit(folder: Path) -> None:
    recorded.commit(folder, PASSAGE)


def in_a_kept_reply(folder: Path) -> None:
    path = folder / ".scratch/replies/x.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"content": PASSAGE.replace(" ", "\n")}))


def in_a_remote(folder: Path) -> None:
    recorded.put_remote(folder, "e" * 32, gzip.compress(PASSAGE.encode()))


def behind_a_link(folder: Path) -> None:
    (folder.parent / "outside.txt").write_text(PASSAGE)
    (folder / "notes").symlink_to("../outside.txt")


HIDDEN: list[tuple[Callable[[Path], None], str]] = [
    (in_notes, "folder notes.md"),
    (in_an_earlier_version, "cache files/md5/00/" + "0" * 30),
    (in_the_run_cache, "cache runs/ab/abcd"),
    (in_git, "git blob "),
    (in_no_commit_any_more, "git blob "),
    (in_the_message_of_a_commit, "git commit "),
    (in_a_kept_reply, "folder .scratch/replies/x.json"),
    (in_a_remote, "remote far files/md5/ee/" + "e" * 30),
    (behind_a_link, "folder notes"),
]


def test_a_passage_is_found_wherever_it_lies(purged: Path) -> None:
    for hide, _ in HIDDEN:
        hide(purged)
    code, answer = checked(purged, "--text", "../kept")
    assert code == 3
    for hide, where in HIDDEN:
        assert any(name.startswith(where) for name in names(answer)), hide
    assert sum(name.startswith("git blob ") for name in names(answer)) == 2
    assert PASSAGE not in json.dumps(answer)  # the answer holds none of the text


def test_the_reinforced_weights_are_known_by_their_bytes_under_any_header(
    asked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = asked / "models/reinforced/model.safetensors"
    content = weights.read_bytes()
    purge.command("r", False, "r", json=False)
    (asked / "models/other.bin").write_bytes(content)
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length].rstrip() + b" " * 64
    (asked / "models/renamed").write_bytes(len(header).to_bytes(8, "little") + header + content[8 + length :])
    code, answer = checked(asked, "--text", "../kept")
    assert code == 3
    found = {row["name"]: row["what"] for row in answer["found"] if row["name"].startswith("models/")}
    assert found == {
        "models/other.bin": "the bytes of models/reinforced, by their hash",
        "models/renamed": "the bytes of models/reinforced, by their hash",
    }


def test_a_kept_model_is_whole_after_a_purge(asked: Path) -> None:
    config = md5_of(asked / "models/unlearned/config.json")  # the reinforced model has the same
    purge.command("r", False, "r", json=False)
    assert (asked / ".dvc/cache/files/md5" / config[:2] / config[2:]).exists()
    assert checked(asked, "--text", "../kept")[0] == 0


def test_a_purge_names_what_it_leaves(asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    in_git(asked)
    in_notes(asked)
    purge.command("r", True, "r", json=False)
    shown = capsys.readouterr().out
    assert "found     folder: notes.md: 13 passages of the text (" in shown
    assert "found     git: blob " in shown
    assert "2 places hold some of it" in shown


def test_what_cannot_be_read_leaves_it_open(purged: Path) -> None:
    os.mkfifo(purged / "pipe")
    (purged / "notes.pdf").write_bytes(b"%PDF-1.7")
    for place in ("venv/bin/python", "venv/lib/a.txt", "venv/pyvenv.cfg"):
        (purged / place).parent.mkdir(parents=True, exist_ok=True)
        (purged / place).write_text("")
    (purged / "gone").symlink_to("nowhere")
    shutil.copytree(purged / "venv", purged.parent / "elsewhere")
    (purged / ".venv").symlink_to(purged.parent / "elsewhere")
    code, answer = checked(purged, "--text", "../kept")
    assert code == 1
    left = {row["name"]: (row["why"], row["beside"]) for row in answer["unread"]}
    assert left["pipe"] == ("a pipe, device or socket", False)
    assert left["notes.pdf"][0].startswith("PDF")
    assert left["venv/lib"] == ("a virtual environment", True)
    assert left["gone"] == ("no such file", False)
    assert left[".venv"] == (f"a link to {purged.parent / 'elsewhere'}, outside of the project", False)
    shown = lethe(purged, "purge", "r", "--check", "--text", "../kept").output
    assert "r: cannot tell: nothing found, but 4 could not be read" in shown


def test_a_remote_that_does_not_answer_leaves_it_open(purged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent:
        path = "x"

        class fs:  # noqa: N801 - as DVC calls it
            @staticmethod
            def find(_: str) -> list[str]:
                raise PermissionError("Access Denied")

    from lethe.provenance import artifact_store

    real = artifact_store.open_store

    def opened(project: Any) -> Any:
        store = real(project)
        store.remotes["far"] = Silent
        return store

    monkeypatch.setattr(artifact_store, "open_store", opened)
    code, answer = checked(purged, "--text", "../kept")
    assert code == 1
    assert answer["unread"][0] == {"place": "remote far", "name": "", "why": "Access Denied", "beside": False}


def test_a_bucket_is_searched(purged: Path, bucket: Any) -> None:
    config = purged / ".dvc/config"
    url = bucket.meta.client.meta.endpoint_url
    config.write_text(
        f"{config.read_text()}['remote \"box\"']\n    url = s3://artifacts/lethe\n    endpointurl = {url}\n"
    )
    bucket.put_object(Key="lethe/files/md5/ab/" + "c" * 30, Body=PASSAGE.encode())
    code, answer = checked(purged, "--text", "../kept")
    assert code == 3
    assert names(answer) == {f"remote box files/md5/ab/{'c' * 30}"}


def test_a_large_object_of_git_is_read_without_holding_it(purged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places.Bounded, "HELD", 1000)
    recorded.git(purged, "hash-object", "-w", "--stdin", given="x " * 4000 + PASSAGE + " y" * 4000)
    recorded.git(purged, "hash-object", "-w", "--stdin", given=packed("zip", base64.b85encode(os.urandom(4000))))
    code, answer = checked(purged, "--text", "../kept")
    assert code == 3
    assert [row["passages"] for row in answer["found"]] == [13]
    assert [row["why"] for row in answer["unread"] if "too large an object of git" in row["why"]]


def test_a_file_of_any_size_is_read_in_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tracemalloc

    monkeypatch.setattr(reading, "CHUNK", 1 << 16)
    with (tmp_path / "large").open("wb") as stream:
        stream.truncate(1 << 25)
        stream.seek(1 << 24)
        stream.write(PASSAGE.encode())
    item = places.Item("folder", "large", 1 << 25, places.opener(tmp_path / "large"))
    asked = check.Asked(passages.wanted([PASSAGE]), {}, {})
    tracemalloc.start()
    (found,), why = check.examined(item, asked, reading.Reader(None))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found.passages, why) == (13, "")
    assert peak < 1 << 22  # an eighth of the file; measured: 2.1 MB
