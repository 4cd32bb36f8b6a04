"""Twelve months in five minutes: three corpora, five models, and who asks where they came from.

docs/provenance.md tells the same walk. The months are the dates of the commits; the runs are those of the tiny project.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from lethe.provenance.fingerprint import path_md5
from tests import recorded, tiny
from tools.sandbox import change_params

pytestmark = pytest.mark.slow

FIRST, SECOND = "data/demo/forget/saga-1.txt", "data/demo/forget/saga-2.txt"
EDITED = slice(2000, 3400)  # of the first file: taken out in the last corpus


class Walk:
    """The project, the folder outside of it, and what each month's model was."""

    def __init__(self, folder: Path) -> None:
        self.project = tiny.make(folder / "project")
        self.outside = folder / "outside"
        self.outside.mkdir()
        self.models: dict[int, str] = {}
        self.commits: dict[int, str] = {}
        self.corpora: dict[int, str] = {}
        self.text = (self.project / FIRST).read_text(encoding="utf-8")

    def month(self, number: int, subject: str, who: str) -> None:
        """Run the pipeline up to the unlearned model, copy that out of the project, and commit."""
        tiny.dvc(self.project, "repro", "distil")
        self.keep(number)
        self.commits[number] = self.commit(number, subject, who)

    def keep(self, number: int) -> None:
        """Note the model and the corpus of a month and copy the model out."""
        self.models[number] = path_md5(self.project / "models/unlearned")
        self.corpora[number] = path_md5(self.project / "data/corpus.parquet")
        shutil.copytree(self.project / "models/unlearned", self.outside / f"model-{number}")

    def commit(self, number: int, subject: str, who: str) -> str:
        """Commit what git holds, in that month and by that person."""
        date = f"2026-{number:02d}-15T10:00:00+00:00"
        mail = f"{who.lower()}@example.org"
        named = {"GIT_AUTHOR_NAME": who, "GIT_AUTHOR_EMAIL": mail, "GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
        recorded.git(self.project, "add", "--all")
        recorded.git(self.project, "commit", "--quiet", "-m", subject, **named)
        return recorded.git(self.project, "rev-parse", "HEAD")

    def audit(self, given: object) -> dict[str, Any]:
        return recorded.json_of(self.project, "audit", str(given))

    def trace(self, *given: str) -> dict[str, str]:
        """{md5: what it had to do with it} of the unlearned models of a trace."""
        answer = recorded.json_of(self.project, "trace", *given, "--all")
        models = (model for corpus in answer["corpora"] for model in corpus["models"])
        return {model["md5"]: model["relation"] for model in models if model["path"] == "models/unlearned"}


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Walk:
    walk = Walk(tmp_path_factory.mktemp("walk"))
    project = walk.project
    walk.month(1, "January: the first request", "Ada")
    change_params(project, {"finetune.learning_rate": 2e-2})
    walk.month(3, "March: it had not forgotten enough", "Ben")
    saga = (tiny.ROOT / SECOND).read_text(encoding="utf-8")[:5000]
    (project / SECOND).write_text(saga[: saga.rindex("\n\n")] + "\n", encoding="utf-8")
    walk.month(6, "June: a second request", "Ada")
    tiny.dvc(project, "exp", "run", "--name", "slower", "--set-param", "finetune.learning_rate=0.005", "distil")
    walk.keep(9)  # September: an experiment that nobody promoted
    recorded.git(project, "checkout", "--quiet", "--", ".")
    text = walk.text[: EDITED.start] + walk.text[EDITED.stop :]
    (project / FIRST).write_text(text, encoding="utf-8")
    walk.month(12, "December: a page was not theirs", "Cleo")
    (walk.outside / "model-1").rename(walk.outside / "release-candidate")
    shutil.move(walk.outside / "model-6/model.safetensors", walk.outside / "weights.safetensors")
    return walk


def test_there_are_five_models_of_three_corpora(walk: Walk) -> None:
    assert len(set(walk.models.values())) == 5
    assert len(set(walk.corpora.values())) == 3
    assert walk.corpora[1] == walk.corpora[3] != walk.corpora[6] == walk.corpora[9] != walk.corpora[12]


@pytest.mark.parametrize(("month", "who"), [(1, "Ada"), (3, "Ben"), (6, "Ada"), (12, "Cleo")])
def test_every_model_is_told_its_corpus_commit_and_person(walk: Walk, month: int, who: str) -> None:
    moved = {1: "release-candidate", 6: "weights.safetensors"}
    answer = walk.audit(walk.outside / moved.get(month, f"model-{month}"))
    md5s = {row["path"]: row["md5"] for row in answer["chain"]}
    assert answer["model"]["md5"] == walk.models[month]
    assert md5s["data/corpus.parquet"] == walk.corpora[month]
    assert answer["recorded"]["commit"] == walk.commits[month]
    assert answer["recorded"]["author"].startswith(who)
    assert answer["recorded"]["date"].startswith(f"2026-{month:02d}-15")
    assert answer["code"]["commit"]
    assert answer["params"]["finetune"]["learning_rate"] == (1e-2 if month == 1 else 2e-2)
    files = {row["file"] for row in answer["corpus"]["documents"] if row["side"] == "forget"}
    assert files == {"saga-1.txt"} | ({"saga-2.txt"} if month > 3 else set())


def test_the_experiment_is_found_by_its_name(walk: Walk) -> None:
    answer = recorded.json_of(walk.project, "audit", str(walk.outside / "model-9"), "--ref", "slower")
    assert answer["recorded"]["experiment"] == "slower"
    assert answer["params"]["finetune"]["learning_rate"] == 0.005
    assert {row["path"]: row["md5"] for row in answer["chain"]}["data/corpus.parquet"] == walk.corpora[6]


def test_the_page_that_was_taken_out_traces_to_the_models_before(walk: Walk) -> None:
    removed = walk.text[EDITED]
    page = walk.outside / "page.txt"
    page.write_text(removed[100:1300].upper().replace(" ", "\n  "))  # reformatted: no line is as it was
    found = walk.trace(str(page))
    assert set(found) == {walk.models[month] for month in (1, 3, 6, 9)}


def test_the_second_file_traces_to_the_models_after_it(walk: Walk) -> None:
    found = walk.trace(str(walk.project / SECOND))
    assert set(found) == {walk.models[month] for month in (6, 9, 12)}


def test_the_old_corpus_traces_by_its_hash_and_by_a_span(walk: Walk) -> None:
    assert set(walk.trace(walk.corpora[1])) == {walk.models[1], walk.models[3]}
    assert set(walk.trace("saga-2.txt:0-300")) == {walk.models[month] for month in (6, 9, 12)}


def test_a_stranger_checks_the_certificate_of_a_model_that_moved(walk: Walk) -> None:
    moved, certificate = str(walk.outside / "release-candidate"), str(walk.outside / "certificate.json")
    key = str(walk.outside / "lethe.key")
    assert (
        recorded.lethe(walk.project, "certify", moved, "--new-key", "--key", key, "--out", certificate).exit_code == 0
    )
    checked = ["verify", certificate, moved, "--key", key.replace(".key", ".pub")]
    assert recorded.lethe(walk.outside, *checked).exit_code == 0
    checked[2] = str(walk.outside / "model-3")
    assert recorded.lethe(walk.outside, *checked).exit_code == 3


def test_every_artifact_of_the_twelve_months_is_at_hand(walk: Walk) -> None:
    for month in walk.models:
        rows = recorded.json_of(walk.project, "audit", walk.models[month], "--verify", "--all")["verify"]
        assert {row["state"] for row in rows} == {"present and equal"}, month
