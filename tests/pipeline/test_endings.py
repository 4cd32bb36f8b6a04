"""How a command ends that cannot go on: one line and an exit code, and a traceback for a bug alone."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from lethe.cli import main as cli
from lethe.cli.gguf import write_gguf
from lethe.core.errors import StageError
from lethe.provenance import replay, verify
from lethe.provenance.artifact_store import cache_of
from lethe.running.whose import of_checkout

QUICK = "import lethe.cli.main as cli; cli.command_line = lambda: print('a line'); cli.main()"


def raising(error: BaseException) -> Callable[[], NoReturn]:
    """A command that ends with an error."""

    def command() -> NoReturn:
        raise error

    return command


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[Any, str]]:
    """What `lethe audit` exits with and prints where its command raises an error."""

    def end(error: BaseException) -> tuple[Any, str]:
        monkeypatch.setattr(cli, "command_line", raising(error))
        monkeypatch.setattr(sys, "argv", ["lethe", "audit", "model"])
        with pytest.raises(SystemExit) as ending:
            cli.main()
        return ending.value.code, capsys.readouterr().err

    return end


def test_ctrl_c_is_one_line_also_where_the_library_says_nothing(ended: Callable[..., tuple[Any, str]]) -> None:
    assert ended(KeyboardInterrupt()) == (130, "lethe audit: interrupted\n")
    assert ended(SystemExit(130)) == (130, "lethe audit: interrupted\n")
    assert ended(SystemExit(3)) == (3, "")


def test_what_the_system_refuses_is_one_line(ended: Callable[..., tuple[Any, str]], tmp_path: Path) -> None:
    told, _ = ended(PermissionError(errno.EACCES, "Permission denied", "reports/x.json"))
    assert told == "error: reports/x.json: expected to be allowed to read or write it, got a refusal"
    with pytest.raises(IsADirectoryError) as refused:
        tmp_path.write_text("a")
    assert ended(refused.value)[0] == f"error: {tmp_path}: expected to read or write it, got: Is a directory"
    assert ended(OSError(errno.ENOSPC, "No space left on device"))[0] == (
        f"error: {Path.cwd()}: expected to read or write it, got: No space left on device"
    )


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (FileNotFoundError(errno.ENOENT, "No such file or directory", "x"), ValueError("x")):
        monkeypatch.setattr(cli, "command_line", raising(error))
        with pytest.raises(type(error)):
            cli.main()


def test_a_reader_that_has_gone_gets_no_complaint() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", QUICK], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_outside_a_project_the_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    told = {
        "card": "reports/distil.json: no such file; expected the JSON that an earlier stage writes; run `dvc repro`; "
        f"{tmp_path} has no dvc.yaml: is it the project's folder?",
        "review": "data/anchors.csv: expected the anchors that `extract` found, got none; `lethe repro translate`; "
        f"{tmp_path} has no dvc.yaml: is it the project's folder?",
        "requests list": "data/requests.jsonl: no such file; run the command in the folder of the project",
        "requests check": "data/requests.jsonl: no such file; run the command in the folder of the project",
    }
    for words, line in told.items():
        monkeypatch.setattr(sys, "argv", ["lethe", *words.split()])
        with pytest.raises(SystemExit) as ending:
            cli.main()
        assert ending.value.code == f"error: {line}"
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    monkeypatch.setattr(sys, "argv", ["lethe", "card"])
    with pytest.raises(SystemExit) as ending:
        cli.main()
    assert str(ending.value.code).endswith("run `dvc repro`")
    assert capsys.readouterr().out == ""


def test_a_project_without_git_shows_its_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    whose = of_checkout()
    assert whose.same is None
    assert whose.sentence() == f"Whose numbers these are cannot be told: {tmp_path} is not a git repository"


def test_a_missing_certificate_is_told_as_missing(tmp_path: Path) -> None:
    with pytest.raises(verify.UnansweredError, match=r"x\.json: no such file$"):
        verify.content_of(tmp_path / "x.json")
    with pytest.raises(verify.UnansweredError, match=r"expected a file of at most \d+ bytes, got something else"):
        verify.content_of(tmp_path)


def test_a_clone_shares_the_cache_of_a_project_in_any_folder(tmp_path: Path) -> None:
    cache, clone = tmp_path / "Zoë's own" / "cache", tmp_path / "Klön"
    for folder in (cache, clone / ".dvc"):
        folder.mkdir(parents=True)
    (clone / ".dvc/config").write_text("[core]\n    no_scm = true\n")
    replay.share_cache(clone, cache)
    assert cache_of(clone).resolve() == cache


def test_a_folder_is_no_file_to_write(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r": expected the name of a file, got a folder$"):
        write_gguf(Path("models/unlearned"), tmp_path)


def test_of_what_git_says_the_reason_is_told(tmp_path: Path) -> None:
    said = "echo 'fatal: no rights' >&2; echo 'Please make sure that it exists.' >&2; exit 1"
    with pytest.raises(StageError, match=r"^replay: sh -c: fatal: no rights$"):
        replay.call(["sh", "-c", said], tmp_path)
