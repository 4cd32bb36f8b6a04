"""More attacks of docs/security.md: what leads git elsewhere, two readings, pipes, other users, other file systems."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from lethe.cli.gate import judge_here, judge_ref
from lethe.core.errors import StageError
from lethe.custody import timestamp
from lethe.custody.alone import alone
from lethe.custody.plain_data import json_object, read_yaml_text, text_if_there
from lethe.erasure import gc, proof
from lethe.provenance import certificate as certify
from lethe.provenance import lineage, replay, trace, verify
from lethe.provenance.artifact_store import open_store, read_object, unasked_lines
from lethe.provenance.fingerprint import Subject, md5_of
from lethe.provenance.history import commits, open_history, open_project, read_lock, scope_of
from lethe.provenance.history import recorded as stages_of
from tests import recorded
from tests.conftest import NO_EXTRA
from tests.custody.test_hostile import Run, forged, passed, precious, refused
from tests.recorded import json_of, lethe


@pytest.fixture
def here(judged_copy: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The copy of the recorded project, as the current folder."""
    monkeypatch.chdir(judged_copy[0])
    return judged_copy[0]


# Git


def test_variables_that_lead_git_elsewhere(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = recorded.git(here, "rev-parse", "HEAD")
    other = recorded.empty(here.parent / "other")
    for name, value in {"GIT_DIR": other / ".git", "GIT_WORK_TREE": other, "GIT_INDEX_FILE": other / ".git/index",
                        "GIT_OBJECT_DIRECTORY": other / ".git/objects", "GIT_NAMESPACE": "x"}.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))
    assert scope_of(open_project(here), "HEAD").commit == own  # of a hook, which git runs with such variables
    assert not {"GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"} & replay.environment(here).keys()


def test_settings_that_change_what_git_writes(here: Path) -> None:
    recorded.git(here, "commit", "--quiet", "--allow-empty", "-m", "ż", GIT_AUTHOR_NAME="Zoë Łuk")
    for coding in ("UTF-16", "ISO-8859-1"):
        recorded.git(here, "config", "i18n.logOutputEncoding", coding)
        assert commits(open_project(here), "HEAD")[-1].author == "Zoë Łuk <ada@example.org>"


