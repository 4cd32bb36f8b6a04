"""Try every causal architecture of the installed transformers with a tiny model, and write the table of docs/models.md.

python -m tools.families [NAME ...]    with names: these alone, the rest of the table stays; `make families` runs it

A child of this process tries each, so that a crash or an endless loop costs one line of the table.
"""

from __future__ import annotations

import gc
import importlib
import json
import multiprocessing
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from textwrap import shorten
from typing import Any

from lethe.core.params import read_params
from lethe.preflight.trial import CHECKS, FAILS, OK, REFUSED, Finding, findings
from stages.finetune import Params

ROOT = Path(__file__).resolve().parents[1]
PAGE, RECORD = ROOT / "docs/models.md", ROOT / "reports/families.json"
LONGEST = 240  # characters of a reason
SECONDS = 240  # for one architecture
EXAMPLES: dict[str, dict[str, Any]] = {  # values that a config lacks by default and no model does
    "deepseek_v2": {"num_experts_per_tok": 2},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "granite": {"logits_scaling": 8.0},
    "granitemoehybrid": {"layer_types": ["linear_attention", "full_attention"] * 16},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 16},
    "reformer": {"is_decoder": True},
    "xmod": {"default_language": "en_XX"},
}
SIGNS = {OK: "yes", REFUSED: "refused", FAILS: "**no**"}
Table = dict[str, dict[str, Finding]]


def main() -> None:
    import torch
    import transformers

    for module in ("peft", "lethe.training.trainer", "lethe.labels.generic_labels", "lethe.unlearning.fine_tuning"):
        importlib.import_module(module)  # once, before the children
    gc.freeze()  # their collections need not look at all that is imported
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)  # a child of a process with threads would wait for them for ever
    recipe = read_params("finetune", Params, ROOT / "presets/default.yaml")
    every = causal()
    names = sys.argv[1:] or every
    found: Table = json.loads(RECORD.read_text(encoding="utf-8"))["families"] if sys.argv[1:] else {}
    for number, name in enumerate(names, start=1):
        found[name] = in_a_child(name, recipe)
        print(f"{number}/{len(names)} {name}: {summary(found[name])}", flush=True)
        record = {
            "transformers": transformers.__version__,
            "families": {name: found[name] for name in every if name in found},
        }
        RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), record), encoding="utf-8")


def causal() -> list[str]:
    """The model types that transformers has a causal language model for."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def in_a_child(name: str, recipe: Params) -> dict[str, Finding]:
    """What came of an architecture; that the child died or took too long is a finding too."""
    context = multiprocessing.get_context("fork")
    ours, its = context.Pipe(duplex=False)
    child = context.Process(target=tried, args=(name, recipe, its))
    child.start()
    its.close()
    try:
        found = ours.recv() if ours.poll(SECONDS) else {"build": (FAILS, f"not done after {SECONDS} s")}
    except EOFError:
        child.join()
        found = {"build": (FAILS, f"the process ended with {child.exitcode}")}
    child.kill()
    child.join()
    return found


def tried(name: str, recipe: Params, out: Connection) -> None:
    """Send what came of an architecture; the child's own output is nobody's."""
    from transformers import CONFIG_MAPPING

    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    try:
        values = CONFIG_MAPPING[name](**EXAMPLES.get(name, {})).to_dict() | {"model_type": name}
        with tempfile.TemporaryDirectory() as work:
            found = findings(values, recipe, Path(work))
    except Exception as error:  # a config that its own defaults do not fit
        found = {"build": (FAILS, " ".join(str(error).split()))}
    out.send(found)


def summary(found: Mapping[str, Finding]) -> str:
    """`all` or what is not fine and why."""
    wrong = [f"{check} {state}: {why}" for check, (state, why) in found.items() if state not in (OK, "-")]
    return re.sub(r"/\S+/model", "MODEL", "; ".join(wrong)) or "all"


def listed(reasons: Mapping[str, str]) -> list[str]:
    """A line for each reason, with all model types that it holds for; long ones cut."""
    grouped: dict[str, list[str]] = {}
    for name, why in reasons.items():
        said = why.replace(f"MODEL: {name}", "MODEL").replace(f"{name}: ", "").replace(f"for {name},", "for it,")
        grouped.setdefault(shorten(said, LONGEST, placeholder=" ..."), []).append(name)
    return [f"* {', '.join(names)}: {why}" for why, names in grouped.items()]


def filled(page: str, record: Mapping[str, Any]) -> str:
    """The page with what stands between the marks of its generated part written anew."""
    before, rest = page.split("<!-- generated: families -->\n")
    return f"{before}<!-- generated: families -->\n{written(record)}<!-- end -->{rest.split('<!-- end -->', 1)[1]}"


def written(record: Mapping[str, Any]) -> str:
    """The table, what is refused or wrong, and what was not tried."""
    found: Table = record["families"]
    built = {name: own for name, own in found.items() if "build" not in own}
    loaded = {name: own for name, own in built.items() if own["load"][0] == OK}
    lines = [f"transformers {record['transformers']}, {len(found)} model types: {len(loaded)} load.", ""]
    lines += [f"| model type | {' | '.join(CHECKS)} |", "|---" * (len(CHECKS) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(SIGNS[state] for state, _ in own.values())} |" for name, own in loaded.items()]
    lines += ["", "What is refused, in one line before any training, or wrong:", ""]
    lines += listed({name: summary(own) for name, own in loaded.items() if summary(own) != "all"})
    refused = {name: summary(own).removeprefix("load refused: ") for name, own in built.items() if name not in loaded}
    lines += ["", "Refused when they are loaded:", "", *listed(refused)]
    others = {name: summary(own).partition(": ")[2] for name, own in found.items() if "build" in own}
    lines += ["", "Not tried, because no tiny model could be made from the default config:", "", *listed(others)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
