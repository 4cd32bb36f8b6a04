"""Where the anchors of the text stand in the blocks: found in the text, as extract counts them, then on its tokens.

Whatever the tokenizer makes of a line break, a bracket or a hyphen before a name, it is replaced: where the tokens are
not those of the name alone, the translation is tokenised with the same signs around it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lethe.core.corpus import Blocks
from lethe.core.errors import StageError
from lethe.labels.translation import (
    Dictionary,
    Key,
    Keys,
    Spliced,
    TokenisedAnchors,
    Translation,
    choice_rules,
    start_rule,
)
from lethe.models.token_text import Tokens, own_tokens
from lethe.models.tokenization import spelled
from lethe.text.matching import Found, TermFinder, term_finder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

REASONS = {
    "cut_by_block": "a block ends within it",
    "cut_by_context": "its translated block is longer than the model's context",
    "without_tokens": "the tokenizer has no tokens for its translation",
    "in_one_token": "its first token holds the end of another name",
    "as_parts": "translate gave it no translation, as other anchors cover it or none fits",
}


class Place(NamedTuple):
    """A name on the tokens of a block: tokens[first : last + 1] hold it, and the text around it that they hold too."""

    found: Found
    block: int  # number of the row
    first: int
    last: int
    before: str  # the character before its first token
    left: str
    right: str


@dataclass
class Located:
    """The names of all blocks."""

    matches: list[dict[int, Key]]  # of each block: by the index of its first token
    names: list[
        list[str]
    ]  # of each block: the anchor of every match as extract has it, perhaps another name of its key's
    keys: Keys  # those of the dictionary, and those in the spellings of this text
    count: Counter[str] = field(default_factory=Counter)  # anchor -> occurrences in the text, as extract counts them
    within: Counter[str] = field(default_factory=Counter)  # anchor -> further ones, within a name of REASONS' as_parts
    missed: Counter[tuple[str, str]] = field(default_factory=Counter)  # (anchor, one of REASONS) -> occurrences


def locate(
    blocks: Blocks,
    documents: Iterable[tuple[int, str]],
    terms: Mapping[str, Sequence[str]],
    dictionary: Dictionary,
    anchors: TokenisedAnchors,
    tokenizer: PreTrainedTokenizerBase,
) -> Located:
    """The names of every block, each with its translations. One document's text is held at a time.

    documents: (number, text) of those that the blocks were cut from; terms: every anchor with its forms, those without
    a translation too. Raises StageError if the blocks are not cut from these documents.
    """
    forms = {anchor: list(own) for anchor, own in dictionary.items()}
    everywhere, translated = term_finder({**terms, **forms}), term_finder(forms)
    out = Located([{} for _ in blocks.block], [[] for _ in blocks.block], anchors.keys)
    made: dict[Tokens, Key | None] = {}
    for number, text in documents:
        hits: list[tuple[str, Found]] = []  # the anchor as extract has it, and as the dictionary has it
        for hit in everywhere.find(text):
            out.count[hit.term] += 1
            parts = parts_of(hit, text, translated)
            whole = len(parts) == 1 and parts[0][:2] == hit[:2]
            hits += [(hit.term if whole else part.term, part) for part in parts]
            if not whole:
                out.missed[hit.term, "as_parts"] += 1
                out.within.update(part.term for part in parts)
        taken = -1, -1  # row and last token of the match before
        found = places(blocks, number, text, [hit for _, hit in hits], tokenizer)
        for (name, _), (hit, place) in zip(hits, found, strict=True):
            if place is None or (place.block, place.first) <= taken:
                out.missed[name, "in_one_token" if place else "cut_by_block"] += 1
                continue
            tokens = tuple(blocks.tokens[place.block, place.first : place.last + 1].tolist())
            key = anchors.keys.get(tokens[0], {}).get(tokens)
            if key is None or key.anchor != hit.term:
                if tokens not in made:
                    made[tokens] = key_at(place, tokens, dictionary, anchors, tokenizer)
                key = made[tokens]
            if key is None:
                out.missed[name, "without_tokens"] += 1
            else:
                out.matches[place.block][place.first] = key
                out.names[place.block].append(name)
                taken = place.block, place.last
    out.keys = with_keys(anchors.keys, [key for key in made.values() if key])
    return out


def parts_of(hit: Found, text: str, finder: TermFinder) -> list[Found]:
    """The finder's terms within an occurrence of another one."""
    found = finder.find(text[hit.start : hit.end])
    return [part._replace(start=hit.start + part.start, end=hit.start + part.end) for part in found]


