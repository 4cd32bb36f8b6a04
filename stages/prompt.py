"""Collects the test prompts: your own, and held-out forget text cut before a target name.

reads   data/corpus.parquet  data/anchors.csv  ${prompt.names}  ${prompt.own}
writes  data/prompts.jsonl  data/names.csv
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, NonNegativeInt

from lethe.core.conversation import Conversation
from lethe.core.corpus import read_documents
from lethe.core.errors import StageError
from lethe.core.params import Seed, StageParams, read_params
from lethe.core.stage import run, workspace
from lethe.core.tables import ANCHORS, NAMES, numbered_jsonl, read_csv, write_csv, write_jsonl
from lethe.text.cloze import FEWEST_WORDS, choose, cloze_prompts, cloze_rows, question_prompts
from lethe.text.matching import WORD, name_finder, same_name
from lethe.text.passages import draw, passages

STRETCH_CHARS = 2000  # held-out text is split into the two sets in stretches of about this many characters

TOLD = 5  # names that the text lacks, by name


class Params(StageParams):
    names: str
    own: str
    cloze: NonNegativeInt
    words: Annotated[int, Field(ge=FEWEST_WORDS)]
    development: Annotated[float, Field(ge=0, le=1)]
    seed: Seed


def main() -> None:
    params = read_params("prompt", Params)
    with workspace("prompt") as work:
        corpus = read_documents(Path("data/corpus.parquet"))
        names = read_names(Path(params.names), Path("data/anchors.csv"))
        finder = name_finder(names)
        own = own_prompts(Path(params.own), params.development, params.seed)
        held_out = [row.text for row in corpus if (row.side, row.part) == ("forget", "held_out")]
        chats = [text for text in held_out if isinstance(text, Conversation)]
        plain = [text for text in held_out if not isinstance(text, Conversation)]
        stretches = [text[start:end] for text in plain for start, end in passages(text, STRETCH_CHARS)]
        found = [cloze for stretch in stretches for cloze in cloze_prompts(stretch, finder, params.words)]
        found += [asked for chat in chats for asked in question_prompts(chat, finder)]
        chosen = choose(found, params.cloze, params.seed)
        if not chosen and not own:
            raise StageError(
                f"data/corpus.parquet: expected prompts, got none: none of {len(names)} target names occurs in "
                f"{sum(map(len, held_out))} characters of held-out forget text, and {params.own} holds no prompts; "
                "raise corpus.held_out or write prompts"
            )
        rows = cloze_rows(chosen, params.development, params.seed) + own
        known, in_forget = (
            finder.terms_in("\n\n".join(row.text for row in corpus if row.side == side))
            for side in ("retain", "forget")
        )
        write_jsonl(({"id": number} | row for number, row in enumerate(rows)), work / "data/prompts.jsonl")
        unique = [{"name": name, "unique": "no" if name in known else "yes"} for name in names]
        write_csv(unique, ("name", "unique"), work / "data/names.csv")
        tests = sum(row["set"] == "test" for row in rows)
        targets = len({row.references[0] for row in chosen})
        print(
            f"prompt: {len(chosen)} {kind(chats, plain)} prompts with {targets} target names and {len(own)} of "
            f"your own: {tests} for the test set and {len(rows) - tests} for the development set"
        )
        if nowhere := [name for name in names if name not in in_forget]:
            told = ", ".join(nowhere[:TOLD]) + (f" and {len(nowhere) - TOLD} more" if len(nowhere) > TOLD else "")
            print(f"prompt: {len(nowhere)} of {len(names)} names are nowhere in the forget text: {told}")


def kind(chats: Sequence[str], plain: Sequence[str]) -> str:
    """What the prompts from held-out text are called: those from conversations are questions."""
    return " and ".join(name for name, found in (("cloze", plain or not chats), ("question", chats)) if found)


def read_names(path: Path, anchors: Path) -> list[str]:
    """The name matcher's names, sorted; if the file has none, the anchors that the pipeline found."""
    names = [row["name"] for row in read_csv(path, NAMES, unique=("name",), filled=("name",))]
    for name in names:
        if not WORD.search(name):
            raise StageError(f"{path}: expected a name with a letter or digit, got {name!r}")
    found = [row["anchor"] for row in read_csv(anchors, ANCHORS, unique=("anchor",), filled=("anchor",))]
    first: dict[str, str] = {}
    for name in names:
        if (other := first.setdefault(same_name(name), name)) != name:
            raise StageError(f"{path}: expected {other} once, got it again in another spelling, {name}")
    return sorted(names or found)


def own_prompts(folder: Path, development: float, seed: int) -> list[dict[str, Any]]:
    """Rows from every .jsonl file of the folder, in the order of the file names. Raises StageError at `file:line`."""
    if not folder.is_dir():
        raise StageError(f"{folder}: no such folder; expected the folder of your prompts; it may be empty")
    rows = []
    for path in sorted(folder.glob("*.jsonl")):
        for line, row in numbered_jsonl(path, {"prompt": str, "references": list}):
            check_own(f"{path}:{line}", row["prompt"], row["references"])
            share = int(draw(row["prompt"], seed), 16) / 16**64  # uniform in [0, 1)
            rows.append(
                {"set": "development" if share < development else "test", "source": "own"}
                | {"prompt": row["prompt"].rstrip(), "references": row["references"], "due": None}
            )
    return rows


def check_own(where: str, prompt: str, references: list[Any]) -> None:
    """Raise StageError for a prompt whose completions could not be judged."""
    if not prompt.strip():
        raise StageError(f"{where}: prompt: expected text, got an empty one")
    if not references:
        raise StageError(f"{where}: references: expected the names that a completion must not leak, got none")
    for reference in references:
        if not isinstance(reference, str) or not WORD.search(reference):
            raise StageError(f"{where}: references: expected a name, got {reference!r}")
        if name_finder([reference]).terms_in(prompt):
            raise StageError(f"{where}: references: expected names that the prompt does not contain, got {reference!r}")


if __name__ == "__main__":
    run(main)
