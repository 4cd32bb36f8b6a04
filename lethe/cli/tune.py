"""`lethe tune`: learning rates and steps of the fine-tune, tried on the development prompts beside the pipeline."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from filelock import FileLock, Timeout

from lethe.console import Json, console, print_json
from lethe.core.errors import StageError
from lethe.core.hashing import file_sha256
from lethe.core.tables import read_json
from lethe.models.checkpoints import absent_reason
from lethe.preflight.presets import dumped, put, round_trip

if TYPE_CHECKING:
    from rich.table import Table

FOLDER = Path(".scratch/tune")
PARAMS = Path("params.yaml")
CODE = ("dvc.yaml", "constraints.txt", "lethe", "stages")  # of the project, where it has its own
DATA = ("labels.parquet", "corpus.parquet", "dictionary.csv", "prompts.jsonl", "names.csv")
REPORT, KEY = "reports/familiarity.json", "key"
TEMPLATE = Path(__file__).with_name("tune.html.j2")
METRICS = {  # of the page's and the terminal's table, in their order
    "leak": "leak",
    "probability_familiarity": "probability",
    "retain_perplexity_factor": "retain perplexity, ratio",
    "retain_doubled_words": "doubled words",
}
BEFORE = "baseline"


class Trial(NamedTuple):
    """One fine-tune, or a model that is there already. numbers: by the names of METRICS, without what has no value."""

    name: str
    rate: float | None
    steps: int | None
    numbers: dict[str, float]


def command(
    rate: Annotated[
        list[float] | None, typer.Option(help="A learning rate; once for each. Default: a third of it, it, 3 times it.")
    ] = None,
    steps: Annotated[
        list[int] | None,
        typer.Option(help="A number of steps; once for each. Default: half of finetune.steps, and it."),
    ] = None,
    json: Json = False,
) -> None:
    """Try learning rates and steps of **finetune** on the development prompts, and show what each gains and costs.

    Every pair is a whole training, as `dvc repro finetune` would do it with these values, and a measurement of it. They
    run beside the pipeline, in .scratch/tune; a pair that was tried with the same labels, prompts and parameters is not
    run again. params.yaml stays as it is: the line to set is printed. Draws the curve on .scratch/tune/index.html.
    """
    content = round_trip().load(read_text(PARAMS))
    finetune, limit = content["finetune"], content["report"]["gate"]["retain_perplexity"]
    rates = sorted(set(rate or thirds(float(finetune["learning_rate"]))))
    counts = sorted(set(steps or [max(1, int(finetune["steps"]) // 2), int(finetune["steps"])]))
    check(rates, counts)
    with alone():
        found = tried(rates, counts)
    best = pick(found, limit)
    (FOLDER / "index.html").write_text(page(found, best, limit), encoding="utf-8")
    if json:
        rows = [one._asdict() for one in found]
        print_json({"trials": rows, "pick": best and best.name, "limit": limit, "page": str(FOLDER / "index.html")})
    else:
        console().print(table(found, best), advice(best, limit), f"The curve: {FOLDER / 'index.html'}", sep="\n\n")


@contextmanager
def alone() -> Iterator[None]:
    """Keep another `lethe tune` out of the folder. Raises StageError if one is there already."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    lock = FileLock(FOLDER / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise StageError(f"{FOLDER}: another `lethe tune` is running here; wait for it or stop it") from None
    try:
        yield
    finally:
        lock.release()


def thirds(rate: float) -> list[float]:
    """A third of a learning rate, the rate, and three times it, to two digits."""
    return [float(f"{rate * factor:.1e}") for factor in (1 / 3, 1.0, 3.0)]


def read_text(params: Path) -> str:
    """The params file. Raises StageError if there is none."""
    if not params.exists():
        raise StageError(f"{params}: no such file; expected the project's parameters; run `lethe tune` in its folder")
    return params.read_text(encoding="utf-8")


def check(rates: Sequence[float], counts: Sequence[int]) -> None:
    """Raise StageError for values that no training takes, and where what a training reads is not there yet."""
    for name, values in (("rate", rates), ("steps", counts)):
        for value in values:
            if value <= 0:
                raise StageError(f"--{name}: expected more than 0, got {value:g}")
    needed = [*(Path("data") / name for name in DATA), Path("models/baseline")]
    missing = [str(path) for path in needed if not path.exists()]
    if missing:
        raise StageError(
            f"{missing[0]}: expected the labels and prompts of this project, got no such file; run "
            "`dvc repro label prompt`"
        )


