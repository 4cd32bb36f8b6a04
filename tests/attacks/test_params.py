"""Every attack can be asked for, and no other name; where a model is trained, its device is one of a training's."""

from __future__ import annotations

from typing import get_type_hints

from lethe.attacks.params import ATTACK_NAMES, AttackParams
from lethe.attacks.suite import ATTACKS, UNATTACKED
from lethe.training.recipe import RecipeParams


def test_every_attack_has_its_name() -> None:
    assert tuple(ATTACKS) == (UNATTACKED, *ATTACK_NAMES)


def test_no_device_that_a_training_would_refuse_is_accepted() -> None:
    assert get_type_hints(AttackParams)["device"] == get_type_hints(RecipeParams)["device"]
