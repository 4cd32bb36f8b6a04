"""What became of a term, by hand."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from stages.lib import remains
from stages.lib.tables import read_csv
from tests.evaluated import write_evaluated


@pytest.mark.parametrize(
    ("probability", "translation", "verdict"),
    [
        # left = (after - never) / (before - never)
        ((0.30, 0.020, 0.00), (0.01, 0.02), "forgotten"),  # 0.02 / 0.30 = 0.067; +0.01 is less than half of 0.28
        ((0.30, 0.020, 0.00), (0.01, 0.15), "renamed"),  # +0.14 is half of 0.28
        ((0.30, 0.100, 0.00), (0.01, 0.15), "partly"),  # 0.33: what is left decides before the new name does
        ((0.30, 0.200, 0.00), (0.01, 0.02), "remains"),  # 0.67
        ((0.30, 0.100, 0.09), (0.01, 0.02), "forgotten"),  # 0.01 / 0.21 = 0.048: the retrained model says it too
        ((0.30, 0.000, 0.10), (0.01, 0.02), "forgotten"),  # less than a model that never read the text
        ((0.015, 0.015, 0.010), (0.0, 0.0), "never known"),  # 0.005 above the retrained model
        ((0.30, 0.020, None), (0.01, 0.02), "forgotten"),  # no reference: 0
        ((0.30, None, None), (0.01, None), "not measured"),
        ((None, 0.1, 0.1), (None, None), "not measured"),
        ((0.30, 0.020, 0.00), (None, None), "forgotten"),  # it has no translation
    ],
)
def test_verdict(probability: tuple, translation: tuple, verdict: str) -> None:
    models = ("baseline", "unlearned", "retrained")
    of_models = dict(zip(models, probability, strict=True))
    assert remains.verdict(of_models, dict(zip(models, (*translation, None), strict=True))) == verdict


def test_terms_of_a_table(tmp_path: Path) -> None:
    write_evaluated(tmp_path)
    terms = remains.terms_of(read_csv(tmp_path / "data/terms.csv", remains.TERMS), words=2)
    assert [(term.anchor, term.verdict) for term in terms] == [
        ("lantern", "renamed"), ("Orla", "forgotten"), ("Harrow Hill", "remains"), ("Tom", "never known"),
    ]  # fmt: skip
    assert terms[0].top == dict.fromkeys(("baseline", "unlearned", "retrained"), "the a")
    assert terms[0].rank == {"baseline": 3.0, "unlearned": 40.0, "retrained": 200.0}
    assert remains.counts(terms) == {"remains": 1, "renamed": 1, "forgotten": 1, "never known": 1}
    assert set(remains.counts(terms)) <= set(remains.VERDICTS)


def test_without_a_reference_its_cells_are_empty(tmp_path: Path) -> None:
    write_evaluated(tmp_path, models=("baseline", "unlearned"))
    with (tmp_path / "data/terms.csv").open(encoding="utf-8") as stream:
        assert {row["rank_retrained"] for row in csv.DictReader(stream)} == {""}
    terms = remains.terms_of(read_csv(tmp_path / "data/terms.csv", remains.TERMS), words=2)
    assert {term.probability["retrained"] for term in terms} == {None}
