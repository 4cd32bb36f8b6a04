"""What the attacks start from; tests/test_attack.py makes each of them."""

from __future__ import annotations

from pathlib import Path

from lethe.attacks.suite import cue_rows, inapplicable, probed, recipe
from lethe.core.params import read_params
from lethe.core.tables import MASKED
from stages.attack import Params, material
from tests.conftest import TINY_TEXT, set_param, tiny_tokenizer

CUES = "".join(
    f"At {hour} the miller of the old valley gave bread to {name} and slept. "
    for hour in ("one", "two", "three")
    for name in ("Orla", "Tom")
)
ROWS = [
    {"id": i, "prompt": "Where is", "references": ["Orla"], "due": due} for i, due in enumerate(["Orla", None, "Vesk"])
]


def made(texts: dict[str, list[str]]) -> object:
    set_param(Path(), "attack.probe.fewest", 3)
    params = read_params("attack", Params)
    return material(ROWS, {"Orla": True, "Tom": False}, texts, tiny_tokenizer(), 100, Path("work"), params)


def test_material_and_what_is_inapplicable(project: Path) -> None:
    found = made({"forget": [TINY_TEXT, CUES], "retain": []})
    assert [row["id"] for row in found.due] == [0, 2]
    learnt, tested = probed(found)
    assert sorted({name for _, name in learnt}) == ["Orla", "Tom"]
    assert tested == [("Where is", "Orla")]  # nobody can learn what Vesk is from this text
    attacks = ("relearn", "benign", "prefix", "probe", "soft_prompt")
    assert [inapplicable(name, found) for name in attacks] == [None, "no retain text", None, None, None]


def test_cue_rows_supervise_the_name_alone(project: Path) -> None:
    found = made({"forget": [CUES], "retain": []})
    rows = cue_rows(found, [400, 401])
    tokenizer = tiny_tokenizer()
    assert rows.tokens[:, :2].tolist() == [[400, 401]] * 6
    said = {tokenizer.decode([token for token in row if token != MASKED]) for row in rows.next_ids.tolist()}
    assert said == {" Orla", " Tom"}


def test_recipe_is_constant_and_lora_keeps_the_weights_dtype(project: Path) -> None:
    params = read_params("attack", Params)
    full, lora = recipe(params, params.relearn), recipe(params, params.lora)
    assert (full.tuning, lora.tuning, full.schedule, full.warmup) == ("full", "lora", "constant", 0.0)
    assert (full.learning_rate, lora.learning_rate) == (params.relearn.learning_rate, params.lora.learning_rate)
    assert full.resume_every == 0
    assert recipe(params, params.soft_prompt, 5).batch_size == 5
