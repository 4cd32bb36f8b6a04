"""Time and memory of the stages that read the corpus, as corpus and dictionary grow.

python -m benchmarks.growth CASE    prints one line of JSON; `make bench` runs all cases

The stages' own main() in a project of `benchmarks.synthetic_corpus`, one stage a process. Where a large model would
run, in extract and translate, a stub answers; label runs a tiny one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from hashlib import sha256
from importlib import import_module
from itertools import pairwise
from math import log
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.subprocess_case import cpu_seconds, one_case, peak_above
from benchmarks.synthetic_corpus import CHANGES, NAMES
from tools.sandbox import ROOT, change_params

NOTE = """
Each stage's main() on an invented text of English words and 300 names, in documents of 50 kB; models are simulated in
extract and translate (what they would say is made up at once), in label they are tiny; of 1 GB the tokenizer is
simulated too. CPU seconds, and peak memory above what the process took before, after the same stage has run on 0.02 MB.
*Exponent*: of the growth since the row before, 1 is linear, 0 is bounded. The second table has 2 MB of text and
dictionaries of more and more names, the one of rank r as frequent as 1 / r. *extract, named* is the backend `file`;
*label, translated* is all that label does before its models."""
SOURCES = [path for folder in ("stages", "lethe") for path in sorted((ROOT / folder).rglob("*.py"))]
CODE = b"".join(path.read_bytes() for path in [*SOURCES, ROOT / "benchmarks/synthetic_corpus.py"])
PROJECTS = Path(tempfile.gettempdir()) / f"lethe-growth-{sha256(CODE).hexdigest()[:8]}"  # shared by the cases
OUTS = {"block": "data/blocks.parquet", "translate": "data/dictionary.csv"}
NEEDED = {"extract": ("block",), "label": ("block", "translate"), "label, translated": ("block", "translate")}
SHOWN = {"cpu_s": "CPU seconds", "above_start_mib": "MiB above the start"}
SIMULATED = "-simulated"  # ends the names of projects whose blocks come from no real tokenizer
WARM = 0.02  # MB
SIZES, LARGE, ANCHORS = (0.1, 1, 10, 100), 1000, (100, 1000, 5000, 20_000)
TEXT_OF_ANCHORS = 2.0  # MB


class Case(NamedTuple):
    stage: str
    megabytes: float
    anchors: int | None = None


BY_TEXT = [Case(stage, size) for size in SIZES for stage in ("corpus", "block", "extract", "translate")]
LABELLED = [Case("label", size) for size in SIZES]
BY_ANCHORS = [
    Case(stage, TEXT_OF_ANCHORS, anchors)
    for anchors in ANCHORS
    for stage in ("extract, named", "translate", "label, translated")
]
HUGE = [Case(stage, LARGE) for stage in ("translate", "block", "extract, named", "extract")]


def name_of(case: Case) -> str:
    return f"{case.stage}, " + (f"{case.anchors} anchors" if case.anchors else f"{case.megabytes:g} MB")


CASES = {name_of(case): case for case in (*BY_TEXT, *LABELLED, *BY_ANCHORS, *HUGE)}
LAST = {(case.megabytes, case.anchors, case.stage == "corpus"): case for case in CASES.values()}  # by project
QUICK = {
    f"{stage}, tiny": Case(stage, WARM, 50 if "," in stage else None)
    for stage in ("corpus", "block", "extract", "extract, named", "translate", "label", "label, translated")
}


def measure(case: Case) -> dict[str, Any]:
    """CPU seconds and MiB of one stage; label's tokens in a CPU second too."""
    simulate_models()
    simulated = case.megabytes == LARGE
    if simulated:
        simulate_tokenizer()
    small = case._replace(megabytes=WARM, anchors=case.anchors and 50)
    run_stage(case.stage, project_for(small, simulated))
    project = project_for(case, simulated)
    spent: list[float] = []
    peak = peak_above(lambda: spent.append(cpu_seconds(lambda: run_stage(case.stage, project))))
    found = {"cpu_s": round(spent[0], 2), "above_start_mib": round(peak, 1)}
    if case.stage == "label":
        import pyarrow.parquet as pq

        tokens = pq.read_table(project / "data/labels.parquet", columns=["length"])["length"].to_numpy().sum()
        found["tokens_per_cpu_s"] = round(int(tokens) / spent[0])
    if case in LAST.values():
        shutil.rmtree(project)
    return found


