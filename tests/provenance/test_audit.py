"""`lethe audit`: the chain of any model that was ever recorded, wherever it was copied, and what it cannot answer."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lethe.core.errors import StageError
from lethe.core.hashing import folder_sha256
from lethe.core.tables import write_json
from lethe.provenance import audit, fingerprint, history
from tests import recorded
from tests.conftest import ROOT, TINY_TEXT
from tests.recorded import git, json_of, lethe

OTHER_TEXT = TINY_TEXT.replace("Orla", "Wenna")
SPINE = ["models/unlearned", "data/labels.parquet", "data/dictionary.csv", "data/blocks.parquet", "data/corpus.parquet"]


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str], str]:
    """A project with two runs on two corpora and, beside it, a copy of the first unlearned model. Not to be changed."""
    parent = tmp_path_factory.mktemp("audit")
    folder = recorded.empty(parent / "project")
    first = recorded.run(folder)
    commit = recorded.commit(folder, "first [run]", "2026-01-10T09:00:00+00:00")
    shutil.copytree(folder / "models/unlearned", parent / "far/away/model")
    recorded.run(folder, OTHER_TEXT)
    recorded.commit(folder, "second run", "2026-02-10T09:00:00+00:00")
    return folder, first, commit


@pytest.fixture
def past(two_runs: tuple[Path, dict[str, str], str], tmp_path: Path) -> tuple[Path, Path, dict[str, str], str]:
    """The project, the copied model, {path: md5} of the first run and its commit; all to be changed."""
    original, first, commit = two_runs
    for name in ("project", "far"):
        shutil.copytree(original.parent / name, tmp_path / name, symlinks=True)
    return tmp_path / "project", tmp_path / "far/away/model", first, commit


def one_line(folder: Path, *arguments: str) -> str:
    """The error of a lethe command, as the command line prints it."""
    done = lethe(folder, *arguments)
    assert isinstance(done.exception, StageError), done.output
    text = str(done.exception)
    assert "\n" not in text
    return text


def test_a_copied_model_is_told_its_whole_chain(past: tuple) -> None:
    folder, copy, first, commit = past
    answer = json_of(folder, "audit", str(copy))
    assert answer["model"] == {"path": "models/unlearned", "md5": first["models/unlearned"], "how": "the folder"}
    assert answer["spine"] == SPINE
    md5s = {row["path"]: row["md5"] for row in answer["chain"]}
    assert md5s == {path: first[path] for path in (*SPINE, "models/baseline", "models/reinforced", "data/forget")}
    assert {row["path"]: row["stage"] for row in answer["chain"]}["data/forget"] is None
    assert answer["recorded"]["commit"] == commit
    assert answer["recorded"]["author"] == "Ada <ada@example.org>"
    assert answer["recorded"]["date"] == "2026-01-10T09:00:00+00:00"
    assert answer["recorded"]["refs"] == ["main"]
    assert answer["baseline"] == {"source": "hub", "model": "owner/small", "revision": "1" * 40}
    assert answer["params"]["baseline"]["learning_rate"] == 1e-5  # PyYAML would read a word
    assert answer["code"]["commit"] == commit
    assert answer["versions"] == {"python": "3.11.7", "torch": "2.13.0"}
    assert answer["metrics"]["reports/familiarity.json"] == {"models": {"unlearned": {"leak": 0.25}}}
    cut = TINY_TEXT.index("Tom sat")
    spans = [(row["side"], row["part"], row["file"], row["start"], row["end"]) for row in answer["corpus"]["documents"]]
    assert spans == [("forget", "train", "a.txt", 0, cut), ("forget", "held_out", "a.txt", cut, len(TINY_TEXT))]
    assert answer["gate"] is None
    assert answer["recommitted"] == []
    assert answer["notes"] == []


def test_a_person_reads_the_same(past: tuple) -> None:
    folder, copy, first, commit = past
    done = lethe(folder, "audit", str(copy), "--verify")
    assert done.exit_code == 0
    lines = [text.rstrip() for text in done.output.splitlines()]
    assert lines[0] == f"history   main at {git(folder, 'rev-parse', 'HEAD')[:10]}, 3 commits"
    assert lines[1] == f"model     {copy} is models/unlearned {first['models/unlearned']} (the folder)"
    assert lines[5] == f"          <- data/corpus.parquet {first['data/corpus.parquet']}"
    assert lines[6] == "recorded  2026-01-10T09:00:00+00:00 by Ada <ada@example.org>: first [run]"
    assert f"baseline  hub owner/small {'1' * 40}" in lines
    assert "metrics   reports/familiarity.json: leak 0.25" in lines
    assert f"          forget train a.txt: characters 0-{TINY_TEXT.index('Tom sat')}" in lines
    verdict = "gate      no verdict recorded: no reports/gate.json with the model"
    assert f"{verdict}; measured in commit {commit[:10]}" in lines


@pytest.mark.parametrize("name", ["renamed.safetensors", "model.safetensors"])
def test_one_file_is_enough_without_the_cache(past: tuple, tmp_path: Path, name: str) -> None:
    folder, copy, first, _ = past
    shutil.rmtree(folder / ".dvc/cache")  # then only reports/finetune.json in git knows the file
    file = shutil.copy(copy / "model.safetensors", tmp_path / name)
    answer = json_of(folder, "audit", str(file))
    assert answer["model"]["md5"] == first["models/unlearned"]
    assert answer["model"]["how"] == "its file model.safetensors"
    assert answer["corpus"] == {"md5": first["data/corpus.parquet"], "at_hand": "", "documents": []}


def test_every_hash_finds_it(past: tuple) -> None:
    folder, copy, first, _ = past
    md5 = first["models/unlearned"]
    sha256 = fingerprint.sha256_of(copy / "model.safetensors")
    file_md5 = fingerprint.md5_of(copy / "model.safetensors")
    for given in (md5, md5.removesuffix(".dir"), md5[:9], sha256, sha256[:12], file_md5):
        assert json_of(folder, "audit", given)["model"]["md5"] == md5, given


def test_files_and_folders_of_other_models_are_found_by_the_cache(past: tuple, tmp_path: Path) -> None:
    folder, _, _, _ = past
    answer = json_of(folder, "audit", str(folder / "models/checkpoints/step-00002"))
    assert answer["model"]["path"] == "models/checkpoints"
    assert answer["model"]["how"] == "its folder step-00002"
    answer = json_of(folder, "audit", str(folder / "models/reinforced/model.safetensors"))
    assert answer["model"]["path"] == "models/reinforced"
    assert [row["path"] for row in answer["chain"]][:3] == [
        "models/reinforced",
        "data/blocks.parquet",
        "models/baseline",
    ]


def test_an_experiment_that_no_branch_holds_is_named_and_answers_when_asked(past: tuple) -> None:
    folder, _, _, _ = past
    head = git(folder, "rev-parse", "HEAD")
    made = recorded.run(folder, OTHER_TEXT, finetune={"alpha": 0.5})
    commit = recorded.commit(folder, "dvc: commit experiment", "2026-03-01T09:00:00+00:00")
    git(folder, "update-ref", f"refs/exps/{head[:2]}/{head[2:]}/odd-hare", commit)
    git(folder, "reset", "--quiet", "--hard", head)
    done = lethe(folder, "audit", made["models/unlearned"])
    assert done.exit_code == 3
    assert f"elsewhere models/unlearned {made['models/unlearned']} in experiment odd-hare" in done.output
    for words in (["--ref", "odd-hare"], ["--ref", commit], ["--all"]):
        answer = json_of(folder, "audit", made["models/unlearned"], *words)
        assert answer["recorded"]["experiment"] == "odd-hare"
        assert answer["recorded"]["refs"] == ["experiment odd-hare"]
        assert answer["params"]["finetune"] == {"steps": 4, "alpha": 0.5}


def test_params_of_a_stage_are_its_own_over_the_shared_ones() -> None:
    lock = """\
