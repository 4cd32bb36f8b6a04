"""Every attack can be asked for, and no other name."""

from __future__ import annotations

from lethe.attacks.params import ATTACK_NAMES
from lethe.attacks.suite import ATTACKS, UNATTACKED


def test_every_attack_has_its_name() -> None:
    assert tuple(ATTACKS) == (UNATTACKED, *ATTACK_NAMES)
