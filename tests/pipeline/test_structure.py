"""One word per stage, in every place: the places may not disagree."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from lethe.core.params import shared_sections
from lethe.core.stage import declared_paths
from lethe.core.whole_params import schema_of
from lethe.evaluation.model_set import FOLDERS
from tools.deps import with_deps
from tools.structure import ROOT, code_deps, direct_imports

PIPELINE = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
STAGES = PIPELINE["stages"]
PARAMS = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
each_stage = pytest.mark.parametrize("stage", STAGES)


def docstring(stage: str) -> str:
    tree = ast.parse((ROOT / "stages" / f"{stage}.py").read_text(encoding="utf-8"))
    return ast.get_docstring(tree) or ""


def listed(stage: str, word: str) -> set[str]:
    """Paths of the docstring's `reads` or `writes` entry, which may go on in indented lines."""
    found = re.search(rf"^{word}\s+((?:.+)(?:\n\s+.+)*)", docstring(stage), re.MULTILINE)
    return set(found[1].split()) if found else set()


def data_deps(stage: str) -> set[str]:
    """The stage's deps that are not code."""
    return {dep for dep in STAGES[stage]["deps"] if dep != "constraints.txt" and dep not in code_deps(stage)}


def products(stage: str) -> set[str]:
    return set(declared_paths(STAGES[stage], "outs", "metrics", "plots"))


def literal_paths(stage: str) -> set[str]:
    """Path("a/b") and work / "a/b" in the stage's main(), Path("params.yaml"), and the models it measures."""
    tree = ast.parse((ROOT / "stages" / f"{stage}.py").read_text(encoding="utf-8"))
    main = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "main")
    texts = set()
    for node in ast.walk(main):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Path":
            texts |= {arg.value for arg in node.args if isinstance(arg, ast.Constant)}
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "measured":
            names = ast.literal_eval(node.args[0]) if isinstance(node.args[0], ast.Tuple) else FOLDERS
            texts |= {str(FOLDERS[name]) for name in names}
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and getattr(node.left, "id", "") == "work":
            texts |= {node.right.value} if isinstance(node.right, ast.Constant) else set()
    return {text for text in texts if "/" in text or text == "params.yaml"}


def test_names_agree_everywhere() -> None:
    modules = {path.stem for path in (ROOT / "stages").glob("*.py")}
    tests = {path.stem.removeprefix("test_") for path in (ROOT / "tests/stages").glob("test_*.py")}
    assert set(STAGES) == modules
    assert set(STAGES) == tests


def test_deps_name_the_code_that_each_stage_imports() -> None:
    text = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    assert text == with_deps(text), "run `make deps`"


def test_deps_are_the_stages_module_and_whole_packages() -> None:
    assert code_deps("corpus") == ["lethe/core", "lethe/text", "stages/corpus.py"]
    assert "constraints.txt" not in STAGES["corpus"]["deps"]  # it imports no torch
    assert "constraints.txt" in STAGES["finetune"]["deps"]


@pytest.mark.parametrize("stage", ["baseline", "retrain", "reinforce", "specialise"])
def test_a_new_objective_reruns_no_training_that_only_teaches(stage: str) -> None:
    # These train on true next tokens. Were lethe/unlearning among their deps, DVC would run them again for every line
    # that is changed in an objective.
    assert "lethe/unlearning" not in code_deps(stage)


@each_stage
def test_description_is_the_first_line_of_the_docstring(stage: str) -> None:
    assert STAGES[stage]["desc"] == docstring(stage).split("\n\n")[0].replace("\n", " ")


@each_stage
def test_docstring_lists_what_dvc_lists(stage: str) -> None:
    assert listed(stage, "reads") == data_deps(stage)
    assert listed(stage, "writes") == products(stage)


@each_stage
def test_main_touches_what_dvc_lists(stage: str) -> None:
    named_by_params = {path for path in data_deps(stage) if path.startswith("${")}
    assert literal_paths(stage) == data_deps(stage) - named_by_params | products(stage)


@each_stage
def test_params_are_the_stages_own_section_and_those_it_shares(stage: str) -> None:
    schema = schema_of(stage)
    assert schema is not None
    assert STAGES[stage]["params"] == [*shared_sections(schema), stage]


def test_sections_stand_in_the_order_of_the_pipeline_but_for_what_matters_most() -> None:
    first = ["corpus", "baseline", "finetune", "training", "methods"]
    assert list(PARAMS) == first + [stage for stage in STAGES if stage not in first]
    top = YAML(typ="safe").load("".join((ROOT / "params.yaml").open(encoding="utf-8").readlines()[:40]))
    assert {"forget", "retain"} < set(top["corpus"])
    assert {"source", "folder", "model"} < set(top["baseline"])
    assert {"objective", "steps", "learning_rate"} < set(top["finetune"])


def test_a_value_stands_in_one_place() -> None:
    shared = {key: value for name in ("training", "methods") for key, value in PARAMS[name].items()}
    for stage in ("baseline", "reinforce", "finetune", "specialise", "softprompt"):
        repeated = {key for key, value in flat(PARAMS[stage]) if (key, value) in flat(shared)}
        assert not repeated, stage


def flat(values: dict[str, Any], before: str = "") -> list[tuple[str, Any]]:
    """(dotted key, value) of every value."""
    found = []
    for key, value in values.items():
        found += flat(value, f"{before}{key}.") if isinstance(value, dict) else [(f"{before}{key}", value)]
    return found


@each_stage
def test_no_stage_imports_a_stage(stage: str) -> None:
    own = Path("stages") / f"{stage}.py"
    assert not [path for path in direct_imports(own) if path.parent == Path("stages")]


@each_stage
def test_reports_live_in_git_and_artifacts_in_the_cache(stage: str) -> None:
    for kind in ("outs", "metrics", "plots"):
        for item in STAGES[stage].get(kind, []):
            path = next(iter(item)) if isinstance(item, dict) else item
            uncached = isinstance(item, dict) and not next(iter(item.values()))["cache"]
            assert uncached == bool(re.fullmatch(r"reports/.*\.(json|csv)", path)), item


def test_metrics_are_the_gate_and_what_trainings_say() -> None:
    # `dvc metrics show` is for the numbers that decide: most others are outs with `cache: false`. DVC's run cache knows
    # no stage with such an out, so the reports of trainings, which are costly to repeat, are metrics
    metrics = [path for entry in STAGES.values() for path in declared_paths(entry, "metrics")]
    assert [Path(path).stem for path in metrics] == ["labels", "finetune", "distil", "gate", "softprompt"]


def test_the_page_shows_the_pipeline() -> None:
    page = (ROOT / "docs/pipeline.md").read_text(encoding="utf-8")
    section = page.split("<!-- generated: artifacts -->\n")[1].split("<!-- end -->")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.+?) \|$", section, re.MULTILINE)
    assert [name for name, *_ in rows] == list(STAGES)
    for name, what, reads, writes in rows:
        assert what == STAGES[name]["desc"]
        assert set(re.findall(r"`([^`]+)`", reads)) == data_deps(name)
        assert set(re.findall(r"`([^`]+)`", writes)) == products(name)
