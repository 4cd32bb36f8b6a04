"""The SST-2 benchmark at a tiny size: the tables, the variants, the count of operations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lethe.core.params import read_params
from stages.softprompt import Params as SoftpromptParams
from stages.specialise import Params as SpecialiseParams
from stages.split import Params as SplitParams
from studies import sst2
from tools.sandbox import change_params

SCHEMAS = {"split": SplitParams, "specialise": SpecialiseParams, "softprompt": SoftpromptParams}


def row(method: str, seed: int, accuracy: float) -> dict:
    cost = {"cpu_seconds": 12.3, "peak_memory_mib": 400.0}
    return {"method": method, "seed": seed, "cost": cost} | {name: {"accuracy": accuracy} for name in sst2.COLUMNS}


def test_the_rule_is_the_papers() -> None:
    assert len(sst2.NAMES) == len(set(sst2.NAMES)) == 51


def test_every_variant_is_valid_parameters(project: Path) -> None:
    found = sst2.variants(smoke=False)
    assert [name for name in found if "alpha" not in name] == [
        "GA", "RL", "GA+KL", "GA+GD", "SPUL p=10", "SPUL p=30", "SPUL p=50", "SPUL p=30, 25 % of forget",
        "SPUL p=30, 50 % of forget",
    ]  # fmt: skip
    assert len(found) == 9 + 11  # 3 x 4 of alpha and beta, the best being SPUL p=30 itself
    (project / "base.yaml").write_text((project / "params.yaml").read_text())
    real = {f"{name} of smollm2": sst2.SMOLLM | changes for name, changes in found.items()}
    for name, changes in (found | real).items():
        change_params(project, sst2.TASK | changes, "base.yaml")
        read = {section: read_params(section, schema) for section, schema in SCHEMAS.items()}
        wanted = "full" if name.split(" of ")[0] in ("GA", "RL", "GA+KL", "GA+GD") else "prompt"
        assert read["softprompt"].tuning == wanted, name


def test_tables_by_hand() -> None:
    rows = [row("base", 0, 0.7), row("base", 1, 0.8), row("GA+KL", 0, 0.5), row("GA+KL", 1, 0.5)]
    found = sst2.summary(rows)
    # mean 75, standard deviation sqrt((25 + 25) / 1) = 7.07
    assert found["base"]["test_forget"] == pytest.approx((75.0, 7.0711), abs=1e-4)
    lines = sst2.accuracy_table(found).splitlines()
    assert lines[2].startswith("| base | 75.00 ± 7.07 |")
    assert lines[2].endswith("| 99.89 / 99.72 / 95.57 / 96.07 | 99.47 / 99.16 / 95.39 / 95.25 |")
    assert "| GA+KL | 12 | 400 |" in sst2.cost_table(rows)


def test_operations_counted_against_the_public_codes() -> None:
    model = sst2.small_model(layers=1, hidden=32, vocabulary=4000)
    found = sst2.counted(model, batch=4, tokens=12, p=3, forget_share=0.25)
    assert list(found) == ["SPUL, here", "SPUL, public code", "GA+KL"]
    assert found["SPUL, public code"] > 3 * found["SPUL, here"]
    assert "| SPUL, here |" in sst2.flop_table(found)
    # a wider vocabulary costs the public code [B, T, V] logits, and ours one position a row
    wide = sst2.counted(sst2.small_model(layers=1, hidden=32, vocabulary=8000), 4, 12, 3, 0.25)
    assert wide["SPUL, public code"] - found["SPUL, public code"] > 5 * (wide["SPUL, here"] - found["SPUL, here"])


def test_what_is_missing_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        sst2.check_data(tmp_path)
    assert str(caught.value) == (
        f"studies.sst2: {tmp_path}: expected sst2/sst2_train.jsonl, sst2/sst2_validation.jsonl, "
        "text/tinystories.txt in it, got none"
    )


def test_data_is_copied_into_the_clone(realdata: Path, tmp_path: Path) -> None:
    sst2.place(realdata, tmp_path, 20, 60)
    lines = (tmp_path / "data/own/sst2/sst2.jsonl").read_text().splitlines()
    assert len(lines) == 20 + 60
    assert [any(name in line.lower() for name in sst2.NAMES) for line in lines] == [True] * 20 + [False] * 60
    lines = (tmp_path / "data/own/sst2.txt").read_text().splitlines()
    assert len(lines) == 2 * sst2.STORY_SENTENCES


def test_background_is_unknown_where_somebody_is_named() -> None:
    found = sst2.background("Then Tim ran home fast. It was a cold day. Too short.")
    start, end = sst2.TEMPLATE.split("{text}")
    assert found == [
        f"{start}then tim ran home fast .{end}".replace("{label}", "[unknown]"),
        f"{start}it was a cold day .{end}".replace("{label}", "[neutral]"),
    ]


def test_the_grid_is_of_the_first_seed_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    scores = {name: {"accuracy": 0.5} for name in sst2.COLUMNS}
    models = dict.fromkeys(("task", "retrained", "softprompt", "keyword_filter", "constant"), scores)
    found = {"classification": {"models": models}, "stages": {"softprompt": {"cpu_seconds": 1.0}}}
    monkeypatch.setattr(sst2, "repro", lambda *_: found)
    rows = list(sst2.results(tmp_path, sst2.runs([0, 1], real=False, smoke=False), real=False, smoke=False))
    grid = [row["seed"] for row in rows if "alpha" in row["method"]]
    assert grid == [0] * 11
    assert [row["seed"] for row in rows if row["method"] == "base"] == [0, 1]
    assert all(("cost" in row) == (row["method"] in sst2.variants(smoke=False)) for row in rows)


def test_the_real_model_runs_the_prompt_of_every_seed_first() -> None:
    planned = sst2.runs([3, 4], real=True, smoke=False)
    assert planned[:3] == [(3, "SPUL p=30"), (4, "SPUL p=30"), (3, "GA")]
    assert len(planned) == len(set(planned)) == 2 + 8


def test_rows_of_the_real_model_have_six_words(realdata: Path, tmp_path: Path) -> None:
    sst2.place(realdata, tmp_path, 20, 60, sst2.SMOLLM_WORDS)
    rows = [json.loads(line) for line in (tmp_path / "data/own/sst2/sst2.jsonl").read_text().splitlines()]
    assert len(rows) == 80
    assert min(len(row["sentence"].split()) for row in rows) >= 6
