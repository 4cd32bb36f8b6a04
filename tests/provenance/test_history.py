"""Only what this history recorded counts, whatever other refs, odd names and broken files lie in the repository."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lethe.core.errors import StageError
from lethe.provenance import history
from tests import recorded
from tests.conftest import TINY_TEXT
from tests.recorded import forge, git, json_of, lethe

Run = tuple[Path, dict[str, str]]


def on_a_branch(folder: Path, name: str, change: Callable[[Path], object]) -> str:
    """Commit a change on a branch beside main, and return to main; the branch's commit."""
    git(folder, "checkout", "--quiet", "-b", name)
    change(folder)
    commit = recorded.commit(folder, name, "2027-01-01T09:00:00+00:00")
    git(folder, "checkout", "--quiet", "main")
    return commit


def to_pass(folder: Path) -> None:
    """A verdict that passes, and one report more, as a lock that is to be believed more."""
    forge(folder, "reports/gate.json", '"completion_familiarity": 0.5', '"completion_familiarity": 0.05')
    forge(folder, "reports/gate.json", '"completion_familiarity": "fail"', '"completion_familiarity": "pass"')
    forge(folder, "reports/gate.json", '"met": 1,\n  "missed": 1', '"met": 2,\n  "missed": 0')
    forge(folder, "reports/familiarity.json", '"completion_familiarity": 0.5', '"completion_familiarity": 0.05')
    (folder / "reports/more.json").write_text('{"more": 1}\n')
    lock = folder / "dvc.lock"
    outs = "    outs:\n"
    entry = f"    - path: reports/more.json\n      hash: md5\n      md5: {'a' * 32}\n"
    gate = "    - path: reports/gate.json\n"
    lock.write_text(lock.read_text().replace(outs + gate, outs + entry + gate))


def test_a_verdict_on_a_side_branch_is_not_this_historys(judged_copy: Run, tmp_path: Path) -> None:
    folder, made = judged_copy
    main = git(folder, "rev-parse", "HEAD")
    side = on_a_branch(folder, "side", to_pass)
    for words, verdict, commit in (([], "fail", main), (["--ref", "side"], "pass", side)):
        answer = json_of(folder, "audit", made["models/unlearned"], *words)
        assert (answer["gate"]["verdict"], answer["measured_in"], answer["history"]["commit"]) == (
            verdict,
            commit,
            commit,
        )
    key, out = str(tmp_path / "lethe.key"), str(tmp_path / "certificate.json")
    done = lethe(folder, "certify", "models/unlearned", "--new-key", "--key", key, "--out", out)
    assert done.exit_code == 0, done.exception
    assert "verdict   FAIL: completion_familiarity 0.5, at most 0.1" in done.output
    assert f"measured  in commit {main}" in done.output


def test_a_model_of_a_side_branch_is_told_and_neither_certified_nor_replayed(judged_copy: Run, tmp_path: Path) -> None:
    folder, _ = judged_copy
    text = TINY_TEXT.replace("Orla", "Wenna")
    made: dict[str, str] = {}
    on_a_branch(folder, "side", lambda folder: made.update(recorded.run(folder, text)))
    model = recorded.model(tmp_path / "model", f"unlearned {text} {recorded.PARAMS}")
    assert history.open_project(folder)
    for command in ("certify", "replay"):
        done = lethe(folder, command, made["models/unlearned"] if command == "replay" else str(model))
        assert isinstance(done.exception, StageError), command
    done = lethe(folder, "audit", made["models/unlearned"])
    assert done.exit_code == 3
    assert f"elsewhere models/unlearned {made['models/unlearned']} in side" in done.output
    answer = json_of(folder, "trace", made["data/corpus.parquet"])
    assert answer["verdict"] == "no"
    assert answer["notes"] == [
        "1 corpora of other branches, tags or experiments were not searched; --all searches them"
    ]
    assert json_of(folder, "trace", made["data/corpus.parquet"], "--all")["verdict"] == "yes"


