"""Cases of names, and German nouns."""

from __future__ import annotations

from lethe.anchors.candidates import find_terms
from lethe.anchors.grammar import base_forms, common_nouns, is_compound
from lethe.text.languages import frequencies

GERMAN = (
    "Dann sah Mathilde den Turm, und der Turm war alt. Er sagte, dass Mathilde und der Wärter kamen. "
    "Sie ging mit dem Wärter in den Turm, und Mathilde lachte. Aber nicht der Nebel kam, und es war die Wesenitz, "
    "und sie sah die Wesenitz. "
)
RUSSIAN = "Он увидел Светлану, и она, Светлана, пошла к Светлане. Он не знал, что Светлана была там с Игнатом. "


def forms(text: str) -> dict[str, set[str]]:
    return {term.forms[0]: set(term.forms) for term in find_terms([text], [], 2, 2.0).candidates}


def test_german_nouns_are_no_names() -> None:
    assert set(forms(GERMAN)) == {"Mathilde", "Wesenitz"}  # a river has an article, but no dictionary has the river


def test_a_name_behind_a_comma_and_a_relative_pronoun_is_one() -> None:
    text = "Das war Mathilde, die Mathilde hieß, und er sah Tarnow, den Tarnow kannte."
    assert {"mathilde", "tarnow"}.isdisjoint(
        common_nouns([text], {"mathilde": 2, "tarnow": 2}, "de", {}, frequencies("de"))
    )


def test_compounds() -> None:
    assert is_compound("leuchtturmwärter", frequencies("de"))
    assert not is_compound("severin", frequencies("de"))


def test_the_cases_of_a_name_are_one_term() -> None:
    assert forms(RUSSIAN) == {"Светлана": {"Светлана", "Светлане", "Светлану"}}
    assert base_forms({"светлана": 2, "светлану": 1}, "ru", {}) == {"светлану": "светлана"}
    assert base_forms({"alice": 2, "alices": 1}, "en", {}) == {}  # plurals are those of `singulars`


def test_turkish_letters_and_endings() -> None:
    text = "Sonra İbrahim'i gördü ve Işık'a baktı. Ama İbrahim, Işık'ın dediği gibi, bir İBRAHİM değildi. "
    assert set(forms(text)) == {"İbrahim", "Işık"}


def test_an_ending_behind_an_apostrophe_proves_a_turkish_name() -> None:
    text = "Kayseri'den geçtik. Uzun yoldu. Kayseri'ye vardık. Ama evde kimse yoktu. Gelen de olmadı. Olmadı işte."
    found = {term.forms[0] for term in find_terms([text], [], 2, 2.0).candidates}
    assert "Kayseri" in found  # a word of the language that stands at the beginning of sentences alone
    assert "Kayseri" not in {
        term.forms[0] for term in find_terms([text.replace("'den", "").replace("'ye", "")], [], 2, 2.0).candidates
    }


def test_a_part_of_longer_names_is_a_name_where_it_stands_alone_once() -> None:
    text = "Dann kam Nerwin Karahold. Dort stand Nerwin Karahold. Man sah Nerwin Karahold. Da rief sie Nerwin.\n"
    found = {term.forms[0]: term.times for term in find_terms([text], [], 2, 2.0).candidates}
    assert found == {"Nerwin Karahold": 3, "Nerwin": 1}


def test_words_are_known_whatever_their_last_letter() -> None:
    assert frequencies("el").get("έχεις", 0.0) > 1e-5
    assert frequencies("de").get("straße", 0.0) > 1e-5
    assert "έχεις" in frequencies("el")
    text = "«Έχεις καιρό», είπε ο Λεντάρης. «Έχεις δίκιο», είπε στον Λεντάρη."
    assert "Έχεις" not in {term.forms[0] for term in find_terms([text], [], 2, 2.0).candidates}
