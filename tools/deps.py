"""Write the code that each stage depends on into dvc.yaml: python -m tools.deps.

DVC does not see imports. The data that a stage reads comes first in its deps, written by hand and left unchanged; then
the stage's module, the packages of lethe that it imports, and constraints.txt where any of it imports torch.
"""

from __future__ import annotations

import re

from tools.structure import ROOT, code_deps, imports_torch

STAGE = re.compile(r"^  (\w+):\n", re.MULTILINE)
DEPS = re.compile(r"    deps:\n((?:      - .+\n)+)")
CODE = re.compile(r"      - (?:stages/|lethe/|constraints\.txt).*\n")


def with_deps(pipeline: str) -> str:
    """The text of dvc.yaml with the code deps of every stage as its imports have them."""
    head, *parts = STAGE.split(pipeline)
    written = [head]
    for stage, body in zip(parts[::2], parts[1::2], strict=True):
        code = [*code_deps(stage), *(["constraints.txt"] if imports_torch(stage) else [])]
        lines = "".join(f"      - {dep}\n" for dep in code)
        written.append(f"  {stage}:\n" + DEPS.sub(lambda found, lines=lines: replaced(found, lines), body, count=1))
    return "".join(written)


def replaced(found: re.Match[str], lines: str) -> str:
    """The deps of one stage, the code among them replaced by these lines."""
    return f"    deps:\n{CODE.sub('', found[1])}{lines}"


def main() -> None:
    """Rewrite dvc.yaml and say whether it changed."""
    path = ROOT / "dvc.yaml"
    before = path.read_text(encoding="utf-8")
    after = with_deps(before)
    path.write_text(after, encoding="utf-8")
    print("deps: dvc.yaml is unchanged" if after == before else "deps: dvc.yaml changed; read `git diff dvc.yaml`")


if __name__ == "__main__":
    main()