def test_a_repository_of_another_user(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(StageError, match="got detected dubious ownership"):
        open_project(here)


def test_a_lock_that_replaces_that_of_the_commit(here: Path) -> None:
    old = recorded.git(here, "rev-parse", "HEAD:dvc.lock")
    (here / "dvc.lock").write_text((here / "dvc.lock").read_text().replace("steps: 4", "steps: 9"))
    recorded.git(here, "replace", old, recorded.git(here, "hash-object", "-w", "dvc.lock"))
    with pytest.raises(StageError, match="expected it in a commit"):
        proof.commit()


def test_a_ledger_whose_history_was_cut_off(here: Path) -> None:
    forged(here, "data/forget")
    recorded.commit(here, "two lines")
    recorded.git(here.parent, "clone", "--quiet", "--depth", "1", f"file://{here}", "shallow")
    (here.parent / "shallow/params.yaml").write_text("corpus: {forget: data/forget}\n")
    assert "got a shallow clone" in refused(here.parent / "shallow", "requests", "check")


def test_a_merge_that_keeps_nothing_of_the_other_side(here: Path) -> None:
    recorded.git(here, "checkout", "--quiet", "-b", "side")
    passed(here)
    recorded.git(here, "checkout", "--quiet", "--force", "main")
    recorded.git(here, "merge", "--quiet", "--strategy=ours", "side", "-m", "none of it")
    recorded.git(here, "worktree", "add", "--quiet", "--detach", str(here.parent / "beside"))
    shutil.copytree(here / ".dvc/cache", here.parent / "beside/.dvc/cache")
    for place in (here, here.parent / "beside"):
        assert json_of(place, "audit", stages_of((here / "dvc.lock").read_text())["finetune"].outs["models/unlearned"])[
            "gate"
        ]["verdict"] == "fail"  # fmt: skip


# Two readings, other shapes

EVIL = "    outs:\n    - path: models/evil\n      hash: md5\n      md5: " + "c" * 32 + ".dir\n      size: 1\n"
READINGS = {
    "a remark": ("    - path: models/unlearned\n", "    - path: models/unlearned # x\n"),
    "a stage in quotes": ("cmd: python -m stages.evaluate\n", f'cmd: "python\n  evil:\n{EVIL}"\n'),
    "two hashes": ("- path: models/unlearned\n", f"- path: models/unlearned\n      md5: {'b' * 32}.dir\n"),
    "two lists of outs": ("END", EVIL),
    "two lists of stages": ("END", f"stages:\n  evil:\n    cmd: x\n{EVIL}"),
    "another document": ("END", f"...\n---\nstages:\n  evil:\n    cmd: x\n{EVIL}"),
    "brackets": ("cmd: python -m stages.evaluate\n", f"cmd: [a,\n  evil:\n{EVIL}]\n"),
    "none": ("END", ""),
}


@pytest.mark.parametrize("how", READINGS)
def test_a_lock_that_reads_in_two_ways(how: str, judged_run: Run) -> None:
    text = (judged_run[0] / "dvc.lock").read_text() + "END"
    text = text.replace(*READINGS[how], 1).removesuffix("END")
    try:
        wanted = {
            name: {out["path"]: out["md5"] for out in stage.get("outs", [])}
            for name, stage in read_lock(text)["stages"].items()
        }
    except StageError:
        with pytest.raises(StageError):
            stages_of(text)
    else:
        assert {name: entry.outs for name, entry in stages_of(text).items()} == wanted


def test_aliases_that_multiply_and_values_that_json_has_not() -> None:
    rows = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}' if n else 'x'] * 9)}]" for n in range(10)]
    with pytest.raises(StageError, match="more than 1000000 values, aliases among them"):
        read_yaml_text("\n".join(rows))
    found = read_yaml_text("{a: 2026-01-01, b: .nan, c: .inf, 1: 2, null: !!binary aGk=, d: !!set {e: null}, f: 1e-5}")
    assert json.loads(json.dumps(found, allow_nan=False, sort_keys=True)) == found
    assert (found["a"], found["b"], found["f"]) == ("2026-01-01", "nan", 1e-5)


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '{"a": {"b": 1, "b": 2}}', '{"a": NaN}', '{"a": 1e999}',
                                  '{"a": 1%s}' % ("0" * 400), '{"a": 1%s}' % ("0" * 5000), "[1]",
                                  "[" * 10_000])  # fmt: skip
def test_a_report_that_says_a_name_twice_or_no_number(text: str) -> None:
    assert json_object(text.encode()) == {}
    assert json_object(b'{"a": 12}') == {"a": 12}


@pytest.mark.parametrize(
    "said", [{"sha256": [], "versions": 3}, {"params": 3, "versions": "x"}, {"sha256": {"corpus": 1}}]
)
def test_what_a_model_says_of_itself_in_another_shape(said: Any, here: Path) -> None:
    (here / "models/unlearned/provenance.json").write_text(json.dumps(said))
    done = lethe(here, "audit", "models/unlearned")
    assert (done.exit_code, type(done.exception).__name__) == (3, "SystemExit")
    subject = Subject("m", "", {"provenance.json": here / "models/unlearned/provenance.json"})
    history = open_history(here)
    found = lineage.Found("models/unlearned", "0" * 32, "")
    lines = lineage.alike_origin(open_store(history.project), found, history.locks[0], lineage.json_object_of(subject))
    assert list(lines) == []


@pytest.mark.parametrize(
    "said", [{"models": []}, {"models": {"unlearned": [1]}}, {"ratio": 3}, {"intervals": {"baseline": 3}}]
)
def test_reports_of_another_shape(said: Any, here: Path) -> None:
    path, lock = here / "reports/familiarity.json", here / "dvc.lock"
    before = md5_of(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | said))
    lock.write_text(lock.read_text().replace(before, md5_of(path)))
    recorded.commit(here, "other")
    done = lethe(here, "audit", "models/unlearned")
    assert type(done.exception).__name__ in ("NoneType", "SystemExit"), done.exception
    with suppress(StageError):
        judge_ref("HEAD")