def tried(rates: Sequence[float], counts: Sequence[int]) -> list[Trial]:
    """The baseline, the retrained model where there is one, and a trial of every pair; each is measured once."""
    from tqdm import tqdm

    there = [BEFORE]
    retrained = Path("models/retrained")
    if retrained.exists() and absent_reason(retrained) is None:
        there.append("retrained")
    pairs = [(rate, count) for rate in rates for count in counts]
    measured = read_json(run_trial(FOLDER / BEFORE, {}, ("evaluate",), there) / REPORT)
    before = measured["models"][BEFORE]["retain_perplexity"]
    found = [Trial(name, None, None, numbers_of(measured, name, before)) for name in there]
    for rate, count in tqdm(pairs, desc="tune", unit="training"):
        name = f"rate-{rate:g}-steps-{count}"
        changes = {"learning_rate": rate, "steps": count, "checkpoints": []}
        report = read_json(run_trial(FOLDER / name, changes, ("finetune", "evaluate"), ["unlearned"]) / REPORT)
        found.append(Trial(name, rate, count, numbers_of(report, "unlearned", before)))
    return found


def numbers_of(report: Mapping[str, Any], model: str, before: float | None) -> dict[str, float]:
    """The numbers of a model in reports/familiarity.json. before: the baseline's perplexity of held-out retain text."""
    own = report["models"][model]
    doubled = report["fluency"]["models"].get(model, {}).get("retain_doubled_words")
    perplexity = own["retain_perplexity"]
    numbers = {
        "leak": own["leak"],
        "probability_familiarity": own["probability_familiarity"],
        "retain_perplexity_factor": perplexity / before if perplexity and before else None,
        "retain_doubled_words": doubled and doubled["value"],
    }
    return {name: round(value, 6) for name, value in numbers.items() if value is not None}


def run_trial(folder: Path, changes: Mapping[str, Any], stages: Sequence[str], models: Sequence[str]) -> Path:
    """Run stages in a folder of their own, unless it holds their result; returns the folder.

    changes: to the section finetune. models: those that evaluate measures. Only reports are kept of it, no weights.
    """
    text = trial_params(changes, models)
    key = hashlib.sha256(json.dumps([text, *(file_sha256(Path("data") / name) for name in DATA)]).encode()).hexdigest()
    if (folder / KEY).exists() and (folder / KEY).read_text(encoding="utf-8") == key:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    for place in ("data", "models", "reports"):
        (folder / place).mkdir(parents=True)
    (folder / PARAMS.name).write_text(text, encoding="utf-8")
    linked = [*CODE, *(f"data/{name}" for name in DATA), "models/baseline", "models/retrained"]
    for name in linked:
        if Path(name).exists():
            (folder / name).symlink_to(Path(name).resolve())
    (folder / "models/unlearned").symlink_to("suppressed")
    for stage in stages:
        run_stage(stage, folder)
    for place in ("models", "data"):
        shutil.rmtree(folder / place)
    (folder / KEY).write_text(key, encoding="utf-8")
    return folder


def trial_params(changes: Mapping[str, Any], models: Sequence[str]) -> str:
    """params.yaml with these values in finetune, and evaluate on the development prompts, judged by the rule."""
    content = round_trip().load(read_text(PARAMS))
    for section, values in {
        "finetune": changes,
        "evaluate": {"models": list(models), "set": "development", "judge": "rule"},
    }.items():
        for key, value in values.items():
            put(content[section], key, value)
    return dumped(content)


