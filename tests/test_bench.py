"""The benchmarks, tiny: every case prints its figures; labelling's memory does not grow with vocabulary or blocks."""

from __future__ import annotations

import pytest

from benchmarks import bench, evaluation, fresh, growth, labelling, overhead, trainings


@pytest.mark.parametrize("case", ["tiny"])
def test_labelling_measures_all_ways(case: str) -> None:
    found = bench.measured("benchmarks.labelling", case)
    assert {f"{way}_s" for way in labelling.WAYS} <= set(found)
    for way in labelling.TOLERANCE:
        assert found[f"{way}_ids"]["wrong"] == 0
        assert found[f"{way}_ids"]["labels"] > 40


def test_labelling_holds_no_more_for_more_vocabulary_or_blocks() -> None:
    cases = [case for case in labelling.QUICK if case.startswith("memory")]
    held = [bench.measured("benchmarks.labelling", case)["above_weights_mib"] for case in cases]
    assert max(held) < labelling.BOUND_MIB
    assert max(held) - min(held) < 64  # all logits of the larger vocabulary would be 2 x 64 MiB of float32


def test_trainings_evaluation_and_growth_print_their_figures() -> None:
    assert bench.measured("benchmarks.trainings", "npo")["ours_to_plain"] > 0
    assert bench.measured("benchmarks.evaluation", "tiny")["same_continuations"] == 4
    assert bench.measured("benchmarks.growth", "block, tiny")["cpu_s"] >= 0
    assert bench.measured("benchmarks.memory", "tiny")["allocated"] > 0


@pytest.mark.slow
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
    found = {
        "1M, scored": dict.fromkeys(("prompts", "same_continuations", "ours per s", "one by one per s", "times"), 1)
    }
    assert evaluation.page(found).splitlines()[-1] == "| 1M, scored | 1 | 1 | 1 | 1 | 1 |"
    found = {f"block, {size} MB": {"cpu_s": size / 5, "above_start_mib": 50.0} for size in (1, 10)}
    assert "| block | 10 | 2.0 | 1.0 | 50.0 | 0.0 |  |" in growth.page(found)
    assert "ours / Trainer" in trainings.page({})


def test_ratio_is_the_median_of_the_rounds() -> None:
    rounds = [{"a": 1.0, "b": 2.0}, {"a": 3.0, "b": 1.0}, {"a": 2.0, "b": 2.0}]
    assert fresh.ratio(rounds, "a", "b") == 1.0  # of 0.5, 3, 1
    assert fresh.medians(rounds) == {"a": 2.0, "b": 2.0}