# Pipes, other users, other file systems


def test_a_pipe_in_place_of_an_out_an_object_or_the_lock(here: Path) -> None:
    store = open_store(open_project(here))
    md5 = md5_of(here / "data/corpus.parquet")
    for path in (here / "data/corpus.parquet", store.cache / md5[:2] / md5[2:], here / "dvc.lock"):
        path.unlink()
        os.mkfifo(path)
    with pytest.raises(StageError, match="got a folder, pipe or device"):
        md5_of(here / "data/corpus.parquet")
    with pytest.raises(StageError, match="got a folder, pipe or device"):
        text_if_there(here / "dvc.lock")
    assert read_object(store, md5) is None
    assert unasked_lines(store)[0].startswith("the cache cannot be read: ")
    os.truncate(here / "params.yaml", 0) if (here / "params.yaml").exists() else (here / "params.yaml").touch()
    os.truncate(here / "params.yaml", 1 << 42)  # four terabytes, of which nothing is there
    with pytest.raises(StageError, match="expected a file of at most"):
        text_if_there(here / "params.yaml")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="run as root with CAP_SYS_ADMIN")
def test_a_cache_that_another_user_closed(here: Path) -> None:
    store = open_store(open_project(here))
    md5 = md5_of(here / "data/corpus.parquet")
    (store.cache / md5[:2]).chmod(0o700)
    for folder in (here, *here.parents[:3]):
        folder.chmod(0o755)
    os.seteuid(65534)
    try:
        assert read_object(store, md5) is None
    finally:
        os.seteuid(0)
    assert "Permission denied" in unasked_lines(store)[0]


def test_a_cache_on_another_file_system(here: Path, tmp_path: Path) -> None:
    if not Path("/dev/shm").is_dir():
        pytest.skip("no second file system at /dev/shm; run on Linux")
    cache = Path("/dev/shm") / f"lethe-{os.getpid()}"
    try:
        shutil.copytree(here / ".dvc/cache", cache)
        shutil.rmtree(here / ".dvc/cache")
        (here / ".dvc/config.local").write_text(f"[cache]\n    dir = {cache}\n    type = symlink\n")
        path = here / "data/labels.parquet"
        md5 = md5_of(path)
        path.unlink()
        path.symlink_to(cache / "files/md5" / md5[:2] / md5[2:])
        assert json_of(here, "audit", "models/unlearned")["corpus"]["at_hand"] == "cache"
        forged(here, "data/forget")
        shown = lethe(here, "purge", "r", "--confirm", "r").output
        assert "all that held r is deleted" in shown
        assert "which is kept" not in shown
        assert not os.path.lexists(path)
        assert not (cache / "files/md5" / md5[:2] / md5[2:]).exists()
    finally:
        shutil.rmtree(cache, ignore_errors=True)


def test_what_gc_meets_in_the_folder(here: Path) -> None:
    assert gc.found("") == []
    (here / "y.dvc").symlink_to("nothing")
    assert gc.used_in_folder(open_project(here))
    os.mkfifo(here / "x.dvc")
    assert "got a folder, pipe or device" in refused(here, "gc", "--workspace", "--all-commits")


def test_code_that_lies_in_the_project_under_the_name_of_dvc(here: Path) -> None:
    (here / "dvc").mkdir()
    (here / "dvc/__main__.py").write_text("open('run', 'w')\n")
    assert "usage: dvc gc" in gc.run_gc(["--help"])
    assert not (here / "run").exists()


# The gate, lists and timestamps


