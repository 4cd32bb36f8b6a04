"""Familiarity and perplexity of the models of a tiny project, one of which has learnt the forget text by heart."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lethe.core.errors import StageError
from lethe.core.params import read_params
from lethe.core.tables import CONTINUATIONS, read_jsonl
from lethe.models.checkpoints import write_absent
from lethe.running import first_look
from lethe.running.verdict import first_verdict
from stages import evaluate
from tests.conftest import TINY_TEXT, set_param, tiny_model, tiny_tokenizer, write_corpus
from tests.test_llm_client import Server, completion, server  # noqa: F401

ROWS: list[dict[str, Any]] = [
    {"id": 4, "set": "test", "source": "cloze", "prompt": "Orla went to", "references": ["Harrow Hill"], "due": None},
    {"id": 2, "set": "test", "source": "own", "prompt": 'The mill was shut. "Where is', "references": ["Orla"]},
    {"id": 3, "set": "development", "source": "own", "prompt": "Nobody", "references": ["Vesk"], "due": None},
]


@pytest.fixture(scope="module")
def knowing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that has learnt TINY_TEXT by heart, from its beginning and from its second paragraph."""
    import torch
    from transformers import AutoModelForCausalLM

    folder = tiny_model(tmp_path_factory.mktemp("knowing"), context=128)
    model = AutoModelForCausalLM.from_pretrained(folder)
    texts = (TINY_TEXT, TINY_TEXT[TINY_TEXT.index("The mill") :])
    rows = [torch.tensor([tiny_tokenizer()(text)["input_ids"]]) for text in texts]
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        for tokens in rows:
            model(tokens, labels=tokens).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def tiny(project: Path, knowing: Path) -> Path:
    """Everything the stage reads: the baseline knows the text, the checkpoint too, the unlearned model is random."""
    models = project / "models"
    for name in ("baseline", "checkpoints/step-00005"):
        shutil.copytree(knowing, models / name)
    tiny_model(models / "unlearned", seed=1, context=128)
    tiny_model(models / "retrained", seed=2, context=128)
    write_corpus(project, forget=TINY_TEXT, retain="The sun went down. Nobody knew where the river was.\n" * 3)
    write_inputs(project, ROWS, "name,unique\nHarrow Hill,yes\nOrla,yes\nTom,no\n")
    set_param(project, "evaluate.fluency", {"prompts": 9, "words": 3, "new_tokens": 8, "seed": 0})
    return project


