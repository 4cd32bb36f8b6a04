"""params.yaml: strict, complete, everything wrong told at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import PositiveInt

from lethe.core.errors import StageError
from lethe.core.params import StageParams, join_problems, read_params, read_yaml, section_problems


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
        (("steps: 3", "steps: 0"), "example.steps: found 0, wanted greater than 0"),
        (("steps: 3", "steps: '3'"), "example.steps: found '3', wanted an integer"),
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
    [("- a\n", "found list, wanted a mapping of sections"), ("a: [\n", "not readable as YAML")],
)
def test_not_a_mapping(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(StageError, match=message):
        read_yaml(path)
