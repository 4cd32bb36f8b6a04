"""One law: what extract counts of an anchor is what label replaced and what it says it could not, on any tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from lethe.core.corpus import Blocks
from lethe.core.errors import StageError
from lethe.labels.occurrences import by_reason, locate, not_replaced, replaced, told
from lethe.labels.translation import tokenised, translate_blocks
from lethe.models.token_text import piece_text
from lethe.models.tokenization import cut_blocks
from lethe.text.matching import term_finder
from studies import law
from studies.law import ANCHORS, CORPORA, KINDS, STAND_INS, labelled, real, tokenizer_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def assert_the_law_holds(
    corpus: str, tokenizer: PreTrainedTokenizerFast, sizes: tuple[int, ...], exact: bool = True
) -> None:
    """Every anchor's count is what was replaced and what was told, with the block's end as the only reason.

    In the last of these sizes nothing is cut: the block says the text with every name's stand-in, sign by sign or word
    by word.
    """
    text = CORPORA[corpus]
    for size in sizes:
        count, located, spliced = labelled(text, tokenizer, size)
        missed, done = not_replaced(located, spliced), replaced(located, spliced)
        assert located.count == count
        for anchor in ANCHORS:
            untold = sum(times for (name, _), times in missed.items() if name == anchor)
            assert count[anchor] == done[anchor] + untold, anchor
        assert set(count) == set(ANCHORS)
        assert min(count.values()) > 0, count
        assert {reason for _, reason in missed} <= {"cut_by_block"}
    assert not missed
    hits = term_finder({anchor: [anchor, anchor.upper(), f"{anchor}s", f"{anchor}S".upper()] for anchor in ANCHORS})
    wanted, done_to = "", 0
    for hit in hits.find(text):
        wanted, done_to = wanted + text[done_to : hit.start] + STAND_INS[hit.term], hit.end
    pieces = tokenised({}, tokenizer).pieces
    said = piece_text(list(spliced[0].translated), pieces).replace("\u2581", " ")
    wanted += text[done_to:]
    if exact:
        assert said.removeprefix(" ") == wanted.removeprefix(" ")
    else:  # stories260K has one kind of white space, and begins with a token that is none of the text's
        assert said.split() == wanted.split()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("corpus", CORPORA)
def test_what_extract_counts_is_replaced_or_told(corpus: str, kind: str) -> None:
    assert_the_law_holds(corpus, tokenizer_of(kind), (12, 2000))


@pytest.mark.parametrize("name", ["GPT-2", "stories260K"])
def test_the_law_holds_with_real_tokenizers(name: str, realdata: Path) -> None:
    tokenizer = real(realdata)[name]
    for corpus in CORPORA:
        assert_the_law_holds(corpus, tokenizer, (32, 2000), exact=name != "stories260K")


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
        monkeypatch.setattr(law, "ANCHORS", (name,))
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
