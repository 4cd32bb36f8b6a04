"""params.yaml: strict, complete, everything wrong told at once."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import PositiveInt

from lethe.core.errors import StageError
from lethe.core.params import (
    StageParams,
    join_problems,
    overlaid,
    read_params,
    read_yaml,
    section_problems,
    shared_sections,
)


class Inner(StageParams):
    rank: PositiveInt


class Example(StageParams):
    learning_rate: float
    steps: PositiveInt
    inner: Inner


GOOD = "example:\n  learning_rate: 1e-5\n  steps: 3\n  inner: {rank: 1}\n"


def read(tmp_path: Path, text: str) -> Example:
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return read_params("example", Example, path)


def test_exponents_are_numbers(tmp_path: Path) -> None:
    assert read(tmp_path, GOOD).learning_rate == 1e-5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("steps: 3", "step: 3"),
            "2 problems\n  example.steps: parameter is missing\n  example.step: unknown parameter; did you mean steps?",
        ),
        (("steps: 3", "steps: 0"), "example.steps: expected a value greater than 0, got 0"),
        (("steps: 3", "steps: '3'"), "example.steps: expected an integer, got '3'"),
        (("{rank: 1}", "{rang: 1, rank: 1}"), "example.inner.rang: unknown parameter; did you mean rank?"),
        (("{rank: 1}", "{}"), "example.inner.rank: parameter is missing"),
        (("example:", "exemple:"), "example: section is missing"),
    ],
)
def test_problems(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    with pytest.raises(StageError) as error:
        read(tmp_path, GOOD.replace(*change))
    assert str(error.value) == f"{tmp_path / 'params.yaml'}: {message}"


def test_every_problem_is_told_at_once() -> None:
    problems = section_problems("example", Example, {"learning_rate": "x", "steps": -1, "inner": {"rank": 1}, "z": 1})
    assert len(problems) == 3
    assert join_problems(Path("p"), problems).count("\n") == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [("- a\n", "expected a mapping of sections, got list"), ("a: [\n", "not readable as YAML")],
)
def test_not_a_mapping(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(StageError, match=message):
        read_yaml(path)


class Recipe(StageParams):
    shared_section: ClassVar[str] = "training"
    warmup: float
    batch_size: PositiveInt
    inner: Inner


class Training(Recipe):
    steps: PositiveInt


class Numbers(StageParams):
    shared_section: ClassVar[str] = "methods"
    weight: float


class Method(Recipe, Numbers):
    steps: PositiveInt


SHARED = """
training: {warmup: 0.1, batch_size: 4, inner: {rank: 1}}
methods: {weight: 0.5}
example: {steps: 3, batch_size: 8}
"""


def shared_read(tmp_path: Path, change: tuple[str, str] = ("", ""), schema: type[Recipe] = Method) -> Recipe:
    path = tmp_path / "params.yaml"
    path.write_text(SHARED.replace(*change), encoding="utf-8")
    return read_params("example", schema, path)


def test_a_stage_has_what_is_shared_but_for_its_own_values(tmp_path: Path) -> None:
    found = shared_read(tmp_path, ("batch_size: 8", "batch_size: 8, inner: {rank: 2}"))
    assert found.model_dump() == {"warmup": 0.1, "batch_size": 8, "inner": {"rank": 2}, "steps": 3, "weight": 0.5}
    assert list(shared_sections(Method)) == ["training", "methods"]
    # a class that knows no methods needs no such section
    assert shared_read(tmp_path, ("methods:", "others:"), Training).batch_size == 8


def test_nested_sections_are_overridden_key_by_key() -> None:
    values = {"lora": {"rank": 16, "alpha": 32}, "betas": [1, 2]}
    assert overlaid(values, {"lora": {"alpha": 64}, "betas": [3]}) == {"lora": {"rank": 16, "alpha": 64}, "betas": [3]}
    assert values["lora"] == {"rank": 16, "alpha": 32}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("warmup: 0.1", "warmup: x"), "training.warmup: expected a number, got 'x'"),
        (("batch_size: 8", "batch_size: 0"), "example.batch_size: expected a value greater than 0, got 0"),
        (("rank: 1", "rank: 0"), "training.inner.rank: expected a value greater than 0, got 0"),
        (("rank: 1", "rank: 1, rang: 1"), "training.inner.rang: unknown parameter; did you mean rank?"),
        (("batch_size: 8", "inner: {rank: 0}"), "example.inner.rank: expected a value greater than 0, got 0"),
        (("batch_size: 8", "batch_sise: 8"), "example.batch_sise: unknown parameter; did you mean batch_size?"),
        (("warmup: 0.1", "warmup: 0.1, weight: 1.0"), "training.weight: unknown parameter"),
        (
            ("warmup: 0.1", "warmpu: 0.1"),
            "2 problems\n  training.warmpu: unknown parameter; did you mean warmup?\n  example.warmup: parameter "
            "is missing; set it there or in training",
        ),
        (("methods: {weight: 0.5}", "methods: 3"), "methods: expected a section, got 3"),
        (("methods:", "methodes:"), "methods: section is missing"),
        (("example:", "exemple:"), "example: section is missing"),
    ],
)
def test_problems_are_told_where_they_stand(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    with pytest.raises(StageError) as error:
        shared_read(tmp_path, change)
    assert str(error.value) == f"{tmp_path / 'params.yaml'}: {message}"
