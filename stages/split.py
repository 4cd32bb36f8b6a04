"""Parts a table of labelled texts into what is to be forgotten and retained, and each into training and test.

reads   ${split.table}  ${split.clusters.model}
writes  data/task.parquet
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, model_validator

from lethe.classification.dataset import PARTS, SIDES, TASK, read_table
from lethe.classification.forget_split import (
    by_entities,
    cluster_numbers,
    drawn_for_test,
    entity_patterns,
    sentence_vectors,
    tfidf_vectors,
)
from lethe.classification.near_duplicates import groups
from lethe.core.errors import StageError
from lethe.core.params import StageParams, read_params
from lethe.core.stage import run, workspace
from lethe.core.tables import write_parquet


class Entities(StageParams):
    """Texts that mention one of these, in any case."""

    match: Literal["word", "substring"]
    names: list[Annotated[str, Field(pattern=r"\S")]]


class Clusters(StageParams):
    """Texts in some clusters of their embeddings, by cosine distance."""

    embedding: Literal["tfidf", "sentence-transformers"]
    model: str
    count: PositiveInt
    forget: list[Annotated[int, Field(ge=0)]]


class Column(StageParams):
    """Rows with one of these values in a column of the table."""

    name: str
    forget: list[str]


class Params(StageParams):
    table: str
    text: str
    label: str
    rule: Literal["entities", "clusters", "column"]
    entities: Entities
    clusters: Clusters
    column: Column
    test: Annotated[float, Field(gt=0, lt=1)]
    duplicates: Literal["together", "random"]
    seed: int

    @model_validator(mode="after")
    def _the_rule_is_complete(self) -> Params:
        if self.rule == "entities" and not self.entities.names:
            raise ValueError("entities.names: found none with rule entities, wanted at least one")
        if self.rule == "clusters" and max(self.clusters.forget, default=0) >= self.clusters.count:
            raise ValueError(
                f"clusters.forget: found {self.clusters.forget}, wanted numbers below {self.clusters.count}"
            )
        return self


def main() -> None:
    from pathlib import Path

    params = read_params("split", Params)
    with workspace("split") as work:
        columns = [params.text, params.label] + ([params.column.name] if params.rule == "column" else [])
        table = read_table(Path(params.table), columns)
        texts = [row[params.text] for row in table]
        forget = forget_side(table, texts, params)
        check_sides(forget, params)
        together = groups(texts) if params.duplicates == "together" else list(range(len(texts)))
        test = parted(texts, forget, together, params)
        rows = task_rows([row[params.label] for row in table], texts, forget, test)
        check_classes(rows)
        patterns = entity_patterns(params.entities.names, params.entities.match) if params.rule == "entities" else []
        write_parquet(rows, TASK, work / "data/task.parquet", patterns=json.dumps(patterns))
        counts = Counter((row["side"], row["part"]) for row in rows)
        told = [f"{side} {' and '.join(f'{counts[side, part]} {part}' for part in PARTS)}" for side in SIDES]
        print(f"split: {', '.join(told)} rows of {len(set(together))} groups of near-duplicates")


def forget_side(table: Sequence[dict[str, str]], texts: Sequence[str], params: Params) -> list[bool]:
    """For each row whether the rule takes it."""
    if params.rule == "entities":
        return by_entities(texts, params.entities.names, params.entities.match)
    if params.rule == "column":
        return [row[params.column.name] in params.column.forget for row in table]
    clusters = params.clusters
    if clusters.count > len(texts):
        raise StageError(
            f"params.yaml: split.clusters.count: found {clusters.count} for {len(texts)} rows, wanted fewer"
        )
    vectors = tfidf_vectors(texts) if clusters.embedding == "tfidf" else sentence_vectors(texts, Path(clusters.model))
    return [number in clusters.forget for number in cluster_numbers(vectors, clusters.count, params.seed)]


def check_sides(forget: Sequence[bool], params: Params) -> None:
    """Raise StageError if the rule takes no row or every row."""
    if all(forget) or not any(forget):
        found = f"all {len(forget)} rows" if all(forget) else f"none of {len(forget)} rows"
        raise StageError(
            f"{params.table}: found that split.{params.rule} takes {found}, wanted some to forget and some to retain"
        )


def parted(texts: Sequence[str], forget: Sequence[bool], together: Sequence[int], params: Params) -> set[int]:
    """Indices of the test rows, drawn from each side alone; a group with rows on both sides counts as one on each."""
    test: set[int] = set()
    for side in (True, False):
        own = [index for index, found in enumerate(forget) if found == side]
        drawn = drawn_for_test([texts[i] for i in own], [together[i] for i in own], params.test, params.seed)
        test |= {own[index] for index in drawn}
    return test


def task_rows(
    labels: Sequence[str], texts: Sequence[str], forget: Sequence[bool], test: set[int]
) -> list[dict[str, Any]]:
    """Rows of data/task.parquet, in the table's order."""
    return [
        {"row": index, "text": text, "label": label} | {"side": SIDES[not forget[index]], "part": PARTS[index in test]}
        for index, (text, label) in enumerate(zip(texts, labels, strict=True))
    ]


def check_classes(rows: Sequence[dict[str, Any]]) -> None:
    """Raise StageError if a side has no row in a part, or a part of the retain side lacks a label of the table.

    The forget side need not have every label, but what it is tested on it has to be trained on.
    """
    labels = {(side, part): {row["label"] for row in rows if (row["side"], row["part"]) == (side, part)}
              for side in SIDES for part in PARTS}  # fmt: skip
    everything = set.union(*labels.values())
    for side in SIDES:
        wanted = everything if side == "retain" else labels["forget", "train"] | labels["forget", "test"]
        for part in PARTS:
            missing = sorted(wanted - labels[side, part])
            if missing or not labels[side, part]:
                found = f"no row labelled {', '.join(missing)}" if missing else "no row"
                raise StageError(
                    f"data/task.parquet: found {found} in {side} {part}, wanted every label in every part; "
                    "change split.test or split.seed"
                )


if __name__ == "__main__":
    run(main)
