"""Translations suggested by a chat model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from lethe.core.errors import StageError
from lethe.dictionary.entity_types import KINDS, Context, Usage, spread
from lethe.dictionary.entries import Choice, Terms, fault, finder_of, form_texts, given
from lethe.llm_client import ChatSettings, Message, ask_all, json_in
from lethe.text.matching import TermFinder
from lethe.text.spelling import plain

AT_ONCE, SHOWN = 8, 3  # anchors in one request, contexts of each
SPARE = 2  # translations requested in addition, as some cannot be used
SYSTEM = (
    "You replace the names of one particular book or world by ordinary ones. For each name you are given, say what "
    f"kind it is ({', '.join(KINDS)}) and suggest generic names of the same kind that would fit into the sentences "
    "shown, in the same number and with the same article: an ordinary first name for a person, an ordinary town for a "
    "place, a plain noun for a thing. Suggest nothing that has to do with the book, no name you were given, and no "
    "article. Answer with one JSON object and nothing else: "
    '{"<name>": {"kind": "<kind>", "translations": ["<generic name>", ...]}, ...}'
)


class Asked(NamedTuple):
    """The outcome of the requests."""

    choices: dict[str, list[Choice]]
    kinds: dict[str, str]
    unparsable: int  # replies
    missing: list[str]  # anchors for which no reply held a translation that can be used

    def remarks(self) -> list[str]:
        """Problems, for the stage's sentence; empty if there are none."""
        unparsable = f"{self.unparsable} unparsable {'reply' if self.unparsable == 1 else 'replies'}"
        missing = f"none for {'; '.join(self.missing)}"
        return [unparsable] * bool(self.unparsable) + [missing] * bool(self.missing)


def ask_translations(
    anchors: Sequence[str],
    contexts: Mapping[str, Sequence[Context]],
    terms: Terms,
    uses: Mapping[str, Usage],
    plurals: Mapping[str, str],
    most: int,
    settings: ChatSettings,
) -> Asked:
    """Ask about all anchors, a few in each request, and keep at most `most` translations of each.

    plurals: noun -> plural, for what the rules get wrong. Raises StageError if no reply at all could be used.
    """
    batches = [anchors[start : start + AT_ONCE] for start in range(0, len(anchors), AT_ONCE)]
    prompts = [prompt(batch, contexts, most + SPARE) for batch in batches]
    texts = ask_all(prompts, settings, desc="translate", usable=lambda text: json_in(text, is_entries) is not None)
    replies = [json_in(text, is_entries) for text in texts]
    unparsable = replies.count(None)
    finder = finder_of(terms)
    entries = read_entries(batches, replies)
    usable = {
        anchor: usable_choices(entry["translations"], terms[anchor], uses[anchor], plurals, finder)
        for anchor, entry in entries.items()
    }
    found = first_ones_distinct({anchor: choices for anchor, choices in usable.items() if choices}, most)
    if anchors and not found:
        raise StageError(
            f"{settings.base_url}: expected translations as JSON, got none that can be used in {len(replies)} replies "
            f"of {settings.model} ({unparsable} unparsable); try another model"
        )
    kinds = {anchor: entries[anchor]["kind"] for anchor in found}
    return Asked(found, kinds, unparsable, [anchor for anchor in anchors if anchor not in found])


def prompt(anchors: Sequence[str], contexts: Mapping[str, Sequence[Context]], translations: int) -> list[Message]:
    """The request about a few anchors, each with the sentences it occurs in."""
    shown = {
        anchor: [" ".join("".join(context).split()) for context in spread(contexts[anchor], SHOWN)]
        for anchor in anchors
    }
    question = f"Suggest {translations} translations for each of these names; with each come texts that use it.\n"
    listing = json.dumps(shown, ensure_ascii=False, indent=1)
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question + listing}]


def read_entries(batches: Iterable[Sequence[str]], replies: Iterable[Any]) -> dict[str, dict[str, Any]]:
    """{anchor: its entry}, of the entries that were asked for and have a kind and a list of texts."""
    entries = {}
    for batch, reply in zip(batches, replies, strict=True):
        for anchor in batch:
            entry = entry_of(anchor, reply)
            if entry and entry.get("kind") in KINDS and is_texts(entry.get("translations")):
                entries[anchor] = entry
    return entries


def entry_of(anchor: str, reply: Any) -> dict[str, Any] | None:
    """What a reply says of an anchor, whichever way it spells its name and the kind."""
    found = [entry for name, entry in reply.items() if plain(name) == plain(anchor)] if isinstance(reply, dict) else []
    if not found or not isinstance(found[0], dict):
        return None
    return {**found[0], "kind": str(found[0].get("kind")).strip().lower()}


def is_entries(value: Any) -> bool:
    """Whether a value is an object, as a reply should be."""
    return isinstance(value, dict)


def is_texts(value: Any) -> bool:
    """Whether a value is a list of strings."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def usable_choices(
    suggested: Sequence[str], forms: Sequence[str], use: Usage, plurals: Mapping[str, str], finder: TermFinder
) -> list[Choice]:
    """The suggestions that the dictionary allows, without repetitions."""
    made = [given(text, use.plural, plurals) for text in dict.fromkeys(text.strip() for text in suggested) if text]
    return [choice for choice in made if not fault(form_texts(forms, use.name, use, choice), finder)]


def first_ones_distinct(usable: Mapping[str, Sequence[Choice]], most: int) -> dict[str, list[Choice]]:
    """At most `most` choices each; in the order of the anchors each takes first what no earlier one has first."""
    firsts: set[str] = set()
    chosen = {}
    for anchor, choices in usable.items():
        ordered = sorted(choices, key=lambda choice: choice.singular in firsts)
        firsts.add(ordered[0].singular)
        chosen[anchor] = ordered[:most]
    return chosen
