"""Corrections of the dictionary: what is saved, what is refused, and what runs again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lethe.app import stand_ins
from lethe.app.stand_ins import Changes, plan, save, table
from lethe.core.errors import StageError
from tests.conftest import set_param


def changed(**own: list[str]) -> Changes:
    return Changes(version=stand_ins.version(), own={name.replace("_", " "): given for name, given in own.items()})


def test_the_table_has_every_anchor_with_what_stands_in_for_it(own_project: Path) -> None:
    (own_project / "data/overrides.csv").write_text("anchor,translation\nOrla,Berta\nOrla,Clara\nTom,Jack\n")
    rows = {row["anchor"]: row for row in table()["rows"]}
    assert rows["Harrow Hill"]["stand_ins"] == ["Oakfield"]
    assert (rows["Orla"]["kind"], rows["Orla"]["count"], rows["Orla"]["own"]) == ("person", 3, ["Berta", "Clara"])
    assert (rows["Tom"]["count"], rows["Tom"]["own"]) == (0, ["Jack"])  # no anchor of extract's


def test_what_is_saved_is_what_translate_reads(own_project: Path) -> None:
    path = own_project / "data/overrides.csv"
    found = save(changed(Orla=["Berta", " Clara "], Harrow_Hill=["-"]))
    assert path.read_text() == "anchor,translation\nOrla,Berta\nOrla,Clara\nHarrow Hill,-\n"
    assert found["version"] == stand_ins.version()
    save(changed(Orla=[]))
    assert path.read_text() == "anchor,translation\nHarrow Hill,-\n"
    assert [item.name for item in path.parent.glob("*.half")] == []


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ({"Orla": ["Harrow Hill"]}, "2: translation of Orla: expected a name that holds no anchor (Harrow Hill)"),
        ({"Orla": ["-", "Berta"]}, "3: expected a translation of Orla or -, got both"),
        ({"Nobody": ["-"]}, "2: expected an anchor of data/anchors.csv to take out, got Nobody"),
        ({"Orla": ["B3rta"]}, "2: translation of Orla: expected only letters"),
        ({"Orla": ["Berta", "Berta"]}, "3: "),
    ],
)
def test_what_translate_would_refuse_is_not_written(own_project: Path, own: dict[str, Any], told: str) -> None:
    before = (own_project / "data/overrides.csv").read_bytes()
    with pytest.raises(StageError) as raised:
        save(Changes(version=stand_ins.version(), own=own))
    assert str(raised.value).startswith(f"data/overrides.csv:{told}")
    assert (own_project / "data/overrides.csv").read_bytes() == before
    assert list((own_project / "data").glob("*.half")) == []


def test_a_change_of_somebody_else_is_not_overwritten(own_project: Path) -> None:
    mine = changed(Orla=["Berta"])
    save(changed(Orla=["Clara"]))
    with pytest.raises(StageError, match="somebody has changed it since you loaded this page"):
        save(mine)
    assert "Clara" in (own_project / "data/overrides.csv").read_text()


def test_what_would_run_again_follows_from_the_pipeline(own_project: Path) -> None:
    cost = own_project / ".scratch/cost"
    cost.mkdir(parents=True)
    (cost / "translate.json").write_text(json.dumps({"wall_seconds": 12.4}))
    (cost / "label.json").write_text(json.dumps({"wall_seconds": 30.0}))
    found = plan("data/overrides.csv")
    names = [row["stage"] for row in found["stages"]]
    assert names[0] == "translate"
    assert {"label", "finetune", "distil", "evaluate", "report"} < set(names)
    assert not {"corpus", "baseline", "retrain", "reinforce", "extract", "prompt"} & set(names)
    assert (found["seconds"], found["unknown"]) == (42, len(names) - 2)


def test_nothing_runs_again_for_what_the_last_run_read(own_project: Path) -> None:
    from lethe.provenance.fingerprint import md5_of

    lock = own_project / "dvc.lock"
    read = f"    - path: data/overrides.csv\n      hash: md5\n      md5: {md5_of(own_project / 'data/overrides.csv')}\n"
    head, _, tail = lock.read_text().partition("  translate:\n")
    lock.write_text(head + "  translate:\n" + tail.replace("    deps:\n", "    deps:\n" + read, 1))
    assert plan("data/overrides.csv")["stages"] == []
    save(changed(Orla=["Berta"]))
    assert plan("data/overrides.csv")["stages"][0]["stage"] == "translate"


def test_what_a_person_should_know_first_is_told(own_project: Path) -> None:
    # the dictionary of the tests is not the one that dvc.lock records
    assert stand_ins.notes() == [
        "data/dictionary.csv is not the file that the last run made: what was edited there is lost with the next"
    ]
    set_param(own_project, "translate.backend", "none")
    assert stand_ins.notes()[0].startswith("translate.backend is none")


def test_without_anchors_the_line_says_so(own_project: Path) -> None:
    (own_project / "data/anchors.csv").unlink()
    with pytest.raises(StageError, match=r"data/anchors\.csv: no such file"):
        table()


def test_saving_keeps_what_the_file_says_of_kinds_and_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "overrides.csv"
    path.write_text("anchor,translation,kind,gender,group\nOrla,,person,female,\nTarn,Reed,,,Orla\nZod,Tom,thing,,\n")
    monkeypatch.setattr(stand_ins, "OWN", path)
    header, rows = stand_ins.with_judged([("Tarn", "Reed"), ("Zod", "-")])
    cells = [tuple(row[name] for name in header) for row in rows]
    assert cells == [("Tarn", "Reed", "", "", "Orla"), ("Zod", "-", "", "", ""), ("Orla", "", "person", "female", "")]
