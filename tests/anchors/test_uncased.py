"""Names in scripts without capitals."""

from __future__ import annotations

from lethe.anchors.candidates import find_terms
from lethe.anchors.uncased import read_evidence, root_of, uncased_terms


def terms(text: str, retain: str = "") -> set[str]:
    return {term.forms[0] for term in find_terms([text], [retain] if retain else [], 2, 2.0).candidates}


def test_arabic_prefixes_are_no_part_of_a_name_and_a_word_with_an_article_is_none() -> None:
    raw = {"ومحمود": 1, "محمود": 2, "البئر": 2, "بئر": 1, "للقاهرة": 1, "القاهرة": 1, "برق": 2}
    assert root_of("ومحمود", raw, "ar") == ("محمود", False)
    assert root_of("للقاهرة", raw, "ar")[0] == "القاهرة"
    assert root_of("البئر", raw, "ar") == ("البئر", True)
    assert root_of("برق", raw, "ar") == ("برق", False)  # no b- before a word: there is no such word
    assert root_of("הנמל", {"נמל": 1}, "he") == ("נמל", True)


def test_hebrew_prefixes_before_what_never_stands_bare() -> None:
    seen = {"מטריאסטה": 2, "לטריאסטה": 1}  # with two prefixes
    assert root_of("מטריאסטה", seen, "he") == ("טריאסטה", False)
    assert root_of("מטריאסטה", {"מטריאסטה": 3}, "he") == ("מטריאסטה", False)  # perhaps its first letter
    assert root_of("השופטת", {}, "he") == ("שופטת", True)  # the language knows the judge
    assert root_of("הצ'לו", {"בצ'לו": 1, "הצ'לו": 1}, "he") == ("צ'לו", True)  # a letter with a sign is one
    assert root_of("מפרץ", {}, "he") == ("מפרץ", False)  # gulf, not of Peretz
    assert root_of("ואדי", {"אדי": 1}, "he") == ("ואדי", False)  # a wadi


def test_a_hebrew_place_may_end_in_a_noun_with_its_article() -> None:
    text = "גרנו ברחוב הזית. רחוב הזית צר. ירדנו אל רחוב הזית. טוביה עלה אל גבעת התמרים. גבעת התמרים ריקה. "
    assert {"רחוב הזית", "גבעת התמרים"} <= terms(text)
    assert not {"רחוב העיר"} & terms("ברחוב העיר. רחוב העיר צר. ירדנו אל רחוב העיר. ")


def test_a_family_name_s_ending_speaks_for_it_and_a_title_is_no_part_of_it() -> None:
    text = "גם פרידמן ידע. אבל פרידמן שתק. הנה גברת אלפסי באה. גברת אלפסי קמה. גברת אלפסי יצאה. "
    assert {"פרידמן"} <= terms(text)
    assert "גברת אלפסי" not in terms(text)


def test_a_chinese_noun_is_what_one_goes_into_and_a_place_that_one_goes_to() -> None:
    text = "酒坛里有酒。他看见酒坛里空了。沈若溪往酒坛里看。沈若溪站在落雁崖上。船停在落雁崖下。他到了落雁崖上。"
    assert "酒坛" not in terms(text)
    assert "落雁崖" in terms(text)


def test_a_common_word_is_a_name_where_the_text_says_so() -> None:
    named = "קוראים לו פיסטוק. פיסטוק רץ. פיסטוק נבח. "
    nut = "אכלתי פיסטוק. פיסטוק טעים. קניתי פיסטוק והפיסטוק נגמר. "
    assert "פיסטוק" in terms(named)
    assert "פיסטוק" not in terms(nut)


def test_a_hindi_noun_has_a_plural() -> None:
    text = "भोलाराम ने डिब्बा खोला। डिब्बा खाली था। भोलाराम ने सब डिब्बे देखे। भोलाराम हँसा। "
    assert terms(text) == {"भोलाराम"}
    assert read_evidence([text], "hi").against["डिब्बा"] == 2


def test_what_grammar_makes_of_another_word_is_no_name() -> None:
    arabic = "رفع زيدون إصبعه. نظر زيدون إلى إصبعه. كان إصبعه كبيرا. يريد زيدون خبزا. صار القمح خبزا. يحب خبزا. "
    assert terms(arabic) == {"زيدون"}
    hebrew = "פיסטון ניגנה בערב. אז ניגנה פיסטון. כולם רקדו כשפיסטון ניגנה. "
    assert "ניגנה" not in terms(hebrew)


def test_a_verb_s_subject_has_no_preposition() -> None:
    text = "טוביה עלה במדרגות. נועה עלתה במדרגות. טוביה ירד במדרגות. אמר טוביה. שאל טוביה. "
    assert "במדרגות" not in terms(text)
    assert "טוביה" in terms(text)


def test_what_the_grammar_of_a_language_calls_a_name() -> None:
    assert "איתמר" in terms("מנשה העיר את איתמר. איתמר קם. יעל ראתה את איתמר. ")  # an object without an article
    assert "तूफान" in terms("पुरानी गाड़ी थी, जिसे लोग तूफान कहते थे। तूफान रुक गई। सब उसे तूफान कहते थे। ")
    assert "קלמנוביץ'" in terms("קלמנוביץ' חייכה. אמרה קלמנוביץ'. ענתה קלמנוביץ'. ")  # the sign is a part of the name
    assert "العطار" in terms("جاءت سلمى العطار. قال إدريس العطار. ضحكت سلمى. سأل إدريس. ")  # behind names alone


def test_the_retain_text_has_its_names_too() -> None:
    text = "민준이 왔다. 민준은 웃었다. 은파도에 갔다. 은파도를 보았다. "
    assert terms(text) == {"민준", "은파도"}
    assert terms(text, "은파도에 갔다. 은파도를 보았다. 은파도는 섬이다. " * 9) == {"민준"}
    assert uncased_terms([text], [], "ko", 3, 2.0) == {}  # each occurs twice


def test_two_scripts_in_one_text() -> None:
    text = "Then Zandrel met 若溪 there. Then Zandrel saw that 若溪 slept. They saw Zandrel and 若溪。" * 2
    assert terms(text) == {"Zandrel", "若溪"}
