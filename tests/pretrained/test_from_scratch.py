"""From scratch: the tokenizer of a corpus."""

from __future__ import annotations

from lethe.pretrained.from_scratch import train_tokenizer
from tests.conftest import TINY_TEXT


def test_tokenizer_of_the_corpus() -> None:
    tokenizer = train_tokenizer([TINY_TEXT], 300)
    ids = tokenizer("Orla went home.").input_ids
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode(ids[1:]) == "Orla went home."
    assert len(tokenizer) == 300
