"""`lethe tune`: values of the fine-tune or of distillation, tried on the development prompts beside the pipeline."""

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
from lethe.core.hashing import file_sha256, path_sha256
from lethe.core.tables import read_json
from lethe.models.checkpoints import absent_reason
from lethe.preflight.presets import dumped, put, round_trip

if TYPE_CHECKING:
    from rich.table import Table

FOLDER = Path(".scratch/tune")
PARAMS = Path("params.yaml")
CODE = ("dvc.yaml", "constraints.txt", "lethe", "stages")  # of the project, where it has its own
EVALUATED = ("corpus.parquet", "prompts.jsonl", "names.csv")  # what evaluate reads
REPORT, KEY = "reports/familiarity.json", "key"
TEMPLATE = Path(__file__).with_name("tune.html.j2")
METRICS = {  # of the page's and the terminal's table, in their order
    "leak": "leak",
    "probability_familiarity": "probability",
    "retain_perplexity_factor": "retain perplexity, ratio",
    "retain_doubled_words": "doubled words",
}
BEFORE = "baseline"
TITLES = {"noise": "noise", "learning_rate": "learning rate", "steps": "steps"}  # of a trial's values, in their order


class Trial(NamedTuple):
    """One training, or a model that is there already.

    values: of the stage's section, by name; {} of a model that was there. numbers: by the names of METRICS, without
    what has no value.
    """

    name: str
    values: dict[str, float]
    numbers: dict[str, float]


class Stage(NamedTuple):
    """A stage whose values are tried: what it reads, what writes that, and the model that is there before it."""

    data: tuple[str, ...]
    models: tuple[str, ...]
    made_by: str
    before: str | None  # its own start, measured beside the baseline


STAGES = {
    "finetune": Stage(("labels.parquet", "dictionary.csv", *EVALUATED), ("baseline",), "label prompt", None),
    "distil": Stage(
        ("blocks.parquet", "dictionary.csv", "dropped.csv", *EVALUATED),
        ("baseline", "reinforced", "suppressed"),
        "finetune prompt",
        "suppressed",
    ),
}


