"""The benchmarks, tiny: every case prints its figures; labelling's memory does not grow with vocabulary or blocks."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import bench, evaluation, generation, growth, labelling, objectives, overhead, recipe, trainings
from benchmarks import stage_timer as clocked
from benchmarks import subprocess_case as fresh


@pytest.mark.parametrize("case", ["tiny"])
def test_labelling_measures_all_ways(case: str) -> None:
    found = bench.measured("benchmarks.labelling", case)
    assert {f"{way}_s" for way in (*labelling.WAYS, *labelling.SOFT)} <= set(found)
    assert set(found["soft_to_float32"]) == set(labelling.SOFT)
    for way in labelling.TOLERANCE:
        assert found[f"{way}_ids"]["wrong"] == 0
        assert found[f"{way}_ids"]["labels"] > 40


def test_labelling_holds_no_more_for_more_vocabulary_or_blocks() -> None:
    cases = [case for case in labelling.QUICK if case.startswith("memory")]
    held = [bench.measured("benchmarks.labelling", case)["above_weights_mib"] for case in cases]
    assert max(held) < labelling.BOUND_MIB
    assert max(held) - min(held) < 64  # all logits of the larger vocabulary would be 2 x 64 MiB of float32


def test_trainings_evaluation_and_growth_print_their_figures() -> None:
    found = bench.measured("benchmarks.objectives", "tiny, bfloat16")["objectives"]
    assert all(one["plain_times"][0] > 0 < one["ours_held_mib"] for one in found.values())
    assert bench.measured("benchmarks.evaluation", "tiny")["same_continuations"] == "2 of 2"
    assert bench.measured("benchmarks.evaluation", "tiny choices")["same_continuations"] == "2 of 2"
    assert bench.measured("benchmarks.generation", "tiny, context")["same"] == "3 of 3"
    assert bench.measured("benchmarks.growth", "block, tiny")["cpu_s"] >= 0
    assert bench.measured("benchmarks.memory", "tiny")["allocated"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("objective", trainings.OBJECTIVES)
def test_every_objective_is_trained_as_the_stage_trains_it(objective: str) -> None:
    case = objectives.QUICK["tiny, bfloat16"].case._replace(what=objective, bfloat16=False)
    assert len(trainings.ours(case, trainings.model_of(case))) == case.steps + 1


def test_overhead_is_told_by_stage() -> None:
    found = bench.measured("benchmarks.overhead", "corpus alone")
    assert list(found["stages"]) == ["corpus"]
    assert found["dvc"] > 0
    assert found["noop_wall"] > 0
    stages = {"corpus": 1.0, "evaluate": 2.0, "attack": 4.0, "softprompt": 8.0}
    page = overhead.page({"everything": found | {"stages": stages}})
    assert "| stages of WHP, without measure, term and attack | 3.0 |" in page
    assert "| corpus to report | 7.0 |" in page


def test_a_page_has_a_row_per_case() -> None:
    keys = ("prompts", "same_continuations", "ours per s", "one by one per s", "times", "products per s", "at most")
    found = {"a": dict.fromkeys(keys, 2), "a, bfloat16": dict.fromkeys(keys, 5)}
    one, other = evaluation.page(found).splitlines()[-2:]
    assert one == "| a | 2 | 2 | 2 | 2 | 2 | 2 | 2 | 1.0 |"
    assert other == "| a, bfloat16 | 5 | 5 | 5 | 5 | 5 | 5 | 5 | 2.5 |"  # 5 a second where float32 alone does 2
    keys = ("answers", "ours per s", "generate per s", "times", "least", "most", "same")
    assert "| a | 2 | 2 | 2 | 2 (2 to 2) | 2 |" in generation.page({"a": dict.fromkeys(keys, 2)})
    found = {f"block, {size} MB": {"cpu_s": size / 5, "above_start_mib": 50.0} for size in (1, 10)}
    assert "| block | 10 | 2.0 | 1.0 | 50.0 | 0.0 |  |" in growth.page(found)
    assert "ours / Trainer" in trainings.page({})


def test_no_tiny_case_stands_in_for_a_real_one() -> None:
    for name in bench.BENCHES.values():
        module = importlib.import_module(f"benchmarks.{name}")
        assert not module.CASES.keys() & module.QUICK.keys()


def test_ratio_is_the_median_of_the_rounds() -> None:
    rounds = [{"a": 1.0, "b": 2.0}, {"a": 3.0, "b": 1.0}, {"a": 2.0, "b": 2.0}]
    assert fresh.ratio(rounds, "a", "b") == 1.0  # of 0.5, 3, 1
    assert fresh.medians(rounds) == {"a": 2.0, "b": 2.0}


@pytest.mark.slow
def test_recipe_goes_where_whp_goes() -> None:
    found = bench.measured("benchmarks.recipe", "tiny")
    whp = found["arrivals"][recipe.WHP]["probability_left"]
    assert (whp["step"], whp["reached"]) == (4, True)
    assert whp["cpu_s"] > found["stages_cpu_s"]["reinforce"] + found["stages_cpu_s"]["label"]
    for objective in recipe.OTHERS:
        assert [row["step"] for row in found["checkpoints"][objective]] == [2, 4]
        assert found["arrivals"][objective]["probability_left"]["accuracy"] is not None
    assert found["forget_tokens"] > 1000


MODELS: dict[str, Any] = {
    name: {"completion_familiarity": c, "probability_familiarity": p, "leak": c / 5, "retain_perplexity": retain}
    for name, c, p, retain in (
        ("baseline", 3.0, 0.25, 8.0),
        ("retrained", 0.0, 0.05, 10.0),
        ("step-00005", 1.5, 0.15, 10.0),
        ("unlearned", 0.0, 0.07, 12.0),
    )
}


def test_checkpoints_of_a_method_by_hand() -> None:
    rows = recipe.rows_of(MODELS, {"step-00005": 2.0, "unlearned": 3.5}, 8, before=10.0)
    assert [(row["step"], row["cpu_s"]) for row in rows] == [(5, 12.0), (8, 13.5)]  # 10 + 2, 10 + 3.5
    assert [row["completion_left"] for row in rows] == [0.5, 0.0]  # 1.5 / 3, 0 / 3
    assert [row["probability_left"] for row in rows] == [0.5, 0.1]  # (0.15 - 0.05) / 0.2, (0.07 - 0.05) / 0.2
    assert [row["perplexity_factor"] for row in rows] == [1.25, 1.5]  # 10 / 8, 12 / 8


def test_a_method_arrives_at_its_first_checkpoint_with_as_little_left() -> None:
    rows = [{"step": step, "left": left} for step, left in ((5, 0.9), (10, 0.2), (15, 0.3), (20, 0.1))]
    assert recipe.arrival(rows, "left", 0.2) == {"step": 10, "left": 0.2, "reached": True}
    assert recipe.arrival(rows, "left", 0.05) == {"step": 20, "left": 0.1, "reached": False}
    assert recipe.arrival(rows, "left", None)["reached"] is False
    assert recipe.arrival([{"step": 5, "left": None}], "left", 0.2)["reached"] is False


def test_recipe_page_compares_with_whp() -> None:
    row = {"step": 5, "cpu_s": 30.0, "completion_left": 0.0, "probability_left": 0.1, "perplexity_factor": 1.2}
    arrivals = {
        objective: dict.fromkeys(recipe.METRICS, row | {"cpu_s": seconds, "accuracy": 0.9, "reached": seconds < 40})
        for objective, seconds in ((recipe.WHP, 30.0), ("npo", 45.0))
    }
    stages = {"reinforce": 10.0, "label": 5.0, "extract": 1.0, "translate": 2.0}
    found = {"forget_tokens": 15000, "goal": dict.fromkeys(recipe.METRICS, 0.1), "baseline_accuracy": 0.95}
    checkpoints = {recipe.WHP: [row], "npo": [row | {"perplexity_factor": 1.1, "step": 3}, row]}
    page = recipe.page({"case": found | {"stages_cpu_s": stages, "arrivals": arrivals, "checkpoints": checkpoints}})
    assert "takes 3.0 more" in page  # 1 + 2
    # 30 s of 15,000 tokens: 2 ms each; 45 s: 3 ms, 1.5 times WHP's
    assert "| completion | WHP | 5 | 30.0 | 2.0 | 1.0 | 0.0 | 0.1 | 1.2 | 0.9 |" in page
    assert "| probability | NPO | 5, not reached | 45.0 | 3.0 | 1.5 | 0.0 | 0.1 | 1.2 | 0.9 |" in page
    assert page.endswith("| WHP |  |  |  |  |  |\n| NPO | 3 | 30.0 | 0.0 | 0.1 | 1.1 |")  # 1.2 is beyond the limit


def test_the_least_left_without_harm() -> None:
    rows = [{"probability_left": left, "perplexity_factor": factor} for left, factor in ((0.4, 1.1), (0.5, 1.0))]
    beyond = {"probability_left": 0.1, "perplexity_factor": 1.11}
    unknown = [
        {"probability_left": None, "perplexity_factor": 1.0},
        {"probability_left": 0.1, "perplexity_factor": None},
    ]
    assert recipe.harmless([*rows, beyond, *unknown]) == rows[0]
    assert recipe.harmless([beyond, *unknown]) is None


def test_clocked_leaves_the_saving_of_models_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(clocked, "time", SimpleNamespace(process_time=lambda: now[0]))

    def spend(seconds: float) -> None:
        now[0] += seconds

    def main() -> None:
        for step in (1, 2):
            spend(2.0)
            stage.save_model(None, None, Path(f"models/{step}"), 5.0)
        spend(0.5)

    stage = SimpleNamespace(main=main, save_model=lambda model, tokenizer, folder, weights: spend(weights))
    assert clocked.clocked(stage) == {"cpu_s": 4.5, "until": {"1": 2.0, "2": 4.0}}  # 2 + 2 + 0.5, the fives left out
    assert clocked.clocked(SimpleNamespace(main=lambda: spend(1.0))) == {"cpu_s": 1.0, "until": {}}


PEER = """def train(objective, model, forget, retain, steps, bfloat16, after_step):
    {"npo": 1}[objective]
    assert forget.shape == retain.shape == (2, 16)
    for _ in range(steps):
        model(input_ids=forget, labels=forget).loss.backward()
        after_step()
"""


def test_a_peer_stands_beside_ours_where_it_has_the_objective(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "peer.py"
    path.write_text(PEER)
    monkeypatch.setenv(objectives.PEER, str(path))
    found = bench.measured("benchmarks.objectives", "tiny, bfloat16")
    assert "peer_times" in found["objectives"]["npo"]
    assert "peer_times" not in found["objectives"]["rmu"]
    page = objectives.page({"9M, 4k": found}).splitlines()
    assert [line.split(" | ")[0] for line in page if line.startswith("| 9M")] == [
        *("| 9M, 4k: npo", "| 9M, 4k: rmu"),
        "| 9M, 4k: npo",
    ]
    assert page[-1].startswith("Not measured yet: 9M, 4k, bfloat16; 9M, 32k")
    for content, problem in (("x = 1", "which has none"), (None, "which is no file")):
        path.write_text(content) if content else path.unlink()
        with pytest.raises(SystemExit, match=f"--peer: expected a Python file with a function train, got .*{problem}"):
            objectives.peer()
