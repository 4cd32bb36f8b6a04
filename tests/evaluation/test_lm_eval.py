"""lm-eval as a function, on local items and on the stock tasks' real files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lethe.core.errors import StageError
from lethe.core.tables import read_jsonl
from lethe.evaluation import lm_eval as harness
from lethe.models.checkpoints import load_model, load_tokenizer
from tests.conftest import tiny_model

ITEMS = [
    {"context": "Orla went", "choices": ["to Harrow Hill.", "to Hill Harrow."], "label": 0},
    {"context": "Tom sat by", "choices": ["river the", "the river", "sat by the river"], "label": 1},
]


def test_local_task_by_hand(tmp_path: Path) -> None:
    harness.write_task(harness.local_config("local_x"), ITEMS, tmp_path)
    task = harness.load_tasks(["local_x"], tmp_path)["local_x"]
    found = harness.facts(task, limit=None)
    asked = [
        [[["Orla went", " to Harrow Hill."], ["Orla went", " to Hill Harrow."]], 0],
        [[["Tom sat by", " river the"], ["Tom sat by", " the river"], ["Tom sat by", " sat by the river"]], 1],
    ]
    assert found.items == 2
    assert found.sha256 == hashlib.sha256(json.dumps(asked).encode()).hexdigest()
    assert found.chance == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert harness.facts(task, limit=1).items == 1


def test_accuracy_is_the_share_of_items_whose_true_choice_is_likeliest(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    model, tokenizer = load_model(folder, torch.device("cpu")), load_tokenizer(folder)

    def likelihood(context: str, choice: str) -> float:
        before, whole = (tokenizer(text, return_tensors="pt")["input_ids"] for text in (context, f"{context} {choice}"))
        with torch.inference_mode():
            logs = model(whole[:, :-1]).logits.log_softmax(-1)[0]
        return float(logs.gather(1, whole[0, 1:, None])[before.shape[1] - 1 :].sum())

    best = [max(item["choices"], key=lambda choice, item=item: likelihood(item["context"], choice)) for item in ITEMS]
    labels = [item["choices"].index(choice) for item, choice in zip(ITEMS, best, strict=True)]
    right = [item | {"label": label} for item, label in zip(ITEMS, labels, strict=True)]
    half = [right[0], right[1] | {"label": (labels[1] + 1) % 3}]
    for name, items, share in (("local_right", right, 1.0), ("local_half", half, 0.5)):
        harness.write_task(harness.local_config(name), items, tmp_path)
        task = harness.load_tasks([name], tmp_path)[name]
        for most in (None, 64):
            assert harness.accuracy(model, tokenizer, name, task, None, most) == share


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"label": -1},
            "expected a label from 0 to 2, got -1; use rows with labels",
        ),  # a set without answers
        ({"label": 3}, "expected a label from 0 to 2, got 3; use rows with labels"),
        ({"label": None}, "expected a label from 0 to 2, got None; use rows with labels"),
    ],
)
def test_items_without_a_right_answer_are_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    harness.write_task(harness.local_config("local_x"), [ITEMS[0], ITEMS[1] | change], tmp_path)
    task = harness.load_tasks(["local_x"], tmp_path)["local_x"]
    with pytest.raises(StageError) as error:
        harness.facts(task, limit=None)
    assert str(error.value) == f"benchmark: local_x: item 1: {said}"


def test_boolq_without_labels_is_refused(tmp_path: Path) -> None:
    rows = [{"passage": "Orla went.", "question": "did Orla go", "idx": 0}]
    for number, row in enumerate((rows[0] | {"label": -1}, rows[0])):
        folder = tmp_path / str(number)
        folder.mkdir()
        harness.write_task(harness.stock_config("boolq"), [row], folder)
        with pytest.raises(StageError, match=r"^benchmark: (boolq: item 0: expected a label from 0 to 1|the data of)"):
            harness.facts(harness.load_tasks(["boolq"], folder)["boolq"], 1)


REQUESTS = [([70, 71, 72], [80, 81]), ([90], [91]), ([70, 71, 72], [82]), ([70, 71, 72], [83, 84, 85])]


@pytest.mark.parametrize("most", [64, 4, 3])
def test_likelihoods_are_those_of_one_request_at_a_time(tmp_path: Path, most: int) -> None:
    model = load_model(tiny_model(tmp_path / "model"), torch.device("cpu"))
    with torch.inference_mode():
        likeliest = int(model(torch.tensor([[90]])).logits[0, -1].argmax())
    requests = [*REQUESTS, ([90], [likeliest])]
    found = harness.likelihoods(model, [(None, *request) for request in requests], most)
    for (context, continuation), (score, greedy) in zip(requests, found, strict=True):
        kept = [*context, *continuation][-(most + 1) :]  # the longest has six tokens: cut on the left at 4 and 3
        with torch.inference_mode():
            logs = model(torch.tensor([kept[:-1]])).logits[0].log_softmax(-1)[-len(continuation) :]
        own = logs.gather(1, torch.tensor(continuation)[:, None])
        assert score == pytest.approx(float(own.sum()), abs=1e-4)
        assert greedy == (logs.argmax(-1).tolist() == continuation)
    assert found[-1][1]


def test_a_context_is_read_once_for_all_its_choices(tmp_path: Path) -> None:
    model = load_model(tiny_model(tmp_path / "model"), torch.device("cpu"))
    read: list[tuple[int, ...]] = []
    model.register_forward_pre_hook(lambda *given: read.append(given[2]["input_ids"].shape), with_kwargs=True)
    harness.likelihoods(model, [(None, *request) for request in REQUESTS], 64)
    # two contexts of at most three tokens; then the four endings without their last tokens, at most two
    assert read == [(2, 3), (4, 2)]


def test_an_answer_as_long_as_the_context_is_one_line(tmp_path: Path) -> None:
    model = load_model(tiny_model(tmp_path / "model"), torch.device("cpu"))
    assert len(harness.likelihoods(model, [(None, [90], [70, 71])], 2)) == 1
    wanted = "benchmark: expected answers of at most 2 tokens, the model's context, got one of 3"
    with pytest.raises(StageError, match=f"^{wanted}$"):
        harness.likelihoods(model, [(None, [90], [70, 71, 72])], 2)


def test_the_stock_tasks_read_the_real_files(realdata: Path, tmp_path: Path) -> None:
    for name in harness.STOCK:
        rows = read_jsonl(realdata / "lm_eval" / harness.stock_file(name), {})[:20]
        harness.write_task(harness.stock_config(name), rows, tmp_path)
    tasks = harness.load_tasks(list(harness.STOCK), tmp_path)
    assert list(tasks) == list(harness.STOCK)
    found = {name: harness.facts(task, 20) for name, task in tasks.items()}
    assert {facts.items for facts in found.values()} == {20}
    chances = {name: round(facts.chance, 2) for name, facts in found.items()}
    four, two = ("hellaswag", "openbookqa"), ("boolq", "piqa", "winogrande")
    assert [chances[name] for name in (*four, *two)] == [0.25, 0.25, 0.5, 0.5, 0.5]
    folder = realdata / "models/stories260K"
    model, tokenizer = load_model(folder, torch.device("cpu")), load_tokenizer(folder)
    score = harness.accuracy(model, tokenizer, "piqa", tasks["piqa"], 20, None)
    assert score * 20 == round(score * 20)


def test_an_unknown_task_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["hellaswag", "sciq"]

    def index(**options: Any) -> Any:
        return SimpleNamespace(task_index=dict.fromkeys(names), all_tasks=names)

    monkeypatch.setattr("lm_eval.tasks.TaskManager", index)  # the real one reads 14,000 files
    for name, near in (("sciqq", "; did you mean sciq?"), ("local_odrer", "; did you mean local_order?"), ("xyz", "")):
        with pytest.raises(StageError) as caught:
            harness.load_tasks([name], tmp_path)
        assert str(caught.value) == (
            f"params.yaml: benchmark.tasks: expected local_* or a task of lm-eval, got {name}{near}"
        )


@pytest.mark.slow
def test_the_real_index_of_tasks_is_searched(tmp_path: Path) -> None:
    with pytest.raises(StageError) as caught:
        harness.load_tasks(["helaswag"], tmp_path)
    assert str(caught.value).endswith("expected local_* or a task of lm-eval, got helaswag; did you mean hellaswag?")


def test_data_that_does_not_fit_its_task_is_one_line(tmp_path: Path) -> None:
    harness.write_task(harness.stock_config("piqa"), [{"question": "What?"}], tmp_path)
    with pytest.raises(StageError) as caught:
        harness.load_tasks(["piqa"], tmp_path)
    assert str(caught.value).startswith(
        "benchmark: the data of piqa did not load (expected piqa_validation.jsonl in the folder benchmark.data, "
        "or the Hub's copy): "
    )
    assert "\n" not in str(caught.value)


def test_a_task_that_is_no_choice_is_one_line(tmp_path: Path) -> None:
    config = harness.local_config("local_x") | {"output_type": "generate_until", "doc_to_choice": None}
    config |= {"metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}]}
    harness.write_task(config, ITEMS, tmp_path)
    with pytest.raises(StageError) as caught:
        harness.load_tasks(["local_x"], tmp_path)
    assert str(caught.value) == (
        "params.yaml: benchmark.tasks: expected a multiple-choice task, got local_x, which is generate_until"
    )
