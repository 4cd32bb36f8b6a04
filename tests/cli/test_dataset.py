"""`lethe dataset`, against a local server that speaks the Hub's API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lethe.cli import dataset
from lethe.cli.commands import app
from lethe.core.errors import StageError
from lethe.core.hashing import file_sha256
from lethe.text.documents import read_side
from tests.chats import TALK, write_rows
from tests.fake_hub import FakeHub, serving

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PAIR = {"question": TALK[0]["content"], "answer": TALK[1]["content"]}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    write_rows(folder / "forget10.json", [PAIR, PAIR])
    write_rows(folder / "data/retain.jsonl", [PAIR])
    (folder / "array.json").write_text(json.dumps([PAIR], indent=1))
    (folder / "README.md").write_text("# About the data\n")
    (folder / "load.py").write_text("raise SystemExit\n")
    return folder


@pytest.fixture
def fake(rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub with one data set, whose branch main is at COMMIT; the current folder is empty."""
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", "/nonexistent")
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.chdir(tmp_path)
    with serving() as server:
        server.repos["owner/name"] = {COMMIT: rows}
        server.branches["main"] = COMMIT
        monkeypatch.setenv("HF_ENDPOINT", server.hub)
        yield server


def test_files_of_a_commit_become_a_folder_of_the_corpus(fake: FakeHub) -> None:
    options = ["--commit", COMMIT, "--into", "data/forget", "--only", "forget*"]
    done = CliRunner().invoke(app, ["dataset", "owner/name", *options], catch_exceptions=False)
    assert done.output == (
        f"dataset: 1 files of owner/name at {COMMIT[:12]} in data/forget; now `dvc add data/forget`\n"
    )
    sources, _ = read_side(Path("data/forget"), "forget")
    assert [source.file for source in sources] == ["forget10.jsonl:1", "forget10.jsonl:2"]
    told = json.loads(Path("data/forget/source.json").read_text())
    assert told == {
        "dataset": "owner/name",
        "commit": COMMIT,
        "sha256": {"forget10.jsonl": file_sha256(Path("data/forget/forget10.jsonl"))},
    }
    assert fake.paths("/datasets/owner/name/resolve/")
    assert not fake.paths("load.py") + fake.paths("README")
    fake.requests.clear()  # again: nothing is downloaded twice, and what was fetched before is replaced
    options[-1] = "retain*"
    done = CliRunner().invoke(app, ["dataset", "owner/name", *options, "--json"], catch_exceptions=False)
    assert json.loads(done.output) == {
        "dataset": "owner/name", "commit": COMMIT, "folder": "data/forget", "files": ["data/retain.jsonl"],
    }  # fmt: skip
    assert not Path("data/forget/forget10.jsonl").exists()
    assert not fake.paths("forget10")


@pytest.mark.parametrize(
    ("commit", "only", "message"),
    [
        (None, "*", f"--commit: expected a 40-digit commit, got null; main is currently {COMMIT}"),
        ("main", "*", f"--commit: expected a 40-digit commit, got main; main is currently {COMMIT}"),
        (
            COMMIT,
            "*.csv",
            "owner/name: expected files like *.csv with .jsonl, .json, .parquet, .txt, .md, got array.json, "
            "data/retain.jsonl, forget10.json",
        ),
        (
            COMMIT,
            "array*",
            "array.json: expected JSON lines, one object a line, got other JSON; take the parquet files",
        ),
    ],
)
def test_what_is_refused(commit: str | None, only: str, message: str, fake: FakeHub) -> None:
    with pytest.raises(StageError) as error:
        dataset.fetch_dataset("owner/name", commit, Path("data/forget"), only)
    assert str(error.value) == message
    assert not Path("data/forget").exists()


def test_a_folder_of_your_own_is_not_replaced(fake: FakeHub) -> None:
    Path("mine").mkdir()
    Path("mine/a.txt").write_text("mine")
    with pytest.raises(StageError, match=r"^mine: expected an empty folder for owner/name, got one with files; "):
        dataset.fetch_dataset("owner/name", COMMIT, Path("mine"), "*")
    assert Path("mine/a.txt").read_text() == "mine"


def test_the_hubs_own_errors_name_the_data_set(fake: FakeHub) -> None:
    with pytest.raises(StageError) as error:
        dataset.fetch_dataset("owner/other", COMMIT, Path("x"), "*")
    assert str(error.value) == (
        f"lethe dataset: owner/other: no such data set at {fake.hub}, or a private one; check the name, or set "
        "HF_TOKEN to see it"
    )
    fake.gated = True
    with pytest.raises(StageError) as error:
        dataset.fetch_dataset("owner/name", COMMIT, Path("x"), "forget*")
    assert str(error.value) == (
        f"lethe dataset: owner/name: gated (401); accept the licence at {fake.hub}/datasets/owner/name and set HF_TOKEN"
    )
