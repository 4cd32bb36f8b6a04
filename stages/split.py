"""Splits a table of labelled texts into forget and retain sets, each with training and test rows.

reads   ${split.table}  ${split.clusters.model}
writes  data/task.parquet
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from lethe.classification.dataset import PARTS, SIDES, TASK, check_classes, read_table, task_rows
from lethe.classification.forget_split import by_clusters, by_entities, check_sides, entity_patterns, sample_test_rows
from lethe.classification.near_duplicates import groups
from lethe.core.params import Seed, StageParams, read_params
from lethe.core.stage import run, workspace
from lethe.core.tables import write_parquet


class Entities(StageParams):
    """Selects texts that mention one of these names; case does not matter."""

    match: Literal["word", "substring"]
    names: list[Annotated[str, Field(pattern=r"\S")]]


class Clusters(StageParams):
    """Selects texts in some clusters of their embeddings, by cosine distance."""

    embedding: Literal["tfidf", "sentence-transformers"]
    model: str
    count: PositiveInt
    forget: list[Annotated[int, Field(ge=0)]]


class Column(StageParams):
    """Selects rows with one of these values in a column of the table."""

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
    seed: Seed

    @model_validator(mode="after")
    def _the_rule_is_complete(self) -> Params:
        if self.rule == "entities" and not self.entities.names:
            raise ValueError("entities.names: expected at least one, got none with rule entities")
        if self.rule == "clusters" and max(self.clusters.forget, default=0) >= self.clusters.count:
            raise ValueError(
                f"clusters.forget: expected numbers below {self.clusters.count}, got {self.clusters.forget}"
            )
        return self


def main() -> None:
    params = read_params("split", Params)
    with workspace("split") as work:
        columns = [params.text, params.label] + ([params.column.name] if params.rule == "column" else [])
        table = read_table(Path(params.table), columns)
        texts = [row[params.text] for row in table]
        forget = forget_rows(table, texts, params)
        check_sides(forget, params.table, params.rule)
        together = groups(texts) if params.duplicates == "together" else list(range(len(texts)))
        test = sample_test_rows(texts, forget, together, params.test, params.seed)
        rows = task_rows([row[params.label] for row in table], texts, forget, test)
        check_classes(rows)
        patterns = entity_patterns(params.entities.names, params.entities.match) if params.rule == "entities" else []
        write_parquet(rows, TASK, work / "data/task.parquet", patterns=json.dumps(patterns))
        counts = Counter((row["side"], row["part"]) for row in rows)
        shown = [f"{side} {' and '.join(f'{counts[side, part]} {part}' for part in PARTS)}" for side in SIDES]
        print(f"split: {', '.join(shown)} rows of {len(set(together))} groups of near-duplicates")


def forget_rows(table: Sequence[dict[str, str]], texts: Sequence[str], params: Params) -> list[bool]:
    """For each row whether the rule selects it."""
    if params.rule == "entities":
        return by_entities(texts, params.entities.names, params.entities.match)
    if params.rule == "column":
        return [row[params.column.name] in params.column.forget for row in table]
    clusters = params.clusters
    return by_clusters(
        texts, clusters.embedding, Path(clusters.model), clusters.count, clusters.forget, seed=params.seed
    )


if __name__ == "__main__":
    run(main)