def test_the_gate_says_what_no_commit_holds(here: Path) -> None:
    limits = {"report": {"gate": recorded.gate_limits()}}
    (here / "params.yaml").write_text(json.dumps(limits))
    commit = recorded.git(here, "rev-parse", "HEAD")[:10]
    assert judge_here(Path("params.yaml"), Path("reports"))[1] == f"The reports of commit {commit}"
    recorded.forge(here, "reports/familiarity.json", "0.5", "0.05")
    recorded.git(here, "update-index", "--assume-unchanged", "reports/familiarity.json", "dvc.lock")
    assert judge_here(Path("params.yaml"), Path("reports"))[1] == f"Reports that no commit holds; HEAD is {commit}"
    limits["report"]["gate"]["completion_familiarity"] = 9
    (here / "params.yaml").write_text(json.dumps(limits))
    assert judge_here(Path("params.yaml"), Path("reports"))[1].endswith(
        "judged by limits that dvc.lock does not record"
    )
    (here / "dvc.lock").unlink()
    assert judge_here(Path("params.yaml"), Path("reports"))[1].startswith("Reports that no dvc.lock records")


def test_a_lock_is_written_through_no_link_and_is_gone_afterwards(here: Path) -> None:
    path = precious(here)
    certify.write_new_key(here / "lethe.key")
    lock = here / "revocations.json.lock"
    assert lethe(here, "revoke").exit_code == 0
    assert not lock.exists()
    lock.symlink_to(path)
    assert "got a link to something else" in refused(here, "revoke")
    assert path.read_text() == "x"
    for days in ("0", "99999999999"):
        assert refused(here, "revoke", "--days", days).startswith("--days: expected 1 to ")
    (here / "file").write_text("")
    with pytest.raises(StageError, match="expected a file of lethe's own"), alone(here / "file/x.lock"):
        pass


def test_a_certificate_that_would_replace_itself(here: Path) -> None:
    assert lethe(here, "certify", "models/unlearned", "--new-key").exit_code == 0
    assert "got certificate.json, which is revoked" in refused(
        here, "revoke", "certificate.json", "--by", "certificate.json"
    )


def test_a_timestamp_is_written_over_nothing_else(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rfc3161_client", reason=NO_EXTRA)
    monkeypatch.setattr(timestamp, "asked", lambda url, content: b"reply")
    path = precious(here)
    assert "expected a new path or an earlier timestamp" in refused(
        here, "timestamp", "dvc.lock", "--url", "http://x", "--timestamp", str(path)
    )
    (here / "dvc.lock.tsr").symlink_to(path.parent / "new")
    assert lethe(here, "timestamp", "dvc.lock", "--url", "http://x").exit_code == 0
    assert not (path.parent / "new").exists()
    os.truncate(path, 1 << 42)
    with pytest.raises(StageError, match="expected at most"):
        timestamp.read(path)


def test_a_timestamp_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        def read1(self, size: int) -> bytes:
            return b"x"

    monkeypatch.setattr(timestamp, "SECONDS", -1)
    with pytest.raises(TimeoutError):
        list(timestamp.parts(Slow()))


def test_code_that_the_settings_of_a_model_name(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    for text, said in (('{"auto_map": {"AutoModel": "a--b.C"}}', "it names code to load"), ("{}", "equal")):
        path.write_text(text)
        subject = {"annotations": {"size": len(text)}, "digest": {"sha256": verify.sha256_of(path)}}
        assert said in verify.file_finding("config.json", subject, path).said
    (tmp_path / "x.SAFETENSORS").write_bytes(b"\x80\x04x")
    assert verify.is_pickle(tmp_path / "x.SAFETENSORS")


def test_characters_that_the_terminal_has_not(here: Path) -> None:
    lethe(here, "certify", "models/unlearned", "--new-key")
    words = [sys.executable, "-m", "lethe", "verify", "certificate.json", "models/unlearned"]
    done = subprocess.run(words, env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("given", ["a.txt:5-5", "a.txt:9-3", f"a.txt:0-{'9' * 5000}", "a" * 300])
def test_a_span_that_is_none(given: str) -> None:
    with pytest.raises(StageError):
        trace.what_is_asked(given, "")
    with pytest.raises(StageError):
        trace.part_of("One night.", f"{'9' * 5000}-3", "a.txt")
