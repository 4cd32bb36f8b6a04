"""One law: what extract counts of an anchor is what label replaced and what it says it could not, on any tokenizer."""

from __future__ import annotations

import sys
import unicodedata
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest

from lethe.anchors.selection import counted, recounted
from lethe.core.corpus import Blocks
from lethe.core.errors import StageError
from lethe.labels.occurrences import Located, by_reason, locate, not_replaced, replaced, told
from lethe.labels.translation import Spliced, tokenised, translate_blocks
from lethe.models.token_text import piece_text
from lethe.models.tokenization import cut_blocks
from lethe.text.matching import term_finder
from tests.conftest import TINY_TEXT

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

ANCHORS = ("Orla Venn", "Zoë Brûlé", "Harrow Hill", "J. R. Quill", "D'Arvo", "Kel-Tor", "Starling", "Venn", "O'Méa")
STAND_INS = dict(
    zip(ANCHORS, ("Mary Ann", "José", "Green Dale", "Tom", "Reed", "Bo", "Wren", "Ann", "Kay"), strict=True)
)
PROSE = (
    "Orla Venn met Zoë Brûlé at Harrow Hill. J. R. Quill (Venn's uncle) said: “D'Arvo!” Kel-Tor saw a Starling, too.\n"
    "ORLA VENN ran; nobody at Harrow Hill saw O'Méa, O'Méa's brother or the Starlings of Venn. Venn, Venn; Venn.\n\n"
    "[Orla Venn] {Venn} <Venn> (Venn) -Venn --Venn —Venn /Venn/Venn \"Venn\" 'Venn' *Venn* _Venn_ 7 Venn 7.Venn\n"
)
NO_BREAK = PROSE.replace(" ", "\u00a0", 30)
CORPORA = {
    "plain": PROSE,
    "carriage returns": PROSE.replace(" ", "\r\n", 9).replace("\n", "\r\n").replace("\r\r", "\r"),
    "indents": PROSE.replace("; ", ";\n\n        ").replace("Orla Venn", "Orla\n      Venn"),
    "tabs": PROSE.replace(" Venn", "\t\tVenn").replace("\n", "\n\t"),
    "no-break spaces": NO_BREAK.replace("Harrow Hill", "Harrow\u202fHill"),
    "soft hyphens": PROSE.replace("Starl", "Star\u00adl")
    .replace("Ven", "V\u00aden")
    .replace("Hill", "\u200bHi\u200dll"),
    "decomposed": unicodedata.normalize("NFD", PROSE),
    "apostrophes": PROSE.replace("'", "\u02bc") + PROSE.replace("'", "’"),
    "initials": PROSE.replace("J. R. Quill", "J.R. Quill") + PROSE.replace("J. R. Quill", "J.R.Quill"),
    "capitals": PROSE.upper(),
    "line ends": PROSE.replace("Starling", "Star-\nling")
    .replace("Kel-Tor", "Kel-\n  Tor")
    .replace("Orla Venn", "Or-\nla Venn"),
    "full width": PROSE.replace("Venn", "Ｖｅｎｎ").replace("Kel-Tor", "Kel‑Tor"),
}


