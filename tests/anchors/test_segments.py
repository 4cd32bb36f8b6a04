"""Words where there are no spaces, and names that the dictionary cuts into bits."""

from __future__ import annotations

from lethe.anchors.segments import Piece, fused, korean_root, likeliest_cut, segmented


def pieces(text: str, code: str) -> set[str]:
    return {piece.text for phrase in segmented([text], code) for piece in phrase}


def test_the_likeliest_cut() -> None:
    chances = {"ab": 0.1, "a": 0.2, "b": 0.2, "c": 0.1, "bc": 0.5}
    # a bc: 0.2 x 0.5 = 0.1; ab c: 0.1 x 0.1; a b c: 0.2 x 0.2 x 0.1
    assert likeliest_cut("abc", chances) == ["a", "bc"]
    assert likeliest_cut("xab", chances) == ["x", "ab"]  # an unknown character is a word


def test_bits_that_keep_together_are_one_name() -> None:
    def phrase(*parts: str) -> list[Piece]:
        return [Piece(part, "bit" if part in "若溪" else "other") for part in parts]

    together = [phrase("说", "若", "溪", "来"), phrase("若", "溪", "去"), phrase("见", "若", "溪")]
    assert [[piece.text for piece in one] for one in fused(together, "zh")] == [
        ["说", "若溪", "来"],
        ["若溪", "去"],
        ["见", "若溪"],
    ]
    # always the same neighbours: a fixed phrase, whose borders nobody knows
    alike = [phrase("说", "若", "溪", "来")] * 3
    assert {piece.text for one in fused(alike, "zh") for piece in one} == {"说", "若", "溪", "来"}


def test_a_longer_name_of_the_same_bits_wins() -> None:
    text = "钱国栋来了。钱国栋笑了。他见钱国栋。看见钱国栋去。"
    assert "钱国栋" in pieces(text, "zh")
    assert "钱国" not in pieces(text, "zh")


def test_a_family_name_holds_words_together_that_are_seldom_names() -> None:
    text = (
        "薛万年来了。后来薛万年笑了。看见薛万年走。裴知行说。问裴知行好。裴知行笑。阎九如哭。找阎九如去。见阎九如笑。"
    )
    assert {"薛万年", "裴知行", "阎九如"} <= pieces(text, "zh")
    assert "汤很热" not in pieces("汤很热了。这汤很热吧。他说汤很热。", "zh")  # grammar is no part of a name
    assert {"诸葛铁", "司马"} & pieces("诸葛铁来。见诸葛铁走。诸葛铁说。", "zh") == {"诸葛铁"}


def test_a_place_of_three_characters_and_the_title_of_a_work() -> None:
    text = "留时斋开了。到留时斋去。留时斋里。修表好。他学修表。修表难。看表。买表。唱《归潮》吧。他听见归潮来。"
    found = pieces(text, "zh")
    assert {"留时斋", "归潮"} <= found
    assert "修表" not in found  # a verb and its object


def test_korean_particles() -> None:
    particles = {"민준": {"은", "이", "에게"}, "민준이": {"를"}, "은파도": {"에", "를"}, "은파": {"도"}}
    assert korean_root("민준은", {**particles, "민준은": {""}}) == "민준"
    assert korean_root("은파도", particles) == "은파도"  # -do is a particle too, but the longer root has more of them
    words = "민준이를 보았다. 민준은 갔다. 민준에게 말했다. 말했다."
    assert "민준" in pieces(words, "ko")
    assert "말했다" in pieces(words, "ko")


def test_katakana_is_one_piece_and_hiragana_is_grammar() -> None:
    found = {piece.text: piece.tag for phrase in segmented(["シロガネはタケルの犬だ"], "ja") for piece in phrase}
    assert found["シロガネ"] == "unknown"
    assert found["の"] == "other"


def test_korean_verbs_and_short_nouns_with_a_long_particle_are_no_names() -> None:
    text = "손으로 잡았다. 손으로 들었다. 배가 닿았다. 배가 닿았을 때. 섬사람이 왔다. 섬사람을 보았다. 섬사람의 집."
    found = {piece.text: piece.tag for phrase in segmented([text], "ko") for piece in phrase}
    assert not {"손으", "닿았"} & {text for text, tag in found.items() if tag in ("name", "unknown")}
    assert found["섬사람"] == "noun"


def test_a_korean_word_that_stands_behind_a_family_name_too_is_a_given_name() -> None:
    text = "백가람이라고 했다. 가람이 왔다. 가람의 집."
    found = {piece.text: piece.tag for phrase in segmented([text], "ko") for piece in phrase}
    assert found["가람"] == "name"
    alone = {piece.text: piece.tag for phrase in segmented(["가람이 왔다. 가람의 집."], "ko") for piece in phrase}
    assert alone["가람"] == "noun"
