"""Attacks on certificates, history, ledger and purge by somebody who can write a file; docs/security.md lists them.

A name in ATTACKS is the first column of its row there, and runs alone with `-k NAME`.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lethe.custody import stated
from lethe.erasure import passages, purge, reading
from lethe.erasure.plan import Plan
from lethe.provenance import certificate as certify
from lethe.provenance import verify
from lethe.provenance.artifact_store import manifest, open_store
from lethe.provenance.fingerprint import md5_of
from lethe.provenance.history import open_history, open_project
from lethe.report.request_ledger import FIRST, row_sha256
from tests import recorded
from tests.recorded import forge, json_of, lethe

Run = tuple[Path, dict[str, str]]
ATTACKS: dict[str, Callable[[Path, dict[str, str]], None]] = {}


def attack(function: Callable[[Path, dict[str, str]], None]) -> Callable[[Path, dict[str, str]], None]:
    """Add an attack under its own name."""
    ATTACKS[function.__name__.replace("_", "-")] = function
    return function


def refused(folder: Path, *words: str) -> str:
    """The one line that a command refuses with."""
    done = lethe(folder, *words)
    assert done.exit_code == 1, done.output
    assert type(done.exception).__name__ == "StageError", done.exception
    return str(done.exception)


def certified(folder: Path, *more: str) -> dict[str, Any]:
    """The envelope of a new certificate."""
    done = lethe(folder, "certify", "models/unlearned", "--new-key", *more)
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads((folder / "certificate.json").read_text())


def resigned(folder: Path, change: Callable[[dict[str, Any]], None]) -> Any:
    """The answer of `lethe verify` on a certificate that its own signer changed and signed again."""
    statement = json.loads(base64.b64decode(certified(folder)["payload"]))
    change(statement)
    envelope = certify.signed(statement, certify.read_key(folder / "lethe.key"))
    (folder / "certificate.json").write_bytes(verify.envelope_bytes(envelope))
    return lethe(folder, "verify", "certificate.json", "models/unlearned")


# Certificates


@attack
def certificate_over_the_private_key(folder: Path, made: dict[str, str]) -> None:
    lethe(folder, "certify", "--new-key")
    line = refused(folder, "certify", "models/unlearned", "--out", "lethe.key")
    assert line == "lethe.key: expected another place for each file, got it for two of them"
    assert (folder / "lethe.key").read_text().startswith("-----BEGIN PRIVATE KEY-----")


@attack
def certificate_over_dvc_lock(folder: Path, made: dict[str, str]) -> None:
    assert "got dvc.lock" in refused(folder, "certify", "models/unlearned", "--new-key", "--out", "dvc.lock")


@attack
def certificate_into_the_model(folder: Path, made: dict[str, str]) -> None:
    line = refused(folder, "certify", "models/unlearned", "--new-key", "--out", "models/unlearned/c.json")
    assert line.startswith("--out: expected a place outside of the model")


@attack
def page_over_the_certificate(folder: Path, made: dict[str, str]) -> None:
    line = refused(folder, "certify", "models/unlearned", "--new-key", "--out", "c.html", "--html")
    assert line == "c.html: expected another place for each file, got it for two of them"
    (folder / "c.html").write_text("my page")
    assert "got c.html" in refused(folder, "certify", "models/unlearned", "--out", "c.json", "--html")


@attack
def private_key_in_git(folder: Path, made: dict[str, str]) -> None:
    assert "git does not ignore it; whoever has it can sign" in lethe(folder, "certify", "--new-key").stderr
    (folder / ".gitignore").write_text("*.key\n")
    assert lethe(folder, "certify", "--new-key", "--key", "other.key").stderr == ""


@attack
def private_key_in_any_output(folder: Path, made: dict[str, str]) -> None:
    certified(folder, "--html")
    secret = (folder / "lethe.key").read_text().splitlines()[1]
    for name in ("certificate.json", "certificate.html", "lethe.pub"):
        assert secret not in (folder / name).read_text()
    assert (folder / "lethe.key").stat().st_mode & 0o077 == 0


@attack
def private_key_as_public_key(folder: Path, made: dict[str, str]) -> None:
    certified(folder)
    done = lethe(folder, "verify", "certificate.json", "models/unlearned", "--key", "lethe.key")
    assert (done.exit_code, "FAIL  key: expected the public key" in done.output) == (3, True)


@attack
def two_hashes_for_one_file(folder: Path, made: dict[str, str]) -> None:
    def change(statement: dict[str, Any]) -> None:
        row = statement["subject"][0]
        statement["subject"].insert(0, row | {"digest": {"sha256": "0" * 64}})

    done = resigned(folder, change)
    assert (done.exit_code, "FAIL  payload.subject" in done.output) == (3, True)


@attack
def file_names_that_lead_out(folder: Path, made: dict[str, str]) -> None:
    def change(statement: dict[str, Any]) -> None:
        statement["subject"][0]["name"] = "../baseline/config.json"

    done = resigned(folder, change)
    assert (done.exit_code, "../baseline/config.json: missing" in done.output) == (3, True)


@attack
def criterion_met_and_failed_at_once(folder: Path, made: dict[str, str]) -> None:
    row = {"name": "a", "met": True, "result": "fail", "value": 2, "bound": "at most", "limit": 1}
    assert stated.verdict_words({"verdict": "pass", "thresholds": [row]}).startswith("CANNOT TELL: it says pass")


@attack
def signature_with_another_encoding(folder: Path, made: dict[str, str]) -> None:
    envelope = certified(folder)
    order = 2**252 + 27742317777372353535851937790883648493
    sig = base64.b64decode(envelope["signatures"][0]["sig"])
    scalar = int.from_bytes(sig[32:], "little") + order
    envelope["signatures"][0]["sig"] = base64.b64encode(sig[:32] + scalar.to_bytes(32, "little")).decode()
    (folder / "certificate.json").write_bytes(verify.envelope_bytes(envelope))
    done = lethe(folder, "verify", "certificate.json", "models/unlearned")
    assert (done.exit_code, "FAIL  signatures.sig" in done.output) == (3, True)


@attack
def second_signature(folder: Path, made: dict[str, str]) -> None:
    envelope = certified(folder)
    envelope["signatures"] *= 2
    (folder / "certificate.json").write_bytes(verify.envelope_bytes(envelope))
    assert lethe(folder, "verify", "certificate.json", "models/unlearned").exit_code == 3


@attack
def file_beside_by_another_case(folder: Path, made: dict[str, str]) -> None:
    certified(folder)
    (folder / "models/unlearned/Model.safetensors").write_bytes(b"x")
    done = lethe(folder, "verify", "certificate.json", "models/unlearned")
    assert (done.exit_code, "Model.safetensors: extra" in done.output) == (3, True)


@attack
def file_replaced_by_a_link(folder: Path, made: dict[str, str]) -> None:
    certified(folder)
    path = folder / "models/unlearned/model.safetensors"
    path.unlink()
    path.symlink_to(folder / "models/reinforced/model.safetensors")
    assert lethe(folder, "verify", "certificate.json", "models/unlearned").exit_code == 3


@attack
def certificate_of_zeros_without_end(folder: Path, made: dict[str, str]) -> None:
    certified(folder)
    (folder / "certificate.json").unlink()
    (folder / "certificate.json").symlink_to("/dev/zero")
    assert lethe(folder, "verify", "certificate.json", "models/unlearned").exit_code == 1


@attack
def revoked_twice_at_once(folder: Path, made: dict[str, str]) -> None:
    certified(folder)
    lethe(folder, "certify", "models/unlearned", "--out", "second.json")
    both = [
        subprocess.Popen([sys.executable, "-m", "lethe", "revoke", name], cwd=folder, stdout=subprocess.DEVNULL)
        for name in ("certificate.json", "second.json")
    ]
    assert [each.wait() for each in both] == [0, 0]
    listed = json.loads(base64.b64decode(json.loads((folder / "revocations.json").read_text())["payload"]))
    assert (listed["number"], len(listed["revoked"])) == (2, 2)


# Reports and verdicts


def passed(folder: Path) -> None:
    """A run that the release gate passes, committed."""
    with pytest.MonkeyPatch.context() as patch:
        recorded.judged(patch, 0.05)
        recorded.run(folder)
    recorded.commit(folder, "a pass")
    assert json_of(folder, "audit", "models/unlearned")["gate"]["verdict"] == "pass"


@attack
def number_that_is_none(folder: Path, made: dict[str, str]) -> None:
    passed(folder)
    for number in ("NaN", "1e999"):
        forge(folder, "reports/familiarity.json", '"leak": 0.8', f'"leak": {number}')
        recorded.commit(folder, number)
        gate = json_of(folder, "audit", "models/unlearned")
        assert gate["unvouched"] == ["reports/familiarity.json"]
        assert gate["gate"]["verdict"] == "cannot tell"
        forge(folder, "reports/familiarity.json", f'"leak": {number}', '"leak": 0.8')


@attack
def verdict_beside_an_edited_report(folder: Path, made: dict[str, str]) -> None:
    passed(folder)
    path = folder / "reports/measures.json"
    path.write_text(path.read_text() + " ")  # its hash in dvc.lock is another
    recorded.commit(folder, "edited")
    assert json_of(folder, "audit", "models/unlearned")["gate"]["verdict"] == "cannot tell"


@attack
def report_nested_without_end(folder: Path, made: dict[str, str]) -> None:
    path, lock = folder / "reports/finetune.json", folder / "dvc.lock"
    before = md5_of(path)
    path.write_text("[" * 100_000)
    lock.write_text(lock.read_text().replace(before, md5_of(path)))
    recorded.commit(folder, "deep")
    assert json_of(folder, "audit", "models/unlearned")["unvouched"] == ["reports/finetune.json"]


# History


@attack
def stage_twice_in_a_lock(folder: Path, made: dict[str, str]) -> None:
    lock = folder / "dvc.lock"
    again = "  finetune:" + lock.read_text().split("\n  finetune:")[1]
    lock.write_text(lock.read_text() + again.replace(made["models/unlearned"], f"{'0' * 32}.dir"))
    recorded.commit(folder, "two")
    assert "not valid YAML" in " ".join(json_of(folder, "audit", made["models/unlearned"])["notes"])


@attack
def out_twice_in_a_lock(folder: Path, made: dict[str, str]) -> None:
    row = f"    - path: models/unlearned\n      hash: md5\n      md5: {made['models/unlearned']}\n      size: 1\n"
    text = (folder / "dvc.lock").read_text()
    (folder / "dvc.lock").write_text(text.replace(row, row + row.replace(made["models/unlearned"], f"{'0' * 32}.dir")))
    recorded.commit(folder, "two")
    notes = " ".join(json_of(folder, "audit", made["models/unlearned"])["notes"])
    assert "expected the file that `dvc repro` writes, got other content" in notes


@attack
def ref_that_means_all_but_one(folder: Path, made: dict[str, str]) -> None:
    for ref in ("^HEAD", "HEAD^{tree}", ":/run", "HEAD..HEAD", "--all", "-n1"):
        assert refused(folder, "audit", "models/unlearned", f"--ref={ref}").startswith("--ref: expected a branch")


@attack
def lock_that_is_a_link(folder: Path, made: dict[str, str]) -> None:
    (folder / "dvc.lock").rename(folder / "other.lock")
    (folder / "dvc.lock").symlink_to("other.lock")
    recorded.commit(folder, "a link")
    notes = " ".join(json_of(folder, "audit", made["models/unlearned"])["notes"])
    assert "skipped" in notes


@attack
def author_with_control_characters(folder: Path, made: dict[str, str]) -> None:
    recorded.run(folder, recorded.TINY_TEXT * 2)
    recorded.git(folder, "add", "--all")
    recorded.git(folder, "commit", "--quiet", "-m", "a\x1b[2Jb\rverdict PASS", GIT_AUTHOR_NAME="A\x1b[2Jda")
    shown = lethe(folder, "audit", "models/unlearned").output
    assert "\x1b" not in shown
    assert "\r" not in shown


@attack
def list_of_a_folder_that_leads_out(folder: Path, made: dict[str, str]) -> None:
    store = open_store(open_project(folder))
    for rows in (
        [{"md5": "ab/etc/passwd", "relpath": "a"}],
        [{"md5": "a" * 32, "relpath": "../../a"}],
        [{"md5": "a" * 32, "relpath": "/etc/passwd"}],
        [{"md5": None, "relpath": "a"}],
    ):
        content = json.dumps(rows).encode()
        md5 = verify.hashlib.md5(content).hexdigest() + ".dir"
        recorded.keep(folder, md5, content)
        assert manifest(store, md5) is None


# The ledger and purge


def forged(folder: Path, place: str, files: dict[str, Any] | None = None) -> None:
    """A ledger of somebody who can write the file: its hashes are no secret. Request r, satisfied."""
    own = files or {"a.txt": {"md5": md5_of(folder / "data/forget/a.txt"), "sha256": "b" * 64, "bytes": 1}}
    added = {"number": 1, "event": "added", "request": "r", "date": "2026-01-01", "folder": place, "corpus": "x"}
    added |= {"files": own, "supersedes": None, "previous": FIRST}
    added["sha256"] = row_sha256(added)
    answered = {"number": 2, "event": "satisfied", "request": "r", "date": "2026-01-01", "measures": {}}
    answered |= {"model": {"path": "m", "md5": "x"}, "previous": added["sha256"]}
    answered["sha256"] = row_sha256(answered)
    (folder / "data/requests.jsonl").write_text(f"{json.dumps(added)}\n{json.dumps(answered)}\n")


def precious(folder: Path) -> Path:
    """A file beside the project."""
    path = folder.parent / "precious/x"
    path.parent.mkdir()
    path.write_text("x")
    return path


@attack
def request_on_a_folder_of_the_project(folder: Path, made: dict[str, str]) -> None:
    for place in (".git", ".", "data", "models/baseline", "lethe", ".dvc/cache", "data/../.git", ""):
        forged(folder, place)
        assert "expected a folder of text inside the project" in refused(folder, "purge", "r", "--confirm", "r"), place
    assert (folder / ".git/HEAD").exists()


@attack
def request_on_a_folder_outside(folder: Path, made: dict[str, str]) -> None:
    path = precious(folder)
    (folder / "data/linked").symlink_to(path.parent)
    for place in (str(path.parent), "../precious", "data/linked", "data/linked/."):
        forged(folder, place)
        assert "expected a folder of text inside the project" in refused(folder, "purge", "r", "--confirm", "r"), place
    assert path.exists()


@attack
def request_on_a_folder_with_other_files(folder: Path, made: dict[str, str]) -> None:
    (folder / "data/forget/thesis.txt").write_text("mine")
    forged(folder, "data/forget")
    line = refused(folder, "purge", "r", "--confirm", "r")
    assert line.startswith("purge: data/forget/thesis.txt: expected only files that the request names")


@attack
def hash_that_is_a_path(folder: Path, made: dict[str, str]) -> None:
    path = precious(folder)
    forged(folder, "data/forget", {"a.txt": {"md5": f"ab{path}", "sha256": "b" * 64, "bytes": 1}})
    assert refused(folder, "purge", "r", "--confirm", "r").startswith("requests: expected a recorded id")
    lock = folder / "dvc.lock"
    lock.write_text(lock.read_text().replace(f"md5: {made['models/reinforced']}", f"md5: 'ab{path}'"))
    assert f"ab{path}" in lock.read_text()
    recorded.commit(folder, "a path")
    forged(folder, "data/forget")
    lethe(folder, "purge", "r", "--confirm", "r")
    assert path.exists()


@attack
def notes_of_a_purge_that_lead_out(folder: Path, made: dict[str, str]) -> None:
    path = precious(folder)
    forged(folder, "data/forget")
    (folder / ".scratch").mkdir()
    (folder / ".dvc/tmp").mkdir(exist_ok=True)
    notes = folder / ".dvc/tmp/purge-r.json"
    notes.write_text(json.dumps({"objects": {f"ab{path}": ["x"]}, "folders": [], "experiments": []}))
    assert "expected the notes of an interrupted purge" in refused(folder, "purge", "r", "--confirm", "r")
    notes.write_text(json.dumps({"objects": {}, "folders": [".scratch/../../precious"], "experiments": []}))
    lethe(folder, "purge", "r", "--confirm", "r")
    assert path.exists()


@attack
def scratch_that_is_a_link(folder: Path, made: dict[str, str]) -> None:
    path = precious(folder)
    (folder / ".scratch").symlink_to("../precious")
    forged(folder, "data/forget")
    done = lethe(folder, "purge", "r", "--confirm", "r")
    assert path.exists()
    assert "kept: .scratch: a link out of the project; what it holds is kept" in done.output


@attack
def experiment_called_like_an_option(folder: Path, made: dict[str, str]) -> None:
    head = recorded.git(folder, "rev-parse", "HEAD")
    for name in ("-A", "other"):
        commit = recorded.commit(folder, name)
        recorded.git(folder, "update-ref", f"refs/exps/{head[:2]}/{head[2:]}/{name}", commit)
        recorded.git(folder, "reset", "--quiet", "--hard", head)
    history = open_history(folder, "")
    purge.carry_out(Plan([], [], ["-A"], []), history, open_store(history.project))
    assert [
        ref.split("/")[-1] for ref in recorded.git(folder, "for-each-ref", "refs/exps", "--format=%(refname)").split()
    ] == ["other"]


@attack
def ledger_that_is_a_pipe(folder: Path, made: dict[str, str]) -> None:
    path = folder / "data/requests.jsonl"
    os.mkfifo(path)
    assert "expected a file, got a folder, pipe or device" in refused(folder, "requests", "list")


@attack
def ledger_lines_of_another_shape(folder: Path, made: dict[str, str]) -> None:
    for name, value in {
        "measures": {"baseline": 3}, "model": {"path": "x"}, "verdict": "pass", "files": {"a": {"md5": "../x"}},
        "purged": {"objects": [{"md5": "/etc"}]},
    }.items():  # fmt: skip
        row = {"number": 1, "event": "satisfied", "request": "r", "date": "d", "previous": FIRST, "model": {"md5": "m"}}
        row |= {"measures": {}} | {name: value}
        row["sha256"] = row_sha256(row)
        (folder / "data/requests.jsonl").write_text(json.dumps(row) + "\n")
        done = lethe(folder, "requests", "list")
        assert done.exit_code == 0, name
        assert f"warning: data/requests.jsonl:1: {name}: " in done.stderr


@attack
def name_that_clears_the_screen(folder: Path, made: dict[str, str]) -> None:
    name = "a\x1b[2J\rpurge: nothing.txt"
    (folder / "data/forget/a.txt").rename(folder / "data/forget" / name)
    forged(folder, "data/forget", {name: {"md5": md5_of(folder / "data/forget" / name), "sha256": "b" * 64}})
    for words in (("purge", "r", "--confirm", "no"), ("purge", "r", "--check"), ("requests", "check")):
        shown = lethe(folder, *words).output
        assert "\x1b" not in shown, words
        assert "\r" not in shown, words


# What `purge --check` could miss


def found_in(content: bytes, text: str = recorded.TINY_TEXT) -> int:
    import io

    read = reading.pieces(io.BytesIO(content), reading.Reader(None))
    return len(passages.passages_in(read, passages.wanted([text])))


@attack
def text_with_unseen_characters(folder: Path, made: dict[str, str]) -> None:
    for sign in ("\u200b", "\u2060", "\u200d", "\ufeff", "\u202e"):
        assert found_in(recorded.TINY_TEXT.replace("e", f"e{sign}").encode()) >= 30


@attack
def text_in_base64(folder: Path, made: dict[str, str]) -> None:
    assert found_in(base64.b64encode(recorded.TINY_TEXT.encode())) >= 30
    assert found_in(base64.encodebytes(recorded.TINY_TEXT.encode())) >= 30


@attack
def text_in_a_name(folder: Path, made: dict[str, str]) -> None:
    forged(folder, "data/forget")
    name = "_".join(recorded.TINY_TEXT.split()[3:15]).replace('"', "").replace("?", "")
    (folder / name).write_text("")
    rows = json_of(folder, "purge", "r", "--check")["found"]
    assert name in {row["name"] for row in rows if row["place"] == "folder"}


@attack
def text_in_another_repository_inside(folder: Path, made: dict[str, str]) -> None:
    forged(folder, "data/forget")
    (folder / "inner").mkdir()
    recorded.git(folder / "inner", "init", "--quiet")
    recorded.git(folder / "inner", "hash-object", "-w", "--stdin", given=recorded.TINY_TEXT)
    rows = json_of(folder, "purge", "r", "--check")["found"]
    assert any(row["name"].startswith("inner/.git: blob") for row in rows)


@attack
def archives_that_multiply(folder: Path, made: dict[str, str]) -> None:
    import io
    import zipfile

    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(1 << 20))
    outer = io.BytesIO()
    with zipfile.ZipFile(outer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(40):
            archive.writestr(f"{number}.zip", inner.getvalue())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "LARGEST", 5 << 20)  # each has less, all together more
        with pytest.raises(reading.UnreadError, match="unpacks to more than"):
            list(reading.pieces(io.BytesIO(outer.getvalue()), reading.Reader(None)))


@attack
def white_space_without_end(folder: Path, made: dict[str, str]) -> None:
    """A pattern that tries every end of every gap takes hours here."""
    for content in (b"a-" + b"\n" * 1_000_000, b"a-" + b" " * 1_000_000, b"<" * 1_000_000, b"&" * 1_000_000,
                    b"a" + b"-" * 1_000_000, b"\\" * 1_000_000):  # fmt: skip
        thread = threading.Thread(target=found_in, args=(content,), daemon=True)
        thread.start()
        thread.join(60)
        assert not thread.is_alive(), content[:3]


@pytest.mark.parametrize("name", ATTACKS)
def test_attack(name: str, judged_copy: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, made = judged_copy
    shutil.rmtree(folder / "data/requests.jsonl", ignore_errors=True)
    monkeypatch.chdir(folder)
    ATTACKS[name](folder, made)