def trained(kind: str) -> PreTrainedTokenizerFast:
    """A small BPE tokenizer trained on the text: gpt2 and llama3, on bytes; prepend as Llama 2 and gemma, with a space
    marker and bytes for what the vocabulary lacks.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<s>", "<pad>"]
    text = [TINY_TEXT * 4, PROSE * 4]
    if kind in ("gpt2", "llama3"):
        tokenizer = Tokenizer(models.BPE())
        words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=kind == "gpt2")
        split = Regex(
            r"(?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )
        both = pre_tokenizers.Sequence([pre_tokenizers.Split(split, "isolated"), words])
        tokenizer.pre_tokenizer = words if kind == "gpt2" else both
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=special, initial_alphabet=alphabet)
        tokenizer.train_from_iterator(text, trainer)
    else:
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
        marked = normalizers.Replace(" ", "▁")
        prefixed = normalizers.Sequence([normalizers.Prepend("▁"), marked])
        tokenizer.normalizer = prefixed if kind == "prepend" else marked
        tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
        special += ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
        trainer = trainers.BpeTrainer(vocab_size=480, special_tokens=special, limit_alphabet=60)
        tokenizer.train_from_iterator(text, trainer)
        tokenizer.pre_tokenizer = None if kind == "prepend" else pre_tokenizers.Split(" ", "merged_with_previous")
        space, whole = decoders.Replace("▁", " "), [decoders.ByteFallback(), decoders.Fuse()]
        tokenizer.decoder = decoders.Sequence([space, *whole])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", pad_token="<pad>")


tokenizer_of = cache(trained)


def labelled(text: str, tokenizer: PreTrainedTokenizerFast, size: int) -> tuple[Counter[str], Located, list[Spliced]]:
    """What extract counts, and what label makes of blocks of this size."""
    terms = recounted(counted({anchor: [anchor] for anchor in ANCHORS}, [text]), [text])
    dictionary = {one.forms[0]: {form: [STAND_INS[one.forms[0]]] for form in one.forms} for one in terms}
    cut = cut_blocks(tokenizer, text, size)
    tokens = np.zeros((len(cut), size), np.int32)
    for row, block in zip(tokens, cut, strict=True):
        row[: len(block.tokens)] = block.tokens
    length = np.array([len(block.tokens) for block in cut], np.int32)
    blocks = Blocks(np.arange(len(cut), dtype=np.int32), np.full(len(cut), 7, np.int32), tokens, length)
    anchors = tokenised(dictionary, tokenizer)
    forms = {one.forms[0]: one.forms for one in terms}
    located = locate(blocks, [(7, text)], forms, dictionary, anchors, tokenizer)
    spliced = translate_blocks(blocks, located.matches, [], 0, None)
    return Counter({one.forms[0]: one.times for one in terms}), located, spliced


@pytest.mark.parametrize("kind", ["gpt2", "llama3", "prepend", "gemma"])
@pytest.mark.parametrize("corpus", CORPORA)
def test_what_extract_counts_is_replaced_or_told(corpus: str, kind: str) -> None:
    text, tokenizer = CORPORA[corpus], tokenizer_of(kind)
    for size in (12, 2000):
        count, located, spliced = labelled(text, tokenizer, size)
        missed, done = not_replaced(located, spliced), replaced(located, spliced)
        assert located.count == count
        for anchor in ANCHORS:
            untold = sum(times for (name, _), times in missed.items() if name == anchor)
            assert count[anchor] == done[anchor] + untold, anchor
        assert set(count) == set(ANCHORS)
        assert min(count.values()) > 0, count
        assert {reason for _, reason in missed} <= {"cut_by_block"}
    # nothing is cut in a block of 2000: the block says the text with every name's stand-in, sign by sign
    assert not missed
    hits = term_finder({anchor: [anchor, anchor.upper(), f"{anchor}s", f"{anchor}S".upper()] for anchor in ANCHORS})
    wanted, done_to = "", 0
    for hit in hits.find(text):
        wanted, done_to = wanted + text[done_to : hit.start] + STAND_INS[hit.term], hit.end
    pieces = tokenised({}, tokenizer).pieces
    said = piece_text(list(spliced[0].translated), pieces).replace("\u2581", " ")
    assert said.removeprefix(" ") == (wanted + text[done_to:]).removeprefix(" ")


ABROAD = {
    "민준": ("민준이 왔다. 민준에게는 개가 있다. 민준이를 보았다.", "영호"),
    "محمود": ("جاء محمود، ومحمود لمحمود أخ.", "سالم"),
    "ברוך": ("ברוך בא, ולברוך יש כלב.", "דוד"),
    "顾长林": ("秦婶照顾顾长林,顾长林笑了。", "李明"),
    "みさき丸": ("そのみさき丸は古い。みさき丸だ。", "はな"),
    "ทองดี": ("ปู่ทองดีนอน ทองดีพูด", "มานะ"),
    "विक्रम": ("विक्रम ने कहा। विक्रम गया।", "मोहन"),
    "Светлана": ("Светлана видит Светлану. Пошли к Светлане!", "Анна"),
}


@pytest.mark.parametrize("kind", ["gpt2", "prepend"])
def test_the_law_holds_in_every_script(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = tokenizer_of(kind)
    for name, (text, stand_in) in ABROAD.items():
        monkeypatch.setattr(sys.modules[__name__], "ANCHORS", (name,))
        monkeypatch.setitem(STAND_INS, name, stand_in)
        count, located, spliced = labelled(text, tokenizer, 2000)
        assert count[name] == located.count[name] == replaced(located, spliced)[name] > 1, name
        said = piece_text(list(spliced[0].translated), tokenised({}, tokenizer).pieces).replace("\u2581", " ")
        assert said.count(stand_in) == count[name]
        assert name not in said


def one_block(ids: list[int]) -> Blocks:
    """One block, of document 7."""
    tokens, length = np.array([ids], np.int32), np.array([len(ids)], np.int32)
    return Blocks(np.array([0], np.int32), np.array([7], np.int32), tokens, length)


def word_level(vocabulary: dict[str, int]) -> PreTrainedTokenizerFast:
    """A tokenizer whose tokens are these words, each with the space before it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", pad_token="<unk>")


