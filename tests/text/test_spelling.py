"""Text as it is compared, and the way back to the source's characters."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe.text.matching import TermFinder
from lethe.text.spelling import plain, seen

NFD_ZOE = unicodedata.normalize("NFD", "Zoë")


@pytest.mark.parametrize(
    ("text", "name", "there"),
    [
        (f"saw {NFD_ZOE} there", "Zoë", NFD_ZOE),  # letter and accent in two characters
        ("saw Zoë there", NFD_ZOE, "Zoë"),
        ("Ost\u00adrelow", "Ostrelow", "Ost\u00adrelow"),
        ("Ost\u00ad\nrelow", "Ostrelow", "Ost\u00ad\nrelow"),
        ("Ostre-\r\n   low", "Ostrelow", "Ostre-\r\n   low"),
        ("Kel-\nTor", "Kel-Tor", "Kel-\nTor"),  # a hyphen of the name at the end of a line
        ("O\u02bcMara", "O'Mara", "O\u02bcMara"),
        ("Kel\u2011Tor", "Kel-Tor", "Kel\u2011Tor"),
        ("Ｏｒｌａ.", "Orla", "Ｏｒｌａ"),
        ("J.R. Quill", "J. R. Quill", "J.R. Quill"),
        ("J. R. Quill", "J.R. Quill", "J. R. Quill"),
        ("Orla\u00a0Venn", "Orla Venn", "Orla\u00a0Venn"),
        ("\u200eOrla\u200f!", "Orla", "Orla"),
        ("Светла́на", "Светлана", "Светла́на"),  # a stress mark
        ("مُحَمَّد", "محمد", "مُحَمَّد"),  # vowel signs
        ("ومحمود", "محمود", "محمود"),  # "and Mahmud"
        ("민준이 왔다", "민준", "민준"),  # the name and a particle
        ("민준씨는", "민준", "민준"),
        ("王小明说", "小明", "小明"),  # no space between words
        ("オルラは", "オルラ", "オルラ"),
        ("राम ने", "राम", "राम"),
        ("\ufb01nn", "finn", "\ufb01nn"),
        *((f"O{sign}Mara", "O'Mara", f"O{sign}Mara") for sign in "\u00b4`\u201b\u02bb\u02bd\u055a\u05f3\ua78c"),
        ("O'Mara", "O\u02bbMara", "O'Mara"),
        *((f"Kel{sign}Tor", "Kel-Tor", f"Kel{sign}Tor") for sign in "\u2012\u2013\u2043\u2212\ufe63"),
        *((f"Or{sign}la", "Orla", f"Or{sign}la") for sign in "\u034f\u061c\u180e\U000e0100"),
        ("ℛupert", "Rupert", "ℛupert"),
        ("Ⓞrla", "Orla", "Ⓞrla"),
        ("Congreſs", "Congress", "Congreſs"),  # as books were printed before 1800
        ("\ufee3\ufea4\ufee4\ufeaa", "محمد", "\ufee3\ufea4\ufee4\ufeaa"),  # as a PDF has it
        ("\u0958मर", "\u0915\u093cमर", "\u0958मर"),
        ("\uf9d1城", "六城", "\uf9d1城"),
        ("צ׳רלי", "צ'רלי", "צ׳רלי"),
        ("オル\nラは", "オルラ", "オル\nラ"),  # a line's end where words have no space between them
        ("顾长\r\n　林说", "顾长林", "顾长\r\n　林"),
        ("Ostre-\u00a0\nlow", "Ostrelow", "Ostre-\u00a0\nlow"),
        ("Ostre-\n> low", "Ostrelow", "Ostre-\n> low"),  # quoted mail
        ("Orla\n> > Venn", "Orla Venn", "Orla\n> > Venn"),
        ("**Orla** _Venn_", "Orla Venn", "Orla** _Venn"),  # Markdown's emphasis, and its line break
        ("Orla\\\nVenn", "Orla Venn", "Orla\\\nVenn"),
        ("J R Quill", "J. R. Quill", "J R Quill"),
        ("JR Quill", "J. R. Quill", "JR Quill"),
        ("Dr Venn", "Dr. Venn", "Dr Venn"),
        ("Mr. Venn", "Mr Venn", "Mr. Venn"),
        ("Елкин", "Ёлкин", "Елкин"),
        ("احمد", "أحمد", "احمد"),
        ("علی", "علي", "علی"),
        ("Θησεὺς", "Θησεύς", "Θησεὺς"),
        ("卡尔•马克", "卡尔·马克", "卡尔•马克"),
        ("エミリア＝ヴェン", "エミリア゠ヴェン", "エミリア＝ヴェン"),
    ],
)
def test_a_name_is_found_in_every_spelling(text: str, name: str, there: str) -> None:
    assert [text[hit.start : hit.end] for hit in TermFinder({name: name}).find(text)] == [there]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (unicodedata.normalize("NFD", "Renée"), unicodedata.normalize("NFD", "René")),
        ("रामा", "राम"),  # a vowel sign is part of the word
        ("민준호", "민준"),  # 호 is no particle: another name
        ("Ostre-\n\nlow", "Ostrelow"),
        ("オルラン", "オルラ"),
        ("オル\n\nラ", "オルラ"),
        ("Orla > Venn", "Orla Venn"),
        ("Orla * Venn", "Orla Venn"),
        ("Quill. Venn", "Quill Venn"),  # another sentence; a full stop is none behind initials and titles alone
        ("US and U.S.", "J.R. Quill"),
    ],
)
def test_a_longer_word_is_another_word(text: str, name: str) -> None:
    assert TermFinder({name: name}).find(text) == []


def test_plain_is_what_lists_of_names_hold() -> None:
    assert plain(f"{NFD_ZOE}\u00a0\n O’Ma\u00adra") == "Zoë O'Mara"
    assert seen("Orla") == ("Orla", None)


@given(st.text(alphabet="aé\u0301\u00ad\u200b' ’가ﬁＡ\n-", max_size=30))
def test_places_tile_the_source(text: str) -> None:
    view = seen(text)
    spans = [view.span(at, at + 1) for at in range(len(view.text))]
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert [start for start, _ in spans] == sorted(start for start, _ in spans)
    # what a span holds looks as it is compared
    assert all(view.text[at] in seen(text[start:end]).text for at, (start, end) in enumerate(spans))
