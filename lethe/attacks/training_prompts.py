"""Cloze prompts from training text, for attacks that learn from the text."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from lethe.text.cloze import Cloze, cloze_prompts
from lethe.text.matching import name_finder
from lethe.text.passages import draw, passages

STRETCH_CHARS = 2000  # of a sampled stretch of text; a prompt stays within its stretch


def training_prompts(texts: Sequence[str], names: Collection[str], words: int, count: int, seed: int) -> list[Cloze]:
    """At most `count` different cloze prompts from sampled stretches of the training text."""
    finder = name_finder(names)
    stretches = [text[start:end] for text in texts for start, end in passages(text, STRETCH_CHARS)]
    found: dict[str, Cloze] = {}
    for stretch in sorted(stretches, key=lambda part: draw(part, seed)):
        found |= {cloze.prompt: cloze for cloze in cloze_prompts(stretch, finder, words)}
        if len(found) >= count:
            break
    return list(found.values())[:count]
