"""Write the tables of models in presets/README.md and docs/cost.md: memory and time, by the planner's arithmetic.

python -m tools.preset_table    `make presets` runs it, and a test compares
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from lethe.core.params import read_yaml
from lethe.core.whole_params import validated
from lethe.gate.metric_catalogue import size
from lethe.models.device import SPREAD
from lethe.preflight.doctor import duration
from lethe.preflight.estimate import Texts, Work, known_shape
from lethe.preflight.memory import Cards, weight_count
from lethe.preflight.presets import presets, read_whole
from lethe.running.workload import works

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "presets/README.md"
MARK, END = "<!-- generated: presets -->\n", "<!-- end -->"
TOKENS = 1_000_000  # of the forget text, and as many of the retain text
CARDS = (24e9, 80e9, 141e9)  # bytes; a training takes what there is, so it is asked of each
OPERATIONS = 0.4 * 312e12  # a second: 40 % of the bfloat16 peak of an A100, as in docs/gpu.md
COST, CARD = ROOT / "docs/cost.md", 80e9
PRICED = ("llama3.2-1b", "llama2-7b", "llama2-7b-chat", "llama3.1-8b", "llama3.1-70b")
COUNTS = (1, 2, 4, 8, 16)  # GPUs; of as few as every stage but `attack` fits
CONVERTED = {"opt-1.3b": "facebook/opt-1.3b"}  # presets that read the model from a folder


def main() -> None:
    os.chdir(ROOT)  # the shapes are the project's
    for path, written in ((PAGE, table), (COST, costs)):
        path.write_text(filled(path.read_text(encoding="utf-8"), written()), encoding="utf-8")


def filled(page: str, written: str) -> str:
    """The page with what is between its marks written anew."""
    before, rest = page.split(MARK)
    return f"{before}{MARK}{written}{END}{rest.split(END, 1)[1]}"


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


def costs() -> str:
    """A row for each of PRICED: GPUs, memory of one, minutes of each kind of stage, hours of all GPUs together."""
    header = [
        "preset", "weights", "trained", "GPUs", "memory of each: training, `label`, reading",
        "minutes: training, `label`, reading, `attack`", "GPU hours",
    ]  # fmt: skip
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    return "\n".join([*lines, *map(priced, PRICED)]) + "\n"


def priced(name: str) -> str:
    sections, _ = validated(read_yaml(Path("dvc.yaml"))["stages"], read_whole(Path("presets") / f"{name}.yaml"))
    config = known_shape(sections["baseline"].model)
    assert config is not None
    for count in COUNTS:
        found = works(sections, config, Texts(TOKENS, TOKENS), Cards(count, CARD, count > 1))
        if all(work.memory <= CARD for work in found if work.stage != "attack"):
            break
    kinds: dict[str, list[Work]] = {"training": [], "label": [], "reading": [], "attack": []}
    for work in found:
        kinds["training" if work.pieces else work.stage if work.stage in kinds else "reading"].append(work)
    minutes = {kind: sum(map(partial(seconds, sections, count), own)) / 60 for kind, own in kinds.items()}
    fits = all(work.memory <= CARD for work in kinds["attack"])
    shown = [f"{minutes[kind]:.0f}" for kind in ("training", "label", "reading")]
    shown.append(f"{minutes['attack']:.0f}" if fits else f"needs {size(kinds['attack'][0].memory)}")
    hours = count * sum(minutes[kind] for kind in minutes if kind != "attack" or fits) / 60
    memory = ", ".join(size(max(work.memory for work in kinds[kind])) for kind in ("training", "label", "reading"))
    tuning = {"full": "all weights", "lora": "LoRA"}[sections["finetune"].tuning]
    return (
        f"| `{name}.yaml` | {weight_count(config) / 1e9:.1f} · 10^9 | {tuning} | {count} | {memory} | "
        f"{', '.join(shown)} | {hours:.1f} |"
    )


def seconds(sections: dict[str, Any], count: int, work: Work) -> float:
    """By OPERATIONS of every GPU; the layers of a model that is spread over them take turns."""
    spread = getattr(sections.get(work.stage), "device", "auto") == SPREAD
    return work.operations / OPERATIONS / (1 if spread else count)


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
