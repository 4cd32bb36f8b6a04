"""Labels from a few likely ids: by hand, and id for id those of all logits; nothing held grows with the vocabulary."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from lethe.labels import exact_argmax as shortlist
from lethe.labels import generic_labels as passes
from lethe.labels.exact_argmax import Forbidden
from lethe.models.output_head import Head

ALPHAS = (5.0, 0.0, 0.5)


def head(weight: torch.Tensor, bias: torch.Tensor | None = None) -> Head:
    return Head(SimpleNamespace(weight=weight, bias=bias))


def banned(pairs: list[tuple[int, int]], *everywhere: int) -> Forbidden:
    rows, ids = ([pair[side] for pair in sorted(pairs)] for side in (0, 1))
    return Forbidden(*(torch.tensor(column, dtype=torch.long) for column in (rows, ids, everywhere)))


@pytest.fixture(params=[torch.bfloat16, torch.float32], ids=str)
def rough(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.dtype:
    """What a machine with bfloat16 units takes for the list, and one without, whichever this one is."""
    monkeypatch.setattr(shortlist, "rough_dtype", lambda device: request.param)
    return request.param


def test_the_list_and_what_lies_beyond_it(rough: torch.dtype) -> None:
    # one hidden number, 1: the logits are the weights. Forbidden: id 0 here, id 5 everywhere
    weight = torch.zeros(512, 1)
    for token, logit in {0: 9.0, 5: 8.0, 7: 4.0, 300: 3.0, 301: 2.5, 400: 2.0}.items():
        weight[token] = logit
    found = shortlist.shortlist(torch.ones(1, 1), head(weight), banned([(0, 0)], 5), 3, 4)
    mean = 28.5 / 512  # 0.0557; bfloat16 has 8 bits: near 2 it knows steps of 1/64
    assert found.ids.tolist() == [[7, 300, 301]]
    assert found.mean.tolist() == pytest.approx([mean])
    assert found.beyond.tolist() == pytest.approx([2 - mean], abs=1 / 64)  # id 400
    banned_logits = [*found.of_pairs.tolist(), *found.of_everywhere[0].tolist()]
    assert banned_logits == pytest.approx(torch.tensor([9 - mean, 8 - mean]).to(rough).tolist())  # 8.9375 in bfloat16
    assert found.likely.all()


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float32], ids=str)
def test_the_head_keeps_its_weights(rough: torch.dtype, stored: torch.dtype) -> None:
    weight = torch.arange(1024.0).reshape(512, 2).to(stored)
    before = weight.clone()
    shortlist.shortlist(torch.ones(1, 2), head(weight), banned([]), 3, 4)
    assert torch.equal(weight, before)


@pytest.mark.usefixtures("rough")
def test_a_row_is_settled_once_no_id_off_the_list_can_win() -> None:
    # g: 4, 3, 2.9 on the list, 2.8 beyond it; r raises the first three by 1: at alpha 1 they become 3, 2, 1.9
    g = torch.full((300, 1), -1.0)
    g[:4, 0] = torch.tensor([4.0, 3.0, 2.875, 2.75])
    r = g.clone()
    r[:3] += 1
    one = torch.ones(1, 1)
    heads = head(g), head(r)
    found = shortlist.settle(one, one, heads, banned([]), [1.0], 8, exact=False)
    assert (found.rows.tolist(), found.ids.tolist()) == ([True], [[0]])  # 4 - 1 = 3 > 2.75
    # at alpha 1.5: 4 - 1.5 = 2.5 < 2.75, which is not on the list; with all logits, or a list of 15, it is
    more = torch.cat([g, torch.full((800, 1), -1.0)]), torch.cat([r, torch.full((800, 1), -1.0)])
    assert shortlist.settle(one, one, (head(g), head(r)), banned([]), [1.5], 8, exact=False).rows.tolist() == [False]
    wider = shortlist.settle(one, one, (head(more[0]), head(more[1])), banned([]), [1.5], 8, exact=False)
    assert (wider.rows.tolist(), wider.ids.tolist()) == ([True], [[3]])
    # raise all of them: whoever stands on a list falls below what is off it, and only all logits tell
    lifted = head(g + 5)
    assert shortlist.settle(one, one, (head(g), lifted), banned([]), [5.0], 8, exact=False).rows.tolist() == [False]


@pytest.mark.parametrize("vocabulary", [7, 300, 9000])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.usefixtures("rough")
def test_the_labels_are_those_of_all_logits(vocabulary: int, with_bias: bool) -> None:
    drawn = torch.Generator().manual_seed(vocabulary)
    rows, width = 40, 16
    hidden = [torch.randn(rows, width, generator=drawn) for _ in range(2)]
    weights = [torch.randn(vocabulary, width, generator=drawn) for _ in range(2)]
    weights[1] = weights[0] + 0.1 * weights[1]
    bias = torch.randn(vocabulary, generator=drawn) if with_bias else None
    heads = head(weights[0], bias), head(weights[1], bias)
    likeliest = (hidden[0] @ weights[0].T).argmax(dim=1).tolist()
    pairs = {(row, likeliest[row]) for row in range(0, rows, 2)} | {(row, 3 * row % vocabulary) for row in range(rows)}
    forbidden = banned(sorted(pairs), 1, vocabulary - 1)
    settings = passes.Settings(ALPHAS, False, 1, 64 * shortlist.TILE)
    wanted = passes.label_unsettled_rows(*hidden, heads, forbidden, settings)
    found = passes.label_rows(*hidden, heads, forbidden, settings)
    for one, other in zip(found[:3], wanted[:3], strict=True):
        assert one.tolist() == other.tolist()
    if vocabulary == 9000:
        assert shortlist.settle(*hidden, heads, forbidden, ALPHAS, 8, exact=True).rows.float().mean() > 0.9


def test_forbidden_of_some_rows_is_numbered_anew() -> None:
    chosen = torch.tensor([False, True, False, True])
    rows, ids, _ = banned([(0, 5), (1, 6), (3, 7), (3, 8)]).of(chosen)
    assert (rows.tolist(), ids.tolist()) == ([0, 1, 1], [6, 7, 8])
