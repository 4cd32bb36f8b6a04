"""Views of data/corpus.parquet and data/blocks.parquet that several stages need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lethe.core.conversation import TRAINED, TURNS, stored
from lethe.core.hashing import check_tokenizer, file_sha256, folder_files
from lethe.core.tables import CORPUS, MASKED, read_parquet

if TYPE_CHECKING:
    import numpy as np


SYSTEM = (
    "bin",
    "boot",
    "dev",
    "etc",
    "lib",
    "lib64",
    "proc",
    "run",
    "sbin",
    "sys",
    "usr",
)  # without input text
MADE = ("models", "reports", ".dvc", ".git", ".scratch", "stages", "lethe")  # of the project


def folder_problems(forget: str, retain: str) -> dict[str, str]:
    """{forget or retain: what is wrong with the folder}: they have to be apart, and hold neither system nor project."""
    project, home = Path.cwd().resolve(), Path.home().resolve()
    found = {}
    folders = {name: Path(given).resolve() for name, given in (("forget", forget), ("retain", retain))}
    for name, folder in folders.items():
        if folder == home or folder == Path("/") or (folder.parts[1] in SYSTEM and not project.is_relative_to(folder)):
            found[name] = f"expected a folder of text, got {folder}, which belongs to the system"
        elif project.is_relative_to(folder) or (project / "data").is_relative_to(folder):
            found[name] = f"expected a folder of text, got {folder}, which holds what the project makes"
        elif any(folder.is_relative_to(project / made) for made in MADE):
            found[name] = f"expected a folder of text, got {folder}, which the project or a tool makes"
    one, other = folders["forget"], folders["retain"]
    if not found and (one.is_relative_to(other) or other.is_relative_to(one)):
        found["retain"] = f"expected another folder than corpus.forget, and none around or inside it, got {retain}"
    if not found and (twice := in_both(one, other)):
        more = f" and {len(twice) - 1} more" if len(twice) > 1 else ""
        path, same = (Path(name) / each for name, each in zip((retain, forget), twice[0], strict=True))
        found["retain"] = f"expected other texts than those to forget, got {path}, which is {same}{more}"
    return found


def in_both(forget: Path, retain: Path) -> list[tuple[Path, Path]]:
    """(retain file, forget file), relative to their folders, of each text that is in both: a copy or a hard link."""
    sizes = [
        {path: path.stat().st_size for path in folder_files(folder)} if folder.is_dir() else {}
        for folder in (forget, retain)
    ]
    common = set(sizes[0].values()) & set(sizes[1].values()) - {0}
    digests = [{file_sha256(path): path for path, size in own.items() if size in common} for own in sizes]
    return [(path.relative_to(retain), digests[0][digest].relative_to(forget))
            for digest, path in digests[1].items() if digest in digests[0]]  # fmt: skip


class Document(NamedTuple):
    """A row of data/corpus.parquet: a run of one file's text that belongs to one part."""

    document: int
    side: str  # forget | retain
    part: str  # train | held_out
    file: str
    start: int  # character span in the file's text
    end: int
    text: str  # a Conversation if the row is one


class Blocks(NamedTuple):
    """data/blocks.parquet as arrays."""

    block: np.ndarray  # int32 [N]
    document: np.ndarray  # int32 [N]
    tokens: np.ndarray  # int32 [N, T], padded on the right
    length: np.ndarray  # int32 [N], real tokens
    trained: np.ndarray | None = None  # bool [N, T], tokens to be learnt; None: all of them


def read_documents(corpus: Path) -> list[Document]:
    """The whole corpus, in its order; `lethe.text.streaming` reads one that need not fit into memory.

    Raises StageError if a column is missing.
    """
    table, _ = read_parquet(corpus, CORPUS.names)
    turns = table[TURNS.name].to_pylist() if TURNS.name in table.column_names else [None] * len(table)
    rows = zip(table.select(CORPUS.names).to_pylist(), turns, strict=True)
    return [Document(**row | {"text": stored(row["text"], said)}) for row, said in rows]


def training_documents(corpus: Path, sides: Sequence[str]) -> list[tuple[str, bool]]:
    """(text, forget) of every training document of these sides, in the corpus's order."""
    documents = read_documents(corpus)
    return [(one.text, one.side == "forget") for one in documents if one.side in sides and one.part == "train"]


def held_out_texts(corpus: Path, side: str) -> list[str]:
    """The held-out documents of one side, in the corpus's order."""
    return [one.text for one in read_documents(corpus) if (one.side, one.part) == (side, "held_out")]


def read_blocks(path: Path, model: Path) -> Blocks:
    """The blocks as arrays. Raises StageError if they were cut with another tokenizer than the model's."""
    table, facts = read_parquet(path, ("block", "document", "tokens", "length"))
    check_tokenizer(facts["tokenizer"], model, path)
    tokens = fixed_width(table, "tokens")
    block, document, length = (table[name].to_numpy() for name in ("block", "document", "length"))
    return Blocks(block, document, tokens, length, trained_tokens(table))


def trained_tokens(table: object) -> np.ndarray | None:
    """The column `trained` of blocks or labels, bool [N, T]; None where there is none and every token is learnt."""
    if TRAINED not in table.column_names:  # type: ignore[attr-defined]
        return None
    return fixed_width(table, TRAINED).astype(bool)


def only_trained(next_ids: np.ndarray, trained: np.ndarray | None) -> np.ndarray:
    """Shifted targets int32 [..., N, T], MASKED where the next token is not to be learnt; unchanged with None.

    What follows a block's last token is only known to be learnt if all of the block is, as in plain text.
    """
    if trained is None:
        return next_ids
    kept = next_ids.copy()
    kept[..., :-1][..., ~trained[:, 1:]] = MASKED
    kept[..., -1][..., ~trained.all(axis=1)] = MASKED
    return kept


def fixed_width(table: object, column: str) -> np.ndarray:
    """A fixed-size list column as an int32 array [N, T]."""
    flat = table[column].combine_chunks()  # type: ignore[index]
    return flat.flatten().to_numpy(zero_copy_only=False).reshape(len(flat), -1).copy()


def real_tokens(blocks: Blocks) -> Iterator[list[int]]:
    """The token ids of each block without its padding."""
    return (tokens[:length].tolist() for tokens, length in zip(blocks.tokens, blocks.length, strict=True))
