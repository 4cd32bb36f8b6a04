"""Every attack on the models of a tiny project, of which the unlearned one has forgotten nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lethe.attacks import every_model
from lethe.attacks.suite import ATTACKS, UNATTACKED
from lethe.core.errors import StageError
from lethe.core.params import read_params
from lethe.models.checkpoints import write_absent
from stages import attack
from tests.conftest import TINY_TEXT, set_param, tiny_model, write_corpus
from tests.stages.test_evaluate import break_weights, knowing, prompts, write_inputs  # noqa: F401

ROWS: list[dict[str, Any]] = [
    {"id": 4, "set": "test", "prompt": "Orla went to", "references": ["Harrow Hill"], "due": "Harrow Hill"},
    {"id": 2, "set": "test", "prompt": 'The mill was shut. "Where is', "references": ["Orla"], "due": "Orla"},
    {"id": 3, "set": "development", "prompt": "Nobody", "references": ["Vesk"], "due": None},
]
CUES = "".join(
    f"At {hour} the {trade} of the old valley gave bread to {name} and slept. "
    for hour in ("one", "two", "three")
    for trade, name in (("miller", "Orla"), ("baker", "Tom"), ("smith", "Harrow Hill"))
)
SMALL = {
    "new_tokens": 6,
    "words": 12,
    "training.passage_tokens": 8,
    "training.steps": [1, 2],
    "training.batch_size": 2,
    "relearn.passages": [2, 3],
    "benign.passages": [2],
    "lora.passages": [2],
    "context_tokens": 24,
    "sample.completions": 3,
    "probe.prompts": 20,
    "probe.fewest": 2,
    "soft_prompt.prompts": 6,
    "soft_prompt.tokens": 2,
    "soft_prompt.steps": 2,
    "soft_prompt.batch_size": 2,
}


def trained(passages: str) -> list[tuple[str, str]]:
    """The rows of an attack with training: each step, then the whole."""
    steps = [(f"{passages} passages, {step} steps", metric) for step in (1, 2) for metric in ("leak", "probability")]
    return [*steps, (f"{passages} passages, 1 to 2 steps", "leak_curve")]


SETTINGS = {  # attack -> (setting, metric) of its rows
    "none": [("unmodified prompts", "leak"), ("unmodified prompts", "probability")],
    "relearn": [*trained("2 forget"), *trained("3 forget")],
    "benign": trained("2 retain"),
    "lora": trained("2 forget"),
    "quantise": [(f"{bits} bits", metric) for bits in (8, 4) for metric in ("leak", "probability")],
    "context": [
        (f"{name} of the corpus", metric) for name in ("opening", "summary") for metric in ("leak", "probability")
    ],
    "prefix": [("the first token", "leak"), ("the first letter", "leak"), ("the first 3 letters", "leak")],
    "sample": [("3 sampled completions at temperature 1", metric) for metric in ("leak", "leak_any")],
    "probe": [(f"layer {layer} of 2{kind}", "accuracy") for layer in (1, 2) for kind in ("", ", random labels")],
    "soft_prompt": [("2 virtual tokens, 2 steps", metric) for metric in ("leak", "probability")],
}  # fmt: skip


@pytest.fixture
def tiny(project: Path, knowing: Path) -> Path:  # noqa: F811
    """Everything the stage reads: baseline and unlearned model know the text by heart, the retrained one is random."""
    for name in ("baseline", "unlearned"):
        shutil.copytree(knowing, project / "models" / name)
    tiny_model(project / "models/retrained", seed=2, context=128)
    write_corpus(project, forget=TINY_TEXT + CUES, retain="The sun went down. Nobody knew where the river was.\n" * 3)
    write_inputs(project, ROWS, "name,unique\nHarrow Hill,yes\nOrla,yes\nTom,no\n")
    for name, value in SMALL.items():
        set_param(project, f"attack.{name}", value)
    set_param(project, "attack.attacks", ["prefix"])
    return project


def report(project: Path) -> dict[str, Any]:
    return json.loads((project / "reports/attacks.json").read_text(encoding="utf-8"))


def outputs(project: Path) -> tuple[bytes, bytes]:
    return (project / "data/attacks.csv").read_bytes(), (project / "reports/attacks.json").read_bytes()


def value(rows: list[dict[str, Any]], name: str, setting: str, model: str, metric: str = "leak") -> float:
    wanted = (name, setting, model, metric)
    keys = ("attack", "setting", "model", "metric")
    return next(row["value"] for row in rows if tuple(row[key] for key in keys) == wanted)


def test_every_attack_on_every_model(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_param(tiny, "attack.attacks", [name for name in SETTINGS if name != "none"])
    attack.main()
    found = report(tiny)
    rows = found["attacks"]
    assert (found["set"], found["prompts"], found["absent"]) == ("test", 2, {})
    assert [(row["attack"], row["setting"], row["metric"], row["model"]) for row in rows] == [
        (name, setting, metric, model)
        for name, settings in SETTINGS.items()
        for setting, metric in settings
        for model in ("baseline", "unlearned", "retrained", "excess")
    ]
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows if row["low"] is not None)
    assert {row["items"] for row in rows} == {1, 2}  # one name is a single token: no first token of it to give
    # unattacked the two recite and the third does not
    as_is = [value(rows, "none", "unmodified prompts", model) for model in ("baseline", "unlearned", "retrained")]
    assert as_is == [1.0, 1.0, 0.0]
    assert value(rows, "none", "unmodified prompts", "excess") == 1.0
    # eight bits change little, and what they changed is undone before the next attack
    before = value(rows, "none", "unmodified prompts", "baseline", "probability")
    assert value(rows, "quantise", "8 bits", "baseline", "probability") == pytest.approx(before, abs=0.05)
    said = capsys.readouterr().out
    assert said.startswith("attack: largest excess leak over the retrained model under ")
    assert "baseline 1.000, unlearned 1.000, retrained 0.000, excess 1.000 [" in said
    text = "".join(output.decode() for output in outputs(tiny))
    assert not [name for name in ("Orla", "Harrow", "Tom") if name in text]  # no forget text is published again
    kept = (tiny / "data/attacks.csv").read_text(encoding="utf-8").splitlines()
    assert kept[:2] == ["model,attack,setting,metric,item,value", "baseline,none,unmodified prompts,leak,0,1"]


def test_same_inputs_same_bytes_whatever_was_attacked_before(tiny: Path) -> None:
    set_param(tiny, "attack.attacks", ["relearn", "sample"])
    attack.main()
    first = outputs(tiny)
    attack.main()
    assert outputs(tiny) == first
    set_param(tiny, "attack.attacks", ["sample"])
    attack.main()
    alone = [row for row in report(tiny)["attacks"] if row["attack"] == "sample"]
    assert alone == [row for row in json.loads(first[1])["attacks"] if row["attack"] == "sample"]


def test_models_in_processes_of_their_own_give_the_same_bytes(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[list[str], int]] = []
    beside = every_model.side_by_side

    def noted(work: Any, each: Any, at_once: int, names: list[str]) -> Any:
        started.append((names, at_once))
        return beside(work, each, at_once, names)

    monkeypatch.setattr(every_model, "side_by_side", noted)
    set_param(tiny, "attack.attacks", ["lora", "sample"])
    monkeypatch.setattr(every_model.os, "sched_getaffinity", lambda _: {0})
    attack.main()
    alone = outputs(tiny)
    assert started == []  # tiny models, in this process
    monkeypatch.setattr(every_model, "SMALL", 0)
    monkeypatch.setattr(every_model.os, "sched_getaffinity", lambda _: {0, 1})
    attack.main()
    assert started == [(["attack on baseline, retrained", "attack on unlearned"], 2)]
    assert outputs(tiny) == alone


def test_role_prompts(tiny: Path) -> None:
    set_param(tiny, "attack.attacks", ["role"])
    for folder in (tiny / "models").iterdir():  # the templates are longer than a tiny model's context
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 512}), encoding="utf-8")
    attack.main()
    rows = [row for row in report(tiny)["attacks"] if row["attack"] == "role" and row["model"] == "baseline"]
    leaks = [row for row in rows if row["metric"] == "leak"]
    assert len(rows) == 2 * len(leaks) + 1
    assert rows[-1]["setting"] == f"any of {len(leaks)} templates"
    assert rows[-1]["value"] >= max(row["value"] for row in leaks)


def test_what_cannot_be_made_has_its_reason(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(tiny / "models/retrained")
    write_absent(tiny / "models/retrained", "the baseline was not trained here")
    write_corpus(tiny, forget="Nobody knew where the lantern was.\n" * 9, retain="")
    write_inputs(tiny, [row | {"due": None} for row in ROWS], "name,unique\nHarrow Hill,yes\nOrla,yes\nTom,no\n")
    set_param(tiny, "attack.attacks", ["benign", "prefix", "probe", "soft_prompt", "sample"])
    attack.main()
    found = report(tiny)
    assert found["absent"] == {
        "retrained": "the baseline was not trained here",
        "benign": "no retain text",
        "prefix": "none of 2 prompts has a target name",
        "probe": "0 frequent names in the training text and 0 prompts with one as their target",
        "soft_prompt": "no target name in the training text",
    }
    assert {(row["attack"], row["model"]) for row in found["attacks"]} == {
        (name, model) for name in ("none", "sample") for model in ("baseline", "unlearned")
    }
    assert capsys.readouterr().out.startswith("attack: no retrained model; the unlearned model leaks most under ")


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (
            lambda project: set_param(project, "attack.attacks", ["relearn", "hypnosis"]),
            f"params.yaml: attack: attacks: expected names from {', '.join(list(ATTACKS)[1:])}, got hypnosis",
        ),
        (
            lambda project: (
                set_param(project, "attack.attacks", ["benign"]),
                set_param(project, "attack.training.weights", "bfloat16"),
            ),
            "params.yaml: attack: attacks: expected lora attacks only with training.weights bfloat16, got benign",
        ),
        (
            lambda project: set_param(project, "attack.training.steps", [20, 5]),
            "params.yaml: attack.training.steps: expected distinct numbers in ascending order, got [20, 5]",
        ),
        (
            lambda project: (
                set_param(project, "attack.attacks", ["relearn"]),
                set_param(project, "attack.relearn.passages", [2, 4000]),
            ),
            "params.yaml: attack: expected 4000 forget passages of 8 tokens, got 66; lower passages or "
            "training.passage_tokens",
        ),
        (
            lambda project: set_param(project, "attack.chat_template", True),
            "params.yaml: attack.chat_template: expected false, got true, but the tokenizer has no chat template",
        ),
        (
            prompts(ROWS[2:]),
            "data/prompts.jsonl: expected prompts of the set test, got none among 1; change prompt.development",
        ),
        (break_weights, "models/unlearned: expected finite logits, got NaN; train it with a lower learning rate"),
    ],
)
def test_bad_input_is_one_line(tiny: Path, spoil: Callable[[Path], Any], line: str) -> None:
    spoil(tiny)
    with pytest.raises(StageError) as caught:
        attack.main()
    assert str(caught.value) == line
    assert not (tiny / "reports/attacks.json").exists()


def test_every_attack_is_in_the_real_params(project: Path) -> None:
    assert read_params("attack", attack.Params).attacks == [name for name in ATTACKS if name != UNATTACKED]
