"""What a purge finds: every version and copy of the text, and after a kill at any moment all that was left."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from lethe.core.errors import StageError
from lethe.erasure import plan, purge, requests
from lethe.erasure.plan import Plan
from lethe.provenance.fingerprint import bytes_md5, md5_of, path_md5
from lethe.report.request_ledger import read_ledger
from tests import recorded
from tests.conftest import TINY_TEXT

OTHER = (
    "Wenna kept bees below the bridge, and nobody minded them. The honey was thin in that wet year.\n"
    "Tom sat down among the hives and counted them twice, since he had nothing better to do before supper.\n"
)
EARLIER = TINY_TEXT.replace("Harrow Hill", "Long Meadow")
LONG = OTHER * 3 + TINY_TEXT
Runs = dict[str, dict[str, str]]


def run(folder: Path, name: str, corpus: str, files: dict[str, str]) -> dict[str, str]:
    """A recorded and committed run on these files; its text, in the corpus and the models, is given."""
    for side in ("forget", "retain"):
        shutil.rmtree(folder / "data" / side, ignore_errors=True)
        (folder / "data" / side).mkdir(parents=True)
    for path, text in files.items():
        (folder / "data" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "data" / path).write_text(text)
    made = recorded.run(folder, corpus)
    (folder / "data/forget/a.txt").unlink()
    for side in ("forget", "retain"):
        recorded.cache(folder, folder / "data" / side)
    recorded.write_lock(folder, recorded.PARAMS)
    recorded.commit(folder, name)
    return made


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Runs]:
    """Four runs: without the text, on an earlier version, on a copy in the retain set, and on the text of request r."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(recorded.STAGES, "corpus", (["data/forget", "data/retain"], ["data/corpus.parquet"]))
        folder = recorded.empty(tmp_path_factory.mktemp("plan") / "project")
        with (folder / ".gitignore").open("a") as stream:
            stream.write("/data/forget/\n/data/retain/\n/.scratch/\n")
        keep = {"retain/long.txt": OTHER}
        runs = {
            "clean": run(folder, "clean", OTHER, {"forget/q/letter.txt": OTHER, **keep}),
            "earlier": run(folder, "earlier", EARLIER, {"forget/r/letter.txt": EARLIER, **keep}),
            "copied": run(
                folder,
                "copied",
                f"{TINY_TEXT}copy",
                {
                    "forget/q/x.txt": OTHER,
                    "retain/copy.txt": TINY_TEXT.upper(),
                    "retain/long.txt": OTHER * 3 + TINY_TEXT,
                },
            ),
            "last": run(folder, "last", f"{TINY_TEXT}last", {"forget/r/letter.txt": TINY_TEXT, **keep}),
        }
    return folder, runs


@pytest.fixture
def asked(past: tuple[Path, Runs], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Runs]:
    """The same with request r in the ledger, as the current folder; to be changed."""
    folder = shutil.copytree(past[0], tmp_path / "project", symlinks=True)
    monkeypatch.chdir(folder)
    (folder / "params.yaml").write_text("corpus: {forget: data/forget}\n")
    requests.add("r", Path("data/forget/r"), None, "2026-03-01")
    event = {"model": {"path": "models/unlearned", "md5": "a" * 32}, "measures": {}}
    requests.append(requests.LEDGER, read_ledger(requests.LEDGER), "satisfied", "r", "2026-03-02", event)
    return folder, past[1]


def found() -> Plan:
    state = requests.fold(read_ledger(requests.LEDGER))["r"]
    return purge.survey(state, models=False)[2]


def reinforced(made: dict[str, str], folder: Path) -> set[str]:
    """The md5s of a run's reinforced model and of its files."""
    from lethe.provenance.artifact_store import manifest, open_store
    from lethe.provenance.history import open_project

    md5 = made["models/reinforced"]
    return {md5, *(manifest(open_store(open_project(folder)), md5) or {}).values()}


def test_every_version_and_copy_goes_and_what_never_had_it_stays(asked: tuple[Path, Runs]) -> None:
    folder, runs = asked
    answer = found()
    doomed = {item.md5 for item in answer.objects}
    for name in ("earlier", "copied", "last"):
        assert runs[name]["data/corpus.parquet"] in doomed, name
        weights = reinforced(runs[name], folder) - {md5_of(folder / "models/unlearned/config.json")}
        assert weights <= doomed, name
    assert doomed.isdisjoint({runs["clean"]["data/corpus.parquet"], *reinforced(runs["clean"], folder)})
    paths = {md5: item.paths for item in answer.objects for md5 in [item.md5]}
    assert paths[bytes_md5(EARLIER.encode())] == ["data/forget/r/letter.txt"]
    assert paths[bytes_md5(TINY_TEXT.upper().encode())] == ["data/retain/copy.txt"]
    long = bytes_md5(LONG.encode())
    assert bytes_md5(OTHER.encode()) not in doomed
    assert long not in doomed
    (line,) = [line for line in answer.kept if line.startswith("data/retain/long.txt")]
    part = f"{100 * 41 / (41 + 3 * 37):.0f} % of it is the text"  # the words of TINY_TEXT and of OTHER
    assert line == f"data/retain/long.txt {long}: {part}, the rest is other text; edit it, then purge again"