def command(
    stage: Annotated[str, typer.Argument(help="The stage: finetune or distil.")] = "finetune",
    rate: Annotated[
        list[float] | None,
        typer.Option(help="A learning rate; once for each. Default: of finetune a third of it, it, 3 times it."),
    ] = None,
    steps: Annotated[
        list[int] | None,
        typer.Option(help="A number of steps; once for each. Default: it, and of finetune half of it too."),
    ] = None,
    noise: Annotated[
        list[float] | None,
        typer.Option(
            help="A share of other weights, of distil; once for each. Default: a third of it, two thirds, it."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Try values of **finetune** or **distil** on the development prompts, and show what each gains and costs.

    Learning rates and steps of finetune; noise, steps and learning rates of distil, which starts from
    models/suppressed. Every combination is a whole training, as `dvc repro` would do it with these values, and a
    measurement of it. They run beside the pipeline, in .scratch/tune; what was tried with the same inputs and
    parameters is not run again. params.yaml stays as it is: the line to set is printed. Draws the curve on
    .scratch/tune/index.html.
    """
    content = round_trip().load(read_text(PARAMS))
    if stage not in STAGES:
        raise StageError(f"stage: expected {' or '.join(STAGES)}, got {stage}")
    if noise and stage != "distil":
        raise StageError(f"--noise: expected the stage distil, which adds it, got {stage}")
    limit = content["report"]["gate"]["retain_perplexity"]
    values = combinations(stage, content[stage], rate, steps, noise)
    check(stage, values)
    with alone():
        found = tried(stage, values)
    best = pick(found, limit)
    (FOLDER / "index.html").write_text(page(stage, found, best, limit), encoding="utf-8")
    if json:
        rows = [one._asdict() for one in found]
        print_json({"trials": rows, "pick": best and best.name, "limit": limit, "page": str(FOLDER / "index.html")})
    else:
        said = advice(stage, best, limit), f"The curve: {FOLDER / 'index.html'}"
        console().print(table(found, best), *said, sep="\n\n")


def combinations(
    stage: str,
    own: Mapping[str, Any],
    rates: Sequence[float] | None,
    steps: Sequence[int] | None,
    noises: Sequence[float] | None,
) -> list[dict[str, float]]:
    """Every combination of the values to try, those of the options or some around the section's own."""
    counts = sorted(set(steps or ([int(own["steps"])] if stage == "distil" else halves(int(own["steps"])))))
    if stage == "finetune":
        rates = sorted(set(rates or thirds(float(own["learning_rate"]))))
        return [{"learning_rate": rate, "steps": count} for rate in rates for count in counts]
    rates = sorted(set(rates or [float(own["learning_rate"])]))
    shares = sorted(set(noises or [float(f"{own['noise'] * share / 3:.2g}") for share in (1, 2, 3)]))
    return [
        {"noise": share, "learning_rate": rate, "steps": count}
        for share in shares
        for rate in rates
        for count in counts
    ]


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


def halves(count: int) -> list[int]:
    """Half of a number of steps, at least one, and the number."""
    return [max(1, count // 2), count]


def read_text(params: Path) -> str:
    """The params file. Raises StageError if there is none."""
    if not params.exists():
        raise StageError(f"{params}: no such file; expected the project's parameters; run `lethe tune` in its folder")
    return params.read_text(encoding="utf-8")


def check(stage: str, combined: Sequence[Mapping[str, float]]) -> None:
    """Raise StageError for values that no training takes, and where what a training reads is not there yet."""
    for name, option in (("learning_rate", "rate"), ("steps", "steps")):
        for values in combined:
            if values[name] <= 0:
                raise StageError(f"--{option}: expected more than 0, got {values[name]:g}")
    for values in combined:
        if not 0 <= values.get("noise", 0) <= 1:
            raise StageError(f"--noise: expected from 0 to 1, got {values['noise']:g}")
    own = STAGES[stage]
    needed = [*(Path("data") / name for name in own.data), *(Path("models") / name for name in own.models)]
    missing = [str(path) for path in needed if not path.exists()]
    if missing:
        raise StageError(
            f"{missing[0]}: expected what {stage} and evaluate of this project read, got no such file; run "
            f"`dvc repro {own.made_by}`"
        )


def tried(stage: str, combined: Sequence[Mapping[str, float]]) -> list[Trial]:
    """The models that are there and a trial of every combination; each is measured once.

    There are the baseline, the retrained model if it was trained, and what the stage starts from.
    """
    from tqdm import tqdm

    there, own = [BEFORE], STAGES[stage]
    retrained = Path("models/retrained")
    if retrained.exists() and absent_reason(retrained) is None:
        there.append("retrained")
    shown = dict(zip(there, there, strict=True)) | ({"unlearned": own.before} if own.before else {})
    measured = read_json(run_trial(stage, BEFORE, {}, ("evaluate",), list(shown)) / REPORT)
    before = measured["models"][BEFORE]["retain_perplexity"]
    found = [Trial(name, {}, numbers_of(measured, model, before)) for model, name in shown.items()]
    for values in tqdm(combined, desc="tune", unit="training"):
        name = "-".join(f"{TITLES[key].rpartition(' ')[2]}-{value:g}" for key, value in values.items())
        report = read_json(run_trial(stage, name, values, (stage, "evaluate"), ["unlearned"]) / REPORT)
        found.append(Trial(name, dict(values), numbers_of(report, "unlearned", before)))
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


def run_trial(stage: str, name: str, values: Mapping[str, float], stages: Sequence[str], models: Sequence[str]) -> Path:
    """Run stages in a folder of their own, unless it holds their result; returns the folder.

    values: of the stage that is tuned. models: those that evaluate measures; the unlearned one is what the stage makes,
    or its start where it does not run. Only reports are kept of it, no weights.
    """
    own, folder = STAGES[stage], FOLDER / (name if stage == "finetune" else f"{stage}-{name}")
    text = trial_params(stage, values, models)
    read = [file_sha256(Path("data") / each) for each in own.data]
    read += [path_sha256(Path("models") / own.before)] if own.before else []  # labels tell of all before the fine-tune
    key = hashlib.sha256(json.dumps([text, *read]).encode()).hexdigest()
    if (folder / KEY).exists() and (folder / KEY).read_text(encoding="utf-8") == key:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    for place in ("data", "models", "reports"):
        (folder / place).mkdir(parents=True)
    (folder / PARAMS.name).write_text(text, encoding="utf-8")
    weights = [f"models/{each}" for each in (*own.models, "retrained")]
    for each in [*CODE, *(f"data/{each}" for each in own.data), *weights]:
        if Path(each).exists():
            (folder / each).symlink_to(Path(each).resolve())
    if stage not in stages or stage == "finetune":
        (folder / "models/unlearned").symlink_to("suppressed")
    for each in stages:
        run_stage(each, folder)
    for place in ("models", "data"):
        shutil.rmtree(folder / place)
    (folder / KEY).write_text(key, encoding="utf-8")
    return folder


def trial_params(stage: str, values: Mapping[str, float], models: Sequence[str]) -> str:
    """params.yaml with these values in the stage's section, and evaluate on the development prompts, by the rule."""
    content = round_trip().load(read_text(PARAMS))
    own: dict[str, Any] = {**values, "checkpoints": []} if stage == "finetune" and values else dict(values)
    for section, changes in {
        stage: own,
        "evaluate": {"models": list(models), "set": "development", "judge": "rule"},
    }.items():
        for key, value in changes.items():
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
    points = {one.name: place(one) for one in found if one.values}

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


def advice(stage: str, best: Trial | None, limit: float | None) -> str:
    """The line that sets the picked trial's values."""
    if best is None:
        gentler = "lower rates or fewer steps" if stage == "finetune" else "less noise, or more steps"
        return f"No trial keeps retain perplexity within {limit:g} of the baseline's; try {gentler}."
    within = "" if limit is None else f" with retain perplexity within the gate's {limit:g}"
    settings = " ".join(f"-S {stage}.{name}={said(value)}" for name, value in best.values.items())
    return f"The least leak{within}: dvc exp run {settings}"


def said(value: float) -> str:
    """A value as params.yaml has it: a count in full."""
    return str(value) if isinstance(value, int) else f"{value:g}"


def table(found: Sequence[Trial], best: Trial | None) -> Table:
    """A row per trial; those on the trade-off curve and the picked one say so."""
    from rich import box
    from rich.table import Table

    made = Table("", box=box.SIMPLE_HEAD, pad_edge=False)
    for title in (*titles_of(found), *METRICS.values()):
        made.add_column(title, justify="right")
    made.add_column("")
    for name, cells, note in rows_of(found, best):
        made.add_row(name, *cells, note)
    return made


def titles_of(found: Sequence[Trial]) -> list[str]:
    """The titles of the columns of the trials' values."""
    return [TITLES[name] for name in next((one.values for one in found if one.values), {})]


def rows_of(found: Sequence[Trial], best: Trial | None) -> list[tuple[str, list[str], str]]:
    """(name of a model that was there, cells, note) of every trial."""
    good, empty = {one.name for one in front(found)}, [""] * len(titles_of(found))
    rows = []
    for one in found:
        cells = [said(value) for value in one.values.values()] or empty
        cells = cells + [f"{one.numbers[metric]:.3f}" if metric in one.numbers else "" for metric in METRICS]
        note = "picked" if best and one.name == best.name else "on the curve" if one.name in good else ""
        rows.append(("" if one.values else one.name, cells, note))
    return rows


def page(stage: str, found: Sequence[Trial], best: Trial | None, limit: float | None) -> str:
    """The table and the curve as a page: leak against perplexity; a line joins trials of the same first value."""
    from lethe.report.charts import Line, drawing
    from lethe.report.html import render

    lines = [Line(name, [place(one)[::-1] for one in joined]) for name, joined in curves(found).items()]
    levels = {one.name: place(one) for one in found if not one.values}
    svg = drawing("leak", (6.4, 3.6), lambda axes: draw(axes, lines, levels))
    titles = ["", *titles_of(found), *METRICS.values(), ""]
    rows = [[name, *cells, note] for name, cells, note in rows_of(found, best)]
    facts = {"stage": stage, "names": titles_of(found)}
    return render(TEMPLATE, charts={"curve": svg}, titles=titles, rows=rows, advice=advice(stage, best, limit), **facts)


def curves(found: Sequence[Trial]) -> dict[str, list[Trial]]:
    """The trials that a line joins, in the order of their steps, or of the first value where all have as many steps."""
    trials = [one for one in found if one.values]
    several = len({one.values["steps"] for one in trials}) > 1
    joined: dict[str, list[Trial]] = {}
    for one in trials:
        first, *_, last = one.values
        name = first if several else last
        joined.setdefault(f"{TITLES[name]} {said(one.values[name])}", []).append(one)
    return joined


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
