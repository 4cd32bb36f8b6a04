"""Views of the corpus and the blocks."""

from __future__ import annotations

from pathlib import Path

from lethe.core.corpus import Document, held_out_texts, read_blocks, read_documents, training_documents
from stages import block
from tests.conftest import TINY_TEXT, set_param, tiny_model, write_corpus


def test_sides_and_parts(project: Path) -> None:
    path = write_corpus(project, forget="Forget me. " * 9, retain="Keep me. " * 9)
    assert training_documents(path, ("forget", "retain")) == [("Forget me. " * 9, True), ("Keep me. " * 9, False)]
    assert training_documents(path, ("retain",)) == [("Keep me. " * 9, False)]
    assert held_out_texts(path, "forget") == ["Forget me. " * 3]


def test_the_whole_corpus_in_its_order(project: Path) -> None:
    path = write_corpus(project, forget="Forget me. " * 3, retain="Keep me. ")
    assert read_documents(path) == [
        Document(0, "forget", "train", "forget.txt", 0, 33, "Forget me. " * 3),
        Document(1, "forget", "held_out", "forget.txt", 0, 11, "Forget me. "),
        Document(2, "retain", "train", "retain.txt", 0, 9, "Keep me. "),
        Document(3, "retain", "held_out", "retain.txt", 0, 3, "Kee"),
    ]


def test_blocks_spell_the_training_text(project: Path) -> None:
    from lethe.models.checkpoints import load_tokenizer

    write_corpus(project, forget=TINY_TEXT)
    set_param(project, "block.tokens", 16)
    tiny_model(project / "models/baseline")
    block.main()
    blocks = read_blocks(Path("data/blocks.parquet"), Path("models/baseline"))
    tokenizer = load_tokenizer(Path("models/baseline"))
    rows = zip(blocks.tokens, blocks.length, strict=True)
    assert "".join(tokenizer.decode(tokens[1:length]) for tokens, length in rows) == TINY_TEXT
