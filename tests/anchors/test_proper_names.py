"""Names in running text."""

from __future__ import annotations

from collections import Counter

import pytest

from lethe.anchors import proper_names as runs
from lethe.anchors.proper_names import (
    OWNER,
    forget_rare,
    is_heading,
    is_joined,
    is_name,
    is_proven,
    mostly_name,
    name_runs,
    read_side,
    read_words,
)


def keys(text: str, singular: dict[str, str] | None = None) -> dict[str, int]:
    """Runs of the text, joined. Every word is a known one."""
    known = {word.lower() for word, *_ in read_words(text)}
    return {" ".join(run): count for run, count in name_runs(read_side([text]), singular or {}, known).items()}


def test_read_words() -> None:
    text = "Then Oz's cat, Toto,\nsaw Mr. Joker. He'd run"
    read = [(word, is_joined(gap), is_proven(gap, heading)) for word, gap, heading, _ in read_words(text)]
    assert read == [
        ("Then", False, False),  # the text's first capital proves nothing
        ("Oz", True, True),
        (OWNER, True, True),
        ("cat", True, True),
        ("Toto", False, True),  # after a comma it is the same sentence, but not the same phrase
        ("saw", False, False),  # a line may be verse
        ("Mr.", True, True),
        ("Joker", True, True),
        ("He", False, False),  # the contraction is taken off
        ("run", True, True),
    ]


def test_forget_rare() -> None:
    counts = Counter(a=1, b=1, c=2, d=3, e=9)
    forget_rare(counts, 5)
    assert len(counts) == 5
    forget_rare(counts, 4)  # the median is 2
    assert counts == Counter(d=3, e=9)


def test_full_tables_keep_what_is_common(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"now they saw Oz with Odd{'abcdefghij'[n % 10] * (n // 10 + 1)} there. " for n in range(60)]
    whole = read_side(texts)
    monkeypatch.setattr(runs, "MOST_RUNS", 10)
    monkeypatch.setattr(runs, "MOST_WORDS", 10)
    bounded = read_side(texts)
    assert bounded.words == whole.words
    assert max(map(len, bounded[1:])) <= 11  # a text adds two
    assert len(whole.runs) == 61
    assert bounded.runs[("Oz", True),] == whole.runs[("Oz", True),] == 60
    assert bounded.small["they"] == whole.small["they"] == 60


def test_a_list_of_names_is_one_long_run() -> None:
    names = [f"Od{chr(97 + n % 26)}{chr(97 + n // 26 % 26)}{chr(97 + n // 676)}x" for n in range(3000)]
    assert keys(f"we met {' '.join(names)}") == {" ".join(names).lower(): 1}


@pytest.mark.parametrize(
    ("line", "heading"),
    [
        ("  10.  The Guardian of the Gates", True),
        ("How Dorothy Saved the Scarecrow", True),
        ("Away to the South", True),
        ("Dorothy saw Oz.", False),
        ("and Dorothy travelled with Toto", False),
        ("Dorothy", False),  # one word is hardly a line of a book's headings
        ("The Guardian of the Gates " * 4, False),
        ("", False),
    ],
)
def test_is_heading(line: str, heading: bool) -> None:
    assert is_heading(line) is heading


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("they met the Queen of the Field Mice and Toto there", {"queen of the field mice and toto": 1}),
        ("they met Toto, Oz; Boq", {"toto": 1, "oz": 1}),  # Boq begins something and was not seen elsewhere
        ("they saw Oz's Emerald City", {"oz 's emerald city": 1}),
        ("the Tin\nWoodman of tin", {"tin": 1}),  # `Woodman` begins a line and proves nothing by itself
        ("the Tin\nWoodman, the Woodman.", {"tin woodman": 1, "woodman": 1}),
        ("When Toto came, then Toto left when it rained", {"toto": 2}),
        ("I and O and Toto.", {"toto": 1}),
        ("he cried STOP IT NOW and left", {}),
        ("the OZ of old", {"oz": 1}),
        ("so The Great Oz spoke", {"great oz": 1}),
        ("and Lady Catherine de Bourgh too", {"lady catherine de bourgh": 1}),
        ("the Hammer-Heads and J. K. Rowling", {"hammer-heads and j. k. rowling": 1}),
        ("it is here. Toto ran", {}),
        ("", {}),
    ],
)
def test_runs(text: str, runs: dict[str, int]) -> None:
    assert keys(text) == runs


def test_a_pair_seen_inside_a_sentence_holds_at_its_start() -> None:
    # captain is mostly written small, so by itself its capital proves nothing at a sentence's start
    text = "a captain, the captain, my captain met Captain Vane. So Captain Vane left. Captain Vane laughed."
    assert keys(text) == {"captain vane": 3}


def test_plurals_count_as_their_singular() -> None:
    assert keys("the Winkie and the Winkies", {"winkies": "winkie"}) == {"winkie and the winkie": 1}


def test_a_heading_proves_nothing_but_repeats_what_is_known() -> None:
    text = "The Balloon Was Launched by Oz\n\nthey saw the balloon and Oz was there with Oz"
    assert keys(text) == {"oz": 3}


def test_mostly_name() -> None:
    side = read_side(["the Oz, an oz and the rose, a rose, my Rose. Quelala left"])
    known = {"oz", "rose"}
    # Oz: 1 capital, 1 small; rose: 1 capital, 2 small; Quelala: no evidence, and no word of the language
    assert [mostly_name(word, side, known) for word in ("Oz", "Rose", "Quelala")] == [True, False, True]


def test_read_side_counts() -> None:
    side = read_side(["We met Oz. We met Oz's dog.", "Ozma"])
    assert side.words == 8
    assert side.capital == Counter({"oz": 2})
    assert side.small == Counter({"met": 2, "dog": 1})


def test_roman_numbers_are_no_names() -> None:
    assert not any(is_name(word) for word in ("II", "IV", "IX", "XIV", "XL", "XC", "LXXXVIII"))
    assert all(is_name(word) for word in ("Ivi", "Li", "CIVIL", "VIXEN", "MIX", "Xi", "IIII"))