# What a stage needs


def project_for(case: Case, simulated: bool) -> Path:
    """A project in which the stage can run: its inputs come from earlier cases, or from processes started for it.

    simulated: whether the tokenizer is; its blocks are not shared with other cases.
    """
    kind, names = "text" if case.stage == "corpus" else "corpus", case.anchors or NAMES
    project = PROJECTS / f"{kind}-{case.megabytes:g}-{names}{SIMULATED * simulated}"
    if not (project / "mine.csv").exists():
        python("-m", "benchmarks.synthetic_corpus", str(project), kind, str(case.megabytes), str(names))
    named = {"extract.backend": "file", "extract.file": "mine.csv"} if case.stage == "extract, named" else {}
    change_params(project, CHANGES | named, str(ROOT / "params.yaml"))
    for stage in NEEDED.get(case.stage, ()):
        if not (project / OUTS[stage]).exists():
            python("-m", "benchmarks.growth", "stage", stage, str(project))
    return project


def python(*arguments: str) -> None:
    """Run a new process, so that its memory is not counted here."""
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


# The stages


def run_stage(stage: str, project: Path) -> None:
    """The stage's main() in the project; may be repeated."""
    before = Path.cwd()
    os.chdir(project)
    try:
        if stage == "label, translated":
            translate_only()
        else:
            import_module(f"stages.{stage.partition(',')[0]}").main()
    finally:
        os.chdir(before)


def simulate_models() -> None:
    """extract and translate load no model; its outputs are made up."""
    from lethe.anchors import probability_rise
    from lethe.dictionary import model_ranking as likeliest
    from stages import translate

    nothing: Callable[..., Any] = lambda *given: None  # noqa: E731
    probability_rise.load_model = translate.load_model = translate.load_tokenizer = nothing
    probability_rise.log_probabilities = lambda model, batches: (  # type: ignore[assignment]
        np.zeros(batch.shape, np.float32) for batch in batches
    )
    likeliest.log_likelihoods = lambda model, tokenizer, frames, names, desc: [  # type: ignore[assignment]
        [-float(len(name)) for name in of_frame] for of_frame in names
    ]


def simulate_tokenizer() -> None:
    """Every fourth character ends a token: as many tokens as a real tokenizer gives, but faster."""
    from array import array

    from lethe.anchors import probability_rise as evidence
    from lethe.models import tokenization as blocks

    def spell(backend: Any, text: str) -> tuple[array[int], array[int]]:
        ends = np.minimum(np.arange(4, len(text) + 4, 4), len(text))
        return array("i", (ends % 251).astype(np.int32).tobytes()), array("q", ends.tobytes())

    blocks.spell = evidence.spell = spell


def translate_only() -> None:
    """What label does before its models run: keys, rules, translated blocks, and what is forbidden where."""
    from functools import partial

    from lethe.core.corpus import read_blocks, real_tokens
    from lethe.dictionary.entries import read_dictionary
    from lethe.labels.generic_labels import rows_of
    from lethe.labels.translation import (
        index_keys,
        matches_in,
        own_rules,
        translate_blocks,
        word_bounded,
        word_variants,
    )
    from lethe.models.checkpoints import load_tokenizer
    from lethe.models.token_text import piece_bytes

    baseline = Path("models/baseline")
    blocks = read_blocks(Path("data/blocks.parquet"), baseline)
    dictionary = read_dictionary(Path("data/dictionary.csv"))
    tokenizer = load_tokenizer(baseline)
    pieces = piece_bytes(tokenizer)
    keys = index_keys(dictionary, word_variants(tokenizer, dictionary), pieces)
    bounded = partial(word_bounded, pieces=pieces)
    rules = own_rules(real_tokens(blocks), keys, bounded, pieces)
    matches = [matches_in(tokens, keys, bounded) for tokens in real_tokens(blocks)]
    for block in translate_blocks(blocks, matches, rules, 0, None):
        rows_of([block])


