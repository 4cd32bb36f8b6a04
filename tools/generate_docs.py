"""Write the parts of pages that follow from dvc.yaml and the sources: the stages and their graph, the packages'.

python -m tools.generate_docs    rewrites the pages in place; `make docs` runs it, and a test compares
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tools.markdown import table
from tools.structure import ROOT, package_imports

PAGES = ("docs/pipeline.md", "docs/design.md")
CODE = ("stages/", "lethe/", "constraints.txt")  # deps that are code, and in no table
Stages = dict[str, Any]


def main() -> None:
    for page in PAGES:
        (ROOT / page).write_text(generated(ROOT / page), encoding="utf-8")


def generated(page: Path) -> str:
    """The page with every generated part rewritten. Raises KeyError for an unknown part."""
    stages = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    return filled(page.read_text(encoding="utf-8"), stages)


def filled(text: str, stages: Stages) -> str:
    """The text with everything between `<!-- generated: NAME -->` and `<!-- end -->` replaced."""
    pattern = r"(<!-- generated: (\w+)[^>]*-->\n).*?(<!-- end -->)"
    return re.sub(pattern, lambda found: found[1] + PARTS[found[2]](stages) + found[3], text, flags=re.DOTALL)


def artifacts(stages: Stages) -> str:
    """One row per stage: name, description, data read, data written."""
    rows = (
        (f"`{name}`", stage["desc"], quoted(data_read(stage)), quoted(data_written(stage)))
        for name, stage in stages.items()
    )
    return table(("stage", "what it does", "reads", "writes"), list(rows)) + "\n"


def graph(stages: Stages) -> str:
    """A mermaid graph of the stages."""
    return mermaid(dependencies(stages))


def packages(_: Stages) -> str:
    """A mermaid graph of the packages and what imports them."""
    needs = package_imports()
    return mermaid({name.replace(" ", "_"): needs[name] for name in needs})


def mermaid(needs: dict[str, set[str]]) -> str:
    """The graph as a fenced block; a dependency that follows from others has no arrow."""
    lines = [f"    {before} --> {after}" for before, after in arrows(needs)]
    return "\n".join(["```mermaid", "flowchart TD", *lines, "```", ""])


def dependencies(stages: Stages) -> dict[str, set[str]]:
    """{stage: the stages whose outputs it reads}."""
    maker = {path: name for name, stage in stages.items() for path in data_written(stage)}
    return {name: {maker[path] for path in data_read(stage) if path in maker} for name, stage in stages.items()}


def arrows(needs: dict[str, set[str]]) -> list[tuple[str, str]]:
    """(before, after) of the transitive reduction of an acyclic graph."""

    def above(name: str) -> set[str]:
        return needs[name].union(*map(above, needs[name]))

    return [
        (before, after)
        for after, direct in needs.items()
        for before in sorted(direct - {far for other in direct for far in above(other)}, key=list(needs).index)
    ]


def data_read(stage: dict[str, Any]) -> list[str]:
    """The deps that are data."""
    return [dep for dep in stage["deps"] if not dep.startswith(CODE)]


def data_written(stage: dict[str, Any]) -> list[str]:
    """Paths of all outs, metrics and plots."""
    items = (item for kind in ("outs", "metrics", "plots") for item in stage.get(kind, ()))
    return [next(iter(item)) if isinstance(item, dict) else item for item in items]


def quoted(paths: Iterable[str]) -> str:
    """The paths as code, separated by commas."""
    return ", ".join(f"`{path}`" for path in paths)


PARTS: dict[str, Callable[[Stages], str]] = {"artifacts": artifacts, "graph": graph, "packages": packages}

if __name__ == "__main__":
    main()
