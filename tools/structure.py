"""The project's structure read from its sources: imports, layers, sizes.

python -m tools.structure    prints the size of every package: modules, lines, functions
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import median, quantiles

# The lowest first. A module imports its own package and those on lower lines; a stage imports any, and no other stage.
LAYERS = (
    ("core",),
    ("text", "models"),
    ("inference", "llm_client"),
    ("served",),
    ("anchors", "dictionary", "labels", "pretrained", "training"),
    ("evaluation", "unlearning"),
    ("attacks", "classification", "distillation", "metrics"),
    ("gate",),
    ("report",),
    ("stages",),
    (
        "launch",
        "console",
        "provenance",
        "custody",
        "erasure",
        "preflight",
        "app",
        "running",
        "cli",
        "__main__",
    ),  # the command line
)
ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"torch", "transformers", "peft", "accelerate", "lm_eval", "safetensors", "tokenizers"}


def main() -> None:
    titles = ("package", "modules", "lines", "longest module", "functions", "median", "p90", "longest function")
    print("".join(f"{title:>17}" for title in titles))
    for layer in LAYERS:
        for name in layer:
            print("".join(f"{cell:>17}" for cell in sizes(name, [path for path in sources() if room(path) == name])))
    print("".join(f"{cell:>17}" for cell in sizes("all", sources())))


def sizes(name: str, paths: list[Path]) -> tuple[str | int, ...]:
    """Modules, their lines, those of the longest; functions, median and 90th percentile of lines, the longest."""
    lines = [len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in paths]
    long = [length for path in paths for _, length in functions(path)]
    ninety = round(quantiles(long, n=10)[-1]) if len(long) > 1 else sum(long)
    return name, len(paths), sum(lines), max(lines), len(long), round(median(long or [0])), ninety, max(long, default=0)


def sources() -> list[Path]:
    """The modules of lethe and the stages, without the files that only describe a package."""
    found = [path for folder in ("lethe", "stages") for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path.relative_to(ROOT) for path in found if path.name != "__init__.py"]


def room(path: Path) -> str:
    """The package of lethe, the module that lies in none, or `stages`."""
    return "stages" if path.parts[0] == "stages" else path.parts[1].removesuffix(".py")


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """(name, lines) of every function in a source file, those inside others and in classes too."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or 0) - node.lineno + 1


def package_imports() -> dict[str, set[str]]:
    """Package -> the others that it imports, the lowest first; what the command line has is one."""
    *library, command_line = LAYERS
    names = {name: "command line" if name in command_line else name for layer in LAYERS for name in layer}
    needs: dict[str, set[str]] = {names[name]: set() for layer in (*library, command_line) for name in layer}
    for path in sources():
        own = names[room(path)]
        needs[own] |= {names[room(other)] for other in direct_imports(path) if other.name != "__init__.py"} - {own}
    return needs


def module_file(name: str) -> Path | None:
    """The file of a module of ours, relative to the root, or None for a package or a third-party module."""
    path = Path(*name.split(".")).with_suffix(".py")
    return path if name.split(".")[0] in ("stages", "lethe") and (ROOT / path).exists() else None


@cache
def syntax_tree(path: Path) -> ast.Module:
    """A source file, parsed, without what is imported for annotations only."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            node.body = []
    return tree


@cache
def direct_imports(path: Path) -> frozenset[Path]:
    """Files of this project that a file imports anywhere."""
    found = set()
    for node in ast.walk(syntax_tree(path)):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found |= {module_file(node.module), *(module_file(f"{node.module}.{name.name}") for name in node.names)}
        elif isinstance(node, ast.Import):
            found |= {module_file(name.name) for name in node.names}
    return frozenset(path for path in found if path)


def modules_of(stage: str) -> set[Path]:
    """Every file of this project that the stage runs: its module and what that imports, transitively."""
    todo, done = {Path("stages") / f"{stage}.py"}, set()
    while todo:
        path = todo.pop()
        done.add(path)
        todo |= direct_imports(path) - done
    return done


def code_deps(stage: str) -> list[str]:
    """The code in dvc.yaml that the stage depends on: its module, and whole packages of lethe with all they ship."""
    return sorted({dep_of(path) for path in modules_of(stage)})


def dep_of(path: Path) -> str:
    """`lethe/models` for lethe/models/device.py; the file itself where it lies in no package of lethe."""
    return str(Path(*path.parts[:2]))


def imports_torch(stage: str) -> bool:
    """Whether the stage can import torch or a library that does."""
    names: set[str] = set()
    for path in modules_of(stage):
        for node in ast.walk(syntax_tree(path)):
            names |= {node.module or ""} if isinstance(node, ast.ImportFrom) else set()
            names |= {name.name for name in node.names} if isinstance(node, ast.Import) else set()
    return bool({name.split(".")[0] for name in names} & HEAVY)


if __name__ == "__main__":
    main()
