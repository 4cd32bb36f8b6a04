"""More attacks of docs/security.md: signed contradictions, places, names, links, repositories, encodings."""

from __future__ import annotations

import base64
import binascii
import codecs
import gzip
import io
import json
import os
import quopri
import urllib.parse
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest

from lethe.core.corpus import folder_problems
from lethe.core.errors import StageError
from lethe.core.whole_params import secrets
from lethe.custody import stated, timestamp
from lethe.erasure import passages, reading
from lethe.models.folders import indexed
from lethe.preflight import edited
from lethe.provenance import certificate as certify
from lethe.provenance import verify
from lethe.provenance.fingerprint import md5_of, safetensors_size, subject_of
from lethe.provenance.history import open_project, scope_of
from lethe.provenance.verify import model_findings
from lethe.report.request_ledger import FIRST, examined, row_sha256
from tests import recorded
from tests.conftest import TINY_TEXT
from tests.custody.test_hostile import Run, forged, passed, precious, refused
from tests.recorded import json_of, lethe

MET = {"name": "leak", "bound": "at most", "limit": 0.1, "value": 0.05, "met": True, "result": "pass"}
RUSSIAN = "Светлана пришла домой поздно вечером и долго смотрела в окно на мокрые крыши города, вспоминая письмо брата"
GERMAN = "Als die Müllerin früh über die Brücke ging, hörte sie plötzlich ein Geräusch, größer als gewöhnliche Bäche"
JAPANESE = "スヴェトラーナは夜遅く家に帰り、窓から濡れた街の屋根を長い間眺めていた。"


