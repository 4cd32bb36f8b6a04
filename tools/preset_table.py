"""Write the table of models in presets/README.md: memory and time of each preset, by the planner's arithmetic.

python -m tools.preset_table    `make presets` runs it, and a test compares
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lethe.core.params import read_yaml
from lethe.core.whole_params import validated
from lethe.gate.metric_catalogue import size
from lethe.preflight.doctor import duration
from lethe.preflight.estimate import Texts, known_shape
from lethe.preflight.memory import Cards, weight_count
from lethe.preflight.presets import presets, read_whole
from lethe.running.workload import works

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "presets/README.md"
MARK, END = "<!-- generated: presets -->\n", "<!-- end -->"
TOKENS = 1_000_000  # of the forget text, and as many of the retain text
CARDS = (24e9, 80e9, 141e9)  # bytes; a training takes what there is, so it is asked of each
OPERATIONS = 0.4 * 312e12  # a second: 40 % of the bfloat16 peak of an A100, as in docs/gpu.md
CONVERTED = {"opt-1.3b": "facebook/opt-1.3b"}  # presets that read the model from a folder


def main() -> None:
    os.chdir(ROOT)  # the shapes are the project's
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def filled(page: str) -> str:
    """The page with the table between its marks written anew."""
    before, rest = page.split(MARK)
    return f"{before}{MARK}{table()}{END}{rest.split(END, 1)[1]}"


def table() -> str:
    """A row for each preset of a model whose shape is known."""
    lines = [
        "| preset | weights | trained | smallest card | memory of `finetune` there | time |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *rows()]) + "\n"


def rows() -> Iterator[str]:
    for name, path in presets(Path("presets")).items():
        sections, _ = validated(read_yaml(Path("dvc.yaml"))["stages"], read_whole(path))
        config = known_shape(CONVERTED.get(name, sections["baseline"].model))
        if config is None:
            continue
        tuning = {"full": "all weights", "lora": "LoRA"}[sections["finetune"].tuning]
        yield f"| `{name}.yaml` | {weight_count(config) / 1e9:.2f} · 10^9 | {tuning} | {fitted(sections, config)} |"


def fitted(sections: dict[str, Any], config: Any) -> str:
    """The smallest of CARDS that every stage fits, what the fine-tune takes there, and the time of all stages."""
    for memory in CARDS:
        found = works(sections, config, Texts(TOKENS, TOKENS), Cards(1, memory))
        if all(work.memory <= memory for work in found):
            tuned = next(work for work in found if work.stage == "finetune")
            seconds = sum(work.operations for work in found) / OPERATIONS
            return f"{memory / 1e9:.0f} GB | {size(tuned.memory)} | {duration(seconds)}"
    return "more than one | | "


if __name__ == "__main__":
    main()
