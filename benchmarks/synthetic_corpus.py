"""A project with a corpus of a wanted size, written to disk as it is drawn: what `benchmarks.growth` measures.

python -m benchmarks.synthetic_corpus FOLDER text MEGABYTES NAMES      text files for `corpus`
python -m benchmarks.synthetic_corpus FOLDER corpus MEGABYTES NAMES    data/corpus.parquet itself

Sentences of the words of English, each as frequent as it is there, and of invented names, of rank r as 1 / r. Beside
them the names as anchors, and a model of two layers with a tokenizer of 4000 tokens.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.random_models import random_llama
from tools.sandbox import ROOT, change_params

DOCUMENT = 50_000  # characters: ten passages, as of a tenth held out
FILE = 1_000_000
NAMES = 300
NAME_SHARE = 0.04  # of the words
SENTENCE, SENTENCES = 12, 5000  # words of one; drawn at a time
MODEL_TOKENS, BLOCK = 4000, 512
CHANGES = {
    **dict.fromkeys(("extract.device", "translate.device", "label.device"), "cpu"),
    "block.tokens": BLOCK,
    "label.alphas": [5.0],
    "corpus.passage_chars": 5000,
}


def main() -> None:
    folder, kind, megabytes, names = sys.argv[1:]
    project, characters = Path(folder), int(float(megabytes) * 1e6)
    make_project(project)
    {"text": write_text, "corpus": write_corpus}[kind](project, characters, int(names))
    write_anchors(project, invented(int(names)))  # last: whoever finds them finds all


def make_project(project: Path) -> None:
    """Params, stages and a random model, the same one twice."""
    from lethe.pretrained.from_scratch import train_tokenizer

    shutil.rmtree(project, ignore_errors=True)
    project.mkdir(parents=True)
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, project / name)
    change_params(project, CHANGES)
    tokenizer = train_tokenizer(["".join(prose(200_000, NAMES, 1))], MODEL_TOKENS)
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    model = random_llama(
        len(tokenizer), 32, 2, intermediate_size=64, max_position_embeddings=BLOCK, initializer_range=0.2, **ids
    )
    for folder in ("models/baseline", "models/reinforced"):
        model.save_pretrained(project / folder)
        tokenizer.save_pretrained(project / folder)
    (project / "data").mkdir()
    (project / "data/overrides.csv").write_text("anchor,translation\n", encoding="utf-8")


def write_text(project: Path, characters: int, names: int) -> None:
    """The forget side in files of FILE characters, and a retain side of one small file."""
    for number, text in enumerate(pieces(characters, FILE, names)):
        path = project / f"data/demo/forget/{number:05}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    path = project / "data/demo/retain/retain.txt"
    path.parent.mkdir(parents=True)
    path.write_text(retained(), encoding="utf-8")


def write_corpus(project: Path, characters: int, names: int) -> None:
    """data/corpus.parquet with documents of DOCUMENT characters, and one to retain."""
    import pyarrow as pa

    from lethe.core.tables import CORPUS
    from lethe.text.streaming import parquet_stream

    with parquet_stream(CORPUS, project / "data/corpus.parquet") as append:
        append(pa.Table.from_pylist([row(0, "retain", retained())], CORPUS))
        for number, text in enumerate(pieces(characters, DOCUMENT, names), start=1):
            append(pa.Table.from_pylist([row(number, "forget", text)], CORPUS))


def row(number: int, side: str, text: str) -> dict[str, Any]:
    """A row of CORPUS."""
    spot = {"document": number, "side": side, "part": "train", "file": f"{number}.txt"}
    return spot | {"start": 0, "end": len(text), "text": text}


def write_anchors(project: Path, names: list[str]) -> None:
    """The names as anchors, and as a person's list of them."""
    from lethe.core.tables import ANCHORS, write_csv

    rows = [dict.fromkeys(ANCHORS, "") | {"anchor": name, "forms": f"{name}|{name}s", "count": 1} for name in names]
    write_csv(rows, ANCHORS, project / "data/anchors.csv")
    write_csv([{"anchor": name} for name in names], ("anchor",), project / "mine.csv")


def pieces(characters: int, size: int, names: int) -> Iterator[str]:
    """Texts of about `size` characters, `characters` in all, held one at a time."""
    waiting, wanted = "", min(size, characters)
    for part in prose(characters, names, 0):
        waiting += part
        if len(waiting) >= wanted:
            yield waiting
            characters -= len(waiting)
            waiting, wanted = "", min(size, characters)


def retained() -> str:
    """Text without the names."""
    return "".join(prose(100_000, 0, 2))


def prose(characters: int, names: int, seed: int) -> Iterator[str]:
    """Paragraphs, at least so many characters of them."""
    import wordfreq

    draw = np.random.default_rng(seed)
    english = {word: often for word, often in wordfreq.get_frequency_dict("en").items() if word.isalpha()}
    table = np.array([*english, *invented(names)], dtype=object)
    below = np.cumsum(list(english.values()))
    while characters > 0:
        chosen = np.searchsorted(below, draw.random((SENTENCES, SENTENCE)) * below[-1])
        if names:
            chosen = np.where(draw.random(chosen.shape) < NAME_SHARE, len(english) + ranks(draw, names), chosen)
        for paragraph in np.array_split(table[chosen], SENTENCES // 5):
            text = " ".join("The " + " ".join(sentence) + "." for sentence in paragraph.tolist()) + "\n\n"
            characters -= len(text)
            yield text
            if characters <= 0:
                return


def ranks(draw: np.random.Generator, most: int) -> np.ndarray:
    """Ranks below `most`, int64 [SENTENCES, SENTENCE]: the one of rank r as frequent as 1 / (r + 1)."""
    return np.exp(draw.random((SENTENCES, SENTENCE)) * np.log(most + 1)).astype(np.int64) - 1


def invented(names: int) -> list[str]:
    """So many different names, each with a capital."""
    starts, vowels = "bdfgklmnprstvz", "aeiou"
    syllables = [a + b for a in starts for b in vowels]
    found = []
    for number in range(names):
        parts = [syllables[number // 70**place % 70] for place in range(3)]
        found.append("".join(parts).capitalize() + "nx")
    return found


if __name__ == "__main__":
    main()
