"""Kills at random moments: the same code as `make soak`, four of its kills; and its arithmetic by hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from studies import kill_test as soak
from tests import tiny

SECONDS = {"corpus": 1.0, "baseline": 3.0, "report": 1.0}


def test_a_moment_is_placed_in_its_stage() -> None:
    # corpus takes until 1.0, baseline until 4.0: 2.5 is halfway through baseline
    assert soak.placed(0.25, SECONDS) == ("corpus", 0.25)
    assert soak.placed(2.5, SECONDS) == ("baseline", 0.5)
    assert soak.placed(5.0, SECONDS) == ("report", 1.0)


def test_moments_are_drawn_from_the_seed_in_order_with_both_victims() -> None:
    rounds = soak.drawn(SECONDS, 5, 4, seed=20)
    assert rounds == soak.drawn(SECONDS, 5, 4, seed=20) != soak.drawn(SECONDS, 5, 4, seed=21)
    order = list(SECONDS)
    for kills in rounds:
        places = [(order.index(kill.stage), kill.share) for kill in kills]
        assert places == sorted(places)
        assert sorted(kill.victim for kill in kills) == ["dvc", "dvc", "trainer", "trainer"]


def test_a_broken_object_is_found(tmp_path: Path) -> None:
    whole, broken = tmp_path / "90/0150983cd24fb0d6963f7d28e17f72", tmp_path / "ab/c0983cd24fb0d6963f7d28e17f7200"
    for path in (whole, broken):
        path.parent.mkdir()
        path.write_text("abc")  # md5 900150983cd24fb0d6963f7d28e17f72
    assert list(soak.broken_objects(tmp_path)) == [broken]


def test_an_orphan_writes_nothing_into_the_next_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    streams: list[int] = []
    project = tmp_path / "project"
    monkeypatch.setattr(soak.tiny, "start", lambda project, *command, output: streams.append(os.dup(output.fileno())))
    soak.begin(project)
    os.write(streams[0], b"step 3 of 4\n")
    soak.begin(project)
    os.write(streams[1], b"refused\n")
    os.write(streams[0], b"step 4 of 4\n")
    assert soak.log(project).read_text() == "refused\n"


@pytest.mark.slow
def test_four_kills_leave_no_trace(reproduced: Path, tmp_path: Path) -> None:
    project = tiny.clone(reproduced, tmp_path / "undisturbed")
    tiny.git(project, "checkout", "--quiet", "HEAD~1")  # before anything ran
    wanted, seconds = soak.undisturbed(project)
    assert wanted == tiny.hashes(reproduced)
    (kills,) = soak.drawn(seconds, 1, 4, seed=4)
    copy = tiny.clone(reproduced, tmp_path / "killed")
    tiny.git(copy, "checkout", "--quiet", "HEAD~1")
    played = soak.play(copy, kills, seconds, wanted)
    assert played["equal"], played
    assert played["left"] == [], played
    assert len(played["kills"]) == 4
