"""The project's structure read from its sources: imports, docstrings, literal paths."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"torch", "transformers", "peft", "accelerate", "lm_eval", "safetensors", "tokenizers"}


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