schema: '2.0'
stages:
  finetune:
    cmd: python -m stages.finetune
    deps:
    - path: models/baseline
      hash: md5
      md5: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
      size: 1
    params:
      params.yaml:
        finetune:
          learning_rate: 1e-3
          lora:
            rank: 8
        training:
          learning_rate: 3e-3
          warmup: 0.05
          lora:
            rank: 16
            alpha: 32
    outs:
    - path: models/unlearned
      hash: md5
      md5: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
      size: 1
"""
    merged = {"learning_rate": 1e-3, "warmup": 0.05, "lora": {"rank": 8, "alpha": 32}}
    assert history.params_of(lock, "finetune") == merged
    assert history.params_of(lock, "label") == {}


def test_an_experiment_of_a_git_remote_is_found_after_fetching(past: tuple, tmp_path: Path) -> None:
    folder, _copy, _, _ = past
    other = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(folder), str(other))
    head = git(folder, "rev-parse", "HEAD")
    made = recorded.run(folder, OTHER_TEXT, finetune={"alpha": 0.5})
    commit = recorded.commit(folder, "dvc: commit experiment")
    git(folder, "update-ref", f"refs/exps/{head[:2]}/{head[2:]}/odd-hare", commit)
    git(folder, "reset", "--quiet", "--hard", head)
    assert lethe(other, "audit", made["models/unlearned"]).exit_code == 3
    fetched = json_of(other, "audit", made["models/unlearned"], "--fetch", "--ref", "odd-hare")
    assert fetched["recorded"]["experiment"] == "odd-hare"


def test_a_chain_goes_on_in_an_earlier_lock(tmp_path: Path) -> None:
    """`dvc repro corpus` alone leaves the rest of dvc.lock as it was: the corpus there is not the model's."""
    folder = recorded.empty(tmp_path / "project")
    first = recorded.run(folder)
    recorded.commit(folder, "first")
    lock = (folder / "dvc.lock").read_text()
    second = lock.replace(first["data/corpus.parquet"], "e" * 32, 1).replace(first["data/forget"], "f" * 32 + ".dir", 1)
    (folder / "dvc.lock").write_text(second)
    recorded.commit(folder, "dvc repro corpus")
    answer = json_of(folder, "audit", first["models/unlearned"])
    assert {row["path"]: row["md5"] for row in answer["chain"]}["data/forget"] == first["data/forget"]
    assert answer["recorded"]["commits"] == 2


