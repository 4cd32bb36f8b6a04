"""Addresses and numbers in text, and what stands for them."""

from __future__ import annotations

import re

import pytest

from lethe.anchors.candidates import find_terms
from lethe.dictionary.personal import personal_choices, stand_ins
from lethe.text.matching import TermFinder, name_finder
from lethe.text.personal import kind_of, personal_data, without_personal_data


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Mail mill.orla@brenvik.example, or not.", [("e-mail", "mill.orla@brenvik.example")]),
        ("call (+49 30 5550123) or 030 1112223.", [("phone", "+49 30 5550123"), ("phone", "030 1112223")]),
        ("0171/555-0123; (030) 5550123", [("phone", "0171/555-0123"), ("phone", "(030) 5550123")]),
        ("the KX-7 and the R-2", [("identifier", "KX-7"), ("identifier", "R-2")]),
        ("to DE89 3704 0044 0532 0130 00.", [("identifier", "DE89 3704 0044 0532 0130 00")]),
        ("from 1914-1918, 12.03.2024, 0.1234567 of 1,000,000 in 2001-2003", []),
        ("a@b, @home and 07", []),
        ("at 12 Old Harbour Road, Lund", [("address", "12 Old Harbour Road")]),
        ("Die Lindenstraße 12a und Goethestr. 4.", [("address", "Lindenstraße 12a"), ("address", "Goethestr. 4")]),
        (
            "Karl-Marx-Allee 33; 14 rue de la Paix",
            [("address", "Karl-Marx-Allee 33"), ("address", "14 rue de la Paix")],
        ),
        ("0176\u00a0555\u20110123", [("phone", "0176\u00a0555\u20110123")]),
        ("1-800-555-0199, (555) 010-1234", [("phone", "1-800-555-0199"), ("phone", "(555) 010-1234")]),
        ("01.42.68.53.00 and ٠٣٠١١١٢٢٢٣", [("phone", "01.42.68.53.00"), ("phone", "٠٣٠١١١٢٢٢٣")]),
        ("born 01.02.1980, 0-306-40615-2, 0.12.3456.78, 0 1 2 3 4 5 6 7, 00012345, 000000", []),
        ("o'mara@brenvik.com", [("e-mail", "o'mara@brenvik.com")]),
        ("orla [at] brenvik (dot) com", [("e-mail", "orla [at] brenvik (dot) com")]),
        ("x@1.2 and a@b.c", []),
        ("4111 1111 1111 1111, 078-05-1120", [("identifier", "4111 1111 1111 1111"), ("identifier", "078-05-1120")]),
        ("5 rue Victor Hugo", [("address", "5 rue Victor Hugo")]),
        ("the Yellow Road 12 times, 3 Wide Streets, 5 Men on the Way", []),
    ],
)
def test_personal_data(text: str, found: list[tuple[str, str]]) -> None:
    assert [(kind, text[start:end]) for kind, start, end in personal_data(text)] == found


def test_a_stand_in_has_the_same_form() -> None:
    for term in ("030 1112223", "+49 (30) 555-0123", "KX-7", "DE89 3704 0044 0532 0130 00"):
        for choice in stand_ins(term, 3, 0):
            assert choice.singular != term
            assert re.sub(r"\d", "1", re.sub("[A-Z]", "A", choice.singular)) == re.sub(
                r"\d", "1", re.sub("[A-Z]", "A", term)
            )
            assert kind_of(choice.singular) == kind_of(term)
    assert all(choice.singular.split("@")[1].startswith("example.") for choice in stand_ins("orla@brenvik.com", 3, 0))
    for term, form in (
        ("12 Old Harbour Road", r"\d\d \w+ Road"),
        ("Lindenstraße 12", r"\w+straße \d\d"),
        ("14 rue de la Paix", r"\d\d rue des \w+"),
    ):
        for choice in stand_ins(term, 3, 0):
            assert re.fullmatch(form, choice.singular)
            assert kind_of(choice.singular) == "address"
            assert choice.singular != term
    assert stand_ins("KX-7", 3, 0) == stand_ins("KX-7", 3, 0) != stand_ins("KX-7", 3, 1)
    choices, kinds = personal_choices(["KX-7", "Orla"], TermFinder({"KX-7": "KX-7"}), 2, 0)
    assert kinds == {"KX-7": "identifier"}
    assert len(choices["KX-7"]) == 2


def test_they_are_anchors_as_wholes_and_their_parts_are_no_names() -> None:
    text = "Write to Mill.Orla@brenvik.example or call 030 1112223. The KX-7 hummed. He saw the KX-7 again.\n"
    found = {
        term.forms[0]: term.times for term in find_terms([text], ["The river ran on and on.\n"], 2, 1.0).candidates
    }
    assert found == {"Mill.Orla@brenvik.example": 1, "030 1112223": 1, "KX-7": 2}
    assert without_personal_data("call 030 1112223 now") == "call . now"


def test_every_spelling_of_personal_data_is_found() -> None:
    finder = TermFinder(
        {"030 1112223": "phone", "Orla.Mill@brenvik.com": "mail", "DE89 3704 0044 0532 0130 00": "account"}
    )
    text = (
        "Call +49 (30) 111-2223 or 030/111 22 23, mail orla.mill@Brenvik.com, pay to DE89370400440532013000; "
        "not 030 1112224, mill@brenvik.com or DE89370400440532013001, but 030 1112223."
    )
    found = [
        ("+49 (30) 111-2223", "phone"),
        ("030/111 22 23", "phone"),
        ("orla.mill@Brenvik.com", "mail"),
        ("DE89370400440532013000", "account"),
        ("030 1112223", "phone"),
    ]
    for hits in (finder.find(text), finder.find_all(text)):
        assert [(text[hit.start : hit.end], hit.term) for hit in hits] == found
    assert finder.terms_in("(030) 111 2223") == {"phone"}


@pytest.mark.parametrize(
    ("term", "spellings"),
    [
        ("030 1112223", "030\u00a0111\u20092223; 030–111–2223; 030·111·2223; ٠٣٠١١١٢٢٢٣; +49 (0)30 111 22 23"),
        ("555-123-4567", "(555) 123-4567; 555.123.4567; +1 555 123 4567; 1-555-123-4567"),
        ("orla@brenvik.com", "orla [at] brenvik.com; orla(at)brenvik(dot)com; orla @ brenvik.com; ORLA@Brenvik.Com"),
        (
            "GB29NWBK60161331926819",
            "GB29-NWBK-6016-1331-9268-19; gb29nwbk60161331926819; GB29\u00a0NWBK60161331926819",
        ),
        ("4111111111111111", "4111 1111 1111 1111; 4111-1111-1111-1111"),
        ("12 Old Harbour Road", "12, Old Harbour Road; 12 Old Harbour Rd.; 12 OLD HARBOUR ROAD"),
        ("Lindenstraße 12", "Lindenstrasse 12; Lindenstr. 12; LINDENSTRASSE 12"),
    ],
)
def test_the_same_datum_is_found_as_others_write_it(term: str, spellings: str) -> None:
    found = name_finder([term]).find(spellings)
    assert [spellings[hit.start : hit.end].rstrip(".") for hit in found] == [
        one.rstrip(".") for one in spellings.split("; ")
    ]
