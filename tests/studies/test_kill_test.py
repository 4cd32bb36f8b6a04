"""Kills at random moments: the same code as `make soak`, one of its rounds; and its arithmetic by hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from studies import kill_test as soak
from tests import tiny


def test_every_stage_is_killed_once_in_the_order_of_the_pipeline() -> None:
    stages = [f"stage {number}" for number in range(9)]
    rounds = soak.dealt(stages, 4, seed=20)
    assert rounds == soak.dealt(stages, 4, seed=20) != soak.dealt(stages, 4, seed=21)
    assert [[kill.stage[-1] for kill in kills] for kills in rounds] == [
        ["0", "4", "8"],
        ["1", "5"],
        ["2", "6"],
        ["3", "7"],
    ]
    assert [[kill.victim for kill in kills] for kills in rounds[:2]] == [["dvc", "trainer", "dvc"], ["trainer", "dvc"]]
    assert all(0 <= kill.share < 1 for kills in rounds for kill in kills)
    assert len(soak.dealt(stages[:2], 4, seed=20)) == 2


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
def test_the_kills_of_a_round_leave_no_trace(reproduced: Path, tmp_path: Path) -> None:
    project = tiny.clone(reproduced, tmp_path / "undisturbed")
    tiny.git(project, "checkout", "--quiet", "HEAD~1")  # before anything ran
    wanted, seconds = soak.undisturbed(project)
    assert wanted == tiny.hashes(reproduced)
    kills = soak.dealt(list(seconds), soak.ROUNDS, seed=4)[1]
    copy = tiny.clone(reproduced, tmp_path / "killed")
    tiny.git(copy, "checkout", "--quiet", "HEAD~1")
    played = soak.play(copy, kills, seconds, wanted)
    assert played["equal"], played
    assert played["left"] == [], played
    assert len(played["kills"]) == len(kills) >= 4


def test_it_waits_as_long_as_it_is_told() -> None:
    asked: list[int] = []
    soak.wait_for(lambda: asked.append(0) or len(asked) == 2, 60.0)
    with pytest.raises(AssertionError, match="got a timeout"):
        soak.wait_for(lambda: False, 0.0)