def test_every_reason_is_told_with_its_counts() -> None:
    tokenizer = tokenizer_of("gemma")
    text = "Venn saw Venn. Then Orla Venn and Venn went to Kel-Tor."
    blocks = one_block(cut_blocks(tokenizer, text, 400)[0].tokens)
    dictionary = {"Venn": {"Venn": ["Ann Mary Lou"]}}
    terms = {"Venn": ["Venn"], "Orla Venn": ["Orla Venn"], "Kel-Tor": ["Kel-Tor"]}
    anchors = tokenised(dictionary, tokenizer)
    located = locate(blocks, [(7, text)], terms, dictionary, anchors, tokenizer)
    # Orla Venn has no translation: its Venn is translated all the same
    assert located.count == {"Venn": 3, "Orla Venn": 1, "Kel-Tor": 1}
    assert located.within == {"Venn": 1}
    whole = translate_blocks(blocks, located.matches, [], 0, None)
    assert replaced(located, whole) == {"Venn": 4}
    context = whole[0].ends[1]  # the model reads two of the four
    spliced = translate_blocks(blocks, located.matches, [], 0, context)
    missed = not_replaced(located, spliced)
    assert replaced(located, spliced) == {"Venn": 2}
    assert missed == {("Venn", "cut_by_context"): 2, ("Orla Venn", "as_parts"): 1, ("Kel-Tor", "as_parts"): 1}
    assert by_reason(missed) | {"as_parts": 2, "cut_by_context": 2} == by_reason(missed)
    assert told(missed, located.count + located.within) == (
        "\n=== occurrences that were not replaced\n"
        "Venn: 2 of 4, its translated block is longer than the model's context\n"
        "Kel-Tor: 1 of 1, translate gave it no translation, as other anchors cover it or none fits\n"
        "Orla Venn: 1 of 1, translate gave it no translation, as other anchors cover it or none fits\n"
    )
    assert told({}, {}) == ""


def test_a_stand_in_without_tokens_is_told_and_blocks_of_another_text_are_refused() -> None:
    tokenizer = word_level({"<unk>": 0, "▁": 1, "▁Venn": 2, "▁saw": 3, "▁Ann": 4})
    blocks = one_block([2, 3, 2])
    dictionary = {"Venn": {"Venn": ["Josephine"]}}
    given = {"Venn": ["Venn"]}, dictionary, tokenised(dictionary, tokenizer), tokenizer
    located = locate(blocks, [(7, "Venn saw Venn")], *given)
    assert located.missed == {("Venn", "without_tokens"): 2}
    assert located.matches == [{}]
    with pytest.raises(StageError) as caught:
        locate(blocks, [(7, "Venn saw Ann")], *given)
    assert str(caught.value) == (
        "data/blocks.parquet: expected the tokens of document 7 of data/corpus.parquet, got others; run `dvc repro`"
    )


def test_two_names_in_one_token_are_told() -> None:
    tokenizer = word_level({"<unk>": 0, "▁Venn/Tor": 1, "▁saw": 2, "▁Ann": 3, "▁Ann/Tor": 4, "▁x": 5})
    blocks = one_block([5, 1, 2])
    dictionary = {"Venn": {"Venn": ["Ann"]}, "Tor": {"Tor": ["Ann"]}}
    terms = {"Venn": ["Venn"], "Tor": ["Tor"]}
    located = locate(blocks, [(7, "x Venn/Tor saw")], terms, dictionary, tokenised(dictionary, tokenizer), tokenizer)
    assert located.missed == {("Tor", "in_one_token"): 1}
    (spliced,) = translate_blocks(blocks, located.matches, [], 0, None)
    assert list(spliced.translated) == [5, 4, 2]  # the sign and the other name stay
    assert replaced(located, [spliced]) == {"Venn": 1}


def test_the_names_of_one_person_are_counted_each_and_masked_as_one() -> None:
    tokenizer = tokenizer_of("gpt2")
    text = "Orla Venn came. Venn saw Harrow Hill, and Orla Venn saw it."
    blocks = one_block(cut_blocks(tokenizer, text, 400)[0].tokens)
    dictionary = {"Orla Venn": {"Orla Venn": ["Mary Ann"], "Venn": ["Ann"]}, "Harrow Hill": {"Harrow Hill": ["Dale"]}}
    terms = {"Orla Venn": ["Orla Venn"], "Venn": ["Venn"], "Harrow Hill": ["Harrow Hill"]}
    anchors = tokenised(dictionary, tokenizer)
    located = locate(blocks, [(7, text)], terms, dictionary, anchors, tokenizer)
    spliced = translate_blocks(blocks, located.matches, [], 0, None)
    assert replaced(located, spliced) == located.count == {"Orla Venn": 2, "Venn": 1, "Harrow Hill": 1}
    assert not not_replaced(located, spliced)
    assert (spliced[0].anchors.count("Orla Venn"), spliced[0].repeats) == (3, 2)
    assert (
        piece_text(list(spliced[0].translated), anchors.pieces) == "Mary Ann came. Ann saw Dale, and Mary Ann saw it."
    )