def test_the_lock_that_recorded_a_model_first_tells_its_inputs(tmp_path: Path) -> None:
    """A file that is no text came into the folder later: another folder, the same corpus, the same model."""
    folder = recorded.empty(tmp_path / "project")
    first = recorded.run(folder)
    recorded.commit(folder, "first")
    lock = (folder / "dvc.lock").read_text()
    (folder / "dvc.lock").write_text(lock.replace(first["data/forget"], "f" * 32 + ".dir", 1))
    recorded.commit(folder, "a picture came in")
    answer = json_of(folder, "audit", first["models/unlearned"])
    assert {row["path"]: row["md5"] for row in answer["chain"]}["data/forget"] == first["data/forget"]
    assert answer["recorded"]["subject"] == "first"


def test_a_lock_that_only_took_new_code_is_shown(past: tuple) -> None:
    folder, _, _, _ = past
    (folder / "stages/finetune.py").write_text("finetune = 1  # a comment\n")
    recorded.write_lock(folder, recorded.PARAMS)
    commit = recorded.commit(folder, "comment; dvc commit finetune", "2026-03-01T09:00:00+00:00")
    md5 = fingerprint.path_md5(folder / "models/unlearned")
    answer = json_of(folder, "audit", md5)
    (row,) = answer["recommitted"]
    assert row["commit"] == commit
    assert row["stages"] == {"finetune": ["stages/finetune.py"]}
    assert answer["recorded"]["subject"] == "second run"
    shown = lethe(folder, "audit", md5).output
    assert f"other code, same outputs in {commit[:10]}, 2026-03-01T09:00:00+00:00 by Ada" in shown


def test_the_code_that_ran_is_found_in_another_commit(past: tuple) -> None:
    folder, _, _, _before = past
    ran = (folder / "stages/finetune.py").read_text()
    made = recorded.run(folder, TINY_TEXT * 2)
    (folder / "stages/finetune.py").write_text(ran + "more = 2\n")  # edited between the run and the commit
    commit = recorded.commit(folder, "run, and an edit")
    code = json_of(folder, "audit", made["models/unlearned"])["code"]
    assert code["not_in_the_commit_of_the_lock"] == ["stages/finetune.py"]
    assert code["commit"] not in ("", commit)
    assert git(folder, "show", f"{code['commit']}:stages/finetune.py") == ran.strip()


@pytest.fixture
def moved(tmp_path: Path) -> tuple[Path, dict[str, str], dict[str, str]]:
    """A project whose library was files under stages/lib at the first run and is a package at the second."""
    folder = recorded.empty(tmp_path / "project")
    recorded.library_as_file(folder)
    first = recorded.run(folder)
    recorded.commit(folder, "files")
    recorded.library_as_package(folder)
    second = recorded.run(folder, TINY_TEXT * 2)
    recorded.commit(folder, "a package")
    return folder, first, second


