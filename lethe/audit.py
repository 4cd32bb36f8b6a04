"""Which forget corpus produced this model, and who can show it."""

from __future__ import annotations

from stages.lib.errors import StageError


def command() -> None:
    """Which forget corpus produced this model, and who can show it."""
    raise StageError("audit: not written yet")
