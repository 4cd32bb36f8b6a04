"""JSON that has one reading: of a name that an object has twice, readers disagree which one counts."""

from __future__ import annotations

from typing import Any


class DoubledNameError(ValueError):
    """An object has a name twice."""


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, as an `object_pairs_hook`. Raises DoubledNameError for a name that it has twice."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise DoubledNameError(f"expected every name once in an object, got {name!r} again")
        found[name] = value
    return found
