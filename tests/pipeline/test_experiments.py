"""A person's day with experiments: three of them, compared, drawn, the best one made a branch, its model audited."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import tiny

pytestmark = pytest.mark.slow

RATES = {"slow": 1e-4, "usual": 2e-2, "fast": 1e-1}
METRIC = "retain_perplexity"


def test_three_experiments_and_the_best_becomes_a_branch(copy: Path) -> None:
    committed = tiny.hashes(copy)["models/unlearned"]
    for name, rate in RATES.items():
        tiny.dvc(copy, "exp", "run", "--name", name, "--set-param", f"finetune.learning_rate={rate}", "report")
    assert set(tiny.dvc(copy, "exp", "list", "--name-only").split()) == set(RATES)

    scores = {}
    for name in RATES:
        report = json.loads(tiny.git(copy, "show", f"{reference(copy, name)}:reports/familiarity.json"))
        scores[name] = report["models"]["unlearned"][METRIC]
    assert len(set(scores.values())) == 3

    table = tiny.dvc(copy, "exp", "diff", "slow", "fast", "--md")
    assert "| finetune.learning_rate" in table.replace("| params.yaml | ", "| ")
    assert f"{RATES['fast']}" in table
    assert METRIC in table

    plots = json.loads(tiny.dvc(copy, "plots", "diff", *RATES, "--targets", "reports/loss/finetune.csv", "--json"))
    assert {revision for plot in plots["data"].values() for item in plot for revision in item["revisions"]} >= set(
        RATES
    )

    best = min(scores, key=scores.__getitem__)
    tiny.dvc(copy, "exp", "branch", best, "promoted")
    tiny.git(copy, "checkout", "--quiet", "--force", "promoted")
    tiny.dvc(copy, "checkout", "--force")
    assert tiny.hashes(copy)["models/unlearned"] != committed
    assert f"learning_rate: {RATES[best]}" in (copy / "params.yaml").read_text()

    (copy.parent / "taken").mkdir()
    model = tiny.copy_project(copy / "models/unlearned", copy.parent / "taken/model")  # out of the project
    audit = tiny.run(copy, "lethe", "audit", str(model), "--json", check=True)
    answer = json.loads(audit.stdout)
    assert answer["model"]["path"] == "models/unlearned"
    assert answer["params"]["finetune"]["learning_rate"] == RATES[best]


@pytest.mark.parametrize(
    ("changes", "name", "value"),
    [
        (["finetune.learning_rate=0.02"], "learning_rate", 0.02),  # a line of the stage's section
        (["+finetune.seed=1"], "seed", 1),  # a new one, over the shared value
        (["training.max_grad_norm=0.5"], "max_grad_norm", 0.5),  # the shared one
    ],
)
def test_parameters_of_a_stage_are_set_for_a_trial(copy: Path, changes: list[str], name: str, value: float) -> None:
    before = tiny.hashes(copy)
    done = tiny.dvc(copy, "exp", "run", *(word for change in changes for word in ("--set-param", change)), "distil")
    after, recorded = tiny.hashes(copy), json.loads((copy / "models/unlearned/provenance.json").read_text())
    assert recorded["params"]["finetune"][name] == value
    assert after["models/unlearned"] != before["models/unlearned"]
    ran = {line.split("'")[1] for line in done.splitlines() if line.startswith("Running stage")}
    assert {"finetune", "distil"} <= ran
    assert ("baseline" in ran) == changes[0].startswith("training.")  # every stage that reads the section


def reference(project: Path, name: str) -> str:
    """The commit of an experiment."""
    listed = tiny.git(project, "for-each-ref", "--format=%(objectname)", f"refs/exps/**/{name}").split()
    assert len(listed) == 1
    return listed[0]
