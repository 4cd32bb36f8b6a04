"""The label stage: its reader, its numbers, its twin for the eye, and main() on a tiny project."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lethe.core.errors import StageError
from lethe.core.hashing import tokenizer_sha256
from lethe.core.tables import (
    ANCHORS,
    CORPUS,
    DICTIONARY,
    DROPPED,
    blocks_schema,
    read_parquet,
    write_csv,
    write_parquet,
)
from lethe.labels import generic_labels as passes
from lethe.labels.generic_labels import MASKED
from lethe.models.checkpoints import load_model, load_tokenizer
from lethe.models.token_text import piece_bytes
from lethe.models.tokenization import cut_blocks
from stages import label
from tests.conftest import TINY_TEXT, set_param, tiny_model

OUTS = ("data/labels.parquet", "data/labels.txt", "reports/labels.json")


def dictionary_rows(*rows: tuple[str, str, str, str]) -> list[dict[str, str]]:
    """(anchor, choice, form, translation) as rows of data/dictionary.csv."""
    return [
        dict(zip(DICTIONARY, (anchor, "person", choice, form, translation, "0.5"), strict=True))
        for anchor, choice, form, translation in rows
    ]


ORLA = dictionary_rows(
    ("Harrow Hill", "0", "Harrow Hill", "Green Dale"),
    ("Orla", "0", "Orla", "Jane"),
    ("Orla", "1", "Orla", "Mary Ann"),
)


def anchor_rows(*anchors: str) -> list[dict[str, str]]:
    """The anchors as rows of data/anchors.csv, each its own only form."""
    return [dict.fromkeys(ANCHORS, "") | {"anchor": anchor, "forms": anchor} for anchor in anchors]


def write_corpus(project: Path, text: str) -> None:
    """A corpus of the one document from which the blocks are cut."""
    row = {
        "document": 3,
        "side": "forget",
        "part": "train",
        "file": "a.txt",
        "start": 0,
        "end": len(text),
        "text": text,
    }
    write_parquet([row], CORPUS, project / "data/corpus.parquet")


@pytest.fixture
def ready(project: Path) -> Path:
    """A project that is about to label: blocks of 48 tokens, a dictionary, two random models."""
    baseline = tiny_model(project / "models/baseline", seed=0, context=96)
    tiny_model(project / "models/reinforced", seed=1, context=96)
    blocks = cut_blocks(load_tokenizer(baseline), TINY_TEXT * 2, 48)
    rows = [
        {"block": number, "document": 3, "start": block.start, "end": block.end, "length": len(block.tokens)}
        | {"tokens": block.tokens + [2] * (48 - len(block.tokens))}
        for number, block in enumerate(blocks)
    ]
    facts = {"tokenizer": tokenizer_sha256(baseline), "block_tokens": "48", "pad_token": "2"}
    write_parquet(rows, blocks_schema(48), project / "data/blocks.parquet", **facts)
    write_csv(ORLA, DICTIONARY, project / "data/dictionary.csv")
    write_csv(anchor_rows("Harrow Hill", "Orla"), ANCHORS, project / "data/anchors.csv")
    write_corpus(project, TINY_TEXT * 2)
    set_param(project, "label.alphas", [5.0, 0.0])
    set_param(project, "label.soft_alphas", [])
    return project


# ---- main


def test_soft_labels_stand_beside_the_hard_ones(ready: Path) -> None:
    label.main()
    hard, _ = read_parquet(ready / "data/labels.parquet", ("next_ids_5.0",))
    set_param(ready, "label.soft_alphas", [5.0])
    set_param(ready, "label.soft_top", 4)
    label.main()
    table, facts = read_parquet(ready / "data/labels.parquet", ("target_ids_5.0", "target_probabilities_5.0"))
    assert (facts["soft_alphas"], facts["soft_top"]) == ("5.0", "4")
    assert table["next_ids_5.0"].to_pylist() == hard["next_ids_5.0"].to_pylist()
    next_ids, ids = (np.array(table[name].to_pylist()) for name in ("next_ids_5.0", "target_ids_5.0"))
    shares = np.array(table["target_probabilities_5.0"].to_pylist()).reshape(*next_ids.shape, 4)
    trained, likeliest = next_ids != MASKED, ids.reshape(*next_ids.shape, 4)[..., 0]
    assert (likeliest[trained] == next_ids[trained]).mean() > 0.99  # argmax but for ties and a forbidden id's mean
    np.testing.assert_allclose(shares[trained].sum(axis=-1), 1, atol=2e-3)  # of four float16 numbers
    inside = ~trained & shares.any(axis=-1)
    assert inside.sum() == json.loads((ready / "reports/labels.json").read_text())["masked_interior"] > 0
    np.testing.assert_allclose(shares[inside].sum(axis=-1), 1, atol=2e-3)
    set_param(ready, "label.soft_inside", False)
    label.main()
    table, _ = read_parquet(ready / "data/labels.parquet", ("target_probabilities_5.0",))
    assert not np.array(table["target_probabilities_5.0"].to_pylist()).reshape(*next_ids.shape, 4)[~trained].any()


def test_a_dropped_term_is_a_label_only_where_the_text_has_it(ready: Path) -> None:
    def labelled() -> tuple[np.ndarray, np.ndarray]:
        """The labels for alpha 0, and the text's own next ids, where there are both."""
        label.main()
        table, _ = read_parquet(ready / "data/labels.parquet", ("tokens", "next_ids_0.0"))
        tokens, next_ids = (np.array(table[name].to_pylist()) for name in ("tokens", "next_ids_0.0"))
        both = next_ids[:, :-1] != MASKED
        return next_ids[:, :-1][both], tokens[:, 1:][both]

    before, said = labelled()
    untouched = [(ready / out).read_bytes() for out in OUTS]
    write_csv([], DROPPED, ready / "data/dropped.csv")
    label.main()
    assert [(ready / out).read_bytes() for out in OUTS] == untouched
    tokenizer = load_tokenizer(ready / "models/baseline")
    pieces = piece_bytes(tokenizer)
    often = [token for token, _ in Counter(before[before != said].tolist()).most_common()]
    words = [token for token in often if pieces[token].startswith(b" ") and pieces[token].strip().isalpha()]
    word = pieces[words[0]].decode().strip()
    row = dict.fromkeys(DROPPED, "") | {"term": word, "forms": word, "count": 9, "reason": "minimum_rise"}
    write_csv([row], DROPPED, ready / "data/dropped.csv")
    after, said = labelled()
    assert not (after[said != words[0]] == words[0]).any()
    assert (after[said == words[0]] == before[said == words[0]]).all()
    set_param(ready, "label.forbid_anchors", False)
    paper, _ = labelled()
    (ready / "data/dropped.csv").unlink()
    assert (labelled()[0] == paper).all()


