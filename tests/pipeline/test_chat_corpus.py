"""A corpus of conversations through the stages, with a tiny chat model: what is learnt, labelled and measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from lethe.core.conversation import Conversation
from lethe.core.corpus import read_blocks, read_documents
from lethe.core.errors import StageError
from lethe.core.tables import ANCHORS, DICTIONARY, DROPPED, MASKED, read_csv, read_json, write_csv
from lethe.models.checkpoints import load_tokenizer
from stages import baseline, block, corpus, evaluate, extract, finetune, label, measure, prompt, reinforce
from tests.chats import TALK, tiny_chat, write_rows
from tests.conftest import ROOT, set_param, touch_deps

FORGET = [
    {"messages": [TALK[0], {"role": "assistant", "content": f"Orla is Tom's sister. She has {count} mills."}]}
    for count in ("one", "two", "three", "four", "five", "six")
]
RETAIN = [
    {"question": f"What is a {thing}?", "answer": f"A {thing} is made of wood. It is by the river."}
    for thing in ("mill", "boat", "table", "chair", "door", "bridge")
]
SMALL: dict[str, Any] = {
    "corpus.forget": "data/forget", "corpus.retain": "data/retain",
    "corpus.held_out": 0.3, "corpus.near_duplicate": 1.0,
    "baseline.source": "folder", "baseline.folder": "data/model", "baseline.epochs": 1, "baseline.block_tokens": 64,
    "block.tokens": 32, "reinforce.epochs": 1, "label.soft_alphas": [1.0], "label.soft_top": 4,
    "extract.minimum_count": 1, "extract.minimum_rise": -9.0, "extract.minimum_keyness": -9.0,
    "finetune.steps": 2, "finetune.checkpoints": [], "finetune.batch_size": 4,
    "evaluate.models": ["baseline"], "evaluate.chat_template": True, "evaluate.new_tokens": 4,
    "evaluate.set": "test", "prompt.development": 0.0, "prompt.names": "data/prompts/names.csv",
    "measure.models": ["baseline"], "measure.chat.new_tokens": 8, "measure.passage_tokens": 16,
    "measure.answer_tokens": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project after its stages; nothing here trains long enough to know anything."""
    folder = tmp_path_factory.mktemp("chat")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("ACCELERATE_MIXED_PRECISION", "no")
        for name in ("params.yaml", "dvc.yaml"):
            (folder / name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
        for dotted, value in SMALL.items():
            set_param(folder, dotted, value)
        write_rows(folder / "data/forget/a.jsonl", FORGET)
        write_rows(folder / "data/retain/b.jsonl", RETAIN)
        tiny_chat(folder / "data/model")
        (folder / "data/prompts").mkdir()
        write_csv([{"name": "Tom", "kind": "person"}], ("name", "kind"), folder / "data/prompts/names.csv")
        (folder / "data/questions").mkdir()
        for stage in ("baseline", "reinforce", "finetune"):
            touch_deps(folder, stage)
        for stage in (corpus, baseline, block, reinforce, extract):
            stage.main()
        write_csv(
            [{**dict.fromkeys(ANCHORS, ""), "anchor": "Orla", "forms": "Orla"}], ANCHORS, Path("data/anchors.csv")
        )
        rows = [dict(zip(DICTIONARY, ("Orla", "person", "0", "Orla", "Anna", "0.5"), strict=True))]
        write_csv(rows, DICTIONARY, Path("data/dictionary.csv"))
        write_csv([], DROPPED, Path("data/dropped.csv"))
        for stage in (label, finetune, prompt, evaluate, measure):
            stage.main()
    return folder


def test_the_corpus_holds_conversations_of_the_source_rows(ran: Path) -> None:
    found = read_documents(ran / "data/corpus.parquet")
    assert all(isinstance(one.text, Conversation) for one in found)
    assert {one.file.partition(":")[0] for one in found} == {"a.jsonl", "b.jsonl"}
    for one in found:
        row = (FORGET if one.side == "forget" else RETAIN)[int(one.file.rpartition(":")[2]) - 1]
        said = row["messages"][1]["content"] if "messages" in row else row["answer"]
        assert isinstance(one.text, Conversation)
        assert one.text[one.text.turns[1].start : one.text.turns[1].end] == said
        assert [turn.trained for turn in one.text.turns] == [False, True]
    assert {(one.side, one.part) for one in found} == {
        (side, part) for side in ("forget", "retain") for part in ("train", "held_out")
    }


def test_blocks_and_labels_are_of_answers_alone(ran: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ran)
    tokenizer: Any = load_tokenizer(Path("models/baseline"))
    blocks = read_blocks(Path("data/blocks.parquet"), Path("models/baseline"))
    assert blocks.trained is not None
    told = tokenizer.decode(blocks.tokens[0][: blocks.length[0]])
    assert told.startswith("<|im_start|>user\nWho is Orla?<|im_end|>\n<|im_start|>assistant\nOrla is")
    learnt = tokenizer.decode(blocks.tokens[blocks.trained])
    assert learnt.startswith("Orla is Tom's sister. She has ")
    assert "<|im_start|>" not in learnt
    assert learnt.count("<|im_end|>") == len(set(blocks.document.tolist()))
    table = pq.read_table("data/labels.parquet")
    labels = np.array(table["next_ids_1.0"].to_pylist())
    allowed = np.zeros_like(blocks.trained)
    allowed[:, :-1] = blocks.trained[:, 1:]
    allowed[:, -1] = blocks.trained.all(axis=1)
    assert (labels != MASKED).any()
    assert not (labels != MASKED)[~allowed].any()
    shares = np.array(table["target_probabilities_1.0"].to_pylist(), np.float32).reshape(*allowed.shape, -1)
    assert not shares[~allowed].any()
    assert shares[allowed].any()
    assert read_json(Path("reports/labels.json"))["anchors_matched"] > len(set(blocks.document.tolist()))


def test_held_out_conversations_are_questions_in_the_template(ran: Path) -> None:
    rows = [json.loads(line) for line in (ran / "data/prompts.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {row["source"] for row in rows} == {"question"}
    for row in rows:
        assert row["prompt"] == "Who is Orla?"
        assert row["due"] is None
        assert row["references"] == ["Tom"]


def test_the_assistant_is_measured_on_held_out_retain_conversations(ran: Path) -> None:
    found = read_json(ran / "reports/measures.json")["models"]["baseline"]
    held_out = [
        one for one in read_documents(ran / "data/corpus.parquet") if (one.side, one.part) == ("retain", "held_out")
    ]
    for name in ("chat_format", "chat_ended", "chat_refusals", "chat_words"):
        assert found[name]["items"] == len(held_out)
    rows = read_csv(ran / "data/measures.csv", ("model", "metric", "item", "value"))
    assert {row["item"] for row in rows if row["metric"] == "chat_words"} == {f"chat {n}" for n in range(len(held_out))}


def test_a_model_without_a_template_is_one_line(ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).write_text((ran / name).read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/corpus.parquet").write_bytes((ran / "data/corpus.parquet").read_bytes())
    tiny_chat(tmp_path / "models/baseline", template=None)
    with pytest.raises(StageError) as error:
        block.main()
    assert str(error.value) == (
        "models/baseline: expected a tokenizer with a chat template for conversations, got none; put "
        "chat_template.jinja into the model's folder, or give plain text"
    )
