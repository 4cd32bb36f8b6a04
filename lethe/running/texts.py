"""Whether the folders of text hold what a run needs of them, and what reads it is installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lethe.core.corpus import folder_problems
from lethe.core.hashing import folder_files

if TYPE_CHECKING:
    from stages.corpus import Params as CorpusParams
    from stages.distil import Params as DistilParams


def corpus_folders(corpus: CorpusParams) -> Iterator[str]:
    """Whether the two folders of text are folders of text, and two."""
    for name, problem in folder_problems(corpus.forget, corpus.retain).items():
        yield f"corpus.{name}: {problem}"


def forget_text(corpus: CorpusParams) -> Iterator[str]:
    """Whether there is any text to forget. (Retain text is optional.)"""
    from lethe.text.passages import KINDS

    if is_bare(Path(corpus.forget)):
        yield f"corpus.forget: expected {KINDS} files with text in {corpus.forget}, got none"


def retain_text(corpus: CorpusParams, distil: DistilParams) -> Iterator[str]:
    """Whether `distil` has text from which the model can learn the language again."""
    if distil.steps and not distil.own_text and is_bare(Path(corpus.retain)):
        yield (
            f"distil.steps: expected 0 without text in {corpus.retain} to distil on, got {distil.steps}; "
            "distil.own_text lets the teacher write some"
        )


def is_bare(folder: Path) -> bool:
    """Whether a folder is there and has no file with text."""
    from lethe.text.passages import SUFFIXES

    wanted = (path for path in folder_files(folder) if path.suffix.lower() in SUFFIXES and path.stat().st_size)
    return folder.is_dir() and not any(wanted)


def readers(corpus: CorpusParams) -> Iterator[str]:
    """Whether what reads the files is installed."""
    from lethe.text.formats import missing

    for name, folder in (("forget", Path(corpus.forget)), ("retain", Path(corpus.retain))):
        suffixes = {path.suffix.lower() for path in folder_files(folder)} if folder.is_dir() else set()
        yield from (f"corpus.{name}: {problem}" for problem in map(missing, sorted(suffixes)) if problem)
