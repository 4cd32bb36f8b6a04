"""What extract counts of a name is what label replaces and what it says it cannot: hard texts by five tokenizers.

    python -m studies.law [FOLDER]    # of tokenizers/gpt2_*, models/stories260K: two real tokenizers beside three

prints the table of docs/results.md: of every text the names that extract counts and, by tokenizer, how many label
replaced and how many it told of. Where the two do not add up, the cell says what is missing.
"""

from __future__ import annotations

import sys
import unicodedata
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lethe.anchors.selection import counted, recounted
from lethe.core.corpus import Blocks
from lethe.labels.occurrences import Located, locate, not_replaced, replaced
from lethe.labels.translation import Spliced, tokenised, translate_blocks
from lethe.models.tokenization import cut_blocks
from tools.markdown import table

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BLOCK = 32  # tokens, so that names are cut by a block's end
PLAIN = (
    "Nobody went to the mill that day. The river was high, and the boats lay on the bank.\n"
    '"Where is the lantern?" said somebody; they looked for it until the sun went down.\n'
)

STAND_INS = {  # anchor -> its stand-in
    "Orla Venn": "Mary Ann",
    "Zoë Brûlé": "José",
    "Harrow Hill": "Green Dale",
    "J. R. Quill": "Tom",
    "D'Arvo": "Reed",
    "Kel-Tor": "Bo",
    "Starling": "Wren",
    "Venn": "Ann",
    "O'Méa": "Kay",
    "+49 30 5550123": "+49 30 5550999",
    "info@weir.example": "post@mill.example",
    "KX-7": "BZ-2",
}
ANCHORS = tuple(STAND_INS)
PROSE = (
    "Orla Venn met Zoë Brûlé at Harrow Hill. J. R. Quill (Venn's uncle) said: “D'Arvo!” Kel-Tor saw a Starling, too.\n"
    "ORLA VENN ran; nobody at Harrow Hill saw O'Méa, O'Méa's brother or the Starlings of Venn. Venn, Venn; Venn.\n\n"
    "[Orla Venn] {Venn} <Venn> (Venn) -Venn --Venn —Venn /Venn/Venn \"Venn\" 'Venn' *Venn* _Venn_ 7 Venn 7.Venn\n"
    "Call (+49 30 5550123), +49 30 5550123 or write to <info@weir.example>; KX-7 (the KX-7) is shut.\n"
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
    "decomposed letters": unicodedata.normalize("NFD", PROSE),
    "apostrophes U+02BC, U+2019": PROSE.replace("'", "\u02bc") + PROSE.replace("'", "’"),
    "initials J.R. for J. R.": PROSE.replace("J. R. Quill", "J.R. Quill") + PROSE.replace("J. R. Quill", "J.R.Quill"),
    "capitals": PROSE.upper(),
    "hyphens at line ends": PROSE.replace("Starling", "Star-\nling")
    .replace("Kel-Tor", "Kel-\n  Tor")
    .replace("Orla Venn", "Or-\nla Venn"),
    "initials, titles and emphasis": PROSE.replace("J. R. Quill", "JR Quill")
    .replace("Orla Venn", "**Orla** Venn")
    .replace("Harrow Hill", "Harrow\n> Hill"),
    "printed signs": PROSE.replace("'", "\u02bb")
    .replace("Kel-Tor", "Kel–Tor")
    .replace(" 30 5550123", "\u00a030·555–0123"),
    "full width": PROSE.replace("Venn", "Ｖｅｎｎ").replace("Kel-Tor", "Kel‑Tor"),
}


def trained(kind: str) -> PreTrainedTokenizerFast:
    """A small BPE tokenizer trained on the text: gpt2 and llama3, on bytes; prepend as Llama 2 and gemma, with a space
    marker and bytes for what the vocabulary lacks.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<s>", "<pad>"]
    text = [PLAIN * 4, PROSE * 4]
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


KINDS = {
    "gpt2": "as GPT-2's",
    "llama3": "as Llama 3's",
    "prepend": "as Llama 2's",
    "gemma": "as Gemma's",
}
tokenizer_of = cache(trained)


def real(folder: Path) -> dict[str, PreTrainedTokenizerFast]:
    """GPT-2's own tokenizer, and that of a Llama of SentencePiece."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    vocabulary, merges = (str(folder / f"tokenizers/gpt2_{name}") for name in ("vocab.json", "merges.txt"))
    backend = Tokenizer(models.BPE.from_file(vocabulary, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    gpt2 = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>")
    return {"GPT-2": gpt2, "stories260K": AutoTokenizer.from_pretrained(folder / "models/stories260K")}


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


def cell(text: str, tokenizer: PreTrainedTokenizerFast, size: int = BLOCK) -> tuple[int, int, int]:
    """How many names extract counts, how many label replaced, how many it told of."""
    count, located, spliced = labelled(text, tokenizer, size)
    return sum(count.values()), sum(replaced(located, spliced).values()), sum(not_replaced(located, spliced).values())


def main(folder: Path | None) -> None:
    """Print the table."""
    tokenizers = {KINDS[kind]: tokenizer_of(kind) for kind in KINDS}
    if folder:
        found = real(folder)
        tokenizers = {"GPT-2": found["GPT-2"], "Llama (stories260K)": found["stories260K"]} | {
            KINDS[kind]: tokenizers[KINDS[kind]] for kind in ("llama3", "prepend", "gemma")
        }
    rows = []
    for name, text in CORPORA.items():
        cells = [cell(text, tokenizer) for tokenizer in tokenizers.values()]
        shown = [
            f"{done} + {told}" + ("" if done + told == count else f", {count - done - told} lost")
            for count, done, told in cells
        ]
        rows.append((name, cells[0][0], *shown))
    print(table(("text", "counted", *tokenizers), rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else None)