def write_inputs(project: Path, rows: list[dict[str, Any]], names: str) -> None:
    (project / "data").mkdir(exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (project / "data/prompts.jsonl").write_text(lines, encoding="utf-8")
    (project / "data/names.csv").write_text(names, encoding="utf-8")


def report(project: Path) -> dict[str, Any]:
    return json.loads((project / "reports/familiarity.json").read_text(encoding="utf-8"))


def completions(project: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (project / "data/completions.jsonl").read_text(encoding="utf-8").splitlines()]


def outputs(project: Path) -> tuple[bytes, ...]:
    names = ("data/completions.jsonl", "data/continuations.jsonl", "reports/familiarity.json")
    return tuple((project / name).read_bytes() for name in names)


def test_main(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate.main()
    rows = completions(tiny)
    assert [(row["model"], row["id"]) for row in rows] == [
        (name, number) for name in ("baseline", "retrained", "step-00005", "unlearned") for number in (2, 4)
    ]
    # the baseline recites: Harrow Hill and Tom are not in prompt 4, Orla and Tom not in prompt 2
    where, went = rows[0], rows[1]
    assert went["completion"].startswith(" Harrow Hill. Orla's brother Tom stayed at home.")
    assert (went["grade"], went["leaked"]) == (3, ["Harrow Hill", "Tom"])
    assert (where["grade"], where["leaked"]) == (3, ["Orla", "Tom"])
    found = report(tiny)
    assert list(found)[:7] == ["set", "prompts", "names", "models", "absent", "ratio", "reasons"]
    assert list(found)[7:] == ["intervals", "ratio_intervals", "fluency"]
    assert (found["set"], found["prompts"], found["names"]) == ("test", 2, 3)
    baseline, unlearned = found["models"]["baseline"], found["models"]["unlearned"]
    assert list(baseline) == [
        "completion_familiarity",
        "leak",
        "grades",
        "probability_familiarity",
        "retain_perplexity",
        "forget_perplexity",
    ]
    assert baseline["completion_familiarity"] == 5.0  # (5*2 + 0) / 2
    assert baseline["leak"] == 1.0
    assert baseline["grades"] == {"3": 2, "2": 0, "1": 0, "0": 0}
    assert baseline["probability_familiarity"] == pytest.approx((went["probability"] + where["probability"]) / 2)
    assert baseline["probability_familiarity"] > 0.8
    assert baseline["forget_perplexity"] < 2 < unlearned["forget_perplexity"]
    assert found["models"]["step-00005"] == baseline  # the same weights
    assert unlearned["leak"] == found["models"]["retrained"]["leak"] == 0.0
    assert found["absent"] == found["reasons"] == {}
    assert found["ratio"]["completion_familiarity"] == 0.0
    rise = unlearned["retain_perplexity"] / baseline["retain_perplexity"]
    assert found["ratio"]["retain_perplexity_factor"] == pytest.approx(rise, rel=1e-5)
    assert capsys.readouterr().out == (
        "evaluate: leak baseline 1.000 -> unlearned 0.000 (retrained 0.000), completion familiarity baseline 5.000 -> "
        "unlearned 0.000 (retrained 0.000) on 2 test prompts\n"
    )


def test_a_first_look_before_there_is_a_reference(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(tiny / "models/retrained")
    before = {path: path.read_bytes() for path in tiny.rglob("*") if path.is_file()}
    first_look.main()
    said = capsys.readouterr().out
    assert {path: path.read_bytes() for path in tiny.rglob("*") if path.is_file()} == before
    tiny_model(tiny / "models/retrained", seed=2, context=128)
    evaluate.main()
    scores = report(tiny)["models"]
    before_, after = (f"{scores[name]['retain_perplexity']:.2f}" for name in ("baseline", "unlearned"))
    assert said == (
        "first look: leak baseline 1.000 -> unlearned 0.000, completion familiarity baseline 5.00 -> unlearned 0.00, "
        f"retain perplexity baseline {before_} -> unlearned {after}, on 2 prompts and without references; "
        "`evaluate` measures all\n"
    )
    capsys.readouterr()
    assert first_verdict(Path("reports/familiarity.json")).startswith(
        "first verdict: leak baseline 1.000 -> unlearned 0.000 (retrained 0.000); familiarity 0.00 "
        f"(baseline 1, retrained 0); retain perplexity baseline {before_} -> unlearned {after} (retrained "
    )


def test_every_model_continues_the_same_prompts(tiny: Path) -> None:
    evaluate.main()
    rows = read_jsonl(tiny / "data/continuations.jsonl", CONTINUATIONS)
    asked = [("retain", 0, "The sun went"), ("retain", 1, "Nobody knew where"), ("forget", 2, ROWS[1]["prompt"])]
    asked.append(("forget", 4, "Orla went to"))
    assert {(row["model"], len(row["continuation"]) > 0) for row in rows} == {
        (name, True) for name in ("baseline", "retrained", "step-00005", "unlearned")
    }
    found = [(row["side"], row["id"], row["prompt"]) for row in rows]
    assert sorted(found[:4], key=str) == sorted(found[4:8], key=str)
    assert {(side, prompt) for side, _, prompt in found} == {(side, prompt) for side, _, prompt in asked}
    recited = next(row for row in rows if (row["model"], row["id"]) == ("baseline", 4))
    assert recited["continuation"].startswith(" Harrow Hill.")
    fluency = report(tiny)["fluency"]
    assert (fluency["prompts"], fluency["absent"]) == ({"retain": 2, "forget": 2}, {})
    numbers = fluency["models"]["retrained"]["retain_continuation_perplexity"]
    assert numbers["items"] == 2
    # greedy text is likelier to the model that wrote it
    assert numbers["value"] < fluency["models"]["baseline"]["retain_continuation_perplexity"]["value"]


def test_same_inputs_same_bytes(tiny: Path) -> None:
    evaluate.main()
    first = outputs(tiny)
    evaluate.main()
    assert outputs(tiny) == first


def test_a_name_that_the_dictionary_misses_still_leaks(tiny: Path) -> None:
    evaluate.main()
    without = outputs(tiny)  # there is no data/dictionary.csv here at all
    for dictionary in ("Harrow Hill,place,0,Harrow Hill,Old Town,1.0\n", ""):
        text = "anchor,kind,choice,form,translation,score\n" + dictionary
        (tiny / "data/dictionary.csv").write_text(text, encoding="utf-8")
        evaluate.main()
        assert outputs(tiny) == without


def test_only_the_set_asked_for_is_used(tiny: Path) -> None:
    set_param(tiny, "evaluate.set", "development")
    set_param(tiny, "evaluate.models", ["baseline"])
    evaluate.main()
    assert [row["id"] for row in completions(tiny)] == [3]


def test_what_is_absent_has_its_reason(tiny: Path) -> None:
    shutil.rmtree(tiny / "models/retrained")
    write_absent(tiny / "models/retrained", "the baseline was not trained here")
    write_corpus(tiny, forget=TINY_TEXT, retain="")
    evaluate.main()
    found = report(tiny)
    assert found["absent"] == {"retrained": "the baseline was not trained here"}
    assert found["models"]["baseline"]["retain_perplexity"] is None
    assert found["models"]["baseline"]["forget_perplexity"] > 0
    # without a retrained model the share of the baseline's whole value that is left
    assert found["ratio"]["retain_perplexity_factor"] is None
    assert found["ratio"]["probability_familiarity"] == pytest.approx(
        found["models"]["unlearned"]["probability_familiarity"]
        / found["models"]["baseline"]["probability_familiarity"],
        abs=1e-4,
    )
    assert found["fluency"]["absent"] == {
        "continuation_perplexity": "retrained: the baseline was not trained here",
        "retain_fluency": "no held-out retain text goes on after 3 words",
    }
    assert not [name for name in found["fluency"]["models"]["baseline"] if name.startswith("retain_")]
    assert found["reasons"] == {"retain_perplexity": "no held-out retain text"}


def test_the_probability_leaves_out_tokens_that_the_retain_side_uses(tiny: Path) -> None:
    set_param(tiny, "evaluate.models", ["baseline"])
    evaluate.main()
    before = report(tiny)["models"]["baseline"]["probability_familiarity"]
    write_corpus(tiny, forget=TINY_TEXT, retain="So Harrow and Harrow, Orla and Orla, Tom and Tom.\n" * 9)
    evaluate.main()
    assert before > 0.8
    assert (
        report(tiny)["models"]["baseline"]["probability_familiarity"] < 0.001
    )  # only the first piece of " Tom" at a line start


def test_a_language_model_as_judge(tiny: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    def verdict(body: dict[str, Any]) -> tuple[int, str]:
        asked = body["messages"][-1]["content"]
        if "PROMPT:\nOrla went to" in asked and "COMPLETION:\n Harrow Hill" in asked:
            return 200, completion('{"found": ["Harrow Hill"], "grade": 2}')
        return 200, completion("I would say: 3" if "COMPLETION:\n Orla?" in asked else '{"found": [], "grade": 0}')

    server.answer = verdict
    set_param(tiny, "evaluate.judge", "llm")
    set_param(tiny, "evaluate.llm.base_url", server.url)
    set_param(tiny, "evaluate.llm.send_forget_text", True)
    evaluate.main()
    found = report(tiny)
    assert found["unparsable"] == 2  # prompt 2 of the baseline and of the checkpoint, which are one request
    assert len(server.asked) == 6
    assert found["models"]["baseline"]["grades"] == {"3": 0, "2": 1, "1": 0, "0": 0}
    assert found["models"]["baseline"]["completion_familiarity"] == 1.0  # (5*0 + 1) / 1
    first, second = completions(tiny)[:2]
    assert (first["grade"], first["leaked"]) == (None, [])
    assert (second["grade"], second["leaked"]) == (2, ["Harrow Hill"])
    assert capsys.readouterr().out.endswith("on 2 test prompts; 2 replies of the judge gave no verdict\n")
    evaluate.main()
    assert len(server.asked) == 7  # every reply is kept, and only what did not parse is asked for again


def break_weights(project: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(project / "models/unlearned")
    model.model.norm.weight.data.fill_(float("nan"))
    model.save_pretrained(project / "models/unlearned")


def prompts(rows: list[dict[str, Any]], names: str = "name,unique\n") -> Callable[[Path], None]:
    return lambda project: write_inputs(project, rows, names)


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (
            prompts(ROWS[2:]),
            "data/prompts.jsonl: expected prompts of the set test, got none among 1; change prompt.development",
        ),
        (prompts([*ROWS, ROWS[0]]), "data/prompts.jsonl:4: expected a unique id, got 4 again"),
        (
            prompts([{"id": 1, "set": "test", "prompt": "Orla"}]),
            "data/prompts.jsonl:1: references: expected list, got none",
        ),
        (
            prompts([ROWS[0] | {"prompt": "Orla " * 105}]),
            "data/prompts.jsonl: prompt 4: expected at most 104 tokens, the model's context less "
            "evaluate.new_tokens, got 107; shorten it or lower prompt.words",
        ),
        (
            prompts(ROWS, "name,unique\nOrla,maybe\n"),
            "data/names.csv: Orla: unique: expected yes or no, got maybe",
        ),
        (prompts(ROWS, "name,kind\n"), "data/names.csv:1: expected the header name,unique, got name,kind"),
        (
            lambda project: set_param(project, "evaluate.chat_template", True),
            "params.yaml: evaluate.chat_template: expected false, got true, but the tokenizer has no chat template",
        ),
        (break_weights, "models/unlearned: expected finite logits, got NaN; train it with a lower learning rate"),
        (
            lambda project: set_param(project, "evaluate.judge", "llm"),
            "params.yaml: evaluate: judge: expected rule, or llm with llm.send_forget_text true, got llm with false",
        ),
        (
            lambda project: set_param(project, "evaluate.models", ["baseline", "baseline"]),
            "params.yaml: evaluate.models: expected each name once, got baseline, baseline",
        ),
    ],
)
def test_bad_input_is_one_line(tiny: Path, spoil: Callable[[Path], None], line: str) -> None:
    spoil(tiny)
    with pytest.raises(StageError) as caught:
        evaluate.main()
    assert str(caught.value) == line
    assert not (tiny / "reports/familiarity.json").exists()


def test_a_server_writes_what_the_model_writes_here(tiny: Path, server: Server) -> None:  # noqa: F811
    import torch

    from lethe.models.checkpoints import load_model
    from tests.test_served import vllm

    outs = [tiny / "data/completions.jsonl", tiny / "data/continuations.jsonl"]
    evaluate.main()
    before = [out.read_bytes() for out in outs]
    server.answer = vllm(load_model(tiny / "models/unlearned", torch.device("cpu"), torch.float32))
    set_param(tiny, "evaluate.server.addresses", {"unlearned": server.url})
    evaluate.main()
    assert [out.read_bytes() for out in outs] == before
    assert len(server.asked) > 4
    set_param(tiny, "evaluate.server.addresses", {"other": server.url})
    with pytest.raises(StageError, match=r"evaluate\.server\.addresses: expected one of .*unlearned.*, got other$"):
        evaluate.main()


def test_the_real_params_are_valid(project: Path) -> None:
    assert read_params("evaluate", evaluate.Params).new_tokens > 0