def test_code_is_known_by_files_before_the_library_had_packages_and_by_folders_since(moved: tuple) -> None:
    folder, first, second = moved
    for made, subject, library in (
        (first, "files", "stages/lib/models.py"),
        (second, "a package", "lethe/models"),
    ):
        answer = json_of(folder, "audit", made["models/unlearned"])
        assert library in answer["code"]["files"]
        assert library not in {row["path"] for row in answer["chain"]}
        assert answer["code"]["not_in_the_commit_of_the_lock"] == []
        assert answer["code"]["commit"] == answer["recorded"]["commit"]
        assert answer["recorded"]["subject"] == subject
    document = str(folder / "data/forget/a.txt")
    assert lethe(folder, "trace", document).exit_code == 0


def test_a_package_that_was_edited_after_the_run_is_found_in_another_commit(moved: tuple) -> None:
    folder, _, _ = moved
    ran = git(folder, "rev-parse", "HEAD")
    made = recorded.run(folder, TINY_TEXT * 3)
    (folder / "lethe/models/heads.py").write_text("width = 2\n")  # edited between the run and the commit
    recorded.commit(folder, "run, and an edit")
    code = json_of(folder, "audit", made["models/unlearned"])["code"]
    assert code["not_in_the_commit_of_the_lock"] == ["lethe/models"]
    assert code["commit"] == ran


def test_a_file_of_a_distilled_model_is_known_by_what_distil_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deps, outs = recorded.STAGES["finetune"]
    others = [out for out in outs if out != "models/unlearned"]
    monkeypatch.setitem(recorded.STAGES, "finetune", (deps, [*others, "models/suppressed"]))
    distilled = ["models/baseline", "models/suppressed"], ["models/unlearned", "reports/distil.json"]
    monkeypatch.setitem(recorded.STAGES, "distil", distilled)
    write = recorded.write_artifacts

    def with_both(folder: Path, text: str, params: dict) -> None:
        write(folder, text, params)
        suppressed = recorded.model(folder / "models/suppressed", f"suppressed {text}")
        for name, made in (("finetune", suppressed), ("distil", folder / "models/unlearned")):
            write_json({"steps": 4, "sha256": folder_sha256(made)}, folder / f"reports/{name}.json")

    monkeypatch.setattr(recorded, "write_artifacts", with_both)
    folder = recorded.empty(tmp_path / "project")
    made = recorded.run(folder)
    recorded.commit(folder, "distilled")
    sha256 = fingerprint.sha256_of(folder / "models/unlearned/model.safetensors")
    answer = json_of(folder, "audit", sha256)
    assert answer["model"] == {
        "path": "models/unlearned", "md5": made["models/unlearned"], "how": "its file model.safetensors"
    }  # fmt: skip
    assert {row["path"]: row["stage"] for row in answer["chain"]}["models/suppressed"] == "finetune"


def test_a_report_that_was_edited_is_not_believed(past: tuple) -> None:
    folder, _, _, _ = past
    made = recorded.run(folder, TINY_TEXT * 2)
    path = folder / "reports/familiarity.json"
    path.write_text(path.read_text().replace("0.25", "0.00"))
    recorded.commit(folder, "better numbers")
    done = lethe(folder, "audit", made["models/unlearned"], "--verify")
    assert done.exit_code == 3
    assert "leak" not in done.output
    assert "reports/familiarity.json" in done.output
    assert "other bytes than dvc.lock recorded" in done.output


def test_verify_says_of_every_artifact_where_it_is(past: tuple) -> None:
    folder, copy, first, _ = past
    labels, corpus, blocks = (first[f"data/{name}.parquet"] for name in ("labels", "corpus", "blocks"))
    recorded.put_remote(folder, corpus, recorded.remove_cached(folder, corpus))
    recorded.remove_cached(folder, labels)
    recorded.keep(folder, blocks, b"damaged")
    done = json_of(folder, "audit", str(copy), "--verify")
    states = {row["path"]: row["state"] for row in done["verify"]}
    assert states["data/corpus.parquet"] == "missing here, in remote"
    assert states["data/labels.parquet"] == "gone"
    assert states["data/blocks.parquet"] == "present and different"
    assert states["models/unlearned"] == states["models/reinforced"] == "present and equal"
    assert states["data/forget"] == "present and equal"  # the first corpus is only in git now
    assert states["code of 3 files"] == states["reports/familiarity.json"] == "present and equal"
    assert done["corpus"]["at_hand"] == "remote far"
    assert len(done["corpus"]["documents"]) == 2
    assert lethe(folder, "audit", str(copy), "--verify").exit_code == 3