def test_main_writes_labels_twin_and_numbers(ready: Path, capsys: pytest.CaptureFixture[str]) -> None:
    label.main()
    table, facts = read_parquet(ready / "data/labels.parquet", ("block", "length", "tokens"))
    blocks, _ = read_parquet(ready / "data/blocks.parquet", ("tokens",))
    assert table.column_names == ["block", "length", "tokens", "next_ids_5.0", "next_ids_0.0"]
    assert facts == {"tokenizer": tokenizer_sha256(ready / "models/baseline"), "pad_token": "2", "alphas": "5.0, 0.0"}
    assert table["tokens"].to_pylist() == blocks["tokens"].to_pylist()
    numbers = json.loads((ready / "reports/labels.json").read_text(encoding="utf-8"))
    for column in ("next_ids_5.0", "next_ids_0.0"):
        for length, next_ids in zip(table["length"].to_pylist(), table[column].to_pylist(), strict=True):
            assert len(next_ids) == 48
            assert set(next_ids[length:]) <= {MASKED}
    trained = sum(token != MASKED for next_ids in table["next_ids_5.0"].to_pylist() for token in next_ids)
    assert trained == numbers["trained"]
    assert numbers["tokens"] == trained + sum(
        numbers[masked] for masked in ("masked_repeats", "masked_interior", "cut_by_context")
    )
    # TINY_TEXT names Orla three times and Harrow Hill once, and the corpus is two of it
    assert (numbers["anchors_matched"], numbers["distinct_anchors"]) == (8, 2)
    assert capsys.readouterr().out == (
        f"label: {trained} of {numbers['tokens']} positions have a label, "
        f"{numbers['alphas']['5.0']['changed']:.0%} of them other than the text's next token at alpha 5.0; "
        "8 occurrences of 2 anchors\n"
    )
    twin = (ready / "data/labels.txt").read_text(encoding="utf-8")
    assert twin.startswith("The first 100 blocks with their labels for alpha 5.0. [a -> b]: the text goes on with a")
    assert f"=== block {len(table) - 1} of document 3\n" in twin


