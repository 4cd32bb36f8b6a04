"""Prompts to a chat model about passages of the forget text, and the terms in its replies."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from lethe.core.errors import StageError
from lethe.llm_client import Message, all_json_in
from lethe.text.matching import WORD, plurals
from lethe.text.spelling import plain

NAME_KEYS = ("name", "term", "expression", "entity", "text")  # of objects where a list of strings was wanted
ADDED = re.compile(r"^[\s\"“”„«»*_`]+|[\s\"“”„«»*_`,;:]+$")  # around a term: the reply's marks, not the text's
POSSESSIVE = re.compile("'[sS]$")

QUESTION = """\
Below is a passage of a longer text. List every expression in it that belongs to the particular world of that text: \
names of its people, places, houses, groups, creatures, objects, games and events, its invented words, its \
catch-phrases. Leave out words and names of general language and of the real world at large. Copy each expression as \
it is written, without a possessive 's. Answer with a JSON list of strings and nothing else, [] if there is none.

"""


def draw_passages(texts: Iterable[str], passages: int, passage_words: int, seed: int) -> list[str]:
    """Random pieces of the texts without overlap, in the order of the texts; all of them if there are too few.

    The texts are read twice; only the drawn pieces are held.
    """
    total = sum(len(pieces(text, passage_words)) for text in texts)
    drawn = set(random.Random(seed).sample(range(total), min(passages, total)))
    found = (text[start:end].strip() for text in texts for start, end in pieces(text, passage_words))
    return [passage for place, passage in enumerate(found) if place in drawn]


def pieces(text: str, passage_words: int) -> list[tuple[int, int]]:
    """Spans of so many words each, from the first word to the text's end."""
    starts = [word.start() for word in islice(WORD.finditer(text), 0, None, passage_words)]
    return list(zip(starts, [*starts[1:], len(text)], strict=False))


def question(passage: str) -> list[Message]:
    """The prompt about one passage."""
    return [{"role": "user", "content": QUESTION + passage}]


def terms_in(reply: str) -> list[str] | None:
    """The terms that a reply lists, in one list or several, without possessives; None if it holds no list of them."""
    found = [listed(value) for value in all_json_in(reply, lambda value: listed(value) is not None)]
    if not found:
        return None
    terms = [term for terms in found for term in terms or ()]
    clean = [POSSESSIVE.sub("", ADDED.sub("", plain(term))) for term in terms]
    return [term for term in clean if WORD.search(term) and "|" not in term]


def listed(value: Any) -> list[str] | None:
    """The strings of a list, of objects in it that hold one each, or of the only list of an object such as
    {"expressions": [...]}; None for anything else: a second list may be what the reply leaves out.
    """
    if isinstance(value, dict):
        found = [terms for terms in map(listed, value.values()) if terms is not None]
        return found[0] if len(found) == 1 else None
    if not isinstance(value, list):
        return None
    inside = [named_in(term) if isinstance(term, dict) else term for term in value]
    return [term for term in inside if term] if all(isinstance(term, str | None) for term in inside) else None


def named_in(entry: dict[Any, Any]) -> Any:
    """What an object of a list names: its only value, or the one under a key such as name; the object if none is."""
    return next(
        (entry[key] for key in NAME_KEYS if key in entry), next(iter(entry.values())) if len(entry) == 1 else entry
    )


def check_parsable(replies: Sequence[str], lists: Sequence[list[str] | None], base_url: str) -> None:
    """Raise StageError if no reply can be parsed."""
    if replies and all(found is None for found in lists):
        start = " ".join(replies[0].split())[:60]
        raise StageError(
            f"{base_url}: expected JSON lists of strings, got {len(replies)} replies that cannot be parsed (the "
            f"first begins {start!r}); try another model"
        )


def same_terms(named: Counter[str]) -> dict[str, list[str]]:
    """Most named spelling -> all spellings of a term, the most named term first.

    Capitals and plurals do not make another term.
    """
    singular = {plural.lower(): term.lower() for term in sorted(named) for plural in plurals(term)}
    groups: dict[str, Counter[str]] = {}
    for term, count in sorted(named.items()):
        groups.setdefault(singular.get(term.lower(), term.lower()), Counter())[term] += count
    ordered = sorted(groups.values(), key=lambda group: (-group.total(), min(group)))
    spellings = [sorted(group, key=lambda term: (-group[term], term)) for group in ordered]
    return {first: [first, *others] for first, *others in spellings}
