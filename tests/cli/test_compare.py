"""`lethe compare`: the models' own completions, anchors marked, prompts from the command line or stdin."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from lethe.cli import compare
from lethe.core.errors import StageError
from lethe.core.tables import ANCHORS, write_csv
from lethe.models.checkpoints import write_absent
from lethe.text.matching import TermFinder
from tests.conftest import set_param, tiny_model


@pytest.fixture
def models(project: Path) -> Path:
    """Two models, a checkpoint, an absent reference, and the anchors."""
    for seed, name in enumerate(("baseline", "unlearned", "checkpoints/step-00010")):
        tiny_model(project / "models" / name, seed)
    write_absent(project / "models/retrained", "nothing was trained")
    row = dict.fromkeys(ANCHORS, "") | {"anchor": "Harrow Hill", "forms": "Harrow Hill|HARROW HILL"}
    write_csv([row], ANCHORS, project / "data/anchors.csv")
    set_param(project, "evaluate.new_tokens", 5)
    return project


def shown(capsys: pytest.CaptureFixture[str], **options: object) -> dict:
    arguments: dict = {"prompt": None, "models": ",".join(compare.USUAL), "new_tokens": None} | options
    compare.command(**arguments, json=True)
    return json.loads(capsys.readouterr().out)


def test_each_model_completes_each_prompt(
    models: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("Orla went to Harrow Hill\n\n  \nTom sat\n"))
    found = shown(capsys)
    assert [item["prompt"] for item in found["prompts"]] == ["Orla went to Harrow Hill", "Tom sat"]
    assert [item["anchors"] for item in found["prompts"]] == [["Harrow Hill"], []]
    assert [list(item["completions"]) for item in found["prompts"]] == [["baseline", "unlearned"]] * 2
    assert found["absent"] == {"retrained": "nothing was trained"}


def test_a_completion_is_what_the_model_itself_generates(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    prompt = "Tom sat by the"
    found = shown(capsys, prompt=prompt, models="baseline,step-00010", new_tokens=7)["prompts"][0]["completions"]
    for name, folder in (("baseline", "models/baseline"), ("step-00010", "models/checkpoints/step-00010")):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder)
        ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer(prompt, add_special_tokens=False)["input_ids"]]])
        whole = model.generate(ids, max_new_tokens=7, do_sample=False, eos_token_id=tokenizer.eos_token_id)
        text = tokenizer.decode(whole[0], skip_special_tokens=True)[len(prompt) :]
        assert found[name]["completion"] == " ".join(text.split("\n"))


def test_anchors_are_marked_where_colours_are_lost() -> None:
    finder = TermFinder({"Harrow Hill": "Harrow Hill", "HARROW HILL": "Harrow Hill"})
    text = "to Harrow Hill, HARROW HILL"
    marked = compare.highlighted(text, compare.spans(text, finder))
    assert marked.plain == "to >Harrow Hill<, >HARROW HILL<"
    assert [str(span.style) for span in marked.spans] == ["bold red", "bold red"]
    assert compare.highlighted(text, []).plain == text


def test_the_table_names_the_models_and_what_is_absent(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compare.command("Orla went to Harrow Hill", "baseline,retrained", None, json=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Orla went to >Harrow Hill<")
    assert any(line.strip().startswith("● baseline") for line in lines)
    assert lines[-1] == "retrained: nothing was trained"


def test_on_a_terminal_it_asks_again_and_keeps_the_models(
    models: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lethe.models import checkpoints

    loads: list[Path] = []
    load = checkpoints.load_model
    monkeypatch.setattr(checkpoints, "load_model", lambda folder, *rest: loads.append(folder) or load(folder, *rest))
    typed = iter(["Tom sat by the", "Orla " * 70, "Orla went to Harrow Hill", "  "])
    monkeypatch.setattr("builtins.input", lambda prompt: next(typed))
    monkeypatch.setattr("sys.stdin", Terminal())
    compare.command(None, ",".join(compare.USUAL), None, json=False)
    said = capsys.readouterr()
    rows = [line.split()[0] for line in said.out.splitlines() if set(line) - set("─ ")]
    table = ["model", "●", "■"]
    assert rows == ["retrained:", "Tom", *table, "Orla", *table]
    assert "error: compare: prompt 'Orla Orla Orla Orla '...: expected at most 59 tokens" in said.err
    assert loads == [Path("models/baseline"), Path("models/unlearned")]  # once each, for two prompts


def test_models_that_do_not_fit_together_are_loaded_in_turn(
    models: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "ROOM", 0.0)
    asking = compare.Asking({name: models / "models" / name for name in ("baseline", "unlearned")}, 3)
    asking.keep_loaded()
    assert asking.kept == {}
    assert "too little memory for all models at once" in capsys.readouterr().err
    assert [each.model for each in asking.completions(["Tom"], TermFinder({}))] == ["baseline", "unlearned"]


@pytest.mark.parametrize("end", [EOFError, KeyboardInterrupt])
def test_ctrl_d_and_ctrl_c_end_the_conversation(end: type[BaseException]) -> None:
    def read(prompt: str) -> str:
        raise end

    assert list(compare.asked_prompts(read)) == []


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"prompt": ""}, "compare: expected a prompt as the argument, or one per line on stdin, got none"),
        ({}, "compare: expected a prompt as the argument, or one per line on stdin, got none"),
        (
            {"prompt": "Tom", "models": "baseline,mine"},
            "compare: expected baseline, retrained, unlearned, step-00010 or a model folder, got mine; `dvc "
            "checkout` restores what `dvc repro` made",
        ),
        (
            {"prompt": "Tom", "models": "baseline", "new_tokens": 63},
            "compare: prompt 'Tom'...: expected at most 1 tokens, the context of models/baseline less the new "
            "tokens, got 2",
        ),
    ],
)
def test_bad_input(
    models: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: dict,
    line: str,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    with pytest.raises(StageError) as error:
        shown(capsys, **options)
    assert str(error.value) == line
