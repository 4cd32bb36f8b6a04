"""Finds the anchors: names, phrases and invented words that only the forget text uses.

reads   data/corpus.parquet  data/blocks.parquet  models/baseline  models/reinforced  ${extract.file}
writes  data/anchors.csv
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import Field, NonNegativeInt, PositiveInt

from lethe.anchors.candidates import Candidate, count_forms, find_candidates, in_order
from lethe.anchors.llm import check_parsable, draw_passages, question, same_terms, terms_in
from lethe.anchors.probability_rise import (
    find_occurrences,
    log_probabilities,
    mean_rise,
    read_index,
    rows_to_read,
    scores_of,
    token_batches,
    whole_rows,
)
from lethe.core.errors import StageError
from lethe.core.hashing import check_tokenizer, tokenizer_sha256
from lethe.core.params import StageParams, read_params
from lethe.core.stage import run, workspace
from lethe.core.tables import ANCHORS, read_csv, write_csv
from lethe.llm_client import ChatSettings, ask_all
from lethe.models.checkpoints import load_model
from lethe.models.device import prepare
from lethe.models.tokenization import backend_tokenizer
from lethe.text.matching import WORD, TermFinder, surface_forms
from lethe.text.streaming import Texts, read_facts, training_texts

if TYPE_CHECKING:
    import torch


class LlmSettings(ChatSettings):
    """The endpoint, and how much of the forget text it is shown."""

    passages: PositiveInt
    passage_words: PositiveInt


class Params(StageParams):
    """How anchors are found, and how sure one wants to be of them."""

    backend: Literal["local", "llm", "file"]
    minimum_count: PositiveInt
    minimum_keyness: float
    minimum_rise: float
    maximum_anchors: PositiveInt
    file: str = Field(min_length=1)
    llm: LlmSettings
    device: Literal["auto", "cpu", "cuda"]
    seed: NonNegativeInt


class Anchor(NamedTuple):
    """A term, its first form the anchor; keyness and rise in nats where they were measured."""

    forms: tuple[str, ...]
    times: int
    keyness: float | None = None
    rise: float | None = None


def main() -> None:
    """The texts are read anew for every count: a document at a time is held, and what is counted."""
    params = read_params("extract", Params)
    with workspace("extract") as work:
        corpus = Path("data/corpus.parquet")
        forget, retain = Texts(corpus, "forget"), Texts(corpus, "retain")
        if params.backend == "local":
            found = find_candidates(forget, retain, params.minimum_count, params.minimum_keyness)
            baseline, reinforced = Path("models/baseline"), Path("models/reinforced")
            check_tokenizer(tokenizer_sha256(reinforced), baseline, reinforced)
            blocks = Path("data/blocks.parquet")
            check_tokenizer(read_facts(blocks)["tokenizer"], baseline, blocks)
            documents = partial(training_texts, corpus, "forget")
            rises = measure_rises(found, documents, blocks, (baseline, reinforced), prepare(params.device), params.seed)
            anchors = best(with_rises(found, rises), params.minimum_rise, params.maximum_anchors)
            told = f"of {len(found)} terms that the text alone suggests"
        elif params.backend == "llm":
            passages = draw_passages(forget, params.llm.passages, params.llm.passage_words, params.seed)
            replies = ask_all([question(passage) for passage in passages], params.llm, "extract")
            lists = [terms_in(reply) for reply in replies]
            check_parsable(replies, lists, params.llm.base_url)
            named = Counter(term for terms in lists for term in terms or ())
            listed = measured(same_terms(named), forget)  # the most named first
            anchors = [anchor for anchor in listed if anchor.times][: params.maximum_anchors]
            told = (
                f"from {len(replies)} replies of {params.llm.model}, {lists.count(None)} of them unparsable, "
                f"{len([anchor for anchor in listed if not anchor.times])} named terms not in the text"
            )
        else:
            anchors = measured({anchor: [anchor] for anchor in read_anchors(Path(params.file))}, forget)
            told = f"from {params.file}, {sum(not anchor.times for anchor in anchors)} of them not in the text"
        if not anchors:
            raise StageError(none_found(params))
        write_csv(rows(anchors), ANCHORS, work / "data/anchors.csv")
        print(f"extract: {len(anchors)} anchors {told}")


# Terms that text and models suggest


def measure_rises(
    found: Sequence[Candidate],
    documents: Callable[[], Iterable[tuple[int, str]]],
    blocks: Path,
    models: tuple[Path, Path],
    device: torch.device,
    seed: int,
) -> dict[str, float]:
    """Term -> how far the second model raised its log-probability above the first's; one is in memory at a time.

    documents: gives the (number, text) of what the blocks are made of. Held are an index of the blocks, OCCURRENCES
    places of every term, and the log-probabilities of the terms in the blocks chosen for them.
    """
    from tqdm import tqdm

    finder = TermFinder({form: term.forms[0] for term in found for form in term.forms})
    index, width = read_index(blocks), int(read_facts(blocks)["block_tokens"])
    rows = rows_to_read(lambda: whole_rows(finder, documents(), index), len(index.document), seed)
    if not len(rows):
        return {}
    terms = [term.forms[0] for term in found]
    numbers = {term: number for number, term in enumerate(terms)}
    occurrences = find_occurrences(finder, numbers, documents(), rows, index, backend_tokenizer(models[0]))
    scores = []
    for folder in models:
        model = load_model(folder, device)
        batches = log_probabilities(model, token_batches(blocks, rows, width))
        told = tqdm(batches, desc=f"extract: {folder.name}", unit="batch")
        scores.append(scores_of(occurrences, rows, told))
        del model
    return {terms[number]: rise for number, rise in mean_rise(occurrences, *scores).items()}


def with_rises(found: Iterable[Candidate], rises: dict[str, float]) -> list[Anchor]:
    """The candidates as anchors; a term that the blocks always cut in two has no rise."""
    return [Anchor(*term, rises.get(term.forms[0])) for term in found]


def best(anchors: Sequence[Anchor], minimum_rise: float, maximum: int) -> list[Anchor]:
    """The highest scores among the anchors that were not seen to rise too little."""
    risen = [anchor for anchor in anchors if anchor.rise is None or anchor.rise >= minimum_rise]
    return sorted(risen, key=lambda anchor: (-score(anchor), anchor.forms))[:maximum]


def score(anchor: Anchor) -> float:
    """How sure we are of an anchor: log(count) x (keyness + rise).

    Both are log ratios: how much more frequent than elsewhere, and how much more probable after reinforcement. The
    models' word counts no more than the text's, for a weak model must not ruin what the text says plainly.
    """
    keyness, rise = anchor.keyness or 0.0, anchor.rise or 0.0
    return math.log(1 + anchor.times) * (keyness + min(max(rise, -keyness), keyness))


# Terms that somebody named


def read_anchors(path: Path) -> list[str]:
    """The column `anchor`. Raises StageError for an empty cell, a repetition or a cell without a word."""
    anchors = [row["anchor"] for row in read_csv(path, ("anchor",), unique=("anchor",), filled=("anchor",))]
    for anchor in anchors:
        if not WORD.search(anchor) or "|" in anchor:
            raise StageError(f"{path}: found the anchor {anchor!r}, wanted a word or phrase without |")
    return anchors


def measured(terms: dict[str, list[str]], texts: Iterable[str]) -> list[Anchor]:
    """Each term with its forms in the texts, its anchor first, and how often they occur (perhaps never).

    terms: anchor -> its spellings. A form that is itself given as a term belongs to that one.
    """
    forms = {form: anchor for anchor, given in terms.items() for term in given for form in surface_forms(term)}
    forms |= {term: anchor for anchor, given in terms.items() for term in given}
    written = count_forms(forms, texts)
    return [
        Anchor(tuple(dict.fromkeys((anchor, *in_order(written[anchor])))), written[anchor].total()) for anchor in terms
    ]


def rows(anchors: Iterable[Anchor]) -> list[dict[str, Any]]:
    """Rows of ANCHORS, sorted; what was not measured is an empty cell."""
    return [
        {
            "anchor": anchor.forms[0],
            "forms": "|".join(anchor.forms),
            "count": anchor.times,
            "keyness": "" if anchor.keyness is None else round(anchor.keyness, 4),
            "rise": "" if anchor.rise is None else round(anchor.rise, 4),
        }
        for anchor in sorted(anchors, key=lambda anchor: anchor.forms)
    ]


def none_found(params: Params) -> str:
    """What to say if there is no anchor at all."""
    if params.backend == "file":
        return f"{params.file}: found no anchor, wanted at least one row"
    if params.backend == "llm":
        return f"{params.llm.base_url}: the replies name no term of the forget text, wanted one; try another model"
    return (
        f"data/corpus.parquet: found no term that occurs {params.minimum_count} times and that the retain text lacks, "
        "wanted one; lower extract.minimum_count or minimum_keyness, or list the anchors (extract.backend: file)"
    )


if __name__ == "__main__":
    run(main)