def test_verify_sees_an_edited_file_of_a_folder(past: tuple) -> None:
    folder, _, _, _ = past
    path = folder / "models/unlearned/model.safetensors"
    md5 = fingerprint.path_md5(folder / "models/unlearned")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    done = json_of(folder, "audit", md5, "--verify")
    (row,) = (row for row in done["verify"] if row["path"] == "models/unlearned")
    assert row["state"] == "present and different"
    assert row["said"].startswith("folder: md5 ")


def test_a_half_finished_run_is_no_difference(past: tuple) -> None:
    folder, _, _, _ = past
    md5s = {path: fingerprint.path_md5(folder / path) for path in ("models/unlearned", "data/corpus.parquet")}
    (folder / "data/corpus.parquet").write_text("another")
    new = fingerprint.md5_of(folder / "data/corpus.parquet")
    out = f"    outs:\n    - path: data/corpus.parquet\n      hash: md5\n      md5: {md5s['data/corpus.parquet']}"
    lock = folder / "dvc.lock"
    lock.write_text(lock.read_text().replace(out, out.replace(md5s["data/corpus.parquet"], new)))
    assert new in lock.read_text()
    rows = json_of(folder, "audit", md5s["models/unlearned"], "--verify")["verify"]
    assert {row["state"] for row in rows} == {"present and equal"}


def test_a_model_that_matches_nothing_is_told_the_nearest(past: tuple, tmp_path: Path) -> None:
    folder, copy, first, _ = past
    header = recorded.model(tmp_path / "header", "x")
    save_file(load_file(copy / "model.safetensors"), header / "model.safetensors", {"format": "np", "by": "a tool"})
    answer = json_of(folder, "audit", str(header))
    assert answer["model"] is None
    assert answer["nearest"][0]["md5"] == first["models/unlearned"]
    assert answer["nearest"][0]["same"] == [
        "tensors: model.safetensors holds the tensors of its model.safetensors under another header"
    ]
    (copy / "README.md").write_text("A card of its own.\n")
    answer = json_of(folder, "audit", str(copy))
    same = answer["nearest"][0]["same"]
    assert same[0] == "file: model.safetensors is its model.safetensors; README.md is extra"
    done = lethe(folder, "audit", str(copy))
    assert done.exit_code == 3
    assert f"nearest   models/unlearned {first['models/unlearned']}" in done.output


def test_the_nearest_by_corpus_and_params(past: tuple) -> None:
    folder, copy, first, _ = past
    save_file({"a.weight": np.ones(3, np.float32)}, copy / "model.safetensors", {"format": "pt"})
    answer = json_of(folder, "audit", str(copy))
    assert [row["same"] for row in answer["nearest"]] == [
        [
            f"corpus: {fingerprint.sha256_of(cached(folder, first['data/corpus.parquet']))}",
            "params: the section finetune",
        ],
        ["params: the section finetune"],  # the second run's: same params, another corpus
    ]
    assert answer["nearest"][0]["md5"] == first["models/unlearned"]


def cached(folder: Path, md5: str) -> Path:
    return folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:]


def test_a_stranger_has_no_nearest(past: tuple, tmp_path: Path) -> None:
    folder, _, _, _ = past
    done = lethe(folder, "audit", str(recorded.model(tmp_path / "stranger", "nobody")))
    assert done.exit_code == 3
    assert "matches nothing in this history" in done.output
    assert "No recorded model shares its weights, corpus or params" in done.output


def test_what_cannot_be_answered_is_one_line(past: tuple, tmp_path: Path) -> None:
    folder, copy, _, _ = past
    assert one_line(folder, "audit", "no/such") == (
        "no/such: no such file; expected a model folder, a safetensors file or a hash"
    )
    assert (
        one_line(folder, "audit", "abcdef0")
        == "abcdef0: expected a file or the beginning of a recorded hash, got neither"
    )
    empty = tmp_path / "nothing"
    empty.mkdir()
    assert one_line(folder, "audit", str(empty)) == f"{empty}: expected a model, got an empty folder"
    config = copy / "config.json"
    assert one_line(folder, "audit", str(config)).endswith("such as its weights, got one of 2 models")
    weights = copy / "model.safetensors"
    size = weights.stat().st_size
    weights.write_bytes(weights.read_bytes()[:-7])
    assert one_line(folder, "audit", str(copy)) == (
        f"{weights}: truncated: expected {size} bytes by its header, got {size - 7}"
    )


