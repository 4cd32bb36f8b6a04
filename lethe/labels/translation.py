"""Translation of a block's anchors on tokens: the replaced spans and the map between original and translated positions.

`splice` works on token ids alone; `word_variants` and `piece_bytes` are where a tokenizer comes in.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableSequence, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lethe.core.corpus import Blocks, real_tokens
from lethe.models.token_text import Tokens, own_tokens, piece_bytes, piece_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Dictionary = Mapping[str, Mapping[str, Sequence[str]]]  # anchor -> form -> its translation under each choice

Bounded = Callable[[Sequence[int], int, int], bool]  # (tokens, start, end): the span is no part of a longer word
Variants = Mapping[str, Sequence[Tokens]]  # word -> its tokens after each of BEFORE, () where it has none of its own

NEVER = -1  # in a map: this position is never trained
ALWAYS = -1  # of a rule: in force from a block's first token on
BEFORE = ("x ", "\n", '"')  # a name may follow a space, a line break or a quotation mark
ENDS_IN_WORD = re.compile(r"[^\W_][-\u2010\u2011]?\Z")  # a letter or digit, also one that a hyphen joins on
STARTS_IN_WORD = re.compile(r"[^\W_]")


class Rule(NamedTuple):
    """`token` is forbidden where the translated tokens up to here end in `prefix`; everywhere, if that is empty."""

    token: int
    prefix: Tokens


class Translation(NamedTuple):
    """What replaces a key, and what may not be predicted afterwards: the starts of ALL its anchor's variants."""

    tokens: Tokens
    rules: tuple[Rule, ...]


class Key(NamedTuple):
    """One form of an anchor in one tokenisation; every form of an anchor is the same name."""

    tokens: Tokens
    anchor: str
    translations: tuple[Translation, ...]  # one per choice


Keys = Mapping[int, Mapping[Tokens, Key]]  # by first token, then by all tokens; the longest first
Matches = Mapping[int, Key]  # in a block: by the index of its first token
OwnRules = Mapping[int, Mapping[Tokens, frozenset[Rule]]]  # by the length of their prefix, then by the prefix


@dataclass
class Spliced:
    """A block's tokens with the anchors replaced."""

    translated: MutableSequence[int] = field(default_factory=list)
    map: MutableSequence[int] = field(default_factory=list)  # [tokens]: index of the counterpart, or NEVER
    forbidden: dict[Rule, int] = field(default_factory=dict)  # in force at translated indices after this one, or ALWAYS
    loose: tuple[Rule, ...] = ()  # in force everywhere but where the text itself goes on with their token
    opened: MutableSequence[int] = field(default_factory=list, compare=False)  # of every name longer than a token three
    # numbers: the position of its first token, how many follow, the translated index before its translation
    anchors: list[str] = field(default_factory=list)  # as matched, left to right
    ends: MutableSequence[int] = field(default_factory=list, compare=False)  # of their translations
    interior: int = 0  # positions inside an anchor's tokens
    repeats: int = 0  # positions before a later occurrence of an anchor
    cut: int = 0  # positions whose translated counterpart lies beyond the model's context


def splice(
    tokens: Sequence[int],
    matches: Matches,
    choose: Callable[[str, int], int],
    rules: OwnRules | None = None,
    loose: OwnRules | None = None,
) -> Spliced:
    """Replace every match, from left to right.

    choose(anchor, choices): the choice of this block; rules: what is forbidden in all of the block, whatever is
    replaced; loose: but where the text itself says it.
    """
    out = Spliced()
    start = 0
    while start < len(tokens):
        key = matches.get(start)
        if key is None:
            out.map.append(len(out.translated))
            out.translated.append(tokens[start])
            start += 1
        else:
            insert(out, key, key.translations[choose(key.anchor, len(key.translations))])
            start += len(key.tokens)
    out.forbidden |= dict.fromkeys(rules_for(out, rules or {}), ALWAYS)
    out.loose = tuple(sorted(contained(out.translated, loose or {})))
    return out


def contained(tokens: Sequence[int], rules: OwnRules) -> Iterator[Rule]:
    """The rules whose prefix the tokens contain.

    A large dictionary has tens of thousands of them, a block contains few of their prefixes.
    """
    for length, by_prefix in rules.items():
        ends = range(length, len(tokens) + 1)
        for prefix in by_prefix.keys() & {tuple(tokens[end - length : end]) for end in ends}:
            yield from by_prefix[prefix]


