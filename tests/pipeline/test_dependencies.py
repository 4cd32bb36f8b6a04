"""What pyproject.toml declares is what the code imports, and what is optional is missed in one line."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from lethe.preflight import doctor
from tools.structure import ROOT

OURS = {"benchmarks", "lethe", "stages", "studies", "tests", "tools"}
OURS |= {"stated"}  # lethe/custody/stated.py where a recipient has it beside verify.py
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
BY_NAME = {"import_module", "importorskip"}  # functions that import what their first argument names

# declared, though nothing imports them
UNIMPORTED = {
    "axe-core-python": "a script for the browser",
    "flask": "moto's server",
    "flask-cors": "moto's server",
    "mkdocs-material": "make site",
    "mypy": "make lint",
    "pytest-xdist": "pytest -n",
    "ruff": "make lint",
}


def distribution(requirement: str) -> str:
    """`Moto[s3]>=5.1` -> `moto`."""
    found = re.match(r"[\w.-]+", requirement)
    assert found, requirement
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def declared(extra: str | None = None) -> set[str]:
    """Names of the distributions that the project requires, or that an extra adds, with the extras of ours it names."""
    listed = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    names = {distribution(item) for item in listed}
    for item in listed:
        if distribution(item) == PROJECT["name"]:
            inner = re.search(r"\[(.+)\]", item)
            assert inner, item
            names |= set().union(*(declared(name) for name in inner[1].split(",")))
    return names - {PROJECT["name"]}


def extras(*left_out: str) -> set[str]:
    """Names of the distributions that the extras add, but for those left out."""
    return set().union(*(declared(extra) for extra in PROJECT["optional-dependencies"] if extra not in left_out))


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def named(node: ast.AST) -> list[str]:
    """The modules that one statement or call imports."""
    if isinstance(node, ast.Import):
        return [name.name for name in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        return [node.module or ""]
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        function = getattr(node.func, "attr", getattr(node.func, "id", ""))
        return [str(node.args[0].value)] if function in BY_NAME else []
    return []


def foreign(nodes: Iterator[ast.AST] | list[ast.stmt]) -> set[str]:
    """Top-level modules of others that these nodes import."""
    modules = {name.partition(".")[0] for node in nodes for name in named(node)}
    return modules - OURS - sys.stdlib_module_names


@cache
def imported(*folders: str) -> dict[str, list[str]]:
    """Top-level module of others -> files in the folders that import it."""
    found: dict[str, list[str]] = {}
    for path in sources(*folders):
        for module in foreign(ast.walk(ast.parse(path.read_text(encoding="utf-8")))):
            found.setdefault(module, []).append(str(path.relative_to(ROOT)))
    return found


@cache
def providers() -> dict[str, set[str]]:
    """Top-level module -> the installed distributions that have it (several share a namespace package)."""
    return {module: {distribution(name) for name in names} for module, names in packages_distributions().items()}


def undeclared(folders: tuple[str, ...], names: set[str]) -> dict[str, list[str]]:
    """Modules imported in the folders that no distribution of these names has -> the files that import them."""
    return {
        module: files for module, files in imported(*folders).items() if not providers().get(module, {module}) & names
    }


def test_what_is_imported_is_declared() -> None:
    assert undeclared(("stages", "lethe"), declared() | extras("test")) == {}
    assert undeclared(("benchmarks", "studies", "tools"), declared() | extras("test")) == {}
    assert undeclared(("tests",), declared() | declared("test")) == {}


def test_what_is_declared_is_imported() -> None:
    by_code = set().union(*(providers().get(module, set()) for module in imported("stages", "lethe")))
    by_tests = set().union(*(providers().get(module, set()) for module in imported("tests")))
    assert declared() - by_code - set(UNIMPORTED) == set()
    assert extras() - by_code - by_tests - set(UNIMPORTED) == set()


def test_the_exceptions_are_exceptions() -> None:
    everything = set().union(*(providers().get(module, set()) for module in imported(*sorted(OURS))))
    assert set(UNIMPORTED) <= declared() | extras()
    assert set(UNIMPORTED) & everything == set()


@pytest.mark.parametrize("path", sources("stages", "lethe"), ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_optional_is_imported_inside_functions(path: Path) -> None:
    # a module that imports an extra at its top fails with a traceback, in stages that do not need it too
    optional = extras("test") - declared()
    at_the_top = foreign(ast.parse(path.read_text(encoding="utf-8")).body)
    assert {module for module in at_the_top if providers().get(module, {module}) & optional} == set()


def test_the_name_is_the_same_wherever_it_stands() -> None:
    assert PROJECT["name"] == doctor.DISTRIBUTION
    commands = [
        (path.name, *found)
        for path in sources("stages", "lethe")
        for found in re.findall(r"pip install '([\w-]+)\[(\w+)\]'", path.read_text(encoding="utf-8"))
    ]
    said_by_dvc = {"s3"}  # where its package is missing
    assert {extra for _, _, extra in commands} == set(PROJECT["optional-dependencies"]) - said_by_dvc - {"test"}
    assert {name for _, name, _ in commands} == {PROJECT["name"]}
