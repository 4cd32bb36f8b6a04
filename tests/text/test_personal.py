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
        ("Calle Mayor 12", "C/ Mayor, 12; calle Mayor, n.º 12"),
        ("9 boulevard Voltaire", "9 bd Voltaire; 9, Bd Voltaire"),
        ("Lindenstraße 12", "Lindenstrasse 12; Lindenstr. 12; LINDENSTRASSE 12"),
    ],
)
def test_the_same_datum_is_found_as_others_write_it(term: str, spellings: str) -> None:
    found = name_finder([term]).find(spellings)
    assert [spellings[hit.start : hit.end].rstrip(".") for hit in found] == [
        one.rstrip(".") for one in spellings.split("; ")
    ]


@pytest.mark.parametrize(
    "street",
    [
        *("Am Alten Markt 5", "Unter den Linden 77", "Straße des 17. Juni 135", "Alter Postweg 8", "Hauptstraße 12-14"),
        *("Berliner Ring 4", "Marktgasse 3 b", "Goethe Straße 9"),
        *("14 bis rue Lepic", "8 allée des Tilleuls", "2 Rue Saint-Honoré", "1 passage de l'Horloge", "9 bd Voltaire"),
        *("Calle Mayor 12", "C/ Mayor, 12", "calle de Alcalá, 45", "Avda. Diagonal 200", "Calle Mayor, n.º 12"),
        *(
            "Via Giuseppe Verdi, 3",
            "Corso Vittorio Emanuele II 24",
            "Via XX Settembre 20",
            "via Roma, 15",
            "Rua Augusta, 8",
        ),
        *("Kerkstraat 12", "Laan van Meerdervoort 70", "Burgemeester de Vlugtlaan 125", "Oude Plein 3", "Zeedijk 60A"),
    ],
)
def test_a_street_of_five_languages_is_one_datum_and_its_stand_in_another(street: str) -> None:
    text = f"Siehe {street}, danke."
    assert [(kind, text[start:end]) for kind, start, end in personal_data(text)] == [("address", street)]
    for choice in stand_ins(street, 3, 0):
        assert kind_of(choice.singular) == "address"
        assert choice.singular != street
        assert re.findall(r"[\d.]+|,", choice.singular) != re.findall(r"[\d.]+|,", street)  # another number


@pytest.mark.parametrize(
    "text",
    [
        "Am Montag 12 Uhr, Im Jahre 1914, In der Nacht 12 Männer, Auf Platz 3 kam er, der Platz 3 war frei",
        "Am Park 12 Uhr, Am Berg 12 Männer, Im Park 3 kleine Kinder",
        "Via Skype 3 times, in Via 12, Corso 12 volte, Plaza 12, calle 12 veces, Plaza Mayor 1914",
        "De 12 rue, Rotterdam 3",
    ],
)
def test_numbers_behind_other_words_are_no_houses(text: str) -> None:
    assert list(personal_data(text)) == []


@pytest.mark.parametrize(
    ("term", "spellings", "others"),
    [
        (
            "KX-7",
            "KX7; KX 7; KX–7; KX/7; kx-7; KX\u00a07; KX—7; KX - 7; KX_7; kx7",
            "KX-71; AKX7; KX-7B; KX, 7 men; KX. 7 men",
        ),
        ("KX7", "KX-7; KX 7", "KX77"),
        ("R-2", "R2; R–2", "R 2; r 2; are 2"),
        ("AB12CD", "AB-12-CD; AB 12 CD; ab12cd", "AB 12"),
        ("INV-2024-0017", "INV 2024 0017; INV/2024/0017; inv-2024-0017; INV20240017", "INV-2024-0018"),
        ("K-10442", "K10442; K 10442", "K 1044"),
        ("M-AB 1234", "M AB 1234; M-AB1234; M AB-1234", "M AB 123"),
    ],
)
def test_an_identifier_is_found_as_others_write_it(term: str, spellings: str, others: str) -> None:
    assert kind_of(term) == "identifier"
    found = name_finder([term]).find(spellings)
    assert [spellings[hit.start : hit.end] for hit in found] == spellings.split("; ")
    assert name_finder([term]).find(others) == []


def test_two_spellings_of_a_datum_are_one_anchor() -> None:
    text = "The KX-7 hummed. Then the KX7 stopped; the KX-7 was cold. Call 030 1112223 or +49 30 1112223.\n"
    found = find_terms([text], ["The river ran on and on.\n"], 2, 1.0).candidates
    assert {term.forms: term.times for term in found} == {("KX-7",): 3, ("+49 30 1112223",): 2}
