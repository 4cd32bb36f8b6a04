"""The rules of the house: a package imports only lower ones, and nothing in it grows too large to be read."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tools import structure
from tools.structure import LAYERS, ROOT, direct_imports, functions, room, sources

LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
MODULES_IN_A_PACKAGE, LINES_IN_A_MODULE, LINES_IN_A_FUNCTION, LINES_IN_A_STAGE = 12, 450, 60, 140
each_source = pytest.mark.parametrize("path", sources(), ids=str)


def test_every_room_has_its_layer_and_says_what_is_in_it() -> None:
    assert {room(path) for path in sources()} == set(LEVEL)
    for package in sorted({path.parent for path in sources()} - {Path("lethe"), Path("stages")}):
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
    packages = [path.parent for path in sources() if path.parts[0] == "lethe"]
    assert {str(package) for package in packages if packages.count(package) > MODULES_IN_A_PACKAGE} == set()


def test_a_test_is_named_for_the_module_that_it_tests() -> None:
    # tests/pipeline has what is about the whole; these are about more than one module
    others = {"provenance/test_provenance_walk.py", "report/test_page_in_browser.py", "app/test_app_in_browser.py"}
    others |= {f"custody/test_hostile{what}.py" for what in ("", "_files", "_forms", "_places", "_records", "_text")}
    others |= {"custody/test_security_page.py"}
    modules = {name: {path.stem for path in sources() if room(path) == name} for name in LEVEL}
    found = [path.relative_to(ROOT / "tests") for path in sorted((ROOT / "tests").glob("*/test_*.py"))]
    named = [path for path in found if path.parts[0] in modules and str(path) not in others]
    assert len(named) > 100
    strangers = [path for path in named if path.stem.removeprefix("test_") not in modules[path.parts[0]]]
    assert strangers == []


@each_source
def test_nothing_is_too_large_to_be_read(path: Path) -> None:
    lines = len((ROOT / path).read_text(encoding="utf-8").splitlines())
    assert lines <= (LINES_IN_A_STAGE if path.parts[0] == "stages" else LINES_IN_A_MODULE)
    assert [(name, long) for name, long in functions(path) if long > LINES_IN_A_FUNCTION] == []


def test_sizes_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    # lethe/console.py: one module; the functions' lines are those that ast counts
    lengths = sorted(length for _, length in functions(Path("lethe/console.py")))
    lines = len((ROOT / "lethe/console.py").read_text(encoding="utf-8").splitlines())
    row = structure.sizes("console", [Path("lethe/console.py")])
    assert (row[:5], row[-1]) == (("console", 1, lines, lines, len(lengths)), lengths[-1])
    structure.main()
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:-1]] == list(LEVEL)
