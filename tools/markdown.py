"""Tables in Markdown, for pages and the results of studies and benchmarks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def table(titles: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table without a last line break; None is an empty cell.

    Raises ValueError for a row of another length.
    """
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for row in rows:
        if len(row) != len(titles):
            raise ValueError(f"expected {len(titles)} cells, got {len(row)}: {row}")
        lines.append(f"| {' | '.join('' if cell is None else str(cell) for cell in row)} |")
    return "\n".join(lines)
