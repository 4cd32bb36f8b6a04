"""The project's structure read from its sources: imports, docstrings, literal paths."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def module_file(name: str) -> Path | None:
    """The file of a module of ours, relative to the root, or None for anybody else's."""
    path = Path(*name.split(".")).with_suffix(".py")
    return path if name.startswith("stages") and (ROOT / path).exists() else None


@cache
def direct_imports(path: Path) -> frozenset[Path]:
    """Files of ours that a file imports anywhere in it; imports for annotations only do not count."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found |= {module_file(node.module), *(module_file(f"{node.module}.{name.name}") for name in node.names)}
        elif isinstance(node, ast.Import):
            found |= {module_file(name.name) for name in node.names}
    return frozenset(path for path in found if path)


def code_of(stage: str) -> list[str]:
    """Every file of ours that the stage runs: its module and what that imports, transitively; and files it ships."""
    todo, done = {Path("stages") / f"{stage}.py"}, set()
    while todo:
        path = todo.pop()
        done.add(path)
        todo |= direct_imports(path) - done
    return sorted(str(path) for path in done | {data for path in done for data in shipped_with(path)})


def shipped_with(path: Path) -> list[Path]:
    """Data files beside a module whose names it mentions."""
    source = (ROOT / path).read_text(encoding="utf-8")
    beside = [item for item in (ROOT / path).parent.iterdir() if item.suffix in (".csv", ".j2", ".toml")]
    return [item.relative_to(ROOT) for item in beside if f'"{item.name}"' in source]


def imports_torch(stage: str) -> bool:
    """Whether the stage can import torch or a library that does."""
    heavy = {"torch", "transformers", "peft", "accelerate", "lm_eval", "safetensors", "tokenizers"}
    for path in code_of(stage):
        if path.endswith(".py"):
            for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                names += [name.name for name in node.names] if isinstance(node, ast.Import) else []
                if any(name.split(".")[0] in heavy for name in names):
                    return True
    return False
