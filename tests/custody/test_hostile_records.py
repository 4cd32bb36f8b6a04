"""More attacks of docs/security.md: reports, certificates, ledgers and histories in odd forms; files in the way."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lethe.cli import main
from lethe.cli.gate import judge_here
from lethe.core.errors import StageError
from lethe.custody import stated
from lethe.custody.alone import alone
from lethe.erasure import places
from lethe.erasure.ledger_lines import opened
from lethe.provenance import certificate as certify
from lethe.provenance import replay, verify
from lethe.provenance.fingerprint import md5_of
from lethe.provenance.history import commits, open_history, open_project, scope_of
from lethe.report.request_ledger import FIRST, examined
from tests import recorded
from tests.conftest import ROOT, TINY_TEXT
from tests.custody.test_hostile import Run, certified, forged, precious, resigned
from tests.custody.test_hostile_files import line
from tests.custody.test_hostile_text import ADDED, ANSWERED, ledger, names_of
from tests.recorded import json_of, lethe


@pytest.fixture
def here(judged_copy: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The copy of the recorded project, as the current folder."""
    monkeypatch.chdir(judged_copy[0])
    return judged_copy[0]


# Reports

SHARE = '"completion_familiarity": 0.5'
ODD = {
    "a name twice": (SHARE, f'{SHARE}, "completion_familiarity": 0.01'),
    "NaN": (SHARE, '"completion_familiarity": NaN'),
    "less than any number": (SHARE, '"completion_familiarity": -1e999'),
    "a number of 5000 digits": (SHARE, f'"completion_familiarity": -{"1" * 5_000}'),
    "a number of 400 digits": (SHARE, f'"completion_familiarity": -{"1" * 400}'),
    "words for a number": (SHARE, '"completion_familiarity": "0.05"'),
    "a mark of the order of bytes": ("", "\ufeff"),
    "a list": ("", "["),
}


@pytest.mark.parametrize("how", ODD)
def test_the_gate_judges_only_reports_of_one_reading(how: str, here: Path) -> None:
    (here / "params.yaml").write_text(f"report: {{gate: {json.dumps(recorded.gate_limits())}}}\n")
    path, lock = here / "reports/familiarity.json", here / "dvc.lock"
    text, before = path.read_text(), md5_of(path)
    path.write_text(text.replace(*ODD[how]) if ODD[how][0] else ODD[how][1] + text)
    lock.write_text(lock.read_text().replace(before, md5_of(path)))
    with pytest.raises(StageError, match=r"expected (a report|reports) as `lethe repro` writes"):
        judge_here(here / "params.yaml", Path("reports"))


# Certificates


def test_a_lock_is_made_over_nobodys_file(here: Path) -> None:
    certified(here)
    done = lethe(here, "revoke", "certificate.json", "--list", "dvc")
    assert "dvc.lock: expected an empty file of lethe's own or none, got one with something" in str(done.exception)
    assert (here / "dvc.lock").stat().st_size > 100
    os.mkfifo(here / "pipe.lock")
    with pytest.raises(StageError, match="got something else"), alone(here / "pipe.lock"):
        pass
    assert (here / "pipe.lock").exists()
    (here / "left.lock").touch()  # of a lethe that was killed
    with alone(here / "left.lock"):
        pass


def test_a_file_beside_what_is_written_stays(tmp_path: Path) -> None:
    (tmp_path / "certificate.json.part").write_text("mine")
    certify.write(tmp_path / "certificate.json", b"x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["certificate.json", "certificate.json.part"]


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ({"signedOn": "2999-01-01T00:00:00+00:00"}, "has not come yet"),
        ({"signedOn": "2025-01-02T00:00:00+00:00", "validUntil": "2025-01-01T23:59:59+00:00"}, "after its end"),
        ({"signedOn": "2025-01-01T00:00:00"}, "expected a date and time"),
        ({"signedOn": 20250101}, "expected a date and time"),
        ({"signedOn": stated.now().isoformat()}, ""),
        ({"signedOn": "2025-01-01T00:00:00+14:00", "validUntil": "2024-12-31T23:59:59-12:00"}, ""),
    ],
)
def test_a_certificate_of_a_day_that_has_not_come(terms: dict[str, Any], said: str) -> None:
    assert said in stated.start_of(terms)
    assert bool(stated.start_of(terms)) == bool(said)


