"""`lethe pin`, against a local server that speaks the Hub's API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lethe.cli.commands import app
from lethe.core.errors import StageError
from lethe.core.params import read_yaml
from lethe.preflight.check import pinned_commit
from lethe.preflight.pin import current_commit, pinned
from tests.conftest import set_param, tiny_model
from tests.fake_hub import FakeHub, serving

COMMIT, OLD = "0123456789abcdef0123456789abcdef01234567", "a" * 40


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("repo"))


@pytest.fixture
def fake(model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub with one repository, whose branch main is at COMMIT and whose tag v1 is at OLD."""
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", "/nonexistent")
    monkeypatch.setattr("time.sleep", lambda _: None)
    with serving() as server:
        server.repos["owner/name"] = {COMMIT: model, OLD: model}
        server.branches |= {"main": COMMIT, "v1": OLD}
        monkeypatch.setenv("HF_ENDPOINT", server.hub)
        yield server


def test_the_commit_is_written_and_all_else_stays(fake: FakeHub, project: Path) -> None:
    before = Path("params.yaml").read_text(encoding="utf-8").splitlines()
    done = CliRunner().invoke(app, ["pin", "owner/name"], catch_exceptions=False)
    assert done.output == (
        f"pin: params.yaml: baseline.revision: {COMMIT}, which is main of owner/name now; before: null\n"
    )
    after = Path("params.yaml").read_text(encoding="utf-8").splitlines()
    new = [line for line, old in zip(after, before, strict=True) if line != old]
    assert [line.split("#")[0].strip() for line in new] == [
        "source: hub", "model: owner/name", f"revision: {COMMIT}",
    ]  # fmt: skip
    words = [line.split("#")[1] for line in before if line.strip().startswith(("source: scratch", "model: null"))]
    assert [line.split("#")[1] for line in new][:2] == words[:2]
    assert not fake.paths("resolve")  # nothing was downloaded
    assert list(project.glob(".params*")) == []


def test_a_tag_for_another_stage_and_another_file(fake: FakeHub, project: Path) -> None:
    Path("mine.yaml").write_text("specialise:\n  revision: old # ours\n")
    options = ["--revision", "v1", "--stage", "specialise", "--params", "mine.yaml", "--json"]
    done = CliRunner().invoke(app, ["pin", "owner/name", *options], catch_exceptions=False)
    assert json.loads(done.output) == {
        "model": "owner/name", "revision": "v1", "commit": OLD, "params": "mine.yaml", "before": "old",
    }  # fmt: skip
    wanted = f"specialise:\n  revision: {OLD} # ours\n  source: hub\n  model: owner/name\n"
    assert Path("mine.yaml").read_text() == wanted


@pytest.mark.parametrize(
    ("repo", "revision", "message"),
    [
        ("owner/none", "main", "params.yaml: baseline.model: owner/none: no such model at "),
        ("owner/name", "dev", "params.yaml: baseline.revision: expected one of "),
        ("a/b/c", "main", "params.yaml: baseline.model: expected owner/name, got a/b/c"),
    ],
)
def test_what_the_hub_does_not_have_changes_nothing(
    fake: FakeHub, project: Path, repo: str, revision: str, message: str
) -> None:
    before = Path("params.yaml").read_bytes()
    with pytest.raises(StageError) as error:
        CliRunner().invoke(app, ["pin", repo, "--revision", revision], catch_exceptions=False)
    assert str(error.value).startswith(message)
    assert Path("params.yaml").read_bytes() == before


def test_a_model_that_the_stage_would_refuse_is_refused_now(fake: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_text("a pickle")
    fake.repos["owner/name"][COMMIT] = tmp_path
    with pytest.raises(StageError, match=r"expected safetensors, got only pickled weights \(pytorch_model.bin\)"):
        current_commit("owner/name", "main")


def test_a_file_without_the_section(project: Path) -> None:
    Path("mine.yaml").write_text("corpus: {}\n")
    with pytest.raises(StageError, match=r"mine.yaml: expected a section baseline, got none"):
        pinned(Path("mine.yaml"), "baseline", "owner/name", COMMIT)


def test_check_names_the_command(project: Path) -> None:
    from lethe.core.params import read_params
    from stages.baseline import Params

    for name, value in {"source": "hub", "model": "owner/name", "epochs": 0}.items():
        set_param(project, f"baseline.{name}", value)
    assert [*pinned_commit(read_params("baseline", Params))] == [
        "baseline.revision: expected a 40-digit commit, got null; `lethe pin owner/name` writes the current one"
    ]
    assert read_yaml(Path("params.yaml"))["baseline"]["revision"] is None
