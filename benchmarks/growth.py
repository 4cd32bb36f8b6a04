"""Time and memory of the stages that read the whole corpus, as it grows.

python -m benchmarks.growth CASE    prints one line of JSON; `make bench` runs all cases

An invented text of common words and names. The functions a stage's main() calls, one stage a process; no model runs.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.fresh import cpu_seconds, one_case, peak_above

NOTE = """
CPU seconds and peak memory above the start (the text itself already read) of what the stages do with text: *corpus*
cuts it into passages and compares them, *block* tokenises it into rows and writes them, *extract* finds the terms that
the text alone suggests. No model runs. Memory that grows with the corpus is not bounded: see the last column."""
DOCUMENT = 200_000  # characters
MODEL_VOCABULARY = 1000


class Case(NamedTuple):
    stage: str
    megabytes: float


CASES = {f"{stage}, {size} MB": Case(stage, size) for stage in ("corpus", "block", "extract") for size in (0.1, 1, 10)}
QUICK = {f"{stage}, tiny": Case(stage, 0.02) for stage in ("corpus", "block", "extract")}


def measure(case: Case) -> dict[str, Any]:
    """CPU seconds, and MiB above what the text takes."""
    texts = corpus_of(case.megabytes)
    WORK[case.stage](corpus_of(0.01))  # what is imported on the way is no corpus's memory
    spent: list[float] = []
    peak = peak_above(lambda: spent.append(cpu_seconds(lambda: WORK[case.stage](texts))))
    return {"cpu_s": round(spent[0], 2), "above_start_mib": round(peak, 1)}


def corpus_of(megabytes: float) -> list[str]:
    """Documents of invented prose."""
    drawn = random.Random(0)
    words = ["".join(drawn.choice("aeioubdfglmnrst") for _ in range(drawn.randint(2, 8))) for _ in range(4000)]
    names = [word.capitalize() for word in words[:200]]
    wanted, texts = int(megabytes * 1e6), []
    while wanted > 0:
        parts, length = [], 0
        while length < min(DOCUMENT, wanted):
            chosen = [drawn.choice(words if drawn.random() < 0.9 else names) for _ in range(12)]
            parts.append(" ".join(["The", *chosen]) + (".\n\n" if drawn.random() < 0.2 else ". "))
            length += len(parts[-1])
        texts.append("".join(parts))
        wanted -= length
    return texts


def corpus(texts: list[str]) -> None:
    from stages.corpus import Source, choose_held_out, cut, documents, without_duplicates
    from stages.lib.tables import CORPUS, write_parquet
    from stages.lib.text import shared_runs

    kept = without_duplicates(
        [one for i, text in enumerate(texts) for one in cut(Source("forget", str(i), text), 2000)]
    )
    alike = [share > 0.5 for share in shared_runs([passage.text for passage in kept])]
    rows = documents(kept, choose_held_out(kept, alike, 0.1, 0))
    with tempfile.TemporaryDirectory() as folder:
        write_parquet(rows, CORPUS, Path(folder) / "corpus.parquet")


def block(texts: list[str]) -> None:
    from stages.block import block_rows
    from stages.lib.tables import blocks_schema, write_parquet

    documents = [{"document": number, "text": text} for number, text in enumerate(texts)]
    rows = block_rows(documents, tokenizer(), 512, 0)
    with tempfile.TemporaryDirectory() as folder:
        write_parquet(rows, blocks_schema(512), Path(folder) / "blocks.parquet")


def extract(texts: list[str]) -> None:
    from stages.lib.candidates import find_candidates

    find_candidates(texts, [], 3, 1.0)


def tokenizer() -> Any:
    """A small byte-level BPE, trained on a little of the text."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    found = Tokenizer(models.BPE())
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=MODEL_VOCABULARY, initial_alphabet=alphabet, show_progress=False)
    found.train_from_iterator([corpus_of(0.01)[0]], trainer)
    return found


WORK: dict[str, Callable[[list[str]], None]] = {"corpus": corpus, "block": block, "extract": extract}


def page(cases: dict[str, Any]) -> str:
    """One table, with what a further megabyte costs."""
    from benchmarks.bench import table

    rows = [
        [name, found["cpu_s"], found["above_start_mib"], round(found["above_start_mib"] / CASES[name].megabytes, 1)]
        for name, found in cases.items()
    ]
    return table(["stage, text", "CPU s", "MiB above the start", "MiB per MB of text"], rows)


if __name__ == "__main__":
    one_case(CASES | QUICK, measure)
