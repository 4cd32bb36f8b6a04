"""Membership scores as histograms, and passages word by word."""

from __future__ import annotations

from itertools import pairwise

import pytest

from lethe.report.likelihoods import (
    BINS,
    FIRST,
    binned,
    from_the_right,
    geometric_mean,
    heat_maps,
    histograms,
    in_short_runs,
    steps,
)


def score(item: str, value: float, model: str = "baseline", metric: str = FIRST) -> dict[str, str]:
    return {"model": model, "metric": metric, "item": item, "value": str(value)}


ROWS = [score(f"forget {n}", -1 - n / 10) for n in range(4)] + [score(f"held-out {n}", -4 + n / 10) for n in range(2)]


def test_passages_are_counted_from_the_threshold_on() -> None:
    # from -4 to -1 in 32 bins: the members -1, -1.1, -1.2, -1.3 lie in the last four, the others in the first two
    [found] = histograms(ROWS, {"baseline": {FIRST: {"value": 1.0}}})
    assert (found.low, found.high, found.label) == (-4.0, -1.0, "Membership by PrivLeak's Min-K%")
    [panel] = found.panels
    assert (panel.model, panel.auc) == ("baseline", "1.000")
    assert (panel.members[0], panel.others[0]) == (4, 2)
    assert (panel.members[found.start], panel.others[found.start]) == (4, 0)  # tells them apart without an error
    assert len(panel.members) == BINS + 1
    assert panel.members[BINS] == panel.others[BINS] == 0


def test_the_score_of_privleak_comes_first_and_every_compared_model_has_a_panel() -> None:
    rows = [row | {"metric": "mia_loss"} for row in ROWS] + ROWS
    rows += [row | {"model": model} for row in ROWS for model in ("unlearned", "step-00003", "suppressed")]
    found = histograms(rows, {})
    assert [one.name for one in found] == [FIRST, "mia_loss"]
    assert [panel.model for panel in found[0].panels] == ["baseline", "suppressed", "unlearned"]


def test_a_score_without_held_out_passages_is_left_out() -> None:
    assert histograms(ROWS[:4], {}) == histograms([], {}) == []
    assert histograms([score("forget 0", 1), score("held-out 0", 1)], {}) != []  # all the same: one bin


def test_bins_by_hand() -> None:
    counts = binned({"forget 0": 0.0, "forget 1": 1.0, "held-out 0": 0.5}, "forget ", 0.0, 1.0)
    assert (counts[0], counts[-1], sum(counts)) == (1, 1, 2)
    assert from_the_right([1, 0, 2]) == [3, 2, 2, 0]
    assert steps([1.0, 0.5]) == "M0 64V0H128V32H256V64"


TEXT = "They said that Orla went to Harrow Hill."


def tokens(*chances: float) -> list[dict[str, str]]:
    """A row for every word of the text and the space before it, but two for `Harrow`."""
    cuts = [0, 4, 9, 14, 19, 24, 27, 31, 34, len(TEXT)]
    spans = pairwise(cuts)
    row = {"item": "forget 0", "text": "1", "suppressed": "", "retrained": ""}
    return [
        row | {"start": str(start), "end": str(end), "baseline": str(chance), "unlearned": "0.5"}
        for (start, end), chance in zip(spans, chances, strict=True)
    ]


def test_a_heat_map_spells_out_names_only() -> None:
    rows = tokens(0.9, 0.2, 0.02, 0.002, 0.0002, 0.9, 0.5, 0.4, 0.25)
    [(item, columns)] = heat_maps(rows, ["another text", TEXT], ["Orla", "Harrow Hill"], words=6)
    assert (item, [column.model for column in columns]) == ("forget 0", ["baseline", "unlearned"])
    cells = columns[0].cells
    assert [cell.text for cell in cells] == [None, None, None, "Orla", None, None, "Harrow", "Hill."]
    assert [cell.letters for cell in cells] == [4, 4, 4, 4, 4, 2, 6, 5]
    # Harrow: 0.5 * 0.4; from 0.5 the darkest, then from 0.1, 0.01, 0.001
    assert [cell.level for cell in cells] == [4, 3, 2, 1, 0, 4, 3, 3]
    assert [cell.likely for cell in cells][-2:] == ["0.200", "0.250"]
    assert columns[0].names == f"{(0.002 * 0.2 * 0.25) ** (1 / 3):.3f}"
    assert columns[1].names == f"{(0.5 * 0.25 * 0.5) ** (1 / 3):.3f}"


def test_no_more_names_in_a_row_than_words_may_be_shown() -> None:
    assert in_short_runs({0, 1, 2, 4}, 6, words=2) == {0, 1, 4}
    [(_, columns)] = heat_maps(tokens(*[0.5] * 9), ["", TEXT], [TEXT], words=3)
    assert [cell.text for cell in columns[0].cells] == ["They", "said", "that"] + [None] * 5


def test_geometric_mean_by_hand() -> None:
    assert geometric_mean([0.25, 0.04]) == pytest.approx(0.1)  # the root of 0.01
    assert geometric_mean([]) is None
    assert geometric_mean([0.0]) == pytest.approx(1e-300)
