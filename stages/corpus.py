"""Takes a snapshot of the forget text and the retain text, and holds out part of both for evaluation.

reads   ${corpus.forget}  ${corpus.retain}
writes  data/corpus.parquet
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import Field, PositiveInt

from lethe.core.conversation import TURNS, Conversation
from lethe.core.corpus import folder_problems
from lethe.core.errors import StageError
from lethe.core.params import Seed, StageParams, read_params
from lethe.core.stage import run, workspace
from lethe.core.tables import CORPUS
from lethe.text.conversations import datasets_of
from lethe.text.documents import Source, choose_held_out, cut, documents, left_out, read_side, without_duplicates
from lethe.text.normal import EDITS
from lethe.text.passages import KINDS, shared_runs
from lethe.text.streaming import parquet_stream

WRITTEN = 64  # documents per write


class Params(StageParams):
    forget: str
    retain: str
    held_out: Annotated[float, Field(ge=0, lt=1)]
    passage_chars: PositiveInt
    near_duplicate: Annotated[float, Field(ge=0, le=1)]
    loss_on: Literal["answers", "all"]
    seed: Seed


def main() -> None:
    params = read_params("corpus", Params)
    for name, problem in folder_problems(params.forget, params.retain).items():
        raise StageError(f"params.yaml: corpus.{name}: {problem}")
    with workspace("corpus") as work:
        forget, others = read_side(Path(params.forget), "forget")
        retain, more_others = read_side(Path(params.retain), "retain")
        if not forget:
            raise StageError(f"{params.forget}: expected UTF-8 text in {KINDS} files, got none")
        sources = [learnt(source, params.loss_on) for source in forget + retain]
        found = [passage for source in sources for passage in cut(source, params.passage_chars)]
        kept = without_duplicates(found)
        alike = [share > params.near_duplicate for share in shared_runs(passage.own for passage in kept)]
        held_out = choose_held_out(kept, alike, params.held_out, params.seed)
        rows = documents(kept, held_out)
        schema = CORPUS
        for column in (TURNS, EDITS):
            schema = schema.append(column) if any(column.name in row for row in rows) else schema
        facts = datasets_of(Path(params.forget), Path(params.retain))
        with parquet_stream(schema, work / "data/corpus.parquet", **facts) as append:
            for start in range(0, len(rows), WRITTEN):
                append(pa.Table.from_pylist(rows[start : start + WRITTEN], schema))
        print(
            f"corpus: {format_side(rows, 'forget')} and {format_side(rows, 'retain')}; "
            f"{len(found) - len(kept)} repeated passages dropped, "
            f"{sum(alike)} near-duplicates never held out; {left_out(others + more_others)}"
        )


def learnt(source: Source, loss_on: str) -> Source:
    """The source with the messages of a conversation marked that a model is to learn."""
    text = source.text
    return source._replace(text=text.trained_on(loss_on == "all")) if isinstance(text, Conversation) else source


def format_side(rows: Sequence[dict[str, Any]], side: str) -> str:
    """`12 forget documents of 34567 words (9.8 % held out)`, and how many of them are conversations."""
    words = dict.fromkeys(("train", "held_out"), 0)
    for row in rows:
        if row["side"] == side:
            words[row["part"]] += len(row["text"].split())
    count = sum(row["side"] == side for row in rows)
    share = 100 * words["held_out"] / max(1, sum(words.values()))
    said = sum(row["side"] == side and TURNS.name in row for row in rows)
    kind = f", {said} of them conversations," if said else ""
    return f"{count} {side} documents{kind} of {sum(words.values())} words ({share:.1f} % held out)"


if __name__ == "__main__":
    run(main)
