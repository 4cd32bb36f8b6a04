"""Work shared by the processes that `accelerate launch` started: every batch is computed once, by one of them.

The batches are those of a single process, so each result is computed in the same batch and is the same, bit for bit,
however many processes there are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

from lethe.core.errors import StageError

Batch = TypeVar("Batch")
Key = TypeVar("Key")
Result = TypeVar("Result")


def processes() -> int:
    """How many there are, on all machines together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def one_first() -> AbstractContextManager[None]:
    """A block that the main process runs before the others, so that they find what it wrote."""
    if processes() == 1:
        return nullcontext()
    from accelerate import PartialState

    return PartialState().main_process_first()


def shared(
    batches: Sequence[Batch],
    compute: Callable[[Batch], dict[Key, Result]],
    watch: Callable[[list[Batch]], Iterable[Batch]] = iter,
) -> dict[Key, Result]:
    """The results of all batches, by their keys, on every process. watch: wraps this process's batches.

    A StageError of one process is raised by all: none waits for another that has ended.
    """
    mine = list(batches)[int(os.environ.get("RANK", "0")) :: processes()]
    found: dict[Key, Result] = {}
    problem = None
    try:
        for batch in watch(mine):
            found |= compute(batch)
    except StageError as error:
        if processes() == 1:
            raise
        problem = str(error)
    return found if processes() == 1 else _put_together(found, problem)


def _put_together(found: dict[Key, Result], problem: str | None) -> dict[Key, Result]:
    from accelerate.utils import gather_object

    parts: list[tuple[dict[Key, Result], str | None]] = gather_object([(found, problem)])
    for _, other in parts:
        if other is not None:
            raise StageError(other)
    return {key: result for own, _ in parts for key, result in own.items()}