@pytest.mark.parametrize(("name", "content"), [("pytorch_model.bin", b"x"), ("model.safetensors", b"\x80\x04evil")])
def test_a_pickle_is_refused_and_never_loaded(past: tuple, tmp_path: Path, name: str, content: bytes) -> None:
    folder, copy, _, _ = past
    (copy / name).write_bytes(content)
    wanted = f"{copy / name}: expected safetensors, got a pickle, which was not loaded (a pickle can run code)"
    assert one_line(folder, "audit", str(copy)) == wanted


def test_without_a_history_there_is_one_line(past: tuple, tmp_path: Path) -> None:
    folder, copy, _first, _ = past
    nowhere = tmp_path / "nowhere"
    nowhere.mkdir()
    assert one_line(nowhere, "audit", str(copy)) == (
        f"{nowhere}: expected the git repository that made the model, got none"
    )
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth", "1", f"file://{folder}", str(shallow))
    assert one_line(shallow, "audit", str(copy)) == (
        f"{shallow}: expected the whole history, got a shallow clone; git fetch --unshallow"
    )
    bare = recorded.empty(tmp_path / "bare")
    assert one_line(bare, "audit", str(copy)) == (
        f"{bare}: expected dvc.lock in git, got no commit that contains it; git add dvc.lock"
    )


def test_an_uncommitted_lock_stands_for_nothing(past: tuple) -> None:
    folder, _, first, _ = past
    md5 = recorded.run(folder, TINY_TEXT * 2)["models/unlearned"]
    assert one_line(folder, "audit", "models/unlearned") == (
        "dvc.lock: expected models/unlearned (models/unlearned) in a commit, got it only in the uncommitted "
        "dvc.lock; git commit dvc.lock reports"
    )
    assert md5 in (folder / "dvc.lock").read_text()
    note = "the current dvc.lock is in no commit and was ignored; git commit dvc.lock reports"
    assert json_of(folder, "audit", first["models/unlearned"])["notes"] == [note]


def test_the_folder_hash_is_dvcs(tmp_path: Path) -> None:
    from dvc.repo import Repo

    folder = recorded.model(tmp_path / "m", "seed")
    (folder / "sub").mkdir()
    (folder / "sub/ä b.txt").write_text("x")
    repo = Repo.init(str(tmp_path), no_scm=True)
    (stage,) = repo.add(str(folder))
    assert stage.outs[0].hash_info.value == fingerprint.path_md5(folder)


def test_the_scanner_reads_what_yaml_reads(past: tuple) -> None:
    folder, _, _, _ = past
    text = (folder / "dvc.lock").read_text()
    stages = history.read_lock(text)["stages"]
    by_yaml = {
        name: history.Entry(*({item["path"]: item["md5"] for item in stage[kind]} for kind in ("deps", "outs")))
        for name, stage in stages.items()
    }
    assert history.recorded(text) == by_yaml
    quoted = text.replace("path: data/forget", "path: 'data/for: get'")  # a form that the pattern does not know
    assert "data/for: get" in history.recorded(quoted)["corpus"].deps
    real = (ROOT / "dvc.lock").read_text() if (ROOT / "dvc.lock").exists() else text
    for name, entry in history.recorded(real).items():
        stage = history.read_lock(real)["stages"][name]
        assert entry.outs == {item["path"]: item["md5"] for item in stage["outs"]}
        assert entry.deps == {item["path"]: item["md5"] for item in stage["deps"]}


