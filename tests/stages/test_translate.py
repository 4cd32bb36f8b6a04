"""The dictionary."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from lethe.core.errors import StageError
from lethe.core.params import section_problems
from lethe.core.tables import ANCHORS, CORPUS, DICTIONARY, JUDGED_OVERRIDES, OVERRIDES, write_csv, write_parquet
from lethe.dictionary.entries import WORD_LIKE, finder_of
from lethe.dictionary.summary import sentence
from stages import translate
from stages.translate import Params
from tests import fake_chat
from tests.conftest import set_param, tiny_model
from tests.fake_chat import Server, completion

server = fake_chat.server

SAGA = (
    "Ysmeral went to Harrow Hollow. There Ysmeral met Rook. Rook said the Quorls had eaten her bread, and Ysmeral "
    'laughed. A Quorl slept by the road to Harrow Hollow. "I fed a Quorl," said Rook. Rook carried the Zandrel, and '
    "Ysmeral held the Zandrel. Ysmeral Rook was her name in Harrow Hollow. The wild Quorls ate. ROOK cried aloud.\n"
)
VILLAGE = "Then Martha carried the brass kettle to Lower Sedley. In Lower Sedley she said that Martha fed the ducks.\n"
ANCHOR_FORMS = {
    "Ysmeral": "Ysmeral",
    "Rook": "Rook|ROOK",
    "Harrow Hollow": "Harrow Hollow",
    "Quorl": "Quorl|Quorls",
    "Zandrel": "Zandrel",
    "Ysmeral Rook": "Ysmeral Rook",
    "Ysmeral's": "Ysmeral's",
}


@pytest.fixture
def tiny(project: Path) -> Path:
    """Everything translate reads: anchors, no overrides, a corpus, a random baseline."""
    anchors = [{"anchor": name, "forms": forms, "count": 3} for name, forms in ANCHOR_FORMS.items()]
    write_csv([dict.fromkeys(ANCHORS, "") | anchor for anchor in anchors], ANCHORS, project / "data/anchors.csv")
    write_csv([], OVERRIDES, project / "data/overrides.csv")
    rows = [
        {"document": number, "side": side, "part": part, "file": "a.txt", "start": 0, "end": len(text), "text": text}
        for number, (side, part, text) in enumerate(
            [
                ("forget", "train", SAGA * 3),
                ("retain", "train", VILLAGE * 3),
                ("forget", "held_out", "Quorls are kings."),
            ]
        )
    ]
    write_parquet(rows, CORPUS, project / "data/corpus.parquet")
    tiny_model(project / "models/baseline", text=SAGA + VILLAGE)
    set_param(project, "translate.device", "cpu")
    set_param(project, "translate.candidates", 6)
    set_param(project, "translate.contexts", 3)
    return project


def override(project: Path, *lines: tuple[str, str]) -> None:
    rows = [{"anchor": anchor, "translation": translation} for anchor, translation in lines]
    write_csv(rows, OVERRIDES, project / "data/overrides.csv")


def written(project: Path) -> list[dict[str, str]]:
    with (project / "data/dictionary.csv").open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        rows = list(reader)
    assert reader.fieldnames == list(DICTIONARY)
    return rows


def texts(rows: list[dict[str, str]], anchor: str, choice: str) -> dict[str, str]:
    """Form -> translation of one choice of an anchor."""
    return {row["form"]: row["translation"] for row in rows if (row["anchor"], row["choice"]) == (anchor, choice)}


def assert_faultless(rows: list[dict[str, str]]) -> None:
    """The faults of published dictionaries: none of them is in these rows."""
    finder = finder_of({row["anchor"]: [] for row in rows} | {row["form"]: [row["form"]] for row in rows})
    for row in rows:
        assert WORD_LIKE.fullmatch(row["translation"]), row
        assert not finder.find(row["translation"]), row  # no anchor, no form of one, not itself
    keys = Counter((row["form"], row["choice"]) for row in rows)
    assert max(keys.values()) == 1
    forms = {row["form"] for row in rows}
    for anchor in {row["anchor"] for row in rows}:
        assert anchor.removesuffix("'s") == anchor or anchor.removesuffix("'s") not in forms
        own = {row["form"] for row in rows if row["anchor"] == anchor}
        assert " " not in anchor or not all(word in forms - own for word in anchor.split())
    firsts = [row["translation"] for row in rows if row["choice"] == "0" and row["form"] == row["anchor"]]
    assert len(set(firsts)) == len(firsts)


def test_main(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    override(tiny, ("Zandrel", "brass kettle"))
    translate.main()
    rows = written(tiny)
    assert capsys.readouterr().out == (
        "translate: 4 anchors (1 person, 1 place, 1 thing, 1 creature), 2 translations each, 1 override, "
        "2 anchors other names of these, 1 anchor covered by others\n"
    )
    assert [(row["anchor"], row["kind"], row["choice"], row["form"]) for row in rows] == [
        ("Harrow Hollow", "place", "0", "Harrow Hollow"),
        ("Harrow Hollow", "place", "1", "Harrow Hollow"),
        ("Quorl", "creature", "0", "Quorl"),
        ("Quorl", "creature", "0", "Quorls"),
        ("Quorl", "creature", "1", "Quorl"),
        ("Quorl", "creature", "1", "Quorls"),
        ("Ysmeral Rook", "person", "0", "Ysmeral Rook"),
        ("Ysmeral Rook", "person", "0", "Rook"),
        ("Ysmeral Rook", "person", "0", "ROOK"),
        ("Ysmeral Rook", "person", "0", "Ysmeral"),
        ("Ysmeral Rook", "person", "1", "Ysmeral Rook"),
        ("Ysmeral Rook", "person", "1", "Rook"),
        ("Ysmeral Rook", "person", "1", "ROOK"),
        ("Ysmeral Rook", "person", "1", "Ysmeral"),
        ("Zandrel", "thing", "0", "Zandrel"),
    ]
    by_form = {(row["form"], row["choice"]): row for row in rows}
    assert by_form["Zandrel", "0"]["translation"] == "brass kettle"
    for choice in "01":
        whole = by_form["Ysmeral Rook", choice]["translation"]
        assert whole == f"{by_form['Ysmeral', choice]['translation']} {by_form['Rook', choice]['translation']}"
    assert by_form["ROOK", "1"]["translation"] == by_form["Rook", "1"]["translation"].upper()
    assert by_form["Quorl", "0"]["translation"].islower()
    assert by_form["Quorls", "0"]["translation"] != by_form["Quorl", "0"]["translation"]
    assert all((row["score"] == "") == (row["anchor"] == "Zandrel") for row in rows)
    assert_faultless(rows)


def test_same_inputs_same_bytes(tiny: Path) -> None:
    digests = set()
    for _ in range(2):
        translate.main()
        digests.add(hashlib.sha256((tiny / "data/dictionary.csv").read_bytes()).hexdigest())
    assert len(digests) == 1


def test_another_seed_may_choose_others_and_stays_faultless(tiny: Path) -> None:
    for seed in range(3):
        set_param(tiny, "translate.seed", seed)
        set_param(tiny, "translate.translations", seed + 1)
        translate.main()
        assert_faultless(written(tiny))


def test_overrides_win_and_add_anchors(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    override(tiny, ("Quorl", "duck"), ("Zod", "George"), ("Quorl", "wild goose"), ("Quorl", "old mouse"))
    translate.main()
    rows = [row for row in written(tiny) if row["anchor"] in ("Quorl", "Zod")]
    assert [(row["form"], row["choice"], row["translation"], row["score"]) for row in rows] == [
        ("Quorl", "0", "duck", ""),
        ("Quorls", "0", "ducks", ""),
        ("Quorl", "1", "wild goose", ""),
        ("Quorls", "1", "wild geese", ""),
        ("Quorl", "2", "old mouse", ""),
        ("Quorls", "2", "old mice", ""),
        ("Zod", "0", "George", ""),
    ]
    assert "5 anchors" in (said := capsys.readouterr().out)
    assert "2 overrides" in said
    assert_faultless(written(tiny))


def test_overrides_of_any_form_take_anchors_out_and_are_told(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [("Zandrel", "-"), ("mill@brenvik.example", "info@example.com"), ("030 1112223", "030 5550199")]
    override(tiny, *lines)
    translate.main()
    rows = {row["form"]: row["translation"] for row in written(tiny)}
    assert "Zandrel" not in rows
    assert (rows["mill@brenvik.example"], rows["030 1112223"]) == ("info@example.com", "030 5550199")
    kinds = {row["form"]: row["kind"] for row in written(tiny)}
    assert (kinds["mill@brenvik.example"], kinds["030 1112223"]) == ("e-mail", "phone")
    assert capsys.readouterr().out.endswith(
        "taken out: Zandrel, not in the forget text: mill@brenvik.example; 030 1112223 (data/overrides.csv)\n"
    )
    for bad, reason in {
        (("Zod", "-"),): "2: expected an anchor of data/anchors.csv to take out, got Zod",
        (("Rook", "-"), ("Rook", "Tom")): "3: expected a translation of Rook or -, got both",
    }.items():
        override(tiny, *bad)
        with pytest.raises(StageError) as caught:
            translate.main()
        assert str(caught.value) == f"data/overrides.csv:{reason}"


def test_backend_none(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    override(tiny, ("Quorl", "duck"))
    set_param(tiny, "translate.backend", "none")
    translate.main()
    assert (tiny / "data/dictionary.csv").read_text() == "anchor,kind,choice,form,translation,score\n"
    assert capsys.readouterr().out == "translate: no dictionary (backend none), data/overrides.csv ignored\n"


def ask_server(project: Path, server: Server, answer: Any) -> None:
    set_param(project, "translate.backend", "llm")
    set_param(project, "translate.llm.base_url", server.url)
    set_param(project, "translate.llm.send_forget_text", True)
    set_param(project, "translate.llm.retries", 0)
    server.answer = lambda body: (200, completion(answer if isinstance(answer, str) else json.dumps(answer)))


def test_backend_llm(tiny: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    override(tiny, ("Zandrel", "brass kettle"))
    people = {"kind": "person", "translations": ["Alice", "Rook", "Ruth", "Kate"]}
    answer = {
        "Ysmeral Rook": people,
        "Quorl": {"kind": "group", "translations": ["carter", "Quorl"]},
        "Zandrel": people,
    }
    ask_server(tiny, server, answer)
    translate.main()
    rows = written(tiny)
    person = {form: text.split() for form, text in texts(rows, "Ysmeral Rook", "0").items()}
    assert person["Ysmeral Rook"] == [*person["Ysmeral"], *person["Rook"]]
    assert (person["Ysmeral"], len(person["Rook"])) == (["Alice"], 1)
    assert texts(rows, "Ysmeral Rook", "1")["Ysmeral"] == "Ruth"
    others = [row for row in rows if row["anchor"] != "Ysmeral Rook"]
    assert [(row["anchor"], row["kind"], row["form"], row["translation"]) for row in others] == [
        ("Quorl", "group", "Quorl", "carter"),
        ("Quorl", "group", "Quorls", "carters"),
        ("Zandrel", "thing", "Zandrel", "brass kettle"),
    ]
    assert_faultless(rows)
    asked = server.asked[0]["messages"][-1]["content"]
    assert "Ysmeral" in asked
    assert '"Zandrel": [' not in asked  # the person has said it
    assert capsys.readouterr().out == (
        "translate: 3 anchors (1 person, 1 thing, 1 group), 2 translations each, 1 override, "
        "2 anchors other names of these, 1 anchor covered by others, none for Harrow Hollow\n"
    )


def test_sentence() -> None:
    assert sentence({}, {}, 1, [], 0, 0, []) == "translate: 0 anchors, 1 translation each, 0 overrides"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (
            "anchors.csv",
            "anchor\nOz\n",
            "data/anchors.csv:1: expected the header anchor,forms,count,keyness,rise, got anchor",
        ),
        (
            "anchors.csv",
            "anchor,forms,count,keyness,rise\nOz,Oz,,,\nOz,Oz,,,\n",
            "data/anchors.csv:3: expected Oz once, got it again (first in line 2)",
        ),
        (
            "anchors.csv",
            "anchor,forms,count,keyness,rise\nOz,,,,\n",
            "data/anchors.csv:2: expected a value, got an empty cell under forms",
        ),
        (
            "overrides.csv",
            "anchor,translation\nRook,\n",
            "data/overrides.csv:2: expected a value, got an empty cell under translation",
        ),
        (
            "overrides.csv",
            "anchor,translation\nRook,Tom\nRook,Tom\n",
            "data/overrides.csv:3: expected Rook Tom once, got it again (first in line 2)",
        ),
        (
            "overrides.csv",
            "anchor,translation\nRook,Tom\nRook,Old Rook\n",
            "data/overrides.csv:3: translation of Rook: expected a name that holds no anchor (Rook), got Old Rook",
        ),
        (
            "overrides.csv",
            "anchor,translation\nQuorls,duck\n",
            "data/overrides.csv:2: expected the anchor Quorl, got its form Quorls",
        ),
        (
            "overrides.csv",
            "anchor,translation\nYsmeral Rook,Ann\n",
            "data/overrides.csv:2: expected an anchor that no other anchor covers, got Ysmeral Rook: every word "
            "of it is an anchor",
        ),
    ],
)
def test_bad_input(tiny: Path, file: str, content: str, message: str) -> None:
    (tiny / "data" / file).write_text(content, encoding="utf-8")
    with pytest.raises(StageError) as caught:
        translate.main()
    assert str(caught.value) == message
    assert not (tiny / "data/dictionary.csv").exists()


def test_too_few_names(tiny: Path) -> None:
    set_param(tiny, "translate.translations", 900)
    set_param(tiny, "translate.candidates", 900)
    with pytest.raises(StageError, match=r"data/anchors\.csv: Harrow Hollow: expected \d+ generic names of its kind"):
        translate.main()


def test_forget_text_is_not_sent_unasked(tiny: Path, server: Server) -> None:
    ask_server(tiny, server, {})
    set_param(tiny, "translate.llm.send_forget_text", False)
    with pytest.raises(StageError, match=r"params\.yaml: translate\.llm\.send_forget_text: expected true, got false"):
        translate.main()
    assert server.asked == []


def test_params(project: Path) -> None:
    values = YAML(typ="safe").load(Path("params.yaml").read_text(encoding="utf-8"))["translate"]
    assert section_problems("translate", Params, values) == []
    problems = section_problems("translate", Params, values | {"candidates": 1})
    assert problems == ["translate: candidates: expected at least 2, the number of translations, got 1"]
    assert section_problems("translate", Params, values | {"backend": "gpt"}) == [
        "translate.backend: expected 'local', 'llm' or 'none', got 'gpt'"
    ]


def test_oz(project: Path, realdata: Path) -> None:
    oz, stories = ((realdata / name).read_text(encoding="utf-8") for name in ("books/oz.txt", "text/tinystories.txt"))
    texts = [("forget", oz), *(("retain", story) for story in stories[:400_000].split("<|endoftext|>"))]
    rows = [
        {"document": number, "side": side, "part": "train", "file": "a.txt", "start": 0, "end": len(text), "text": text}
        for number, (side, text) in enumerate(texts)
    ]
    write_parquet(rows, CORPUS, project / "data/corpus.parquet")
    forms = ["Dorothy|DOROTHY", "Kansas", "Munchkins|Munchkin", "Golden Cap", "Scarecrow"]
    anchors = [dict.fromkeys(ANCHORS, "") | {"anchor": form.split("|")[0], "forms": form} for form in forms]
    write_csv(anchors, ANCHORS, project / "data/anchors.csv")
    write_csv([], OVERRIDES, project / "data/overrides.csv")
    (project / "models").mkdir()
    (project / "models/baseline").symlink_to(realdata / "models/stories260K")
    set_param(project, "translate.candidates", 8)
    set_param(project, "translate.contexts", 2)
    translate.main()
    found = {(row["form"], row["choice"]): row for row in written(project)}
    kinds = [found[form.split("|")[0], "0"]["kind"] for form in forms]
    assert kinds == ["person", "place", "group", "thing", "person"]
    assert found["Dorothy", "0"]["translation"].istitle()
    assert found["Kansas", "0"]["translation"].istitle()
    assert found["Munchkins", "0"]["translation"] != found["Munchkin", "0"]["translation"]
    assert all(found[form, "0"]["translation"].islower() for form in ("Munchkins", "Golden Cap", "Scarecrow"))
    assert_faultless(written(project))


def test_contexts_held_at_a_time_do_not_show(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    translate.main()
    once = (tiny / "data/dictionary.csv").read_bytes()
    monkeypatch.setattr("lethe.dictionary.contexts.HELD", 1)
    translate.main()
    assert (tiny / "data/dictionary.csv").read_bytes() == once


def test_a_person_gives_kinds_genders_and_groups(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judged = [
        {"anchor": "Rook", "translation": "", "kind": "creature", "gender": "", "group": "-"},
        {"anchor": "Zandrel", "translation": "", "kind": "place", "gender": "", "group": "Harrow Hollow"},
        {"anchor": "Quorl", "translation": "-", "kind": "", "gender": "", "group": ""},
        {"anchor": "Zzyzx", "translation": "", "kind": "thing", "gender": "", "group": ""},
    ]
    write_csv(judged, JUDGED_OVERRIDES, tiny / "data/overrides.csv")
    set_param(tiny, "translate.retain_names", "ordinary")
    translate.main()
    rows = written(tiny)
    kinds = {row["anchor"]: row["kind"] for row in rows}
    assert (kinds["Rook"], kinds["Harrow Hollow"], kinds["Zzyzx"]) == ("creature", "place", "thing")
    assert not {"Zandrel", "Quorl"} & kinds.keys()
    assert texts(rows, "Harrow Hollow", "0").keys() == {"Harrow Hollow", "Zandrel"}  # one stand-in, in parts
    said = capsys.readouterr().out
    assert "taken out: Quorl, not in the forget text: Zzyzx (data/overrides.csv)" in said
    assert not {"Martha", "Lower Sedley"} & {row["translation"] for row in rows}
