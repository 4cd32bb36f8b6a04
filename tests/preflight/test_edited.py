"""An out edited in place is noticed, although the cache's copy was edited with it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lethe.core.errors import StageError
from lethe.preflight import edited
from tests import recorded

Run = tuple[Path, dict[str, str]]


@pytest.fixture
def linked(judged_copy: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recorded run whose outs are hard links of the cache's objects, as DVC makes them, as the current folder."""
    folder, _ = judged_copy
    monkeypatch.chdir(folder)
    for path, md5 in edited.recorded_files(store()):
        copy = Path(".dvc/cache/files/md5", md5[:2], md5[2:])
        if copy.exists():
            path.unlink()
            os.link(copy, path)
    edited.check_outs()
    return folder


def store() -> edited.Store:
    from lethe.provenance.artifact_store import open_store
    from lethe.provenance.history import open_project

    return open_store(open_project(Path()))


@pytest.mark.parametrize("name", ["models/unlearned/model.safetensors", "data/dictionary.csv"])
def test_an_out_edited_in_place_is_noticed_until_it_is_made_again(linked: Path, name: str) -> None:
    content = Path(name).read_bytes()
    with open(name, "r+b") as stream:
        stream.write(b"x")
    md5 = recorded.hashlib.md5(content).hexdigest()
    copy = Path(".dvc/cache/files/md5", md5[:2], md5[2:]).absolute()
    said = (
        f"{name}: expected the file that was made, got one edited in place, and the cache's copy with it; rm {copy} "
        f"and {name}, then `dvc fetch` from a remote or run the stage again"
    )
    for _ in range(2):
        with pytest.raises(StageError) as error:
            edited.check_outs()
        assert str(error.value) == said
    copy.unlink()
    edited.check_outs()  # DVC sees that it has to be made


def test_another_file_in_its_place_is_left_to_dvc(linked: Path) -> None:
    Path("data/dictionary.csv").unlink()
    Path("data/dictionary.csv").write_text("anchor\n")
    edited.check_outs()


def test_only_what_changed_is_read_again(linked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    real = edited_md5()
    monkeypatch.setattr("lethe.provenance.fingerprint.md5_of", lambda path: read.append(path) or real(path))
    edited.check_outs()
    assert read == []
    os.utime("data/dictionary.csv")
    edited.check_outs()
    assert len(read) == 1


def edited_md5() -> object:
    from lethe.provenance.fingerprint import md5_of

    return md5_of


def test_repro_looks_before_dvc_runs(linked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lethe.preflight import repro

    monkeypatch.setattr(repro, "other_run", lambda lock: None)
    monkeypatch.setattr(repro, "dvc_repro", lambda run, out: pytest.fail("dvc ran"))
    with open("data/dictionary.csv", "r+b") as stream:
        stream.write(b"x")
    done = recorded.lethe(linked, "repro")
    assert str(done.exception).startswith(
        "data/dictionary.csv: expected the file that was made, got one edited in place"
    )