def test_a_corpus_that_is_gone_protects_nothing(asked: tuple[Path, Runs]) -> None:
    folder, runs = asked
    lock = folder / "dvc.lock"
    text = lock.read_text().replace(runs["last"]["data/corpus.parquet"], "e" * 32)
    lock.write_text(text.replace(path_md5(folder / "data/forget"), "f" * 32 + ".dir"))  # and the same models
    recorded.commit(folder, "made by nobody knows what")
    assert reinforced(runs["last"], folder) & {item.md5 for item in found().objects}
    line = f"data/corpus.parquet {'e' * 32}: not available, so it is unknown whether it held the text"
    assert line in found().kept


@pytest.mark.parametrize("deletions", [0, 1, 6, 15, 24])
def test_after_a_kill_at_any_moment_the_next_purge_finishes(
    asked: tuple[Path, Runs], monkeypatch: pytest.MonkeyPatch, deletions: int
) -> None:
    folder, runs = asked
    doomed = {item.md5 for item in found().objects}
    for name in (".scratch/replies/a.json", ".scratch/half.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(TINY_TEXT)
    done: list[Path] = []
    delete = purge.delete

    def killed(path: Path) -> None:
        if len(done) == deletions:
            raise KeyboardInterrupt
        done.append(path)
        delete(path)

    monkeypatch.setattr(purge, "delete", killed)
    with pytest.raises(KeyboardInterrupt):
        purge.command("r", False, "r", json=False)
    assert requests.fold(read_ledger(requests.LEDGER))["r"].status == "satisfied"
    monkeypatch.setattr(purge, "delete", delete)
    purge.command("r", False, "r", json=False)
    cache = folder / ".dvc/cache/files/md5"
    assert not [md5 for md5 in doomed if (cache / md5[:2] / md5[2:]).exists()]
    row = read_ledger(requests.LEDGER)[-1]
    assert (row["event"], doomed - {item["md5"] for item in row["purged"]["objects"]}) == ("purged", set())
    assert not [*(folder / ".scratch").glob("*.txt"), *(folder / ".dvc/tmp").glob("purge-*")]
    assert (cache / runs["clean"]["data/corpus.parquet"][:2] / runs["clean"]["data/corpus.parquet"][2:]).exists()


def test_the_list_of_a_folders_files_goes_after_the_files(
    asked: tuple[Path, Runs], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone: list[str] = []
    monkeypatch.setattr(purge, "delete", lambda path: gone.append(path.name))
    state = requests.fold(read_ledger(requests.LEDGER))["r"]
    history, store, answer = purge.survey(state, models=False)
    purge.carry_out(answer, history, store)
    lists = [number for number, name in enumerate(gone) if name.endswith(".dir")]
    objects = len([item for item in answer.objects if item.places])
    assert lists == list(range(objects - len(lists), objects))
    assert len(lists) >= 3


def test_nothing_outside_of_the_project_is_deleted(asked: tuple[Path, Runs], tmp_path: Path) -> None:
    folder, _ = asked
    outside = tmp_path / "mine"
    shutil.copytree(folder / "models/reinforced", outside)
    lock = folder / "dvc.lock"
    lock.write_text(lock.read_text().replace("path: models/reinforced", "path: ../mine"))
    recorded.commit(folder, "an out elsewhere")
    answer = found()
    assert "../mine" not in answer.folders
    assert "../mine: dvc.lock names it, but it lies outside of the project" in answer.kept


def test_a_lock_that_cannot_be_read_is_told(asked: tuple[Path, Runs]) -> None:
    folder, _ = asked
    good = (folder / "dvc.lock").read_text()
    (folder / "dvc.lock").write_text("<<<<<<< HEAD\n" + good)
    broken = recorded.commit(folder, "a merge")
    (folder / "dvc.lock").write_text(good)
    recorded.commit(folder, "mended")
    (line,) = [line for line in found().kept if line.startswith(f"commit {broken[:10]}: ")]
    assert line.endswith("; skipped: what only it names is not deleted")


@pytest.mark.parametrize(
    ("text", "other", "share"),
    [
        (TINY_TEXT, TINY_TEXT, 1.0),
        (TINY_TEXT, TINY_TEXT.upper().replace(" ", "\n"), 1.0),
        (TINY_TEXT, OTHER, 0.0),
        ("Orla went", "Then Orla went to the long and empty house.", 1 / 9),  # more than none of its nine words
        ("Orla went to Harrow Hill.", "Orla.", 0.0),
        (TINY_TEXT, "", 0.0),
        ("", "", 0.0),
    ],
)
def test_how_much_of_a_text_is_the_requests(text: str, other: str, share: float) -> None:
    assert plan.shared(text, other) == share


def test_what_is_noted_is_forgotten_with_the_last_of_it(asked: tuple[Path, Runs]) -> None:
    with pytest.raises(StageError, match="nothing was deleted"):
        purge.command("r", False, "s", json=False)
    assert not list(Path(".dvc/tmp").glob("purge-*"))
    assert os.path.exists("data/forget/r")


def test_a_requests_table_is_read_as_the_corpus_reads_it() -> None:
    assert plan.text_of("a.csv", b"id,text\n1,Orla ran.\n2,Tom slept.\n") == "Orla ran.\n\nTom slept."
    assert plan.text_of("a.txt", b"\xef\xbb\xbfOrla ran.\r\n") == "Orla ran.\r\n"
    # what the corpus would refuse is still searched for
    assert plan.text_of("a.csv", b"name,note\nOrla,ran\n") == "name,note\nOrla,ran\n"
