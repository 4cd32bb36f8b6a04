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
