"""params.yaml: strict, complete, everything wrong told at once."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import ClassVar, Literal

import pytest
from pydantic import Field, PositiveInt

from lethe.core.errors import StageError
from lethe.core.params import (
    Beta,
    Seed,
    StageParams,
    join_problems,
    overlaid,
    read_params,
    read_yaml,
    section_problems,
    shared_sections,
)
from lethe.core.whole_params import validated


class Inner(StageParams):
    rank: PositiveInt


class Example(StageParams):
    learning_rate: float
    steps: PositiveInt
    inner: Inner


DEEP = "expected at most 12 sections within each other and 100000 values, got more"
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
        (("steps: 3", "steps: '3'"), "example.steps: expected an integer, got '3'; leave out the quotes"),
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
    [
        ("- a\n", "expected a mapping of sections, got list"),
        ("# all gone\n", "expected a mapping of sections, got an empty file"),
        ("a: [\n", "not readable as YAML: line 2: expected the node content, but found '<stream end>'"),
        ("a:\n\tb: 1\n", "not readable as YAML: line 2: found character '\\t' that cannot start any token; indent with "
         "spaces, not with a tab"),
        ("a: 1\na: 2\n", 'not readable as YAML: line 2: found duplicate key "a" with value "2" (original value: "1")'),
        ("a: !!int x\n", "not readable as YAML: invalid literal for int() with base 10: 'x'"),
        ("a: 2026-13-45\n", "not readable as YAML: month must be in 1..12"),
        ("a: caf\xe9\n", "expected text in UTF-8, got another byte at 6; save it as UTF-8"),
        ("3: 4\n", "expected names as keys, got 3; a number or true as a key needs quotes"),
        ("a: {b: {true: 4}}\n", "a.b: expected names as keys, got True; a number or true as a key needs quotes"),
        (f"a: {{b: [1, 1{'0' * 30}]}}\n", "a.b.1: expected a number of at most 18 digits, got a larger one"),
        ("a: &a\n  b: *a\n", DEEP),
        ("a: " + "[" * 20 + "]" * 20 + "\n", DEEP),
        ("a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
         + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)), DEEP),
    ],
)  # fmt: skip
def test_what_is_no_mapping_of_sections_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(StageError) as error:
        read_yaml(path)
    assert str(error.value) == f"{path}: {message}"


def test_a_folder_in_its_place_and_numbers_of_yaml_1_1(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    with pytest.raises(StageError, match="expected a file that can be read, got: Is a directory"):
        read_yaml(tmp_path)
    path = tmp_path / "params.yaml"
    path.write_text("%YAML 1.1\n---\na: 1e-3\n", encoding="utf-8")
    assert read_yaml(path) == {"a": 1e-3}
    assert not recwarn.list


class Choice(StageParams):
    filter: bool | Literal["names"]
    targets: Literal["all"] | list[str]
    betas: list[Beta] = Field(min_length=2, max_length=2)
    seed: Seed
    until: int
    inner: Inner


CHOICE = {"filter": True, "targets": ["a"], "betas": [0.9, 0.98], "seed": 0, "until": 1, "inner": {"rank": 1}}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("filter", "yes", "filter: expected true or false or 'names', got 'yes'"),
        ("targets", "al", "targets: expected 'all' or a list, got 'al'"),
        ("betas", [0.9], "betas: expected at least 2 items, got [0.9]"),
        ("betas", [0.9, 1.0], "betas.1: expected a value less than 1, got 1.0"),
        ("seed", -1, "seed: expected at least 0, got -1"),
        ("seed", 2**32, "seed: expected a value less than 4294967296, got 4294967296"),
        ("seed", "12", "seed: expected an integer, got '12'; leave out the quotes"),
        ("until", date(2026, 1, 2), "until: expected an integer, got 2026-01-02"),
        ("inner", 3, "inner: expected a section, got 3"),
    ],
)
def test_a_problem_in_plain_words_at_its_own_place(name: str, value: object, message: str) -> None:
    assert section_problems("stage", Choice, CHOICE) == []
    assert section_problems("stage", Choice, CHOICE | {name: value}) == [f"stage.{message}"]


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


def test_a_parameter_by_its_full_name_is_no_section() -> None:
    _, problems = validated({"corpus": {}}, {"corpus.forget": "data/forget", "corpsu": {}})
    assert problems == [
        "corpus.forget: unknown section; write forget into the section corpus",
        "corpsu: unknown section; did you mean corpus?",
        "corpus: section is missing",
    ]
