"""What a run will take, from the text at hand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from lethe.preflight.estimate import texts_of


def test_a_table_counts_by_its_text_and_a_text_file_by_its_size(tmp_path: Path) -> None:
    forget = tmp_path / "forget"
    forget.mkdir()
    (forget / "a.csv").write_text("id,text\n" + "1,eight ch\n" * 10)
    (forget / "b.txt").write_text("x" * 40)
    (forget / "c.doc").write_text("x" * 400)
    corpus = SimpleNamespace(forget=str(forget), retain=str(tmp_path / "none"), held_out=0.5)
    # four characters a token: (10 * 8 + 40) / 4 / 2
    assert texts_of(corpus) == (15, 0)
