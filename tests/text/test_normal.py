"""Normal forms, and the way back to the file's own characters."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe.text.normal import Edit, edits_of, in_source, in_text, normal, original, within

SIGNS = "ab \n\rZoe\u0301\u0308\u0327ë\u212b\u0344\u1100\u1161\u11a8\uac00\u0915\u093c\u09c7\u09be\uf900\u2126"


def test_line_ends_and_letters_and_where_they_were() -> None:
    text, edits = normal("Zoe\u0308\r\nran\rto Bru\u0302le\u0301")
    assert text == "Zoë\nran\nto Brûlé"
    assert edits == [(2, 1, "e\u0308"), (3, 1, "\r\n"), (7, 1, "\r"), (13, 1, "u\u0302"), (15, 1, "e\u0301")]
    # Zoë is characters 0 to 4 of the file; Brûlé begins at its 13th and ends with it, at 20
    assert in_source(edits, 0, 3) == (0, 4)
    assert in_source(edits, 11, 16) == (13, 20)
    assert in_text(edits, 13, 20) == (11, 16)
    assert in_text(edits, 3, 4) == (2, 3)  # the diaeresis alone: the letter that has it
    # from the r of ran on, two characters of the file more
    assert within(edits, 4, 16) == [(3, 1, "\r"), (9, 1, "u\u0302"), (11, 1, "e\u0301")]


def test_what_is_normal_is_left_alone() -> None:
    assert normal("Zoë ran.\n") == ("Zoë ran.\n", [])
    assert in_source([], 3, 5) == in_text([], 3, 5) == (3, 5)


def test_a_row_has_its_edits_or_none() -> None:
    assert edits_of({"edits": [{"at": 1, "length": 1, "was": "\r\n"}]}) == [Edit(1, 1, "\r\n")]
    assert edits_of({"text": "a"}) == edits_of({"edits": None}) == []


@given(st.text(SIGNS, max_size=40) | st.text(max_size=40))
def test_the_text_is_in_normal_form_and_nothing_is_lost(source: str) -> None:
    text, edits = normal(source)
    assert text == unicodedata.normalize("NFC", source.replace("\r\n", "\n").replace("\r", "\n"))
    assert original(text, edits) == source
    assert in_source(edits, 0, len(text)) == (0, len(source))


@given(st.text(SIGNS, max_size=30), st.data())
def test_spans_go_there_and_back(source: str, data: st.DataObject) -> None:
    text, edits = normal(source)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    there = in_source(edits, start, end)
    back = in_text(edits, *there)
    part, _ = normal(source[slice(*there)])
    if start < end:
        # a span that ends amid an edit has all of it, and no more
        assert back[0] <= start < end <= back[1]
        assert text[slice(*back)] == part
        whole = {place for edit in edits for place in range(edit.at + 1, edit.at + edit.length)}
        if not {start, end} & whole:
            assert back == (start, end)


@pytest.mark.parametrize(("start", "end"), [(0, 0), (2, 2), (5, 5)])
def test_an_empty_span_is_empty(start: int, end: int) -> None:
    assert in_source([Edit(3, 1, "\r\n")], start, end)[0] == start + (start > 3)