def test_such_a_certificate_does_not_hold(here: Path) -> None:
    def change(statement: dict[str, Any]) -> None:
        statement["predicate"]["signedOn"] = "2999-01-01T00:00:00+00:00"
        statement["predicate"]["runDetails"]["metadata"]["recordedOn"] = "2999-01-01T00:00:00+00:00"

    done = resigned(here, change)
    assert (done.exit_code, "FAIL  payload.signedOn" in done.output) == (3, True)
    words = dict(stated.stated_by({"predicate": {"runDetails": {"metadata": {"recordedOn": "2999-01-01T00:00:00Z"}}}}))
    assert "a date that has not come yet by the clock here" in words["recorded"]


def test_another_signature_of_the_same_words_is_revoked_with_the_first(here: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    envelope = certified(here, "--p256")
    first, second = decode_dss_signature(base64.b64decode(envelope["signatures"][0]["sig"]))
    envelope["signatures"][0]["sig"] = base64.b64encode(encode_dss_signature(first, order - second)).decode()
    (here / "other.json").write_bytes(verify.envelope_bytes(envelope))  # anybody can make it of the first
    assert lethe(here, "revoke", "certificate.json").exit_code == 0
    assert lethe(here, "verify", "other.json", "models/unlearned", "--revocations", "revocations.json").exit_code == 3


@pytest.mark.parametrize(
    "content", [b"\xef\xbb\xbf{}\n", b"{}\r\n", b'{"a":' + b"1" * 5_000 + b"}", b"[" * 200_000, b'{"a":' * 200_000]
)
def test_a_certificate_in_an_odd_form_is_none(content: bytes) -> None:
    with pytest.raises(verify.BrokenError):
        verify.read_envelope(content, verify.PAYLOAD_TYPE)


def test_a_private_key_is_its_owners_whatever_the_mask(here: Path) -> None:
    old = os.umask(0)
    try:
        certified(here)
    finally:
        os.umask(old)
    assert (here / "lethe.key").stat().st_mode & 0o777 == 0o600


def test_code_in_the_current_folder_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("print('run')")
    done = subprocess.run(
        [sys.executable, "-m", "lethe", "verify", "c.json", ".", "--key", "k.pub"],
        cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: c.json: no such file")


def test_a_file_that_may_not_be_read_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> None:
        raise PermissionError(13, "Permission denied", "models/unlearned/model.safetensors")

    monkeypatch.setattr("lethe.cli.commands.app", refused)
    monkeypatch.setattr(sys, "argv", ["lethe", "audit"])
    with pytest.raises(SystemExit, match=r"^error: models/unlearned/model\.safetensors: expected to be allowed to"):
        main.main()


# History

WHO = b"A <a@b> 1700000000 +0000"
COMMITS = {
    "a NUL in its subject": (WHO, b"sub\0ject"),
    "an author without an address": (b"A 1700000000 +0000", b"x"),
    "a date of 23 digits": (b"A <a@b> 99999999999999999999999 +0000", b"x"),
    "a zone of 99 hours": (b"A <a@b> 1700000000 +9999", b"x"),
    "a date before 1970": (b"A <a@b> -1700000000 +0000", b"x"),
    "the year 11476": (b"A <a@b> 300000000000 +0000", b"x"),
    "no date": (b"A <a@b>", b"x"),
    "nobody and nothing": (b" <> 0 +0000", b""),
}


@pytest.mark.parametrize("how", COMMITS)
def test_a_commit_that_git_would_not_write(how: str, here: Path) -> None:
    author, subject = COMMITS[how]
    tree, head = (recorded.git(here, "rev-parse", name).encode() for name in ("HEAD^{tree}", "HEAD"))
    made = b"tree %s\nparent %s\nauthor %s\ncommitter %s\n\n%s\n" % (tree, head, author, author, subject)
    odd = recorded.git(here, "hash-object", "-t", "commit", "-w", "--stdin", "--literally", given=made)
    recorded.git(here, "update-ref", "refs/heads/main", odd)
    every = commits(open_project(here), "HEAD")
    assert [each.id for each in every[1:]] == [head.decode(), odd]
    assert every[-1].parents == (head.decode(),)
    assert len(open_history(here).locks) == 1


def test_an_octopus_and_a_lock_beside_by_another_case(here: Path) -> None:
    for name in "abc":
        recorded.git(here, "checkout", "--quiet", "-b", name, "main")
        recorded.git(here, "commit", "--quiet", "--allow-empty", "-m", name)
    recorded.git(here, "checkout", "--quiet", "main")
    recorded.git(here, "merge", "--quiet", "a", "b", "c", "-m", "all")
    blob = recorded.git(here, "hash-object", "-w", "--stdin", given="stages: {}\n")
    recorded.git(here, "update-index", "--add", "--cacheinfo", f"100644,{blob},DVC.lock")
    recorded.git(here, "commit", "--quiet", "-m", "another case")
    history = open_history(here)
    assert (len(history.commits), len(history.locks), history.skipped) == (7, 1, ())


@pytest.mark.parametrize("name", ["a b", "ü:x", "-x", "a*", "a\\b", "HEAD", 'a"b', ":(top)"])
def test_a_project_in_a_folder_of_any_name(name: str, here: Path) -> None:
    recorded.git(here, "config", "core.protectNTFS", "false")
    index = recorded.git(here, "ls-tree", "-r", "HEAD").replace("\t", f"\t{name}/")
    recorded.git(here, "update-index", "--index-info", given=index) if '"' not in name and "\\" not in name else None
    tree = recorded.git(here, "rev-parse", "HEAD^{tree}")
    inner = recorded.git(here, "mktree", "-z", given=f"040000 tree {tree}\t{name}\0")
    recorded.git(here, "update-ref", "HEAD", recorded.git(here, "commit-tree", inner, "-m", "inside"))
    (here / name).mkdir()
    (here / ".dvc").rename(here / name / ".dvc")
    assert len(open_history(here / name).locks) == 1


def test_a_project_that_was_moved_in_its_repository(here: Path) -> None:
    (here / "sub").mkdir()
    for path in list(here.iterdir()):
        if path.name not in (".git", "sub"):
            path.rename(here / "sub" / path.name)
    (here / "sub/dvc.lock").write_text("schema: '2.0'\nstages: {}\n")  # begun anew
    recorded.commit(here, "moved")
    said = json_of(here / "sub", "trace", "data/forget/a.txt")
    assert (said["verdict"], said["corpora"]) == ("cannot tell", [])
    assert "dvc.lock: an earlier commit has it there; what it records was not searched" in said["notes"]
    (here / "other").mkdir()
    (here / "other/dvc.lock").write_text("stages: {}\n")  # another project, which lies there now
    recorded.commit(here, "another")
    assert not any("other" in note for note in json_of(here / "sub", "trace", "data/forget/a.txt")["notes"])


def test_keys_are_written_through_no_link_of_a_commit(here: Path) -> None:
    path = precious(here)
    (here / ".dvc/.gitignore").write_text("/cache\n/tmp\n")
    (here / ".dvc/config.local").symlink_to(path)
    commit = recorded.commit(here, "a link")
    (here / ".dvc/config.local").unlink()
    (here / ".dvc/config.local").write_text("[core]\n    check_update = false\n")
    history = open_history(here)
    record = replay.Recorded("evaluate", history.locks[0], commit, ["true"], {}, {})
    clone = replay.prepared(history, record, here.parent / "clone")
    assert (path.read_text(), (clone / ".dvc/config.local").is_symlink()) == ("x", False)
    (here / ".dvc").rename(here.parent / "dvc")
    (here / ".dvc").symlink_to(here.parent / "dvc")
    record = record._replace(commit=recorded.commit(here, "a link for a folder"))
    with pytest.raises(StageError, match="expected a path inside the clone, got a link out of it; nothing was run"):
        replay.prepared(history, record, here.parent / "second")


# The ledger


def test_a_ledger_that_is_cut_at_any_byte_of_its_last_line() -> None:
    first = line(1, FIRST, event="added", request="r", folder="data/forget", corpus="x", files={})
    second = line(2, first["sha256"], event="purged", request="r", purged={"objects": []})
    before, last = (json.dumps(row).encode() + b"\n" for row in (first, second))
    for size in range(len(last) + 1):
        got = examined(before + last[:size], "ledger")
        whole = size >= len(last) - 1  # only the line feed is missing
        assert (len(got.rows), bool(got.problems)) == (2 if whole else 1, size > 0 and not whole), size


@pytest.mark.parametrize(
    "last", [b'{"x":"' + b"a" * 10_000_000 + b'"}', b"[" * 200_000, b'{"a":' * 200_000, b"\0" * 100,
             b'{"number":' + b"1" * 5_000 + b"}", "\u2028".encode()],
)  # fmt: skip
def test_a_last_line_of_any_form_stops_nothing(last: bytes) -> None:
    first = line(1, FIRST, event="added", request="r", folder="data/forget", corpus="x", files={})
    got = examined(json.dumps(first).encode() + b"\n" + last + b"\n", "ledger")
    assert (len(got.rows), len(got.problems)) == (1, 1)


def test_a_measure_too_large_for_any_number(tmp_path: Path) -> None:
    row = ANSWERED | {"measures": {"baseline": {"leak": 10**400}}, "model": {"path": "m", "md5": "x"}}
    got = opened(ledger(tmp_path, ADDED, row))
    assert (len(got.rows), len(got.problems)) == (1, 1)


@pytest.mark.parametrize("date", ["20260201", "2026W051"])
def test_a_date_in_another_form_goes_back_all_the_same(date: str, tmp_path: Path) -> None:
    (said,) = opened(ledger(tmp_path, ADDED | {"date": "2026-03-01"}, ANSWERED | {"date": date})).problems
    assert "date: expected 2026-03-01 or later" in said


# What `purge --check` could miss


def test_what_lies_among_the_objects_of_git_and_is_none_of_them(here: Path) -> None:
    blob = recorded.git(here, "hash-object", "-w", "--stdin", given=TINY_TEXT + "x")
    for name in ("kept", "lost"):
        recorded.git(here, "pack-objects", f".git/objects/pack/pack-{name}", given=f"{blob}\n")
    pack = here / ".git/objects/pack"
    whole, lost = (next(pack.glob(f"pack-{name}-*.pack")) for name in ("kept", "lost"))
    lost.with_suffix(".idx").unlink()  # git was killed before it wrote it
    (here / ".git/objects" / blob[:2] / blob[2:]).unlink()
    (here / ".git/objects/info/notes.txt").write_text(TINY_TEXT)
    (pack / f"pack-{'a' * 40}.keep").write_text(TINY_TEXT)
    searched, _ = names_of(here)
    left = {f".git/objects/{each}" for each in (f"pack/{lost.name}", "info/notes.txt", f"pack/pack-{'a' * 40}.keep")}
    assert left <= searched
    assert f".git/objects/pack/{whole.name}" not in searched  # git reads it
    assert f"blob {blob[:12]}" in searched


def test_text_in_the_name_of_a_folder_and_in_a_link(here: Path) -> None:
    forged(here, "data/forget")
    words = "_".join(TINY_TEXT.split()[3:15]).replace('"', "").replace("?", "")
    (here / "notes" / words).mkdir(parents=True)
    (here / "link").symlink_to(words)
    rows = json_of(here, "purge", "r", "--check")["found"]
    assert {f"notes/{words}, its name", "link, its name"} <= {row["name"] for row in rows}
    try:
        os.setxattr(here / "dvc.lock", f"user.{words[:60]}", b"x")
    except OSError:
        return
    (item,) = places.attributes(open_project(here), here / "dvc.lock")
    assert item.open().read().startswith(f"user.{words[:60]}".replace("_", " ").encode())


def test_a_branch_that_points_to_nothing(here: Path) -> None:
    (here / ".git/refs/heads/broken").write_text("1" * 40 + "\n")
    assert scope_of(open_project(here), "HEAD").commit == recorded.git(here, "rev-parse", "main")
    with pytest.raises(StageError, match="git log: fatal: bad object refs/heads/broken"):
        open_history(here, "")  # of all refs: that one may have held the text