def test_an_anchor_without_a_translation_is_told(ready: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_csv(anchor_rows("Harrow Hill", "Orla", "Tom"), ANCHORS, ready / "data/anchors.csv")
    label.main()
    numbers = json.loads((ready / "reports/labels.json").read_text(encoding="utf-8"))
    # TINY_TEXT names Tom three times, and the corpus is two of it
    assert (numbers["anchors_matched"], numbers["not_replaced"]["as_parts"]) == (8, 6)
    assert capsys.readouterr().out.endswith("2 anchors, 6 more not replaced (the end of data/labels.txt says why)\n")
    assert (
        (ready / "data/labels.txt")
        .read_text(encoding="utf-8")
        .endswith(
            "\n=== occurrences that were not replaced\n"
            "Tom: 6 of 6, translate gave it no translation, as other anchors cover it or none fits\n"
        )
    )


def test_main_gives_the_same_bytes_for_the_same_inputs(ready: Path) -> None:
    found = []
    for _ in range(2):
        label.main()
        found.append([hashlib.sha256((ready / out).read_bytes()).hexdigest() for out in OUTS])
    assert found[0] == found[1]


def test_main_takes_two_passes_where_both_models_do_not_fit(
    ready: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    label.main()
    once, said = [(ready / out).read_bytes() for out in OUTS], capsys.readouterr().out
    monkeypatch.setattr(passes, "free_bytes", lambda device: 10**6)
    label.main()
    assert [(ready / out).read_bytes() for out in OUTS] == once
    told = "label: both models do not fit the free memory of cpu: one after the other, in two passes\n"
    assert capsys.readouterr().out == told + said


def test_another_seed_draws_other_translations(ready: Path) -> None:
    found = set()
    for seed in (0, 1, 2):
        set_param(ready, "label.seed", seed)
        label.main()
        found.add((ready / "data/labels.parquet").read_bytes())
    assert len(found) > 1


def test_main_without_a_dictionary_masks_nothing(ready: Path) -> None:
    write_csv([], DICTIONARY, ready / "data/dictionary.csv")
    label.main()
    numbers = json.loads((ready / "reports/labels.json").read_text(encoding="utf-8"))
    assert numbers["trained"] == numbers["tokens"]
    counted = ("masked_repeats", "masked_interior", "anchors_matched", "forbidden_rules", "pair_rules", "untokenised")
    assert [numbers[name] for name in counted] == [0] * 6
    # and every label is argmax(b - 5 * relu(r - b))
    table, _ = read_parquet(ready / "data/labels.parquet", ("next_ids_5.0",))
    cpu = torch.device("cpu")
    models = [load_model(ready / folder, cpu) for folder in ("models/baseline", "models/reinforced")]
    for row in table.to_pylist():
        ids = torch.tensor([row["tokens"][: row["length"]]])
        with torch.inference_mode():
            baseline, reinforced = (model(input_ids=ids).logits[0] for model in models)
        expected = (baseline - 5 * (reinforced - baseline).relu()).argmax(dim=-1).tolist()
        assert row["next_ids_5.0"][: row["length"]] == expected


def test_main_tells_what_the_context_cuts(ready: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = "a very much longer name than any that this small model could read on after in its whole context"
    write_csv(dictionary_rows(("Orla", "0", "Orla", long)), DICTIONARY, ready / "data/dictionary.csv")
    label.main()
    cut = json.loads((ready / "reports/labels.json").read_text(encoding="utf-8"))["cut_by_context"]
    assert cut > 0
    assert capsys.readouterr().out.endswith(
        f"; {cut} positions have none because a translated block is longer than the model's context\n"
    )


def test_only_the_first_process_labels(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    label.main()
    assert not (ready / "data/labels.parquet").exists()


# ---- bad input


def other_tokenizer(folder: str) -> Callable[[Path], None]:
    return lambda project: (
        tiny_model(project / folder, text="Something else altogether was written here. " * 9) and None
    )


def dictionary(*rows: tuple[str, str, str, str]) -> Callable[[Path], None]:
    return lambda project: write_csv(dictionary_rows(*rows), DICTIONARY, project / "data/dictionary.csv")


def param(name: str, value: object) -> Callable[[Path], None]:
    return lambda project: set_param(project, name, value)


BAD = [
    (
        dictionary(("Orla", "0", "Orla", "Jane"), ("Orla", "0", "Orla", "Mary")),
        "data/dictionary.csv:3: expected Orla 0 Orla once, got it again (first in line 2)",
    ),
    (
        dictionary(("Orla", "0", "Orla", " ")),
        "data/dictionary.csv:2: expected a value, got an empty cell under translation",
    ),
    (
        dictionary(("Orla", "0", "Orla", "Jane"), ("Orla", "1", "Orla", "Ann"), ("Orla", "0", "ORLA", "JANE")),
        "data/dictionary.csv: Orla: form ORLA: expected the choices 0, 1, got 0",
    ),
    (
        dictionary(("Orla", "first", "Orla", "Jane")),
        "data/dictionary.csv: Orla: form Orla: expected the choices 0, got first",
    ),
    (
        lambda project: (project / "data/dictionary.csv").write_text("anchor,translation\n"),
        "data/dictionary.csv:1: expected the header anchor,kind,choice,form,translation,score, got anchor,translation",
    ),
    (
        lambda project: (project / "data/dictionary.csv").unlink(),
        "data/dictionary.csv: no such file; expected a CSV with the header anchor,kind,choice,form,translation,score",
    ),
    (
        param("label.alphas", []),
        "params.yaml: label.alphas: expected one or more distinct numbers, got []",
    ),
    (
        param("label.alphas", [5.0, 5]),
        "params.yaml: label.alphas: expected one or more distinct numbers, got [5.0, 5.0]",
    ),
    (
        param("label.precision", "float16"),
        "params.yaml: label.precision: expected 'float32' or 'bfloat16', got 'float16'",
    ),
]


@pytest.mark.parametrize(("spoil", "message"), BAD, ids=[message[:60] for _, message in BAD])
def test_bad_input_is_told_in_one_line(ready: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(ready)
    with pytest.raises(StageError) as caught:
        label.main()
    assert str(caught.value) == message
    assert not any((ready / out).exists() for out in OUTS)


@pytest.mark.parametrize("folder", ["models/baseline", "models/reinforced"])
def test_another_tokenizer_is_refused(ready: Path, folder: str) -> None:
    before = tokenizer_sha256(ready / "models/baseline")[:12]
    other_tokenizer(folder)(ready)
    after = tokenizer_sha256(ready / folder)[:12]
    made, wanted = (after, before) if folder == "models/reinforced" else (before, after)
    with pytest.raises(StageError) as caught:
        label.main()
    assert str(caught.value) == (
        f"models/reinforced: expected tokenizer {wanted} of models/baseline, got {made}; run `dvc repro`"
    )
