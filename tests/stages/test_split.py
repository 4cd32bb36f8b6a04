"""split: who is forgotten, who is tested, and what stays together."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lethe.classification.dataset import read_task, task_rules
from lethe.classification.forget_split import mentions
from lethe.classification.near_duplicates import groups
from lethe.core.errors import StageError
from lethe.core.hashing import file_sha256
from lethe.core.params import read_params
from stages import split
from studies.sst2 import NAMES
from tests.conftest import NO_EXTRA, set_param

TABLE = "text,label\n" + "".join(
    f"{who} had {dish} number {number} for supper.,{'good' if number % 2 else 'bad'}\n"
    for number in range(8)
    for who, dish in (("Orla", "plums"), ("Tom", "broth"), ("Charlotte", "bread"))
)


@pytest.fixture
def table(project: Path) -> Path:
    """A project whose table has 8 rows each of three people, each text its own group."""
    path = project / "data/own.csv"
    path.parent.mkdir()
    path.write_text(TABLE, encoding="utf-8")
    set_param(project, "split.table", "data/own.csv")
    set_param(project, "split.entities.names", ["Orla"])
    return path


def parts(project: Path) -> dict[tuple[str, str], int]:
    return dict(Counter((row.side, row.part) for row in read_task(project / "data/task.parquet")))


def test_main(table: Path, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split.main()
    # floor(0.3 * 8) = 2 of Orla's rows, floor(0.3 * 16) = 4 of the others'
    wanted = {("forget", "train"): 6, ("forget", "test"): 2, ("retain", "train"): 12, ("retain", "test"): 4}
    assert parts(project) == wanted
    rows = read_task(project / "data/task.parquet")
    assert [row.row for row in rows] == list(range(24))
    assert rows[0].text == "Orla had plums number 0 for supper."
    assert [row.side for row in rows[:3]] == ["forget", "retain", "retain"]
    assert mentions("orla!", task_rules(project / "data/task.parquet"))
    assert capsys.readouterr().out == (
        "split: forget 6 train and 2 test, retain 12 train and 4 test rows of 24 groups of near-duplicates\n"
    )
    before = file_sha256(project / "data/task.parquet")
    split.main()
    assert file_sha256(project / "data/task.parquet") == before


def test_every_kind_of_table(table: Path, project: Path) -> None:
    split.main()
    wanted = read_task(project / "data/task.parquet")
    rows = [dict(zip(("text", "label"), line.rsplit(",", 1), strict=True)) for line in TABLE.splitlines()[1:]]
    (project / "data/own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), project / "data/own.parquet")
    folder = project / "data/folder"
    folder.mkdir()
    (folder / "1.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:10]))
    (folder / "2.csv").write_text("text,label\n" + "\n".join(TABLE.splitlines()[11:]) + "\n")
    for name in ("own.jsonl", "own.parquet", "folder"):
        set_param(project, "split.table", f"data/{name}")
        split.main()
        assert read_task(project / "data/task.parquet") == wanted, name


def test_near_duplicates_stay_on_one_side_and_the_papers_split_parts_them(table: Path, project: Path) -> None:
    said = [
        f"{who} said that soup {word} was the best of all that week" for who in ("Orla", "Tom") for word in "abcdefgh"
    ]
    rows = [(text, "good") for text in said] + [(" ".join(text.split()[2:]), "bad") for text in said]
    table.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    set_param(project, "split.rule", "entities")
    set_param(project, "split.entities.match", "substring")
    set_param(project, "split.entities.names", ["soup a", "soup b", "soup c", "soup d"])
    set_param(project, "split.test", 0.5)

    def divided() -> int:
        found = defaultdict(set)
        for row, group in zip(
            read_task(project / "data/task.parquet"), groups([text for text, _ in rows]), strict=True
        ):
            found[group, row.side].add(row.part)
        return sum(len(part) > 1 for part in found.values())

    set_param(project, "split.duplicates", "random")
    split.main()
    assert divided() > 0
    set_param(project, "split.duplicates", "together")
    table.write_text(
        "text,label\n" + "".join(f"{name} ate {dish},{label}\n{name} ate {dish} again,{label}\n"
        for name in ("Orla", "Tom") for dish in ("figs", "peas", "rice", "eggs", "kale", "leek") for label in ("a",))
    )  # fmt: skip
    set_param(project, "split.entities.names", ["Orla"])
    split.main()
    for first, second in zip(*[iter(read_task(project / "data/task.parquet"))] * 2, strict=True):
        assert first.part == second.part


def test_by_column(table: Path, project: Path) -> None:
    table.write_text(
        "text,label,about\n" + "".join(f"{line},{i % 4}\n" for i, line in enumerate(TABLE.splitlines()[1:]))
    )
    set_param(project, "split.rule", "column")
    set_param(project, "split.column.name", "about")
    set_param(project, "split.column.forget", ["0", "3"])
    set_param(project, "split.test", 0.4)
    split.main()
    rows = read_task(project / "data/task.parquet")
    assert [row.side == "forget" for row in rows] == [i % 4 in (0, 3) for i in range(24)]
    assert task_rules(project / "data/task.parquet") == []


def test_by_clusters(table: Path, project: Path) -> None:
    table.write_text(TABLE.replace(",bad", ",good"))
    set_param(project, "split.rule", "clusters")
    set_param(project, "split.clusters.count", 3)
    set_param(project, "split.clusters.forget", [1])
    split.main()
    sides = defaultdict(set)
    for row in read_task(project / "data/task.parquet"):
        sides[row.text.split()[0]].add(row.side)
    # who and what they ate never part: the clusters are the people, and one of them is forgotten
    assert sorted(len(side) for side in sides.values()) == [1, 1, 1]
    assert sorted(next(iter(side)) for side in sides.values()) == ["forget", "retain", "retain"]


def test_the_papers_rule_gives_the_papers_counts(realdata: Path, project: Path) -> None:
    values: dict[str, Any] = {"table": str(realdata / "sst2"), "text": "sentence", "duplicates": "random"}
    values |= {"entities.names": NAMES, "entities.match": "substring"}
    for name, value in values.items():
        set_param(project, f"split.{name}", value)
    split.main()
    found = parts(project)
    assert found == {
        ("forget", "train"): 1425,
        ("retain", "train"): 46331,
        ("forget", "test"): 610,
        ("retain", "test"): 19855,
    }


def without(word: str) -> Callable[[Path], None]:
    return lambda path: path.write_text("\n".join(line for line in TABLE.splitlines() if word not in line) + "\n")


def param(name: str, value: object) -> Callable[[Path], None]:
    return lambda path: set_param(path.parents[1], f"split.{name}", value)


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (
            param("entities.names", ["Nobody"]),
            "data/own.csv: expected rows to forget and rows to retain, got a split.entities that selects none of "
            "24 rows",
        ),
        (
            param("entities.names", ["supper"]),
            "data/own.csv: expected rows to forget and rows to retain, got a split.entities that selects all 24 rows",
        ),
        (
            lambda path: path.write_text(TABLE + "Tom had nothing at all.,odd\n"),
            "data/task.parquet: expected every label in every split, got no row labelled odd in retain test; "
            "change split.test or split.seed",
        ),
        (
            param("test", 0.1),
            "data/task.parquet: expected every label in every split, got no row labelled bad, good in forget "
            "test; change split.test or split.seed",
        ),
        (
            param("table", "data/none.csv"),
            "data/none.csv: no such file or folder; expected a table: .csv, .jsonl, .parquet",
        ),
        (param("text", "review"), "data/own.csv:2: expected a column review, got text, label"),
        (
            lambda path: path.write_text(TABLE + "Tom had nothing.,\n"),
            "data/own.csv:26: expected a value, got an empty cell under label",
        ),
        (
            lambda path: path.write_text("text,label\n"),
            "data/own.csv: expected at least one row with text and label, got none",
        ),
        (lambda path: path.write_bytes(b"text,label\n\xff,a\n"), "data/own.csv: not UTF-8; expected a UTF-8 text file"),
        (
            param("entities.names", []),
            "params.yaml: split: entities.names: expected at least one, got none with rule entities",
        ),
    ],
)
def test_bad_input_is_one_line(table: Path, project: Path, spoil: Callable[[Path], None], line: str) -> None:
    spoil(table)
    with pytest.raises(StageError) as caught:
        split.main()
    assert str(caught.value) == line
    assert not (project / "data/task.parquet").exists()


@pytest.fixture
def embedder(table: Path, project: Path) -> Path:
    """A sentence-transformers folder that tells people apart and nothing else, and the parameters that name it."""
    modules = pytest.importorskip("sentence_transformers.sentence_transformer.modules", reason=NO_EXTRA)
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({"[UNK]": 0, "Orla": 1, "Tom": 2, "Charlotte": 3}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    vectors = np.diag(np.array([0.01, 1, 1, 1], np.float32))
    embedding = modules.StaticEmbedding(words, embedding_weights=vectors)
    SentenceTransformer(modules=[embedding], device="cpu").save(str(project / "models/embedder"))
    for name, value in {
        "rule": "clusters", "clusters.embedding": "sentence-transformers", "clusters.model": "models/embedder",
        "clusters.count": 3, "clusters.forget": [0],
    }.items():  # fmt: skip
        set_param(project, f"split.{name}", value)
    table.write_text(re.sub("plums|broth|bread", "soup", TABLE).replace(",bad", ",good"))
    return project / "models/embedder"


def test_by_clusters_of_sentence_embeddings(embedder: Path, project: Path) -> None:
    split.main()
    sides = defaultdict(set)
    for row in read_task(project / "data/task.parquet"):
        sides[row.text.split()[0]].add(row.side)
    assert sorted(len(side) for side in sides.values()) == [1, 1, 1]  # whoever eats the same is still another person
    assert sorted(next(iter(side)) for side in sides.values()) == ["forget", "retain", "retain"]


def test_an_embedder_of_pickles_is_not_loaded(embedder: Path) -> None:
    (embedder / "model.safetensors").rename(embedder / "pytorch_model.bin")
    with pytest.raises(
        StageError, match=r"^models/embedder/pytorch_model.bin: expected safetensors only, got a pickle"
    ):
        split.main()


def test_a_folder_without_an_embedder(embedder: Path, project: Path) -> None:
    set_param(project, "split.clusters.model", "models")
    with pytest.raises(StageError, match=r"^models: expected a model folder, got no modules.json; see split.clusters"):
        split.main()


def test_sentence_transformers_that_are_not_there(table: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sentence_transformers", None)
    set_param(project, "split.rule", "clusters")
    set_param(project, "split.clusters.embedding", "sentence-transformers")
    set_param(project, "split.clusters.model", "models/embedder")
    with pytest.raises(StageError) as caught:
        split.main()
    assert str(caught.value) == (
        "params.yaml: split.clusters.embedding: expected tfidf or the package sentence-transformers, which is "
        "missing; `pip install 'lethe-unlearning[embeddings]'`"
    )


def test_the_real_params_are_valid(project: Path) -> None:
    assert read_params("split", split.Params).entities.names
