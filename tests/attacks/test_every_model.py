"""How models are shared out over processes; that it changes no byte is in tests/stages/test_attack.py."""

from __future__ import annotations

import pytest

from lethe.attacks.every_model import Shares, shares

GB = 1_000_000_000


@pytest.mark.parametrize(
    ("models", "cores", "weights", "memory", "available", "wanted"),
    [
        (6, 2, 10**6, 16 * GB, 12 * GB, Shares(2, 1, 2)),
        (6, 1, 10**6, 16 * GB, 12 * GB, Shares(1, 1, 1)),  # the same threads, so the same bytes
        (3, 16, 10**6, 64 * GB, 60 * GB, Shares(3, 5, 3)),
        (6, 8, 10**6, 64 * GB, 60 * GB, Shares(6, 1, 6)),
        # 2 GB, and 24 bytes for each weight, 2.024 GB: one fits into 4 GB
        (6, 2, 10**6, 4 * GB, 3 * GB, Shares(1, 2, 1)),
        # what others take for a while makes processes wait, and changes no threads
        (6, 2, 10**6, 16 * GB, 3 * GB, Shares(2, 1, 1)),
        (6, 2, 10**6, 16 * GB, 0, Shares(2, 1, 1)),
        (6, 16, 7 * 10**9, 64 * GB, 60 * GB, Shares(1, 16, 1)),
    ],
)
def test_shares(models: int, cores: int, weights: int, memory: int, available: int, wanted: Shares) -> None:
    assert shares(models, cores, weights, memory, available) == wanted
