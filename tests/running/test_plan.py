"""What a run will do and why: order, reasons, and what belongs to the default run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lethe.core.errors import StageError
from lethe.running.plan import Step, changed_values, in_order, plan, targets_of
from lethe.running.whose import Whose, answer, of_checkout
from tests import tiny

PIPELINE = """stages:
  corpus: {cmd: cat text > corpus, deps: [text], outs: [corpus]}
  retrain: {cmd: cat corpus > retrain, deps: [corpus], outs: [retrain]}
  distil: {cmd: cat corpus > distil, deps: [corpus, code], params: [distil], outs: [distil]}
  evaluate: {cmd: cat distil retrain > evaluate, deps: [distil, retrain], outs: [evaluate]}
  extra: {cmd: cat evaluate > extra, deps: [evaluate], outs: [extra]}
  classify: {cmd: cat text > classify, deps: [text], outs: [classify]}
"""
STAGES = ["corpus", "retrain", "distil", "evaluate", "extra", "classify"]
ORDER = ["corpus", "distil", "retrain", "evaluate", "extra"]  # what makes the first verdict first


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline that ran once."""
    folder = tmp_path_factory.mktemp("plan") / "project"
    folder.mkdir()
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / "params.yaml").write_text("distil: {steps: 3, noise: {mean: 0.6}, rate: 1e-3}\n")
    (folder / "text").write_text("a\n")
    (folder / "code").write_text("b\n")
    tiny.git(folder, "init", "--quiet", "--initial-branch=main")
    tiny.dvc(folder, "init", "--quiet")
    tiny.dvc(folder, "repro", "--quiet", "extra")
    return folder


@pytest.fixture
def project(ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = shutil.copytree(ran, tmp_path / "project", symlinks=True)
    for name, value in tiny.environment(folder).items():
        if name.startswith(("DVC", "GIT")):
            monkeypatch.setenv(name, value)
    monkeypatch.chdir(folder)
    return folder


def found(*words: str, force: bool = False) -> dict[str, list[str]]:
    return {step.name: step.why for step in plan(targets_of(words, STAGES), force)}


def test_the_order_and_what_is_unchanged(project: Path) -> None:
    assert found() == {name: [] for name in ORDER}
    assert list(found()) == ORDER
    assert found("retrain", force=True) == {"corpus": ["forced"], "retrain": ["forced"]}
    assert found("spul") == {"classify": ["has not run yet"]}
    assert of_checkout() == Whose(True, {}, [])


def test_each_reason_is_named(project: Path) -> None:
    (project / "params.yaml").write_text("distil: {steps: 5, noise: {mean: 0.60}, rate: 0.001, new: [1]}\n")
    (project / "code").write_text("c\n")
    (project / "retrain").unlink()
    assert found() == {
        "corpus": [],
        "distil": ["distil.steps 3 -> 5", "distil.new none -> [1]", "code changed"],
        "retrain": ["retrain missing"],
        "evaluate": ["after distil, retrain"],
        "extra": ["after evaluate"],
    }
    whose = of_checkout()
    assert whose == Whose(
        False, {"distil": ["distil.steps 3 -> 5", "distil.new none -> [1]", "code changed"]}, ["retrain"]
    )
    assert whose.sentence() == (
        "NOT this checkout's numbers (distil: distil.steps 3 -> 5, distil.new none -> [1], code changed); "
        "`lethe repro` makes them anew"
    )


def test_an_input_and_a_command(project: Path) -> None:
    (project / "text").write_text("other\n")
    (project / "dvc.yaml").write_text(PIPELINE.replace("cat evaluate", "cat  evaluate"))
    assert found()["corpus"] == ["text changed"]
    assert found()["retrain"] == ["after corpus"]
    assert found()["extra"] == ["its command changed"]


def test_an_input_that_dvc_records(project: Path) -> None:
    tiny.dvc(project, "add", "--quiet", "text")
    assert list(found()) == ["text.dvc", *ORDER]
    (project / "text").unlink()
    (project / "text").write_text("other\n")
    assert (found()["text.dvc"], found()["corpus"]) == (["text changed"], ["text changed"])


def test_an_unknown_target(project: Path) -> None:
    with pytest.raises(StageError) as error:
        plan(["nosuch"])
    assert str(error.value).startswith("repro: ")
    assert "nosuch" in str(error.value)
    assert "\n" not in str(error.value)


def test_many_values_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("a: {one: 1, two: 2, three: true, four: null, five: 1e-4}\n")
    now = {"a": {"one": 2, "two": 3, "three": False, "four": 4, "five": 0.001}}
    assert list(changed_values(path, {"a": "modified"}, now)) == [
        "a.one 2 -> 1", "a.two 3 -> 2", "a.three false -> true", "2 more values",
    ]  # fmt: skip
    assert next(changed_values(path, {"a": "modified"}, {"a": {"one": 1}})) == "a.two none -> 2"
    same = {"a": {"one": 1, "two": 2, "three": True, "four": None, "five": 0.0001}}
    assert list(changed_values(path, {"a": "modified"}, same)) == ["a changed"]  # dvc sees it, whatever it is


def test_targets() -> None:
    assert targets_of(["label"], ["label", "spul"]) == ["label"]
    assert targets_of(["spul"], ["label", "spul"]) == ["spul"]  # a stage of that name
    assert targets_of([], ["one", "two"]) == ["one", "two"]


def test_a_frozen_stage_does_not_ask_for_what_it_reads() -> None:
    import networkx as nx

    class Node:
        def __init__(self, frozen: bool) -> None:
            self.frozen = frozen

    first, second, third = Node(False), Node(True), Node(False)
    graph = nx.DiGraph([(second, first), (third, second)])
    assert in_order(graph, [third]) == [second, third]  # type: ignore[list-item]


def test_numbers_that_were_made_elsewhere() -> None:
    assert answer([Step("a", [], ["models/a missing"], [])]).sentence() == (
        "The numbers of a run with this code, these params and inputs, but not here: the outs of 1 stages are missing; "
        "`lethe repro` makes them, `dvc pull` fetches them"
    )
    many = answer([Step(name, ["x changed"], [], []) for name in "abcdef"]).sentence()
    assert "(a: x changed; b: x changed; 4 more stages)" in many
