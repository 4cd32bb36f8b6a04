"""The rules of the house: a package imports only lower ones, and nothing in it grows too large to be read."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.structure import ROOT, direct_imports

# The lowest first. A module imports its own package and those on lower lines; a stage imports any, and no other stage.
LAYERS = (
    ("core",),
    ("text", "models"),
    ("inference", "llm_client"),
    ("anchors", "dictionary", "labels", "pretrained", "training"),
    ("evaluation", "unlearning"),
    ("attacks", "classification", "distillation", "metrics"),
    ("gate",),
    ("report",),
    ("stages",),
    ("launch", "console", "provenance", "erasure", "preflight", "cli", "__main__"),  # the command line
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
MODULES_IN_A_PACKAGE, LINES_IN_A_MODULE, LINES_IN_A_FUNCTION, LINES_IN_A_STAGE = 12, 450, 60, 140
SOURCES = [path.relative_to(ROOT) for folder in ("lethe", "stages") for path in sorted((ROOT / folder).rglob("*.py"))]
each_source = pytest.mark.parametrize("path", [path for path in SOURCES if path.name != "__init__.py"], ids=str)


def room(path: Path) -> str:
    """The package of lethe, the module that lies in none, or `stages`."""
    return "stages" if path.parts[0] == "stages" else path.parts[1].removesuffix(".py")


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """(name, lines) of every function in a source file, those inside others and in classes too."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or 0) - node.lineno + 1


def test_every_room_has_its_layer_and_says_what_is_in_it() -> None:
    assert {room(path) for path in SOURCES if path != Path("lethe/__init__.py")} == set(LEVEL)
    for package in sorted({path.parent for path in SOURCES if path.parent != Path("stages")} - {Path("lethe")}):
        assert ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text(encoding="utf-8"))), package


def test_the_pages_list_every_package_in_its_layer() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = page.split("| layer | packages and modules |\n|---|---|\n")[1].split("\n\n")[0].splitlines()
    listed = [set(re.findall(r"`([\w/]+)`", row)) - {"stages/"} for row in rows]
    assert listed == [set(layer) - {"stages", "__main__"} for layer in LAYERS]


@each_source
def test_a_package_imports_only_lower_ones(path: Path) -> None:
    own, top = room(path), len(LAYERS) - 1
    for other in direct_imports(path):
        its = room(other)
        allowed = LEVEL[its] < LEVEL[own] or (its == own and own != "stages") or LEVEL[own] == LEVEL[its] == top
        assert allowed, f"{path} imports {other}: {its} is not below {own}"


def test_a_package_has_at_most_twelve_modules() -> None:
    packages = [path.parent for path in SOURCES if path.name != "__init__.py" and path.parts[0] == "lethe"]
    assert {str(package) for package in packages if packages.count(package) > MODULES_IN_A_PACKAGE} == set()


@each_source
def test_nothing_is_too_large_to_be_read(path: Path) -> None:
    lines = len((ROOT / path).read_text(encoding="utf-8").splitlines())
    assert lines <= (LINES_IN_A_STAGE if path.parts[0] == "stages" else LINES_IN_A_MODULE)
    assert [(name, long) for name, long in functions(path) if long > LINES_IN_A_FUNCTION] == []