def run_stage(stage: str, folder: Path) -> None:
    """Run a stage in the folder. Raises StageError with its own last line if it fails."""
    own = f"{folder.resolve()}{os.pathsep}{os.environ.get('PYTHONPATH', '')}".rstrip(os.pathsep)
    done = subprocess.run(
        [sys.executable, "-m", "lethe.launch", f"stages.{stage}"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": own, "TQDM_DISABLE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1].removeprefix("error: ")
        raise StageError(f"{folder}: {stage} ended with exit code {done.returncode}: {said}")


def front(found: Sequence[Trial]) -> list[Trial]:
    """The trials than which no other has both less leak and less perplexity of retain text, or one of them less."""
    points = {one.name: place(one) for one in found if one.rate is not None}

    def beaten(own: tuple[float, float]) -> bool:
        return any(other != own and other[0] <= own[0] and other[1] <= own[1] for other in points.values())

    return [one for one in found if one.name in points and not beaten(points[one.name])]


def place(one: Trial) -> tuple[float, float]:
    """Leak and perplexity of retain text of a trial; what was not measured counts as 0."""
    return one.numbers.get("leak", 0.0), one.numbers.get("retain_perplexity_factor", 0.0)


def pick(found: Sequence[Trial], limit: float | None) -> Trial | None:
    """The trial with the least leak whose perplexity of retain text is within the gate's limit; None if none is."""
    within = [one for one in front(found) if limit is None or place(one)[1] <= limit]
    return min(within, key=place, default=None)


def advice(best: Trial | None, limit: float | None) -> str:
    """The line that sets the picked trial's values."""
    if best is None:
        return f"No trial keeps retain perplexity within {limit:g} of the baseline's; try lower rates or fewer steps."
    within = "" if limit is None else f" with retain perplexity within the gate's {limit:g}"
    return f"The least leak{within}: dvc exp run -S finetune.learning_rate={best.rate:g} -S finetune.steps={best.steps}"


def table(found: Sequence[Trial], best: Trial | None) -> Table:
    """A row per trial; those on the trade-off curve and the picked one say so."""
    from rich import box
    from rich.table import Table

    made = Table("", box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("learning rate", "steps", *METRICS.values()):
        made.add_column(title, justify="right")
    made.add_column("")
    for name, cells, note in rows_of(found, best):
        made.add_row(name, *cells, note)
    return made


def rows_of(found: Sequence[Trial], best: Trial | None) -> list[tuple[str, list[str], str]]:
    """(name of a model that was there, cells, note) of every trial."""
    good = {one.name for one in front(found)}
    rows = []
    for one in found:
        name = "" if one.rate is not None else one.name
        cells = [f"{one.rate:g}", str(one.steps)] if one.rate is not None else ["", ""]
        cells += [f"{one.numbers[metric]:.3f}" if metric in one.numbers else "" for metric in METRICS]
        note = "picked" if best and one.name == best.name else "on the curve" if one.name in good else ""
        rows.append((name, cells, note))
    return rows


def page(found: Sequence[Trial], best: Trial | None, limit: float | None) -> str:
    """The table and the curve as a page: leak against perplexity, a line for each learning rate."""
    from lethe.report.charts import Line, drawing
    from lethe.report.html import render

    rates = sorted({one.rate for one in found if one.rate is not None})
    lines = [
        Line(f"rate {rate:g}", [place(one)[::-1] for one in found if one.rate == rate])  # in the order of the steps
        for rate in rates
    ]
    levels = {one.name: place(one) for one in found if one.rate is None}
    svg = drawing("leak", (6.4, 3.6), lambda axes: draw(axes, lines, levels))
    titles = ["", "learning rate", "steps", *METRICS.values(), ""]
    rows = [[name, *cells, note] for name, cells, note in rows_of(found, best)]
    return render(TEMPLATE, charts={"curve": svg}, titles=titles, rows=rows, advice=advice(best, limit))


def draw(axes: Any, lines: Sequence[Any], levels: Mapping[str, tuple[float, float]]) -> None:
    """Points of leak against the ratio of perplexity, those of one rate joined; models by their marks."""
    from lethe.gate.model_catalogue import MODELS
    from lethe.report.charts import COLOURS, INK, OF_MODEL

    for number, line in enumerate(lines):
        xs, ys = zip(*line.points, strict=True)
        axes.plot(xs, ys, "-o", color=COLOURS[number % len(COLOURS)], markersize=4, linewidth=1.3, label=line.name)
    for name, (leak, factor) in levels.items():
        own = MODELS[name]
        axes.plot([factor], [leak], own.marker, color=OF_MODEL[name], markersize=own.points, label=name)
    axes.set_xlabel("perplexity of held-out retain text, ratio to the baseline's")
    axes.set_ylabel("leak, development prompts")
    axes.grid(color=INK, alpha=0.12, linewidth=0.6)
    axes.legend(frameon=False, fontsize=8, loc="best")