def places(
    blocks: Blocks, number: int, text: str, hits: Iterable[Found], tokenizer: PreTrainedTokenizerBase
) -> Iterator[tuple[Found, Place | None]]:
    """Every occurrence in document `number` and its place; None where a block or a message ends within it."""
    first_ids, *columns, _ = spelled(tokenizer, text)  # type: ignore[arg-type]
    lead, rows = len(first_ids), np.flatnonzero(blocks.document == number)
    ids, ends = (np.asarray(column) for column in columns)
    messages = [turn.end for turn in getattr(text, "turns", ())]
    cut = [blocks.tokens[row, lead : blocks.length[row]] for row in rows]
    if not np.array_equal(np.concatenate([np.empty(0, np.int32), *cut]), ids):
        raise StageError(
            f"data/blocks.parquet: expected the tokens of document {number} of data/corpus.parquet, got others; "
            "run `dvc repro`"
        )
    room = blocks.tokens.shape[1] - lead
    for hit in hits:
        first = int(np.searchsorted(ends, hit.start, side="right"))
        last = int(np.searchsorted(ends, hit.end, side="left"))
        if ends[last] == hit.end:
            last = int(np.searchsorted(ends, hit.end, side="right")) - 1  # a letter of several tokens ends at each
        if first // room != last // room or any(hit.start < message < hit.end for message in messages):
            yield hit, None
            continue
        start, end = int(ends[first - 1]) if first else 0, int(ends[last])
        around = text[start - 1 : start] or "\n", text[start : hit.start], text[hit.end : end]
        block, at = divmod(first, room)
        yield hit, Place(hit, int(rows[block]), lead + at, lead + at + last - first, *around)


def key_at(
    place: Place, tokens: Tokens, dictionary: Dictionary, anchors: TokenisedAnchors, tokenizer: PreTrainedTokenizerBase
) -> Key | None:
    """The key of a name whose tokens are not those of any of its spellings; None if a translation has no tokens."""
    anchor, form = place.found.term, place.found.form
    values = [written(place, word, tokenizer) for word in dictionary[anchor][form]]
    if not all(values):
        return None
    starts = choice_rules(dictionary[anchor], anchors.variants, anchors.pieces)
    rules = [
        tuple(sorted({*own, start_rule(value, anchors.pieces)})) for own, value in zip(starts, values, strict=True)
    ]
    return Key(tokens, anchor, tuple(map(Translation, values, rules)))


def written(place: Place, word: str, tokenizer: PreTrainedTokenizerBase) -> Tokens:
    """The tokens of a word with the signs that the name's tokens hold too; () if the tokenizer has none for them."""
    special = set(tokenizer.all_special_ids)
    for before in dict.fromkeys((place.before, "x", "\n", '"', "(")):
        text = before + place.left + word + place.right
        encoded = tokenizer([text], add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        found = own_tokens(encoded["input_ids"][0], encoded["offset_mapping"][0], special)
        if found:
            return found
    return ()


def with_keys(keys: Keys, more: Sequence[Key]) -> Keys:
    """The keys, and further ones, in the order of `index_keys`."""
    found = {tokens: key for group in keys.values() for tokens, key in group.items()}
    for key in more:
        found.setdefault(key.tokens, key)
    by_first: dict[int, dict[Tokens, Key]] = {}
    for tokens in sorted(found, key=lambda tokens: (-len(tokens), tokens)):
        by_first.setdefault(tokens[0], {})[tokens] = found[tokens]
    return by_first


def not_replaced(located: Located, spliced: Sequence[Spliced]) -> Counter[tuple[str, str]]:
    """(anchor, reason) -> occurrences that have no translation in the blocks."""
    found = Counter(located.missed)
    for names, block in zip(located.names, spliced, strict=True):
        ends = zip(names, block.ends, strict=True)
        found.update((anchor, "cut_by_context") for anchor, end in ends if end > len(block.translated))
    return found


def replaced(located: Located, spliced: Sequence[Spliced]) -> Counter[str]:
    """Anchor -> occurrences whose translation stands in the blocks."""
    found: Counter[str] = Counter()
    for names, block in zip(located.names, spliced, strict=True):
        ends = zip(names, block.ends, strict=True)
        found.update(anchor for anchor, end in ends if end <= len(block.translated))
    return found


def by_reason(missed: Mapping[tuple[str, str], int]) -> dict[str, int]:
    """Reason -> occurrences that were not replaced."""
    found: Counter[str] = Counter()
    for (_, reason), times in missed.items():
        found[reason] += times
    return {reason: found[reason] for reason in REASONS}


def told(missed: Mapping[tuple[str, str], int], count: Mapping[str, int]) -> str:
    """The occurrences that were not replaced, a line for each anchor and reason; nothing if there are none."""
    rows = sorted(missed.items(), key=lambda item: (-item[1], item[0]))
    lines = [f"{anchor}: {times} of {count[anchor]}, {REASONS[reason]}\n" for (anchor, reason), times in rows]
    return "".join(["\n=== occurrences that were not replaced\n", *lines]) if lines else ""
