"""Which models were made from this corpus, file or passage."""

from __future__ import annotations

from stages.lib.errors import StageError


def command() -> None:
    """Which models were made from this corpus, file or passage."""
    raise StageError("trace: not written yet")
