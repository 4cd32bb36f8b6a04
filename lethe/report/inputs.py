"""The inputs of the report: reports and tables of the earlier stages, read and reshaped for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lethe.core.corpus import fixed_width, read_documents
from lethe.core.hashing import check_tokenizer
from lethe.core.tables import read_csv, read_parquet
from lethe.gate.metric_catalogue import size
from lethe.models.soft_prompts import PROMPT, virtual_tokens
from lethe.models.tokenization import backend_tokenizer
from lethe.report.samples import anchor_positions, label_samples, term_ids
from lethe.report.term_table import Term
from lethe.text.matching import WORD

LOSS = ("step", "loss", "learning_rate")


class Corpus(NamedTuple):
    """The part of the corpus that the page needs."""

    forget: list[str]  # the texts of the forget set
    trained: list[str]  # those of them that models were trained on
    sizes: list[dict[str, Any]]  # files, documents, characters and words of each side and part


class Findings(NamedTuple):
    """The results of the earlier stages: their reports unchanged, and what was read from their tables."""

    familiarity: dict[str, Any]  # reports/familiarity.json
    benchmarks: dict[str, Any]
    measures: dict[str, Any]
    attacks: dict[str, Any]
    finetune: dict[str, Any]
    distil: dict[str, Any]
    labels: dict[str, Any]
    terms: dict[str, Any]
    provenance: dict[str, Any]  # models/unlearned/provenance.json
    params: dict[str, Any]  # params.yaml, all of it
    dictionary: list[dict[str, str]]  # rows of data/dictionary.csv
    prompts: list[dict[str, Any]]
    completions: list[dict[str, Any]]
    continuations: list[dict[str, Any]]
    table: list[Term]  # data/terms.csv
    passages: list[dict[str, str]]  # rows of data/measures.csv
    tokens: list[dict[str, str]]  # rows of data/tokens.csv
    requests: list[dict[str, Any]]  # from request_ledger.history
    broken: list[str]  # what is wrong with lines of the ledger
    curves: dict[str, list[tuple[float, float]]]  # from read_curves
    corpus: Corpus


def read_corpus(corpus: Path) -> Corpus:
    """The texts of the forget set, and the size of each side and part. A file may have both a trained and a held-out
    part; it counts where it occurs first.
    """
    rows = read_documents(corpus)
    sizes: dict[tuple[str, str], dict[str, int]] = {}
    seen = set()
    for row in rows:
        size = sizes.setdefault((row.side, row.part), dict.fromkeys(("files", "documents", "characters", "words"), 0))
        size["files"] += (row.side, row.file) not in seen
        size["documents"] += 1
        size["characters"] += row.end - row.start
        size["words"] += sum(1 for _ in WORD.finditer(row.text))
        seen.add((row.side, row.file))
    forget = [row for row in rows if row.side == "forget"]
    trained = [row.text for row in forget if row.part == "train"]
    counted = [{"side": side, "part": part} | size for (side, part), size in sorted(sizes.items())]
    return Corpus([row.text for row in forget], trained, counted)


def read_curves(*paths: Path) -> dict[str, list[tuple[float, float]]]:
    """(step, loss) of every training that was run, by the name of its stage."""
    rows = {path.stem: read_csv(path, LOSS) for path in paths}
    return {name: [(float(row["step"]), float(row["loss"])) for row in found] for name, found in rows.items() if found}


def read_samples(
    labels: Path, model: Path, alpha: float, dictionary: Sequence[Mapping[str, str]], samples: int, words: int
) -> list[dict[str, Any]]:
    """A few of the labels that were trained on where the next word is an anchor, `words` words each.

    Raises StageError if the labels were made with another tokenizer.
    """
    column = f"next_ids_{alpha}"
    table, facts = read_parquet(labels, ("block", "length", "tokens", column))
    check_tokenizer(facts["tokenizer"], model, labels)
    tokenizer, tokens, next_ids = backend_tokenizer(model), fixed_width(table, "tokens"), fixed_width(table, column)
    terms = term_ids(tokenizer, sorted({row["form"] for row in dictionary}))
    anchors = anchor_positions(tokens, next_ids, table["length"].to_numpy(), terms, tokenizer)
    return label_samples(table["block"].to_pylist(), tokens, next_ids, anchors, tokenizer, samples, words)


def soft_prompt_facts(unlearned: Path, baseline: Path, familiarity: Mapping[str, Any]) -> dict[str, Any] | None:
    """The size of the soft prompt and of the frozen weights, and the leak without the prompt: the baseline's.

    None where weights were trained.
    """
    if not (unlearned / PROMPT).exists():
        return None
    saved, frozen = (
        sum(path.stat().st_size for path in folder.glob("*.safetensors")) for folder in (unlearned, baseline)
    )
    sizes = {"vectors": virtual_tokens(unlearned), "saved": size(saved), "frozen": size(frozen)}
    return sizes | {"leak": familiarity["models"]["baseline"]["leak"]}
