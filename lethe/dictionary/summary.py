"""The sentence that translate prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from lethe.dictionary.entity_types import KINDS, Usage
from lethe.dictionary.entries import Choice, Override
from lethe.text.personal import FORMS


def sentence(
    chosen: Mapping[str, Sequence[Choice]],
    uses: Mapping[str, Usage],
    translations: int,
    overrides: Sequence[Override],
    dropped: int,
    aliases: int,
    remarks: Sequence[str],
) -> str:
    """`translate: 68 anchors (30 person, 14 place ...), 2 translations each, 1 override`, and remarks."""
    kinds = Counter(uses[anchor].kind for anchor in chosen)
    listed = ", ".join(f"{kinds[kind]} {kind}" for kind in (*KINDS, *FORMS) if kinds[kind])
    parts = [
        f"{count(len(chosen), 'anchor')}{f' ({listed})' if listed else ''}",
        f"{count(translations, 'translation')} each",
        count(len({override.anchor for override in overrides}), "override"),
    ]
    parts += [f"{count(aliases, 'anchor')} other names of these"] if aliases else []
    parts += [f"{count(dropped, 'anchor')} covered by others"] if dropped else []
    return f"translate: {', '.join([*parts, *remarks])}"


def count(number: int, noun: str) -> str:
    """`1 anchor`, `2 anchors`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