@pytest.fixture
def here(judged_copy: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The copy of the recorded project, as the current folder."""
    monkeypatch.chdir(judged_copy[0])
    return judged_copy[0]


# Certificates


@pytest.mark.parametrize(
    "row",
    [{"value": 2}, {"value": None}, {"value": True}, {"value": "0.05"}, {"limit": None}, {"result": "FAIL"},
     {"bound": "about"}, {"bound": "at least"}, {"value": 0.3, "allowed": 0.2}, {"met": 1}],
)  # fmt: skip
def test_a_criterion_is_met_by_its_own_numbers_alone(row: dict[str, Any]) -> None:
    assert stated.verdict_words({"verdict": "pass", "thresholds": [MET, MET]}) == "PASS"
    assert (
        stated.verdict_words({"verdict": "pass", "thresholds": [MET, MET | {"value": 0.3, "allowed": 0.3}]}) == "PASS"
    )
    for said in ([MET, MET | row], [MET, "leak: FAIL"], [{"name": "leak", "met": True}]):
        assert stated.verdict_words({"verdict": "pass", "thresholds": said}).startswith("CANNOT TELL: it says pass")


def test_a_row_of_the_page_is_met_by_its_own_numbers_alone() -> None:
    from lethe.custody.page import criterion

    assert criterion(MET)["result"] == "met"
    assert criterion(MET | {"value": 2})["result"] == "cannot tell"
    assert criterion(MET | {"value": 2, "allowed": 3}) == {
        "name": "leak", "limit": "at most 0.1 (allowed 3)", "value": "2", "result": "met",
    }  # fmt: skip


def test_what_the_gate_allowed_stands_in_the_certificate() -> None:
    from lethe.provenance.integrity import Rule, criterion

    values = {"leak": 0.12, "allowed": {"leak": 0.15}}
    assert criterion("leak", Rule("at most", 0.1, None), values, None)["allowed"] == 0.15
    assert "allowed" not in criterion("leak", Rule("at most", 0.1, None), {"leak": 0.02}, None)


@pytest.mark.parametrize("end", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "2026-11-30", "", 0, "٢٠٢٦"])
def test_an_end_at_the_edge_of_the_calendar_or_of_none(end: Any) -> None:
    assert stated.end_of({"validUntil": end})[0] == (str(end)[:4] == "9999")


def test_a_file_of_another_size_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model/model.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"1234")
    subject = {"name": path.name, "digest": {"sha256": "0" * 64}, "annotations": {"size": 4}}
    os.truncate(path, 1 << 42)  # four terabytes, of which nothing is there: hours to read
    for model in (path.parent, path):
        (found,) = model_findings({"subject": [subject], "predicate": {}}, model)
        assert (found.holds, found.said) == (False, f"changed: expected 4 bytes, got {1 << 42}")
    os.truncate(path, 0)
    (path.parent / "config.json").write_bytes(b"")
    os.truncate(path.parent / "config.json", 1 << 42)
    path.unlink()
    with pytest.raises(StageError, match="hardly any of which are there"):
        subject_of(str(path.parent))


def test_links_that_lead_out_or_in_circles_end(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    for name, target in {"out": "/", "self": "self", "one": "two", "two": "one", "none": "nothing"}.items():
        (tmp_path / "model" / name).symlink_to(target)
    files, problems = verify.walk(tmp_path / "model")
    assert files == {}
    assert problems["out"] == "a link to a folder outside of the model, which was not entered"
    assert problems["self"] == problems["one"] == "cannot be read: Too many levels of symbolic links"
    assert problems["none"] == "cannot be read: No such file or directory"


def test_a_name_that_is_no_text_writes_nothing_of_its_own(here: Path) -> None:
    lethe(here, "certify", "models/unlearned", "--new-key")
    (here / "models/unlearned/x\n\x1b[2Jok  all").write_text("x")
    (here / os.fsdecode(b"models/unlearned/\xff\xfe")).write_text("x")
    (here / "models/unlearned/\u202egnp.ledom").write_text("x")
    done = lethe(here, "verify", "certificate.json", "models/unlearned")
    assert (done.exit_code, len(done.output.splitlines())) == (3, 4)
    assert "\x1b" not in done.output
    assert "\u202e" not in done.output


def test_the_private_key_is_not_put_into_the_model(here: Path) -> None:
    line = refused(here, "certify", "models/unlearned", "--new-key", "--key", "models/unlearned/lethe.key")
    assert line.startswith("--key: expected a place outside of the model, which is given away")
    assert not (here / "models/unlearned/lethe.key").exists()


@pytest.mark.parametrize(
    "words",
    ["--out c.json --model-signing c.json", "--out c.json --html --model-signing c.html", "--out lethe.pub",
     "--out lethe.key", "--out ./c.json --model-signing x/../c.json"],
)  # fmt: skip
def test_two_files_have_two_places(words: str, here: Path) -> None:
    assert "expected another place for each file" in refused(
        here, "certify", "models/unlearned", "--new-key", "--p256", *words.split()
    )
    assert not (here / "lethe.key").exists()


def test_a_link_where_a_file_is_about_to_be_written(here: Path) -> None:
    path = precious(here)
    certify.write(here / "c.json", b"1")
    (here / "c.json.part").symlink_to(path)
    certify.write(here / "c.json", b"2")
    assert ((here / "c.json").read_bytes(), path.read_text()) == (b"2", "x")
    (here / "new.pub").symlink_to(path.parent / "new")  # of a key pair
    with pytest.raises((FileExistsError, StageError)):
        certify.write_new_key(here / "new.key")
    assert not (path.parent / "new").exists()


# What a stranger's file says of itself


@pytest.mark.parametrize(
    "header",
    [b"[" * 100_000, b"[]", b"7", b"\xff", b'{"a": {"data_offsets": [0, "9"]}}', b'{"a": {"data_offsets": [0, 1e999]}}',
     b'{"a": {"data_offsets": [0, NaN]}}', b'{"a": {"data_offsets": [0, [1]]}}', b'{"a": {"data_offsets": {"1": 3}}}'],
)  # fmt: skip
def test_a_header_that_is_none(header: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    assert safetensors_size(path) is None


@pytest.mark.parametrize("index", [[], 3, {}, {"weight_map": ["a"]}, {"weight_map": {"a": 1}}, {"weight_map": None}])
def test_an_index_of_another_shape(index: Any, tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"index\.json: expected"):
        indexed(index, tmp_path)


def test_a_config_that_is_nested_without_end_or_no_file(tmp_path: Path) -> None:
    from lethe.core.tables import read_json, read_jsonl

    path = tmp_path / "config.json"
    for content in (b"[" * 100_000, b"\xff\xfe"):
        path.write_bytes(content)
        with pytest.raises(StageError, match=r"config\.json: not valid JSON"):
            read_json(path)
    with pytest.raises(StageError, match="not valid JSON"):
        read_json(tmp_path)
    path.write_bytes(b"[" * 100_000)
    with pytest.raises(StageError, match=r"config\.json:1: not valid JSON"):
        read_jsonl(path, {})


def test_a_certificate_that_gc_meets_and_that_is_none(here: Path) -> None:
    path = here / "certificate2.json"
    nested = base64.b64encode(b"[" * 100_000).decode()
    for text in ("[" * 100_000, json.dumps({"payload": nested}), '{"payload": 3}'):
        path.write_text(text)
        assert "expected a certificate that `lethe certify` wrote" in refused(
            here, "gc", "--workspace", "--all-commits"
        )
    path.unlink()
    os.mkfifo(path)
    assert "expected a certificate" in refused(here, "gc", "--workspace", "--all-commits")


@pytest.mark.parametrize(
    "value",
    ["https://me:secret@host/x", "ssh://token@host", "https://host/x?api_key=1", "https://host/x?a=b&token=c",
     "sk-proj-0123456789abcdef", "hf_0123456789abcdefghijkl", "ghp_0123456789abcdefghijkl", "AKIA0123456789ABCDEF"],
)  # fmt: skip
def test_a_password_or_a_key_in_any_parameter(value: str) -> None:
    assert list(secrets({"baseline": {"model": value, "other": [{"deep": value}]}})) == [
        "baseline.model",
        "baseline.other.deep",
    ]
    plain = {"model": "owner/name", "url": "https://host/x", "prompt": "One night, a sketch-book?", "at": "a@b.example"}
    assert list(secrets(plain)) == []


def test_a_password_in_the_address_of_a_timestamp_authority() -> None:
    with pytest.raises(StageError, match="--url: expected an address without a password") as error:
        timestamp.posted("http://me:secret@127.0.0.1:9/x", b"")
    assert "secret" not in str(error.value)


def test_a_text_that_is_to_be_forgotten_and_retained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("forget", "retain"):
        (tmp_path / "data" / name).mkdir(parents=True)
    (tmp_path / "data/forget/a.txt").write_text("One night.")
    (tmp_path / "data/retain/b.txt").write_text("One light.")
    (tmp_path / "data/retain/empty.txt").write_text("")
    (tmp_path / "data/forget/empty.txt").write_text("")
    assert folder_problems("data/forget", "data/retain") == {}
    os.link(tmp_path / "data/forget/a.txt", tmp_path / "data/retain/c.txt")
    line = "expected other texts than those to forget, got data/retain/c.txt, which is data/forget/a.txt"
    assert folder_problems("data/forget", "data/retain") == {"retain": line}


# History and ledger


def test_a_name_that_means_two_commits(here: Path) -> None:
    head = recorded.git(here, "rev-parse", "HEAD")
    recorded.git(here, "checkout", "--quiet", "-b", "side")
    side = recorded.commit(here, "a pass that nobody earned")
    recorded.git(here, "checkout", "--quiet", "main")
    assert scope_of(open_project(here), "main").commit == scope_of(open_project(here), head[:8]).commit == head
    recorded.git(here, "tag", "main", side)  # anybody who can push can push a tag, or a branch called like a commit
    recorded.git(here, "branch", head[:8], side)
    for ref in ("main", head[:8]):
        assert refused(here, "audit", "models/unlearned", "--ref", ref).endswith(f"got {ref}, which names 2")
    assert scope_of(open_project(here), head).commit == scope_of(open_project(here), "refs/heads/main").commit == head
    assert scope_of(open_project(here), "HEAD").branch in ("main", "heads/main")


def test_an_object_of_git_with_another_content_than_its_name_says(here: Path) -> None:
    blob = recorded.git(here, "rev-parse", "HEAD:dvc.lock")
    path = here / ".git/objects" / blob[:2] / blob[2:]
    path.chmod(0o644)
    text = (here / "dvc.lock").read_bytes().replace(b"steps: 4", b"steps: 9")
    path.write_bytes(zlib.compress(b"blob %d\0" % len(text) + text))
    assert "with the content that its name says, got another" in refused(here, "audit", "models/unlearned")


def test_another_list_of_parents(here: Path) -> None:
    head = recorded.git(here, "rev-parse", "HEAD")
    recorded.git(here, "checkout", "--quiet", "-b", "side")
    passed(here)
    side, made = recorded.git(here, "rev-parse", "HEAD"), recorded.path_md5(here / "models/unlearned")
    recorded.git(here, "checkout", "--quiet", "--force", "main")
    (here / ".git/info/grafts").parent.mkdir(exist_ok=True)
    (here / ".git/info/grafts").write_text(f"{head} {side}\n")
    assert side in recorded.git(here, "log", "--format=%H").split()  # git itself believes it
    said = json_of(here, "audit", made)
    assert (said["history"]["commits"], said["gate"]["verdict"]) == (2, "fail")


def test_a_ledger_that_a_merge_took_from_the_other_side(here: Path) -> None:
    (here / "params.yaml").write_text("corpus:\n  forget: data/forget\n")
    (here / ".gitignore").write_text((here / ".gitignore").read_text() + ".scratch/\n")
    before = recorded.commit(here, "params")
    forged(here, "data/forget")
    ledger = here / "data/requests.jsonl"
    lines = ledger.read_text().splitlines(keepends=True)
    first = recorded.commit(here, "two lines")
    recorded.git(here, "checkout", "--quiet", "-b", "other", before)
    ledger.write_text(lines[0])
    recorded.commit(here, "one of them")
    recorded.git(here, "merge", "--quiet", "--strategy=ours", first, "-m", "together")
    done = lethe(here, "requests", "check")
    assert done.exit_code == 3
    assert f"commit {first[:12]} has other lines" in done.output


def line(number: int, previous: str, **facts: Any) -> dict[str, Any]:
    """A line of a ledger with its right hash."""
    row = {"number": number, "date": "2026-01-01", "previous": previous, **facts}
    return row | {"sha256": row_sha256(row)}


def test_markup_and_control_characters_in_a_ledger(here: Path) -> None:
    added = line(1, FIRST, event="added", request="r", folder="data/forget", corpus="x", files={}, supersedes=None)
    model = {"path": "m", "md5": "[/b]\x1b[3A"}
    verdict = {"status": "[green]PASS[/]\x1b[2K"}
    answered = line(2, added["sha256"], event="satisfied", request="r", measures={}, model=model, verdict=verdict)
    (here / "data/requests.jsonl").write_text(f"{json.dumps(added)}\n{json.dumps(answered)}\n")
    done = lethe(here, "requests", "list")
    assert done.exit_code == 0, done.exception
    assert "\x1b" not in done.output
    assert "[green]PASS" in done.output


def test_a_request_whose_id_is_a_path(here: Path) -> None:
    path = precious(here).parent / "y.json"
    path.write_text("{}")
    request = "r/../../../../precious/y"
    row = line(1, FIRST, event="added", request=request, folder="data/forget", corpus="x", files={})
    (here / "data/requests.jsonl").write_text(json.dumps(row) + "\n")
    assert "expected a recorded id" in refused(here, "purge", request, "--confirm", request)
    assert path.exists()


def test_lines_in_another_order_or_with_other_ends() -> None:
    first = line(1, FIRST, event="added", request="r", folder="data/forget", corpus="x", files={})
    second = line(2, first["sha256"], event="purged", request="r", purged={"objects": []})
    lines = [json.dumps(row).encode() for row in (first, second)]
    assert examined(b"\r\n".join([*lines, b""]), "ledger").problems == []
    assert len(examined(b"\n".join(lines[::-1]), "ledger").problems) == 2


def test_a_lock_of_the_ledger_that_is_a_link(here: Path) -> None:
    path = precious(here)
    (here / ".scratch").mkdir(exist_ok=True)
    (here / ".scratch/requests.lock").symlink_to(path)
    assert "got a link to something else" in refused(here, "requests", "add", "r", "data/forget")
    assert path.read_text() == "x"


def test_an_out_that_was_edited_and_given_its_old_time_again(here: Path) -> None:
    path = here / "models/unlearned/model.safetensors"
    md5 = md5_of(path)
    path.unlink()
    os.link(here / ".dvc/cache/files/md5" / md5[:2] / md5[2:], path)
    edited.check_outs()
    facts = path.stat()
    with path.open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\x7f")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    with pytest.raises(StageError, match="edited in place"):
        edited.check_outs()


# Purge


def test_other_repositories_and_other_folders_of_this_one(here: Path) -> None:
    forged(here, "data/forget")
    for place in (".git/modules/sub", "backup.git"):
        (here / place).mkdir(parents=True)
        recorded.git(here / place, "init", "--quiet", "--bare", ".")
        recorded.git(here / place, "hash-object", "-w", "--stdin", given=TINY_TEXT)
    recorded.git(here, "worktree", "add", "--quiet", str(here.parent / "other"))
    said = json_of(here, "purge", "r", "--check")
    named = {row["name"].split(":")[0] for row in said["found"] if row["place"] == "git" and ".git" in row["name"]}
    assert named == {".git/modules/sub", "backup.git"}
    assert f"worktree {here.parent / 'other'}" in {row["name"] for row in said["unread"] if row["beside"]}


def test_other_names_of_a_file_that_is_purged(here: Path) -> None:
    forged(here, "data/forget")
    os.link(here / "data/forget/a.txt", here.parent / "copy.txt")
    (here.parent / "original.txt").write_text("One night.")
    (here / "data/forget/.linked").symlink_to(here.parent / "original.txt")
    kept = json_of(here, "purge", "r")["kept"]
    assert (
        f"data/forget/.linked: a link to {here.parent / 'original.txt'}, outside of the project, which is kept" in kept
    )
    assert any(row.startswith("data/forget/a.txt: the same file has 1 more names (hard links)") for row in kept)
    unread = json_of(here, "purge", "r", "--check")["unread"]
    assert ("data/forget/a.txt", "the same file has 1 more names outside (hard links)") in {
        (row["name"], row["why"]) for row in unread
    }


def found(content: bytes, text: str) -> float:
    """The share of a text that is found in a file's bytes."""
    asked = passages.wanted([text])
    read = reading.pieces(io.BytesIO(content), reading.Reader(None, codings=passages.codings_of(asked)))
    return passages.share(passages.passages_in(read, asked), asked)


def zipped(text: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", text)
    return content.getvalue()


WRITTEN = {
    "a stream of zlib": lambda text: zlib.compress(text.encode()),
    "zip behind a picture": lambda text: b"GIF89a" + bytes(200) + zipped(text),
    "UTF-32": lambda text: text.encode("utf-32"),
    "UTF-32, big-endian": lambda text: text.encode("utf-32-be"),
    "base64 of addresses": lambda text: base64.urlsafe_b64encode(text.encode()),
    "base64 of gzip": lambda text: base64.b64encode(gzip.compress(text.encode())),
    "hexadecimal digits": lambda text: binascii.hexlify(text.encode()),
    "an address": lambda text: urllib.parse.quote(text).encode(),
    "a form": lambda text: urllib.parse.quote_plus(text).encode(),
    "a mail": lambda text: quopri.encodestring(text.encode()),
    "JSON in JSON in JSON": lambda text: json.dumps(json.dumps(json.dumps(text))).encode(),
    "a name with hyphens": lambda text: text.replace(" ", "-").encode(),
    "escapes of Python": lambda text: "".join(f"\\U{ord(sign):08x}" for sign in text).encode(),
    "octal escapes": lambda text: "".join(f"\\{octet:03o}" for octet in text.encode()).encode(),
}
CODINGS = {
    RUSSIAN: ("cp1251", "koi8-r", "cp866", "utf-16-le", "utf-16-be"),
    GERMAN: ("cp1252", "cp850"),
    JAPANESE: ("shift_jis", "euc_jp", "utf-16-le"),
}


@pytest.mark.parametrize("how", WRITTEN)
def test_a_passage_is_found_however_it_is_written(how: str) -> None:
    assert found(WRITTEN[how](TINY_TEXT), TINY_TEXT) == 1.0
    assert found(b"x^" + TINY_TEXT.encode(), TINY_TEXT) == 1.0  # begins like zlib, and is none


@pytest.mark.parametrize(("text", "coding"), [(text, coding) for text, own in CODINGS.items() for coding in own])
def test_a_passage_is_found_in_the_encodings_of_its_language(text: str, coding: str) -> None:
    assert found(text.encode(coding), text) == 1.0
    if text != JAPANESE:
        assert found(b"\0\1\2\0" * 40 + text.encode(coding) + bytes(40), text) > 0.8
        assert found(text.encode().decode("latin-1").encode(), text) == 1.0  # UTF-8, written twice


def test_what_is_searched_for_in_ascii_is_read_in_no_other_encoding() -> None:
    assert passages.codings_of(passages.wanted([TINY_TEXT])) == ()
    assert "cp1251" not in passages.codings_of(passages.wanted([JAPANESE]))
    assert codecs.lookup("cp1251")  # and the others exist
    assert all(codecs.lookup(name) for name in passages.LEGACY)