# The page


def page(cases: Mapping[str, Any]) -> str:
    """A table by text, one by anchors, and the picture."""
    from tools.markdown import table

    measured = [(CASES[name], found) for name, found in cases.items()]
    by_text = lines([one for one in measured if not one[0].anchors], lambda case: case.megabytes)
    by_anchors = lines([one for one in measured if one[0].anchors], lambda case: float(case.anchors or 0))
    header = ["CPU s", "exponent", "MiB above the start", "exponent", "tokens per CPU s"]
    missing = "; ".join(name for name in CASES if name not in cases)
    parts = [
        table(["stage", "MB of text", *header], by_text),
        table(["stage", "anchors", *header[:-1]], [line[:-1] for line in by_anchors]),
        *([f"Not measured yet: {missing}."] if missing else []),
        "![time and memory](growth.svg)",
    ]
    return "\n\n".join(parts)


def lines(found: list[tuple[Case, Any]], size: Callable[[Case], float]) -> list[list[Any]]:
    """Rows, stage by stage in ascending size, with the exponents of growth."""
    rows = []
    for stage in dict.fromkeys(case.stage for case, _ in found):
        own = sorted(((size(case), one) for case, one in found if case.stage == stage), key=lambda pair: pair[0])
        for (before, less), (now, more) in pairwise([(None, {}), *own]):
            slopes = {
                key: exponent(before, now, less.get(key), more[key]) if before else None
                for key in ("cpu_s", "above_start_mib")
            }
            times, held = more["cpu_s"], more["above_start_mib"]
            row = [f"{now:g}", times, slopes["cpu_s"], held, slopes["above_start_mib"], more.get("tokens_per_cpu_s")]
            rows.append([stage, *row])
    return rows


def exponent(before: float, now: float, less: float, more: float) -> float | None:
    """b of y = a x^b through two points; None where a figure is too small to tell."""
    return round(log(more / less) / log(now / before), 2) if min(less, more) >= 0.05 else None


def picture(cases: Mapping[str, Any], path: Path) -> None:
    """Time and memory over text and over anchors, both axes logarithmic; a dotted line is linear growth."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "growth", "font.size": 9})
    figure = Figure(figsize=(9, 6.4), layout="constrained")
    measured = [(CASES[name], found) for name, found in cases.items()]
    grids = figure.subplots(2, 2)
    for row, across in enumerate(("MB of text", "anchors")):
        own = [one for one in measured if bool(one[0].anchors) is bool(row)]
        for axes, key in zip(grids[row], ("cpu_s", "above_start_mib"), strict=True):
            draw(axes, [(case, found[key]) for case, found in own])
            axes.set(xlabel=across, ylabel=SHOWN[key], xscale="log", yscale="log")
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(alpha=0.15)
        if own:
            grids[row][0].legend(frameon=False, fontsize=8)
    figure.savefig(path, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))


def draw(axes: Any, found: list[tuple[Case, float]]) -> None:
    """A line per stage, and one as long as the longest that grows as the corpus does."""
    for stage in dict.fromkeys(case.stage for case, _ in found):
        points = sorted((case.anchors or case.megabytes, max(y, 0.05)) for case, y in found if case.stage == stage)
        axes.plot(*zip(*points, strict=True), marker="o", markersize=3.5, linewidth=1.5, label=stage)
    if found:
        ends = sorted({case.anchors or case.megabytes for case, _ in found})
        top = max(y for _, y in found)
        axes.plot(ends, [top * end / ends[-1] for end in ends], ":", color="grey", linewidth=1, label="linear")


if __name__ == "__main__":
    if sys.argv[1:2] == ["stage"]:
        simulate_models()
        if sys.argv[3].endswith(SIMULATED):
            simulate_tokenizer()
        run_stage(sys.argv[2], Path(sys.argv[3]))
    else:
        one_case(CASES | QUICK, measure)