def test_the_newest_verdict_of_a_model_counts_however_many_reports_an_older_one_has(judged_copy: Run) -> None:
    folder, made = judged_copy
    to_pass(folder)
    newest = recorded.commit(folder, "measured again")
    answer = json_of(folder, "audit", made["models/unlearned"])
    assert (answer["gate"]["verdict"], answer["measured_in"]) == ("pass", newest)
    lock = (folder / "dvc.lock").read_text()
    lock = lock[: lock.index("  report:\n")]
    (folder / "dvc.lock").write_text(lock[: lock.index("  attack:\n")])
    stripped = recorded.commit(folder, "without a verdict")
    answer = json_of(folder, "audit", made["models/unlearned"])
    assert (answer["gate"], answer["measured_in"]) == (None, stripped)


def test_git_shows_the_commits_that_were_made_and_none_in_their_place(judged_copy: Run) -> None:
    folder, made = judged_copy
    main = git(folder, "rev-parse", "HEAD")
    git(folder, "replace", main, on_a_branch(folder, "side", to_pass))
    assert json_of(folder, "audit", made["models/unlearned"])["gate"]["verdict"] == "fail"


@pytest.mark.parametrize("ref", ["gone", "--all", "HEAD:dvc.lock", "0" * 40])
def test_a_ref_that_is_none_is_one_line(judged_run: Run, ref: str) -> None:
    folder, made = judged_run
    done = lethe(folder, "audit", made["models/unlearned"], f"--ref={ref}")
    assert str(done.exception) == f"--ref: expected a branch, tag, commit or experiment, got {ref}, which names 0"


def test_names_with_any_character_stop_nothing(judged_copy: Run) -> None:
    folder, made = judged_copy
    odd = "a\u2028b\x1fc\x85d"
    (folder / "\u2028 \n x.txt").write_text("odd")
    git(folder, "add", "--all")
    who = {"GIT_AUTHOR_NAME": odd, "GIT_COMMITTER_NAME": odd}
    git(folder, "commit", "--quiet", "-m", odd, **who)
    git(folder, "branch", "b\u2028r\u00a0s")
    git(folder, "tag", "t\u0085u")
    git(folder, "update-ref", "refs/heads/latin-\udcff", "HEAD")
    answer = json_of(folder, "audit", made["models/unlearned"], "--verify")
    assert answer["history"]["commits"] == 3
    assert {"b\u2028r\u00a0s", "t\u0085u", "main"} <= set(answer["recorded"]["refs"])
    assert {row["state"] for row in answer["verify"]} == {"present and equal"}
    assert lethe(folder, "audit", made["models/unlearned"]).exit_code == 0
    assert json_of(folder, "trace", made["data/corpus.parquet"])["verdict"] == "yes"
    project = history.open_project(folder)
    commits = history.commits(project, git(folder, "rev-parse", "HEAD"))
    assert commits[-1].subject == commits[-1].author.split(" <")[0] == odd


def test_a_repository_in_a_folder_with_a_line_feed(tmp_path: Path) -> None:
    folder = recorded.empty(tmp_path / "a\nb\u2028c" / "project")
    assert history.open_project(folder).folder == folder.resolve()


CONFLICT = "<<<<<<< HEAD\n    - path: a\n      md5: {0}\n=======\n    - path: a\n      md5: {1}\n>>>>>>> side\n"


def conflicted(text: str) -> str:
    return text.replace("    outs:\n", "    outs:\n" + CONFLICT.format("a" * 32, "b" * 32), 1)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (conflicted, "dvc.lock: expected one version, got the marks of an unsolved merge in line "),
        (lambda text: text.replace("stages:", "stages: ["), "dvc.lock: not valid YAML: "),
        (lambda text: "stages: [1, 2]\n", "dvc.lock: expected the file that `dvc repro` writes, got other content"),
        (lambda text: "stages: {corpus: {outs: [{path: 7, md5: [1]}]}}\n", "dvc.lock: expected the file that "),
        (lambda text: "\x00\x01", "dvc.lock: not valid YAML: "),
        (lambda text: "[" * 5000, "dvc.lock: not valid YAML: "),
        (lambda text: "", "dvc.lock: expected the file that `dvc repro` writes, got one without stages"),
    ],
)
def test_what_is_no_lock_is_one_line(judged_run: Run, spoil: Callable[[str], str], said: str) -> None:
    found = history.unreadable(spoil((judged_run[0] / "dvc.lock").read_text()))
    assert found.startswith(said)
    assert "\n" not in found


