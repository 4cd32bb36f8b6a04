"""Words that show what a name is and what is none, by language: said, called, Mr., names that everybody knows."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from lethe.core.tables import read_csv

CLUES = Path(__file__).with_name("clues.csv")


@cache
def clues(code: str, slot: str) -> frozenset[str]:
    """The words of one slot of a language's clues.

    title     before a name or after it, never a name alone
    naming    directly before a name: called, named
    speech    verbs beside a name: said, asked
    noun      directly before a noun that is no name: a, this, the old
    never     words that no name begins or ends with
    given     given names and places that everybody knows
    ending    what makes a place or a ship of a name: -mura, -dao
    """
    rows = read_csv(CLUES, ("language", "slot", "words"))
    return frozenset(
        word for row in rows if (row["language"], row["slot"]) == (code, slot) for word in row["words"].split()
    )
