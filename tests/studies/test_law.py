"""The table of names that label replaced or told."""

from __future__ import annotations

from collections import Counter

import pytest

from studies import law


def test_a_row_for_every_text_says_what_was_replaced_told_and_lost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(law, "CORPORA", {"short": "Venn saw Orla Venn."})
    monkeypatch.setattr(law, "KINDS", {"gpt2": "as GPT-2's"})
    law.main(None)
    assert capsys.readouterr().out == "| text | counted | as GPT-2's |\n|---|---|---|\n| short | 2 | 2 + 0 |\n"
    monkeypatch.setattr(law, "replaced", lambda located, spliced: Counter({"Venn": 1}))
    law.main(None)
    assert "| short | 2 | 1 + 0, 1 lost |" in capsys.readouterr().out