def test_a_broken_lock_of_one_commit_is_told_and_skipped(judged_copy: Run) -> None:
    folder, made = judged_copy
    good = (folder / "dvc.lock").read_text()
    (folder / "dvc.lock").write_text(conflicted(good))
    broken = recorded.commit(folder, "broken")
    for again in (False, True):  # as the current one, and in the middle of the history
        if again:
            (folder / "dvc.lock").write_text(good)
            recorded.commit(folder, "mended")
        answer = json_of(folder, "audit", made["models/unlearned"], "--verify")
        assert answer["model"]["md5"] == made["models/unlearned"]
        (note,) = answer["notes"]
        assert note.startswith(
            f"commit {broken[:10]}: dvc.lock: expected one version, got the marks of an unsolved merge"
        )
        assert note.endswith("; skipped")
    assert json_of(folder, "trace", made["data/corpus.parquet"])["verdict"] == "yes"
    done = lethe(folder, "trace", "-", given="quite another story about ships")
    assert done.exit_code == 1  # the corpus of the broken one is not known


def test_a_lock_in_the_folder_that_nobody_committed_may_be_broken(judged_copy: Run) -> None:
    folder, made = judged_copy
    (folder / "dvc.lock").write_text(conflicted((folder / "dvc.lock").read_text()))
    note = "the current dvc.lock is in no commit and was ignored; git commit dvc.lock reports"
    assert json_of(folder, "audit", made["models/unlearned"], "--verify")["notes"] == [note]
    assert lethe(folder, "audit", "f" * 32).exit_code == 3


def test_no_commit_is_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    (folder / ".dvc").mkdir(parents=True)
    git(folder, "init", "--quiet")
    done = lethe(folder, "audit", "f" * 32)
    assert str(done.exception) == f"{folder}: expected at least one commit, got none; git add . && git commit"
    shutil.rmtree(folder)


def test_the_gate_says_of_which_commit_it_speaks_and_believes_no_edited_report(
    judged_copy: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = judged_copy
    params = {"report": {"gate": recorded.gate_limits()}}
    (folder / "params.yaml").write_text(json.dumps(params))
    head = recorded.commit(folder, "params")
    side = on_a_branch(folder, "side", to_pass)

    def gate(*words: str) -> tuple[int, str]:
        done = lethe(folder, "gate", *words)
        return done.exit_code, done.output

    code, said = gate()
    assert (code, f"The reports of commit {head[:10]}" in said, "FAIL" in said) == (3, True, True)
    code, said = gate("--ref", "side")
    assert (code, f"The reports of commit {side[:10]}" in said) == (0, True)
    report = folder / "reports/familiarity.json"
    report.write_text(report.read_text().replace(": 0.5", ": 0.05"))
    code, said = gate()
    assert code == 1
    assert "reports/familiarity.json: expected the report that dvc.lock records, got another" in said
    git(folder, "checkout", "--quiet", "--", ".")
    forge(folder, "reports/familiarity.json", '"completion_familiarity": 0.5', '"completion_familiarity": 0.05')
    code, said = gate()
    assert (code, f"Reports that no commit holds; HEAD is {head[:10]}" in said) == (0, True)
    assert gate("--ref", "HEAD")[0] == 3
    recorded.commit(folder, "reports")
    report.write_text("{}")
    git(folder, "commit", "--quiet", "--all", "-m", "the report alone")
    code, said = gate("--ref", "HEAD")
    assert code == 1
    assert "HEAD: reports/familiarity.json: expected the report that dvc.lock of" in said
