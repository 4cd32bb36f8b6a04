"""A signed statement of what a model was made from and what was measured."""

from __future__ import annotations

from stages.lib.errors import StageError


def command() -> None:
    """A signed statement of what a model was made from and what was measured."""
    raise StageError("certify: not written yet")