def rules_for(spliced: Spliced, rules: OwnRules) -> Iterator[Rule]:
    """Of the rules that hold everywhere, those whose prefix the block contains, and those it has already."""
    yield from contained(spliced.translated, rules)
    for rule in spliced.forbidden:
        if rule in rules.get(len(rule.prefix), {}).get(rule.prefix, ()):
            yield rule


def index_rules(rules: Iterable[Rule]) -> OwnRules:
    """The rules as `splice` looks them up."""
    found: dict[int, dict[Tokens, set[Rule]]] = {}
    for rule in rules:
        found.setdefault(len(rule.prefix), {}).setdefault(rule.prefix, set()).add(rule)
    return {length: {prefix: frozenset(own) for prefix, own in group.items()} for length, group in found.items()}


def matches_in(tokens: Sequence[int], keys: Keys, bounded: Bounded) -> dict[int, Key]:
    """The keys that the tokens alone show, from left to right, the longest first; `lethe.labels.occurrences` reads the
    text, and so sees those that the tokenizer spells in another way.
    """
    found: dict[int, Key] = {}
    start = 0
    while start < len(tokens):
        key = longest_match(tokens, start, keys, bounded)
        if key:
            found[start] = key
        start += len(key.tokens) if key else 1
    return found


def longest_match(tokens: Sequence[int], start: int, keys: Keys, bounded: Bounded) -> Key | None:
    """The longest key whose tokens begin at `start` and are not part of a longer word."""
    group = keys.get(tokens[start])
    ahead = tuple(tokens[start : start + len(next(iter(group)))]) if group else ()
    for end in range(len(ahead), 0, -1):
        key = group.get(ahead[:end]) if group else None
        if key and bounded(tokens, start, start + end):
            return key
    return None


def insert(out: Spliced, key: Key, translation: Translation) -> None:
    """Append one match. The anchor's last token gets the prediction made after its translation's last token."""
    if key.anchor in out.anchors:
        out.map[-1] = NEVER  # or the model would be taught "Harry ... my name is Jon"
        out.repeats += 1
    if len(key.tokens) > 1:
        out.opened.extend((len(out.map), len(key.tokens) - 1, len(out.translated) - 1))
    for rule in translation.rules:
        out.forbidden.setdefault(rule, len(out.translated))
    out.anchors.append(key.anchor)
    out.translated.extend(translation.tokens)
    out.ends.append(len(out.translated))
    out.map.extend([NEVER] * (len(key.tokens) - 1) + [len(out.translated) - 1])
    out.interior += len(key.tokens) - 1


def cut_to_context(spliced: Spliced, context: int) -> Spliced:
    """Drop translated tokens beyond `context`, and the labels of the positions that would need them."""
    kept = [index if index < context else NEVER for index in spliced.map]
    cut = sum(index >= context for index in spliced.map)
    return replace(spliced, translated=spliced.translated[:context], map=kept, cut=cut)


def packed(spliced: Spliced) -> Spliced:
    """The same as arrays, a ninth of the memory: a list takes 36 bytes a token."""
    translated, found, opened = (array("i", column) for column in (spliced.translated, spliced.map, spliced.opened))
    return replace(spliced, translated=translated, map=found, opened=opened)