def long_history(folder: Path, commits: int) -> list[str]:
    """A history of so many commits, each with a dvc.lock of its own of 30 kB; returns the models' md5, oldest first."""
    made = recorded.run(folder)
    code = "".join(
        f"    - path: stages/lib/module{number:03d}.py\n      hash: md5\n      md5: {number:032x}\n      size: 1\n"
        for number in range(260)
    )
    lock = (folder / "dvc.lock").read_text().replace("    deps:\n", f"    deps:\n{code}", 1)
    md5s, stream = [], []
    for number in range(commits):
        md5s.append(f"{number:08x}{'d' * 24}.dir")
        text = lock.replace(made["models/unlearned"], md5s[-1]).encode()
        stream.append(
            b"commit refs/heads/long\nmark :%d\ncommitter Ada <ada@example.org> %d +0000\ndata 3\nrun"
            % (number + 1, 1_600_000_000 + 60 * number)
            + (b"\nfrom :%d" % number if number else b"")
            + b"\nM 100644 inline dvc.lock\ndata %d\n" % len(text)
            + text
        )
    git(folder, "fast-import", "--quiet", given=b"\n".join(stream) + b"\n")
    assert len(lock) > 30_000
    return md5s


def test_five_hundred_commits_take_less_than_five_seconds(tmp_path: Path) -> None:
    """CPU seconds of the whole command with its git processes, so that a busy machine makes no difference."""
    folder = recorded.empty(tmp_path / "project")
    md5s = long_history(folder, 500)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for md5 in (md5s[3], "f" * 32):
        done = subprocess.run(
            [sys.executable, "-m", "lethe", "audit", md5, "--ref", "long"],
            cwd=folder,
            capture_output=True,
            text=True,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        )
        assert done.returncode == (0 if md5 == md5s[3] else 3), done.stderr
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 5
        before = after


def test_git_is_asked_as_often_for_a_long_history_as_for_a_short_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []
    real = history.git
    for module in (history,):
        monkeypatch.setattr(
            module, "git", lambda project, *words, **more: asked.append(words) or real(project, *words, **more)
        )
    counts = []
    for commits in (5, 50):
        folder = recorded.empty(tmp_path / str(commits))
        md5s = long_history(folder, commits)
        asked.clear()
        json_of(folder, "audit", md5s[2], "--ref", "long")
        counts.append(len(asked))
    assert counts[0] == counts[1] > 0


def test_ancestors_of_a_path_in_one_lock(past: tuple) -> None:
    folder, _, _, _ = past
    lock = history.recorded((folder / "dvc.lock").read_text())
    assert history.ancestors(lock, "data/blocks.parquet") == [
        "constraints.txt",
        "data/corpus.parquet",
        "models/baseline",
        "data/forget",
        "stages/corpus.py",
    ]
    assert history.ancestors(lock, "data/forget") == []
    assert history.is_code("stages/x.py")
    assert history.is_code("lethe/models")
    assert not history.is_code("data/x.csv")


def test_a_project_in_a_folder_of_a_repository(tmp_path: Path) -> None:
    folder = recorded.empty(tmp_path / "repository/sub/project")
    made = recorded.run(folder)
    shutil.rmtree(folder / ".git")
    git(tmp_path / "repository", "init", "--quiet", "--initial-branch=main")
    commit = recorded.commit(tmp_path / "repository", "all of it")
    answer = json_of(folder, "audit", made["models/unlearned"], "--verify")
    assert answer["recorded"]["commit"] == answer["code"]["commit"] == commit
    assert {row["state"] for row in answer["verify"]} == {"present and equal"}


def test_the_shell_completes_commands_and_options() -> None:
    from typer.testing import CliRunner

    from lethe.cli.commands import app

    for words, wanted in (("lethe a", "audit"), ("lethe audit --v", "--verify")):
        place = str(words.count(" "))
        shell = {"_LETHE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": place}
        assert wanted in CliRunner().invoke(app, [], prog_name="lethe", env=shell).output.split()


@pytest.mark.parametrize(
    ("params", "shown"),
    [
        (
            {"source": "folder", "folder": "data/model", "model": None, "revision": None},
            {"source": "folder", "folder": "data/model"},
        ),
        (
            {"source": "gguf", "folder": "data/model/own.gguf", "model": None, "revision": None},
            {"source": "gguf", "folder": "data/model/own.gguf"},
        ),
        (
            {"source": "hub", "folder": "data/model", "model": "owner/name", "revision": "0" * 40},
            {"source": "hub", "model": "owner/name", "revision": "0" * 40},
        ),
        (
            {"source": "folder", "model": "models/mine", "revision": None},  # as it was recorded once
            {"source": "folder", "model": "models/mine", "revision": None},
        ),
    ],
)
def test_a_baseline_is_named_by_what_it_came_from(params: dict[str, object], shown: dict[str, object]) -> None:
    assert audit.origin(params) == shown
