"""Finds the anchors: names, phrases and invented words that only the forget text uses.

reads   data/corpus.parquet  data/blocks.parquet  models/baseline  models/reinforced  ${extract.file}
writes  data/anchors.csv  data/dropped.csv
"""

from __future__ import annotations

import math
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveInt

from lethe.anchors.candidates import find_terms
from lethe.anchors.llm import check_parsable, draw_passages, question, same_terms, terms_in
from lethe.anchors.probability_rise import measure_rises
from lethe.anchors.selection import (
    Anchor,
    Dropped,
    best,
    counted,
    dropped_rows,
    left_out,
    read_anchors,
    recounted,
    rows,
    told,
    with_rises,
)
from lethe.core.errors import StageError
from lethe.core.hashing import check_tokenizer, tokenizer_sha256
from lethe.core.params import Seed, StageParams, read_params
from lethe.core.stage import run, workspace
from lethe.core.tables import ANCHORS, DROPPED, write_csv
from lethe.llm_client import ChatSettings, ask_all
from lethe.models.device import Device, prepare
from lethe.text.streaming import Texts, read_facts, training_texts

THAT_THE_TEXT_HAS = " that the forget text has, got only others; compare their spelling and case with the text's"


class LlmSettings(ChatSettings):
    """The endpoint, and how much of the forget text is sent to it."""

    passages: PositiveInt
    passage_words: PositiveInt


class Params(StageParams):
    """How anchors are found, and the thresholds they must meet."""

    backend: Literal["local", "llm", "file"]
    minimum_count: PositiveInt
    minimum_keyness: float
    minimum_rise: float
    maximum_anchors: PositiveInt
    file: str = Field(min_length=1)
    llm: LlmSettings
    device: Device
    seed: Seed


def main() -> None:
    """Reads the texts again for every count: holds one document at a time, and the counts."""
    params = read_params("extract", Params)
    with workspace("extract") as work:
        corpus = Path("data/corpus.parquet")
        forget, retain = Texts(corpus, "forget"), Texts(corpus, "retain")
        dropped: list[Dropped] = []
        if params.backend == "local":
            found, rare = find_terms(forget, retain, params.minimum_count, params.minimum_keyness)
            baseline, reinforced = Path("models/baseline"), Path("models/reinforced")
            check_tokenizer(tokenizer_sha256(reinforced), baseline, reinforced)
            blocks = Path("data/blocks.parquet")
            check_tokenizer(read_facts(blocks)["tokenizer"], baseline, blocks)
            documents = partial(training_texts, corpus, "forget")
            rises = measure_rises(found, documents, blocks, (baseline, reinforced), prepare(params.device), params.seed)
            measured = with_rises(found, rises)
            anchors = best(measured, params.minimum_rise, params.maximum_anchors)
            dropped = [Dropped(Anchor(*term), "minimum_count") for term in rare]
            dropped += left_out(measured, anchors, params.minimum_rise)
            origin = f"of {len(found)} candidate terms"
        elif params.backend == "llm":
            passages = draw_passages(forget, params.llm.passages, params.llm.passage_words, params.seed)
            asked = [question(passage) for passage in passages]
            replies = ask_all(asked, params.llm, "extract", usable=lambda reply: terms_in(reply) is not None)
            lists = [terms_in(reply) for reply in replies]
            check_parsable(replies, lists, params.llm.base_url)
            named = Counter(term for terms in lists for term in terms or ())
            listed = counted(same_terms(named), forget)  # most named first
            in_text = [anchor for anchor in listed if anchor.times]
            anchors = in_text[: params.maximum_anchors]
            dropped = left_out(in_text, anchors, -math.inf)
            origin = (
                f"from {len(replies)} replies of {params.llm.model}, {lists.count(None)} of them unparsable, "
                f"{len([anchor for anchor in listed if not anchor.times])} named terms not in the text"
            )
        else:
            anchors = counted({anchor: [anchor] for anchor in read_anchors(Path(params.file))}, forget)
            origin = f"from {params.file}, {sum(not anchor.times for anchor in anchors)} of them not in the text"
        if not any(anchor.times for anchor in anchors):
            raise StageError(none_found(params, len(anchors)))
        anchors = recounted(anchors, forget)
        write_csv(rows(anchors), ANCHORS, work / "data/anchors.csv")
        write_csv(dropped_rows(dropped), DROPPED, work / "data/dropped.csv")
        print(f"extract: {len(anchors)} anchors {origin}{told(dropped)}")


def none_found(params: Params, listed: int) -> str:
    """The error line if the text has no anchor at all. listed: in the file."""
    if params.backend == "file":
        return f"{params.file}: expected at least one anchor{', got none' if not listed else THAT_THE_TEXT_HAS}"
    if params.backend == "llm":
        return (
            f"{params.llm.base_url}: expected terms of the forget text, got replies that name none; try another model"
        )
    return (
        f"data/corpus.parquet: expected a term that occurs {params.minimum_count} times and that the retain text "
        "lacks, got none; lower extract.minimum_count or minimum_keyness, or list the anchors (extract.backend: file)"
    )


if __name__ == "__main__":
    run(main)
