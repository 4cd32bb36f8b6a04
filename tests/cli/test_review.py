"""`lethe review`: what it shows of the anchors, and the corrections it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lethe.cli.review import PAGE, changed
from lethe.core.errors import StageError
from lethe.dictionary.entries import Override, override_rows
from tests.conftest import write_corpus
from tests.recorded import lethe

TEXT = (
    "Orla Venn went to <b>Harrow Hill</b>. Tom saw Venn.\n\nVenn called +49 30 5550123 from Harrow\nHill, [red]said "
    "Tom. Nobody\x1b[31m saw Orla Venn.\n"
)
ANCHORS = """anchor,forms,count,keyness,rise
Orla Venn,Orla Venn,2,9.0,1.0
Venn,Venn|Venns,2,9.0,1.0
Harrow Hill,Harrow Hill,2,9.0,1.0
Tom,Tom,2,9.0,1.0
+49 30 5550123,+49 30 5550123,1,,
"""
DICTIONARY = """anchor,kind,choice,form,translation,score
Orla Venn,person,0,Orla Venn,Mary Barlow,
Orla Venn,person,0,Venn,Barlow,
Orla Venn,person,0,Venns,Barlows,
Orla Venn,person,1,Orla Venn,Ann Reed,
Orla Venn,person,1,Venn,Reed,
Orla Venn,person,1,Venns,Reeds,
Harrow Hill,place,0,Harrow Hill,Green Dale,
Harrow Hill,place,1,Harrow Hill,Long Ridge,
+49 30 5550123,phone,0,+49 30 5550123,+49 30 5550999,
"""


@pytest.fixture
def reviewing(project: Path) -> Path:
    """A project after translate."""
    write_corpus(project, TEXT)
    (project / "data/anchors.csv").write_text(ANCHORS)
    (project / "data/dictionary.csv").write_text(DICTIONARY)
    (project / "data/dropped.csv").write_text("term,forms,count,keyness,rise,reason\nRex,Rex,3,9.0,,minimum_rise\n")
    (project / "data/overrides.csv").write_text("anchor,translation\nTom,-\n")
    return project


def reviewed(folder: Path, *arguments: str) -> dict[str, Any]:
    done = lethe(folder, "review", *arguments, "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout)


def test_anchors_with_counts_kinds_aliases_and_contexts(reviewing: Path) -> None:
    found = reviewed(reviewing, "--dropped", "--contexts", "1")
    rows = {one["anchor"]: one for one in found["anchors"]}
    # the most frequent first; Orla Venn twice, Venn alone twice
    assert list(rows) == ["Harrow Hill", "Orla Venn", "Tom", "Venn", "+49 30 5550123"]
    assert [one["count"] for one in rows.values()] == [2, 2, 2, 2, 1]
    assert rows["Venn"]["alias_of"] == "Orla Venn"
    assert rows["Venn"]["stand_ins"] == ["Barlow", "Reed"]
    assert (rows["Orla Venn"]["alias_of"], rows["Orla Venn"]["stand_ins"]) == ("", ["Mary Barlow", "Ann Reed"])
    assert (rows["Tom"]["own"], rows["Tom"]["stand_ins"]) == ("taken out", [])
    assert rows["+49 30 5550123"]["kind"] == "phone"
    assert rows["Harrow Hill"]["contexts"][0]["form"] == "Harrow Hill"
    assert rows["Harrow Hill"]["contexts"][0]["before"] == "Orla Venn went to <b>"
    assert [row["term"] for row in found["dropped"]] == ["Rex"]
    assert found["edited"] is False
    # what reads overrides.csv, and what follows from it: the corpus and the baseline do not
    assert list(found["reruns"])[:4] == ["translate", "label", "finetune", "distil"]
    assert not {"corpus", "baseline", "reinforce", "extract"} & found["reruns"].keys()
    assert set(found["reruns"].values()) == {None}


def test_a_correction_is_written_and_its_cost_told(reviewing: Path) -> None:
    costs = reviewing / ".scratch/cost"
    costs.mkdir(parents=True)
    (costs / "translate.json").write_text('{"cpu_seconds": 12.5}')
    (costs / "label.json").write_text('{"cpu_seconds": 30.0}')
    (costs / "extract.json").write_text('{"cpu_seconds": 1000.0}')
    done = lethe(reviewing, "review", "Venn", "--set", "Rex=Bo", "--set", "Rex=Max", "--set", "Tom=")
    assert done.exit_code == 0, done.exception
    assert (reviewing / "data/overrides.csv").read_text() == "anchor,translation\nRex,Bo\nRex,Max\n"
    assert "data/overrides.csv written" in done.output
    assert "`dvc repro` runs again: translate, label, finetune" in done.output
    assert "about 42 CPU seconds by their last runs here (finetune, distil," in done.output.replace("\n", " ")
    rows = {one["anchor"]: one for one in reviewed(reviewing)["anchors"]}
    assert (rows["Rex"]["own"], rows["Rex"]["count"]) == ("Bo, Max", 0)
    assert rows["Tom"]["own"] == ""
    assert "1 not in the forget text (Rex)" in lethe(reviewing, "review").output
    # said again, nothing changes and nothing is written
    before = (reviewing / "data/overrides.csv").stat().st_mtime_ns
    assert reviewed(reviewing, "--set", "Rex=Bo", "--set", "Rex=Max")["edited"] is False
    assert (reviewing / "data/overrides.csv").stat().st_mtime_ns == before


def test_the_page_and_the_table_escape_what_the_text_says(reviewing: Path) -> None:
    done = lethe(reviewing, "review", "--contexts", "3", "--html", "--dropped")
    page = (reviewing / PAGE).read_text(encoding="utf-8")
    assert "&lt;b&gt;<mark>Harrow Hill</mark>&lt;/b&gt;" in page
    assert "<b>Harrow" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert "Rex" in page
    assert "[red]said Tom" in done.output
    assert "\x1b[31m" not in done.output
    assert f"As a page: {PAGE}" in done.output


BAD = {
    ("--set", "Tom"): "--set: expected NAME=STAND-IN, NAME=- or NAME=, got Tom",
    ("--set", "=Tom"): "--set: expected NAME=STAND-IN, NAME=- or NAME=, got =Tom",
    ("--set", "Tom=-", "--set", "Tom=Bo"): "--set: expected of Tom stand-ins alone, - alone or nothing alone, got both",
    ("--set", "Venns=Bo"): "data/overrides.csv:3: expected the anchor Venn, got its form Venns",
    ("--set", "Nil=-"): "data/overrides.csv:3: expected an anchor of data/anchors.csv to take out, got Nil",
    (
        "--set",
        "Harrow Hill=Venn Dale",
    ): "data/overrides.csv:3: translation of Harrow Hill: expected a name that holds no anchor (Venn), got Venn Dale",
    ("Nil",): "Nil: expected an anchor of data/anchors.csv, got none of this name",
}


@pytest.mark.parametrize("arguments", BAD)
def test_what_translate_would_refuse_is_not_written(arguments: tuple[str, ...], reviewing: Path) -> None:
    done = lethe(reviewing, "review", *arguments)
    assert isinstance(done.exception, StageError)
    assert str(done.exception) == BAD[arguments]
    assert (reviewing / "data/overrides.csv").read_text() == "anchor,translation\nTom,-\n"


def test_lines_of_other_anchors_stay_in_their_order() -> None:
    before = [Override(2, "Tom", "Bo"), Override(3, "Venn", "-"), Override(4, "Orla", "Ann")]
    found = changed(before, ["Venn=Reed", "Ida=Kay"])
    assert [one[:3] for one in found] == [(2, "Tom", "Bo"), (3, "Orla", "Ann"), (4, "Venn", "Reed"), (5, "Ida", "Kay")]


def test_a_new_stand_in_keeps_what_was_said_of_the_name() -> None:
    before = [Override(2, "Tom", "", "person", "male"), Override(3, "Orla", "Ann", "", "", "Tom")]
    found = changed(before, ["Tom=Bo", "Tom=Max", "Orla=-"])
    assert [one[1:] for one in found] == [
        ("Tom", "Bo", "person", "male", ""),
        ("Tom", "Max", "", "", ""),
        ("Orla", "-", "", "", ""),
    ]
    header, rows = override_rows(found)
    assert header == ("anchor", "translation", "kind", "gender", "group")
    assert rows[0] == {"anchor": "Tom", "translation": "Bo", "kind": "person", "gender": "male", "group": ""}
    assert override_rows(found[1:])[0] == ("anchor", "translation")
