"""Token-level translation: by hand, laws on random blocks, and on two real tokenizers over a whole book."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe.core.errors import StageError
from lethe.labels import translation as alignment
from lethe.labels.translation import ALWAYS, NEVER, Key, Rule, Spliced, Translation
from lethe.models import token_text
from lethe.models.checkpoints import load_tokenizer
from lethe.text.matching import TermFinder, surface_forms
from tests.conftest import tiny_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

OZ_NAMES = """Dorothy, Toto, Scarecrow, Tin Woodman, Cowardly Lion, Lion, Oz, Emerald City, Aunt Em, Uncle Henry,
Kansas, Munchkins, Winkies, Quadlings, Glinda, Kalidahs, Winged Monkeys, Golden Cap, Silver Shoes, Wicked Witch, Witch,
Good Witch, Guardian of the Gates, Gayelette, Quelala, Boq, Hammer-Heads, Queen of the Field Mice, Omaha"""


def first_choice(anchor: str, choices: int) -> int:
    return 0


def anywhere(tokens: object, start: int, end: int) -> bool:
    return True


def splice(
    tokens: Sequence[int],
    keys: alignment.Keys,
    choose: Callable[[str, int], int],
    bounded: alignment.Bounded,
    rules: alignment.OwnRules | None = None,
) -> Spliced:
    """A block spliced where its tokens alone show a key."""
    return alignment.splice(tokens, alignment.matches_in(tokens, keys, bounded), choose, rules)


def keys_of(*keys: Key) -> alignment.Keys:
    by_first: dict[int, dict[tuple[int, ...], Key]] = {}
    for key in sorted(keys, key=lambda key: -len(key.tokens)):
        by_first.setdefault(key.tokens[0], {})[key.tokens] = key
    return by_first


def key(anchor: str, tokens: tuple[int, ...], value: tuple[int, ...]) -> Key:
    return Key(tokens, anchor, (Translation(value, (Rule(value[0], ()),)),))


def words(text: str, ids: dict[str, int]) -> list[int]:
    return [ids.setdefault(word, len(ids)) for word in text.split()]


# ---- splice, by hand


def vector() -> tuple[Spliced, dict[str, int]]:
    """A worked vector: Harry -> J on, Hog warts -> Mystic Aca demy."""
    ids: dict[str, int] = {}
    original = words("<s> Harry went up to him and said , my name is Harry . At Hog warts , Harry", ids)
    harry = key("Harry", tuple(words("Harry", ids)), tuple(words("J on", ids)))
    hogwarts = key("Hogwarts", tuple(words("Hog warts", ids)), tuple(words("Mystic Aca demy", ids)))
    return splice(original, keys_of(harry, hogwarts), first_choice, anywhere), ids


def test_splice_gives_the_vector() -> None:
    spliced, ids = vector()
    translated = words("<s> J on went up to him and said , my name is J on . At Mystic Aca demy , J on", ids)
    assert spliced.translated == translated
    #                      <s> Harry went ...                is  -> 2nd Harry .   At       warts    -> 3rd Harry
    assert spliced.map == [0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, NEVER, 14, 15, 16, NEVER, 19, NEVER, 22]
    assert (spliced.repeats, spliced.interior) == (2, 1)
    assert spliced.anchors == ["Harry", "Harry", "Hogwarts", "Harry"]


def test_own_rules_take_no_more_of_the_vocabulary_than_they_must() -> None:
    ids: dict[str, int] = {}
    text = words("Har row saw The ron . The mill and The barn saw Har row . The ron saw Will", ids)
    keys = keys_of(*(key(name, tuple(words(name, ids)), (99,)) for name in ("Har row", "The ron", "Will")))
    pieces = [f" {word}".encode() for word in ids]
    found = alignment.own_rules([text], keys, anywhere, pieces)
    # Har is always an anchor's: the token alone. The is one's in 2 places of 4, which is half of them: alone, too
    assert found == sorted(Rule(ids[word], ()) for word in ("Har", "The", "Will"))
    # with one more `The` that is no anchor's, only `ron` after `The` is forbidden
    found = alignment.own_rules([text, words("The end", ids)], keys, anywhere, [*pieces, b" end"])
    assert found == sorted([Rule(ids["Har"], ()), Rule(ids["ron"], (ids["The"],)), Rule(ids["Will"], ())])


def test_own_rules_need_two_characters_and_know_what_the_texts_lack() -> None:
    # `O` alone would ban too much, whatever the counts say; a key that no text has is forbidden by its first token
    keys = keys_of(key("Orla", (0, 1), (99,)), key("Pip", (2, 3), (99,)))
    found = alignment.own_rules([[0, 1]], keys, anywhere, [b" O", b"rla", b" Pi", b"p"])
    assert found == [Rule(1, (0,)), Rule(2, ())]


def test_a_loose_rule_holds_but_where_the_text_itself_says_it() -> None:
    text, translated = np.array([4, 5, 4, 6, 5]), [4, 5, 4, 6, 5]
    spliced = Spliced(translated, [0, 1, 2, 3, 4], loose=(Rule(6, (4,)), Rule(9, (5,))))
    rows, tokens = alignment.forbidden_at(spliced, np.arange(5), np.append(text[1:], -1))
    # after the first 4 the text says 5: 6 is forbidden; after the second it says 6 itself. After each 5: 9
    assert sorted(zip(rows.tolist(), tokens.tolist(), strict=True)) == [(0, 6), (1, 9), (4, 9)]


def test_dropped_terms_have_rules_of_their_own() -> None:
    tokenizer = tiny_tokenizer()
    texts = [tokenizer("Orla saw the river. Pip saw Orla and the mill.")["input_ids"]]
    found = alignment.dropped_rules(texts, {"Pip": ["Pip"]}, tokenizer, [])
    starts = alignment.word_variants(tokenizer, {"Pip": {"Pip": []}})["Pip"]
    assert found
    assert all(any((*rule.prefix, rule.token) == own[: len(rule.prefix) + 1] for own in starts) for rule in found)
    assert alignment.dropped_rules(texts, {"Pip": ["Pip"]}, tokenizer, found) == []  # an anchor's rule is the stronger
    assert alignment.dropped_rules(texts, {}, tokenizer, []) == []


def test_what_may_not_be_said_inside_a_name() -> None:
    ids: dict[str, int] = {}
    text = words("the Tin Wood man saw Oz in Tin City", ids)
    values = {name: tuple(words(name, ids)) for name in ("Jo", "Al", "Ed", "Bo")}
    long, oz = (
        key("Tin Woodman", tuple(words("Tin Wood man", ids)), values["Jo"]),
        key("Oz", (ids["Oz"],), values["Al"]),
    )
    short, city = (
        key("Tin Pail", tuple(words("Tin Pail", ids)), values["Ed"]),
        key("Tin City", tuple(words("Tin City", ids)), values["Bo"]),
    )
    keys = keys_of(long, oz, short, city)
    rules = alignment.inside_rules(keys, [Rule(ids["saw"], (ids["Wood"],)), Rule(ids["the"], ())])
    spliced = splice(text, keys, first_choice, anywhere)
    assert spliced.interior == 3
    inside = alignment.forbidden_inside(spliced, np.array(text), rules)
    found = {at: {list(ids)[token] for token in tokens} for at, tokens in inside}
    # after Tin however any name goes on, after Wood `man`, and `saw` by the rule; nor are the translations of the first
    # two names, Jo and Al, to be said after them
    assert found == {1: {"Wood", "Pail", "City"}, 2: {"man", "saw"}, 7: {"Wood", "Pail", "City", "Jo", "Al"}}
    # without the rules still not the name's own next token
    bare = dict(alignment.forbidden_inside(spliced, np.array(text), {}))
    assert bare[1] == {ids["Wood"]}


def test_forbidden_at_gives_the_vector() -> None:
    spliced, ids = vector()
    rows, tokens = alignment.forbidden_at(spliced, np.arange(23))
    found = [set(tokens[rows == position].tolist()) for position in range(23)]
    # i <= 1: nothing; 2..17: J; 18..22: J and Mystic
    assert found == [set()] * 2 + [{ids["J"]}] * 16 + [{ids["J"], ids["Mystic"]}] * 5


def test_splice_without_keys_copies() -> None:
    spliced = splice([7, 8, 9], {}, first_choice, anywhere)
    assert (spliced.translated, spliced.map, spliced.forbidden) == ([7, 8, 9], [0, 1, 2], {})


def test_splice_takes_the_longest_key_that_is_bounded() -> None:
    keys = keys_of(key("a", (1,), (11,)), key("ab", (1, 2), (12,)), key("abc", (1, 2, 3), (13,)))
    assert splice([1, 2, 3], keys, first_choice, anywhere).translated == [13]
    assert splice([1, 2, 4], keys, first_choice, anywhere).translated == [12, 4]
    # the three tokens would end inside a word: the next longest
    assert splice([1, 2, 3], keys, first_choice, lambda tokens, start, end: end < 3).translated == [12, 3]


def test_splice_of_adjacent_anchors_takes_the_label_before_the_repeat() -> None:
    keys = keys_of(key("a", (1,), (11, 12)), key("b", (2, 3), (21,)))
    # orig :   1   2   3      1   |  the second 1 is a repeat and follows b's last token 3
    # trans: 11 12 21      11 12
    assert splice([1, 2, 3, 1], keys, first_choice, anywhere).map == [1, NEVER, NEVER, 4]


def test_splice_at_block_start_and_end_with_other_lengths() -> None:
    keys = keys_of(key("long", (1, 2, 3), (11,)), key("short", (4,), (21, 22, 23)))
    # orig : 1 2 3 | 9 | 4         trans: 11 | 9 | 21 22 23
    spliced = splice([1, 2, 3, 9, 4], keys, first_choice, anywhere)
    assert (spliced.translated, spliced.map) == ([11, 9, 21, 22, 23], [NEVER, NEVER, 0, 1, 4])
    # orig : 4 | 9 | 1 2 3         trans: 21 22 23 | 9 | 11
    spliced = splice([4, 9, 1, 2, 3], keys, first_choice, anywhere)
    assert (spliced.translated, spliced.map) == ([21, 22, 23, 9, 11], [2, 3, NEVER, NEVER, 4])


def test_splice_sees_two_forms_of_an_anchor_as_one_name() -> None:
    keys = keys_of(key("Orla", (1,), (11,)), key("Orla", (2,), (12,)))
    assert splice([1, 9, 2], keys, first_choice, anywhere).map == [0, NEVER, 2]


def test_splice_uses_the_chosen_translation() -> None:
    two = Key((1,), "a", (Translation((11,), (Rule(11, ()),)), Translation((12,), (Rule(12, ()),))))
    spliced = splice([1, 1], keys_of(two), lambda anchor, choices: choices - 1, anywhere)
    assert (spliced.translated, spliced.forbidden) == ([12, 12], {Rule(12, ()): 0})


def test_cut_to_context_masks_what_needs_the_part_beyond() -> None:
    keys = keys_of(key("a", (1,), (11, 12)))
    # orig: 1 9 9     trans: 11 12 9 9     map: 1 2 3, and the model reads three tokens
    cut = alignment.cut_to_context(splice([1, 9, 9], keys, first_choice, anywhere), 3)
    assert (cut.translated, cut.map, cut.cut) == ([11, 12, 9], [1, 2, NEVER], 1)
    whole = alignment.cut_to_context(cut, 3)
    assert (whole.map, whole.cut) == (cut.map, 0)


def test_forbidden_at_a_prefix_only_after_that_prefix() -> None:
    # `O r l a` was inserted at 0: r is forbidden after an O, from 1 on
    spliced = Spliced(translated=[5, 6, 7, 8, 5, 9, 5], forbidden={Rule(6, (5,)): 0, Rule(3, (1, 2, 5)): 0})
    rows, tokens = alignment.forbidden_at(spliced, np.array([0, 1, 4, 6]))
    assert (rows.tolist(), tokens.tolist()) == ([2, 3], [6, 6])


# ---- splice, laws

VALUES = st.lists(st.integers(20, 29), min_size=1, max_size=4).map(tuple)
KEYS = st.dictionaries(st.lists(st.integers(0, 4), min_size=1, max_size=3).map(tuple), VALUES, max_size=6)
BLOCKS = st.lists(st.integers(0, 9), min_size=1, max_size=60)


@given(BLOCKS, KEYS)
def test_splice_laws(tokens: list[int], found: dict[tuple[int, ...], tuple[int, ...]]) -> None:
    keys = keys_of(*(key(str(anchor), tokens, value) for anchor, (tokens, value) in enumerate(found.items())))
    spliced = splice(tokens, keys, first_choice, anywhere)
    positions = [index for index in spliced.map if index != NEVER]
    assert len(spliced.map) == len(tokens)
    assert positions == sorted(set(positions))  # in order, none used twice
    assert spliced.map[-1] == len(spliced.translated) - 1  # the last token of a block always trains
    # what was taken away and put in accounts for the lengths
    lengths = {str(anchor): (len(tokens), len(value)) for anchor, (tokens, value) in enumerate(found.items())}
    added = sum(lengths[anchor][1] - lengths[anchor][0] for anchor in spliced.anchors)
    assert len(spliced.translated) == len(tokens) + added
    assert len(tokens) == len(positions) + spliced.interior + spliced.repeats
    assert spliced.interior == sum(lengths[anchor][0] - 1 for anchor in spliced.anchors)
    assert spliced.repeats == len(spliced.anchors) - len(set(spliced.anchors))
    # a position that answers for itself was copied: values and block share no id, so the test is sharp
    for token, index in zip(tokens, spliced.map, strict=True):
        assert index == NEVER or spliced.translated[index] in (token, *range(20, 30))
    copied = [token for token in spliced.translated if token < 20]
    assert not Counter(copied) - Counter(tokens)


RULES = st.lists(st.tuples(st.integers(0, 29), st.lists(st.integers(0, 29), max_size=2).map(tuple)), max_size=9)


@given(BLOCKS, KEYS, RULES)
def test_a_block_keeps_the_rules_it_can_meet(tokens: list[int], found: dict, given_rules: list) -> None:
    keys = keys_of(*(key(str(tokens), tokens, value) for tokens, value in found.items()))
    rules = [Rule(*rule) for rule in given_rules]
    spliced = splice(tokens, keys, first_choice, anywhere, alignment.index_rules(rules))
    plain = splice(tokens, keys, first_choice, anywhere)
    every = dataclasses.replace(plain, forbidden=plain.forbidden | dict.fromkeys(rules, ALWAYS))
    at = np.arange(len(plain.translated))
    pairs = [
        set(zip(*map(np.ndarray.tolist, alignment.forbidden_at(one, at)), strict=True)) for one in (spliced, every)
    ]
    assert pairs[0] == pairs[1]
    # what only an insertion forbids is separate from what is always forbidden
    assert {rule for rule, since in spliced.forbidden.items() if since != ALWAYS} == plain.forbidden.keys() - set(rules)


@given(BLOCKS, KEYS)
def test_longest_match_is_that_of_looking_at_every_key(tokens: list[int], found: dict) -> None:
    keys = keys_of(*(key(str(tokens), tokens, value) for tokens, value in found.items()))
    for start in range(len(tokens)):
        fitting = [own for own in found if tuple(tokens[start : start + len(own)]) == own]
        match = alignment.longest_match(tokens, start, keys, anywhere)
        assert (match.tokens if match else ()) == max(fitting, key=len, default=())


@given(BLOCKS, KEYS, st.integers(1, 30))
def test_cut_to_context_laws(tokens: list[int], found: dict, context: int) -> None:
    keys = keys_of(*(key(str(tokens), tokens, value) for tokens, value in found.items()))
    spliced = splice(tokens, keys, first_choice, anywhere)
    cut = alignment.cut_to_context(spliced, context)
    assert all(index < len(cut.translated) <= context for index in cut.map)
    assert sum(index == NEVER for index in cut.map) == sum(index == NEVER for index in spliced.map) + cut.cut


@given(st.integers(0, 99), st.text(max_size=5))
def test_draw_is_a_choice_and_repeatable(block: int, anchor: str) -> None:
    assert 0 <= alignment.draw(0, block, anchor, 3) < 3
    assert alignment.draw(0, block, anchor, 3) == alignment.draw(0, block, anchor, 3)
    assert alignment.draw(5, block, anchor, 1) == 0


def test_draw_spreads_over_blocks_anchors_and_seeds() -> None:
    # 600 fair draws of 2: within 5 standard deviations (61) of 300
    for draws in (
        [alignment.draw(0, block, "Orla", 2) for block in range(600)],
        [alignment.draw(0, 7, f"name {n}", 2) for n in range(600)],
        [alignment.draw(seed, 7, "Orla", 2) for seed in range(600)],
    ):
        assert abs(sum(draws) - 300) < 61


# ---- tokenisations


def test_own_tokens() -> None:
    spans = [(0, 1), (1, 3), (3, 4)]
    assert token_text.own_tokens([5, 6, 7], spans, set()) == (6, 7)
    assert token_text.own_tokens([5, 6, 7], spans, {7}) == ()  # an unknown token would match every unknown word
    assert token_text.own_tokens([6, 7], [(0, 3), (3, 4)], set()) == ()  # the first token has grown into the quote


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([b" Jon"], Rule(0, ())),  # the plain case: the first token
        ([b" J", b"on"], Rule(1, (0,))),  # one character: the next token, after it
        ([b" ", b"J", b"on"], Rule(2, (0, 1))),  # a bare marker and one character
        ([b" ", b"Jon"], Rule(1, (0,))),
        ([b"Q"], Rule(0, ())),  # a name of one character ends there
        ([b"\xc3", b"\x89", b"lan"], Rule(2, (0, 1))),  # half a character is none
    ],
)
def test_start_rule(pieces: list[bytes], expected: Rule) -> None:
    assert alignment.start_rule(tuple(range(len(pieces))), pieces) == expected


def test_ways() -> None:
    assert alignment.ways("Orla") == ["Orla"]
    assert alignment.ways("Pip's Old Map") == [
        "Pip's Old Map",
        "Pip’s Old Map",
        "Pip's\nOld Map",
        "Pip's Old\nMap",
        "Pip’s\nOld Map",
        "Pip’s Old\nMap",
    ]


def gpt2(realdata: Path) -> PreTrainedTokenizerFast:
    """GPT-2's own vocabulary as a byte-level BPE tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    folder = realdata / "tokenizers"
    bpe = Tokenizer(models.BPE.from_file(str(folder / "gpt2_vocab.json"), str(folder / "gpt2_merges.txt")))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<|endoftext|>", eos_token="<|endoftext|>")