def forbidden_at(
    spliced: Spliced, positions: np.ndarray, following: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """What is forbidden at translated `positions` [N].

    following: the token with which the text itself goes on there, int [N]; no loose rule forbids it.
    Returns int64 [P] twice: an index into positions, a token id.
    """
    translated, present = np.asarray(spliced.translated), set(spliced.translated)
    rows, ids = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    loose = [(rule, ALWAYS, following) for rule in spliced.loose]
    for rule, since, spared in [*((*item, None) for item in spliced.forbidden.items()), *loose]:
        if not present.issuperset(rule.prefix):
            continue
        hit = (positions > since) & (positions >= len(rule.prefix) - 1)
        for back, token in enumerate(reversed(rule.prefix)):
            hit &= translated[np.maximum(positions - back, 0)] == token
        if spared is not None:
            hit &= spared != rule.token
        rows.append(np.flatnonzero(hit))
        ids.append(np.full(len(rows[-1]), rule.token))
    return np.concatenate(rows), np.concatenate(ids)


def forbidden_inside(spliced: Spliced, tokens: np.ndarray, rules: OwnRules) -> Iterator[tuple[int, set[int]]]:
    """Every position of a block inside an opened name, and what may not be said there: above all the name's next token.

    tokens: the block as it is, not translated; rules: of `inside_rules`, looked up in it.
    """
    text = tokens.tolist()
    local = [(rule, since) for rule, since in spliced.forbidden.items() if since != ALWAYS]
    for first, count, before in np.asarray(spliced.opened, int).reshape(-1, 3).tolist():
        inherited = [rule for rule, since in local if since < before]
        for at in range(first, first + count):
            read = text[: at + 1]
            ids = {text[at + 1]} | {rule.token for rule in inherited if tuple(read[-len(rule.prefix) :]) == rule.prefix}
            ids |= {rule.token for rule in inherited if not rule.prefix}
            for length, by_prefix in rules.items():
                ids |= {rule.token for rule in by_prefix.get(tuple(read[-length:]), ())}
            yield at, ids


def inside_rules(keys: Keys, rules: Iterable[Rule]) -> OwnRules:
    """What may not be said inside a name: how any name goes on that begins so, and the rules with a prefix."""
    names = [key.tokens for group in keys.values() for key in group.values()]
    going_on = {Rule(tokens[end], tokens[:end]) for tokens in names for end in range(1, len(tokens))}
    return index_rules(going_on.union(rule for rule in rules if rule.prefix))


def draw(seed: int, block: int, anchor: str, choices: int) -> int:
    """Which translation of an anchor a block gets; it depends on nothing else, so batches may come in any order."""
    digest = hashlib.sha256(f"{seed} {block} {anchor}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % choices


def index_keys(dictionary: Dictionary, variants: Variants, pieces: Sequence[bytes]) -> Keys:
    """The keys of a dictionary in every tokenisation in which they occur; variant i becomes variant i.

    A form that two anchors share belongs to the anchor it equals.
    """
    rules = {anchor: choice_rules(forms, variants, pieces) for anchor, forms in dictionary.items()}
    rows = [(anchor, form, written) for anchor, forms in dictionary.items() for form in forms for written in ways(form)]
    keys: dict[Tokens, Key] = {}
    for anchor, form, written in sorted(rows, key=lambda row: (row[1] != row[0], row[2] != row[1])):
        for place, tokens in enumerate(variants[written]):
            values = [variants[word][place] for word in dictionary[anchor][form]]
            if tokens and all(values):
                keys.setdefault(tokens, Key(tokens, anchor, tuple(map(Translation, values, rules[anchor]))))
    by_first: dict[int, dict[Tokens, Key]] = {}
    for tokens in sorted(keys, key=lambda tokens: (-len(tokens), tokens)):
        by_first.setdefault(tokens[0], {})[tokens] = keys[tokens]
    return by_first


def ways(form: str) -> list[str]:
    """A form as a text may write it: with either apostrophe, and with a line break for one of its spaces."""
    written = list(dict.fromkeys([form, form.replace("\u2019", "'"), form.replace("'", "\u2019")]))
    broken = [f"{one[: gap.start()]}\n{one[gap.end() :]}" for one in written for gap in re.finditer(" ", one)]
    return written + broken


def word_variants(tokenizer: PreTrainedTokenizerBase, dictionary: Dictionary) -> dict[str, list[Tokens]]:
    """Every form and translation tokenised after each of BEFORE; () where it has no tokens of its own there."""
    forms = {written for forms in dictionary.values() for form in forms for written in ways(form)}
    words = sorted(forms | {word for forms in dictionary.values() for words in forms.values() for word in words})
    special = set(tokenizer.all_special_ids)
    found: dict[str, list[Tokens]] = {word: [] for word in words}
    for before in BEFORE if words else ():
        encoded = tokenizer(
            [before + word for word in words], add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        for word, ids, spans in zip(words, encoded["input_ids"], encoded["offset_mapping"], strict=True):
            found[word].append(own_tokens(ids, spans, special))
    return found


def choice_rules(
    forms: Mapping[str, Sequence[str]], variants: Variants, pieces: Sequence[bytes]
) -> list[tuple[Rule, ...]]:
    """For each choice of an anchor, what its insertion forbids: the start of every variant of its every form."""
    rules = []
    for words in zip(*forms.values(), strict=True):
        starts = {start_rule(tokens, pieces) for word in words for tokens in variants[word] if tokens}
        rules.append(tuple(sorted(starts)))
    return rules


def start_rule(tokens: Tokens, pieces: Sequence[bytes]) -> Rule:
    """Forbid a word's first token, or where that is a bare space or one character, the next one after it.

    Else one insertion of `▁O r l a` would ban every word of the block that starts with O.
    """
    text, end = b"", 0
    while end < len(tokens) and len(text.decode(errors="ignore").strip()) < 2:
        text += pieces[tokens[end]]
        end += 1
    return Rule(tokens[end - 1], tokens[: end - 1])


class TokenisedAnchors(NamedTuple):
    """A dictionary's anchors as the tokens of a tokenizer."""

    pieces: Sequence[bytes]
    variants: Variants
    keys: Keys
    bounded: Bounded


def tokenised(dictionary: Dictionary, tokenizer: PreTrainedTokenizerBase) -> TokenisedAnchors:
    """The anchors of a dictionary in every tokenisation in which they occur."""
    pieces, variants = piece_bytes(tokenizer), word_variants(tokenizer, dictionary)
    keys = index_keys(dictionary, variants, pieces)
    return TokenisedAnchors(pieces, variants, keys, partial(word_bounded, pieces=pieces))


def own_rules(
    texts: Iterable[Sequence[int]],
    keys: Keys,
    bounded: Bounded,
    pieces: Sequence[bytes],
) -> list[Rule]:
    """Rules that keep an anchor's own name from being a label and forbid as little of the vocabulary as possible.

    Forbidden is the first token of every key; where other words of the texts begin with it more often than the anchors
    do, the next one after it, and so on: ` Scarecrow` itself, but of ` The ron` only `ron` after ` The`.
    """
    seen: Counter[Tokens] = Counter()  # the starts of keys, wherever they occur
    theirs: Counter[Tokens] = Counter()  # the same within anchors
    for tokens in texts:
        for at in (at for at, token in enumerate(tokens) if token in keys):
            key = longest_match(tokens, at, keys, bounded)
            ends = range(1, len(next(iter(keys[tokens[at]]))) + 1)
            seen.update(tuple(tokens[at : at + end]) for end in ends)
            theirs.update(key.tokens[:end] for end in ends if key and end <= len(key.tokens))
    found = {own_rule(key.tokens, seen, theirs, pieces) for group in keys.values() for key in group.values()}
    return sorted(found)


def dropped_rules(
    texts: Iterable[Sequence[int]],
    dropped: Mapping[str, Sequence[str]],
    tokenizer: PreTrainedTokenizerBase,
    rules: Iterable[Rule],
) -> list[Rule]:
    """Rules that keep a term which is no anchor from being a label where the text itself does not say it.

    texts: of `own_rules`; dropped: term -> its forms; rules: those of the anchors, which hold whatever the text says.
    """
    if not dropped:
        return []
    names = tokenised({term: {form: [] for form in forms} for term, forms in dropped.items()}, tokenizer)
    return sorted(set(own_rules(texts, names.keys, names.bounded, names.pieces)) - set(rules))


def own_rule(tokens: Tokens, seen: Mapping[Tokens, int], theirs: Mapping[Tokens, int], pieces: Sequence[bytes]) -> Rule:
    """The shortest rule of at least two characters whose tokens are an anchor's in at least half of all places."""
    shortest = len(start_rule(tokens, pieces).prefix) + 1
    for end in range(shortest, len(tokens)):
        if 2 * theirs.get(tokens[:end], 0) >= seen.get(tokens[:end], 0):
            return Rule(tokens[end - 1], tokens[: end - 1])
    return Rule(tokens[-1], tokens[:-1])


def word_bounded(tokens: Sequence[int], start: int, end: int, pieces: Sequence[bytes]) -> bool:
    """False if the span ends or begins in the middle of a word: `Oz` in `Ozma`; `Heads` in `Hammer-Heads`."""
    after = piece_text(tokens[end : end + 4], pieces)  # four bytes hold any character
    if STARTS_IN_WORD.match(after):
        return False
    spaced = pieces[tokens[start]].startswith(b" ")
    return spaced or not ENDS_IN_WORD.search(piece_text(tokens[max(0, start - 8) : start], pieces))


def translate_blocks(
    blocks: Blocks,
    matches: Sequence[Matches],
    rules: Sequence[Rule],
    seed: int,
    context: int | None,
    loose: Sequence[Rule] = (),
) -> list[Spliced]:
    """Every block with its anchors replaced, cut to the model's context.

    matches: of each block; rules, loose: of `own_rules`, `dropped_rules`; those without a prefix hold for all blocks
    alike and need not be kept with each.
    """
    prefixed, unless = (index_rules(rule for rule in group if rule.prefix) for group in (rules, loose))
    spliced = (
        splice(tokens, found, partial(draw, seed, int(block)), prefixed, unless)
        for block, tokens, found in zip(blocks.block, real_tokens(blocks), matches, strict=True)
    )
    return [packed(cut_to_context(block, context) if context else block) for block in spliced]


def untokenised(dictionary: Dictionary, variants: Variants) -> int:
    """How many forms and translations never have tokens of their own in this tokenizer: they are not translated."""
    words = {word for forms in dictionary.values() for form in forms for word in (form, *forms[form])}
    return sum(not any(variants[word]) for word in words)
