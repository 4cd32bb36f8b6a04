"""Anchors: their score, the best of them, their forms in a text, their rows."""

from __future__ import annotations

import math

import pytest

from lethe.anchors.selection import Anchor, Dropped, best, counted, dropped_rows, left_out, rows, score, told


def test_score() -> None:
    # log(1 + 7) = 2.0794; keyness and rise add up
    assert score(Anchor(("Oz",), 7, 5.0, 1.0)) == pytest.approx(math.log(8) * 6)
    # the models at most double or cancel what the text says, and may be silent
    assert score(Anchor(("Oz",), 7, 5.0, 40.0)) == pytest.approx(math.log(8) * 10)
    assert score(Anchor(("Oz",), 7, 5.0, -40.0)) == 0
    assert score(Anchor(("Oz",), 7, 5.0, None)) == pytest.approx(math.log(8) * 5)


def test_best() -> None:
    oz, boq = Anchor(("Oz",), 9, 5.0, 1.0), Anchor(("Boq",), 3, 9.0, None)
    toto, sunk = Anchor(("Toto",), 9, 5.0, 1.0), Anchor(("City",), 99, 3.0, -0.5)
    # Boq: log 4 * 9 = 12.5; Oz and Toto: log 10 * 6 = 13.8, in the order of their names; City fell
    assert best([boq, toto, sunk, oz], minimum_rise=0.0, maximum=9) == [oz, toto, boq]
    assert best([boq, toto, sunk, oz], minimum_rise=0.0, maximum=1) == [oz]
    assert sunk in best([boq, toto, sunk, oz], minimum_rise=-1.0, maximum=9)


def test_left_out() -> None:
    oz, boq = Anchor(("Oz",), 9, 5.0, 1.0), Anchor(("Boq",), 3, 9.0, None)
    toto, sunk = Anchor(("Toto",), 9, 5.0, 1.0), Anchor(("City", "CITY"), 99, 3.0, -0.5)
    every = [boq, toto, sunk, oz]
    dropped = left_out(every, best(every, minimum_rise=0.0, maximum=1), minimum_rise=0.0)
    assert {(one.term.forms[0], one.reason) for one in dropped} == {
        ("Boq", "maximum_anchors"),
        ("Toto", "maximum_anchors"),
        ("City", "minimum_rise"),
    }
    assert dropped_rows(dropped)[1] == {
        "term": "City",
        "forms": "City|CITY",
        "count": 99,
        "keyness": 3.0,
        "rise": -0.5,
        "reason": "minimum_rise",
    }
    assert told(dropped) == (
        "; 3 dropped (data/dropped.csv): City (99 times, minimum_rise), Toto (9 times, maximum_anchors), "
        "Boq (3 times, maximum_anchors)"
    )
    assert told([]) == ""
    assert told([Dropped(oz, "minimum_rise")] * 7).endswith("Oz (9 times, minimum_rise) and 2 more")


def test_measured() -> None:
    text = "The Winkie saw OZ. Winkies saw Oz's dog, and Winkies saw drennoks."
    found = counted({"Winkie": ["Winkie"], "Oz": ["Oz"], "Nobody": ["Nobody"], "drennok": ["drennok"]}, [text])
    assert found == [
        Anchor(("Winkie", "Winkies"), 3),  # the anchor first, though its plural is more frequent
        Anchor(("Oz", "OZ"), 2),
        Anchor(("Nobody",), 0),
        Anchor(("drennok", "drennoks"), 1),
    ]
    # a plural that is given as an anchor of its own is none of the other's forms
    assert counted({"Winkie": ["Winkie"], "Winkies": ["Winkies"]}, [text]) == [
        Anchor(("Winkie",), 1),
        Anchor(("Winkies",), 2),
    ]


def test_rows() -> None:
    assert rows([Anchor(("Oz", "OZ"), 9, 5.123456, -0.00001), Anchor(("Boq",), 3)]) == [
        {"anchor": "Boq", "forms": "Boq", "count": 3, "keyness": "", "rise": ""},
        {"anchor": "Oz", "forms": "Oz|OZ", "count": 9, "keyness": 5.1235, "rise": 0.0},
    ]