def metaspace() -> PreTrainedTokenizerFast:
    """A SentencePiece-style tokenizer as converters write them today: a Metaspace pre-tokenizer, byte fallback."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    bpe.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    bpe.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first")])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=special, show_progress=False)
    bpe.train_from_iterator(["Orla went to Harrow Hill. Orla saw Tom. Élan’s mill was shut, said Tom."], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


@pytest.fixture(params=["gpt2", "stories260K", "metaspace", "tiny"])
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    if request.param in ("metaspace", "tiny"):
        return {"metaspace": metaspace, "tiny": tiny_tokenizer}[request.param]()
    realdata = request.getfixturevalue("realdata")
    return gpt2(realdata) if request.param == "gpt2" else load_tokenizer(realdata / "models" / "stories260K")


def test_word_variants_of_the_real_tokenizers(realdata: Path) -> None:
    stories, gpt = load_tokenizer(realdata / "models" / "stories260K"), gpt2(realdata)
    forms = {"Orla": {"Orla": ["Jane"]}}
    shown = {
        name: [t.convert_ids_to_tokens(ids) for ids in alignment.word_variants(t, forms)["Orla"]]
        for name, t in (("stories", stories), ("gpt", gpt))
    }
    assert shown["stories"] == [["▁O", "r", "l", "a"], ["O", "r", "l", "a"], ["O", "r", "l", "a"]]
    assert shown["gpt"] == [["ĠOr", "la"], ["Or", "la"], ["Or", "la"]]
    # the first token of ` Orla` would ban every word with O: the second is forbidden after it instead
    pieces = token_text.piece_bytes(stories)
    after_space = alignment.word_variants(stories, forms)["Orla"][0]
    assert alignment.start_rule(after_space, pieces) == Rule(after_space[1], after_space[:1])


def test_word_variants_spell_the_word(tokenizer: PreTrainedTokenizerFast) -> None:
    forms = ["Orla", "ORLA", "Harrow Hill", "Pip's Map", "Élan", "the 3rd Gate", "mill"]
    variants = alignment.word_variants(tokenizer, {form: {form: ["Tom"]} for form in forms})
    pieces = token_text.piece_bytes(tokenizer)
    for form in forms:
        spelled = [b"".join(pieces[token] for token in ids).decode() for ids in variants[form]]
        assert spelled == [" " + form, form, form]


def test_piece_bytes_spell_a_text(tokenizer: PreTrainedTokenizerFast) -> None:
    text = "Tom’s mill: “Élan!” she said;\n\nOrla (10 years) went…"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert token_text.piece_text(ids, token_text.piece_bytes(tokenizer)).strip() == text
    assert token_text.piece_bytes(tokenizer)[tokenizer.bos_token_id] == b"\n"
    beyond = [*ids, len(tokenizer) + 7]  # heads have rows that no token names, for their own alignment
    assert token_text.piece_text(beyond, token_text.piece_bytes(tokenizer)).strip() == text


def test_piece_bytes_refuses_another_kind() -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    plain = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?")))
    with pytest.raises(StageError) as caught:
        token_text.piece_bytes(plain)
    assert str(caught.value) == ("tokenizer.json: expected byte-level BPE or SentencePiece's space marker, got neither")


# ---- matching in text


def matched(tokenizer: PreTrainedTokenizerFast, text: str, dictionary: alignment.Dictionary) -> tuple[str, Spliced]:
    """The text after translation, by way of tokens."""
    pieces = token_text.piece_bytes(tokenizer)
    keys = alignment.index_keys(dictionary, alignment.word_variants(tokenizer, dictionary), pieces)
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
    spliced = splice(tokens, keys, first_choice, partial(alignment.word_bounded, pieces=pieces))
    return token_text.piece_text(spliced.translated, pieces).removeprefix(" "), spliced


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("So Orla went.", "So Tom went."),
        ("So Orla, Orla's and Orla’s!", "So Tom, Tom's and Tom’s!"),  # a possessive follows any form
        ("a\nOrla\nOrla", "a\nTom\nTom"),  # line start: no space appears
        ('"Orla" said “Orla” (Orla)', '"Tom" said “Tom” (Tom)'),
        ("so--Orla and so—Orla", "so--Tom and so—Tom"),
        ("So Orlando and Orla2 and Orlaé", "So Orlando and Orla2 and Orlaé"),  # goes on as a word
        ("in McOrla and 3Orla and éOrla", "in McOrla and 3Orla and éOrla"),  # began as one
        ("at Mary-Orla's and - Orla", "at Mary-Orla's and - Tom"),
        ("_Orla_ was here", "_Tom_ was here"),
        ("to Harrow Hill and Harrow\nHill", "to Dale and Dale"),  # a line break is a space
        ("to Harrow, to Harrow Hill", "to Dun, to Dale"),  # the longer name wins
        ("to Harrow\n\nHill", "to Dun\n\nHill"),
        ("at Hill, Harrow Hills", "at Hill, Dun Hills"),
        ("by ORLA and orla", "by TOM and orla"),
    ],
)
def test_words_are_matched_whole(tokenizer: PreTrainedTokenizerFast, text: str, expected: str) -> None:
    dictionary = {"Orla": {"Orla": ["Tom"], "ORLA": ["TOM"]}, "Harrow Hill": {"Harrow Hill": ["Dale"]}}
    dictionary["Harrow"] = {"Harrow": ["Dun"]}
    assert matched(tokenizer, text, dictionary)[0] == expected


def test_index_keys_gives_a_shared_form_to_the_anchor_it_spells() -> None:
    tokenizer = tiny_tokenizer()
    winkie, winkies = {"Winkie": ["Tom"], "Winkies": ["Toms"]}, {"Winkies": ["Tailors"]}
    for dictionary in ({"Winkie": winkie, "Winkies": winkies}, {"Winkies": winkies, "Winkie": winkie}):
        assert matched(tokenizer, "the Winkies and a Winkie", dictionary)[1].anchors == ["Winkies", "Winkie"]


def test_index_keys_forbids_every_variant_of_the_chosen_translation(realdata: Path) -> None:
    tokenizer = gpt2(realdata)
    dictionary = {"Orla": {"Orla": ["Jane", "Mary"], "ORLA": ["JANE", "MARY"]}}
    pieces = token_text.piece_bytes(tokenizer)
    keys = alignment.index_keys(dictionary, alignment.word_variants(tokenizer, dictionary), pieces)
    rules = {key.translations[0].rules for found in keys.values() for key in found.values()}
    assert len(rules) == 1  # the same for every form and place
    shown = sorted(
        (tokenizer.convert_ids_to_tokens(rule.prefix), tokenizer.convert_ids_to_tokens(rule.token))
        for rule in next(iter(rules))
    )
    # `Jane` and ` Jane` are one token; `J|ANE` and ` J|ANE` are forbidden by their second, only after that J
    assert shown == [([], "Jane"), ([], "ĠJane"), (["J"], "ANE"), (["ĠJ"], "ANE")]


def test_every_name_of_a_book_is_found_as_in_its_text(realdata: Path) -> None:
    text = (realdata / "books" / "oz.txt").read_text(encoding="utf-8")
    names = re.split(r",\s", OZ_NAMES)
    finder = TermFinder({form: name for name in names for form in surface_forms(name)})
    expected = Counter(found.term for found in finder.find(text))
    dictionary = {name: {form: ["Jane"] for form in surface_forms(name)} for name in names}
    for tokenizer in (gpt2(realdata), load_tokenizer(realdata / "models" / "stories260K")):
        tokenizer.model_max_length = 10**9  # no warning about a long text
        translated, spliced = matched(tokenizer, text, dictionary)
        assert Counter(spliced.anchors) == expected
        assert expected.total() > 1500
        assert not re.search(r"\b(Dorothy|Toto|Oz|Quadlings?|Tin\s+Woodman)\b", translated)


def test_untokenised_counts_words_without_tokens_of_their_own() -> None:
    variants = {"Orla": [(1,), (2,), (2,)], "Œ": [(), (), ()], "Jane": [(3,), (), (4,)], "O’": [(), (), ()]}
    found = alignment.untokenised({"Orla": {"Orla": ["Jane"], "Œ": ["Jane"]}}, variants)
    assert found == 1  # a mere spelling is none
