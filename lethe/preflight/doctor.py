"""Environment, disk, memory, what a run will take, and every problem, before anything runs."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lethe.console import Json, console, end, print_json
from lethe.core.errors import StageError
from lethe.gate.metric_catalogue import size

if TYPE_CHECKING:
    from rich.table import Table

    from lethe.preflight.memory import Cards

DISTRIBUTION = "lethe-unlearning"  # the name of lethe's distribution
PARAMS = Path("params.yaml")
PYTHON = (3, 11)
NEEDED = (  # sections, for an estimate
    "corpus", "baseline", "retrain", "block", "reinforce", "extract", "translate", "label", "finetune", "distil",
    "prompt", "evaluate", "benchmark", "measure", "term", "attack",
)  # fmt: skip


def command(
    params: Annotated[Path, typer.Argument(help="The params file, or a preset.")] = PARAMS,
    cards: Annotated[
        int | None, typer.Option(min=1, help="Plan memory for this many GPUs instead of this machine.")
    ] = None,
    card: Annotated[float, typer.Option(min=1, metavar="GB", help="Memory of each GPU of --cards, in GB.")] = 80.0,
    model: Annotated[
        Path | None,
        typer.Option(
            help="Check the model in this folder and plan for it: its files, whether every kind of training and "
            "evaluation works with its architecture, memory and time. For a plan its config.json is enough."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Show the environment, what a run with these params will take, and every problem. Nothing is changed.

    Several GPUs are assumed to share the weights (FSDP). Exit code 3 if there is a problem; notes are only for
    information.
    """
    from lethe.preflight.memory import Cards

    found = examined(params, Cards(cards, card * 1e9, cards > 1) if cards else None, model)
    if json:
        print_json(found)
    else:
        show(found)
    end(not found["problems"])


def examined(params: Path, cards: Cards | None = None, model: Path | None = None) -> dict[str, Any]:
    """All findings. cards, model: what memory is planned for; None: this machine, the params' model."""
    from lethe.core.params import read_yaml
    from lethe.core.whole_params import validated
    from lethe.preflight.check import contradictions, missing_inputs
    from lethe.preflight.presets import read_whole

    pipeline, values = read_yaml(Path("dvc.yaml"))["stages"], read_whole(params)
    sections, problems = validated(pipeline, values)
    problems += [*missing_inputs(pipeline, values), *contradictions(sections)]
    problems = [f"{params}: {problem}" for problem in problems]
    dvc = settings()
    problems += [*wrong_packages(Path("constraints.txt")), *wrong_storage(dvc), *wrong_launcher(sections)]
    machine = this_machine()
    planned = cards or cards_of(machine)
    run = run_estimate(sections, planned, model) if all(name in sections for name in NEEDED) else None
    problems += too_large(run, planned)
    found = {"environment": environment(), "machine": machine, "run": run}
    told = [*notes(machine, dvc)]
    if model:
        from lethe.preflight.own_model import examined_model

        report = examined_model(model, sections.get("finetune"), machine["free_memory"])
        problems, told = [*report.problems, *problems], [*report.notes, *told]
        found["model"] = {"folder": str(model), "checks": report.checks}
    return found | {"notes": told, "problems": problems}


# What there is


def environment() -> dict[str, str]:
    """Versions of Python and the main packages."""
    names = ("lethe", "torch", "transformers", "accelerate", "peft", "dvc")
    return {"python": platform.python_version()} | {name: version(name) or "not installed" for name in names}


def version(package: str) -> str | None:
    """The installed version of a package, None if there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def this_machine() -> dict[str, Any]:
    """Cores, memory, disk and GPUs; bytes."""
    import psutil
    import torch

    gpus = []
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        gpus.append({"name": torch.cuda.get_device_name(index), "memory": total, "free": free})
    memory = psutil.virtual_memory()
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory": memory.total,
        "free_memory": memory.available,
        "free_disk": shutil.disk_usage(".").free,
        "gpus": gpus,
    }


def notes(machine: Mapping[str, Any], dvc: Mapping[str, Any]) -> Iterator[str]:
    """What is worth knowing but not a problem."""
    yield from uncommitted()
    yield from (f"{stage}: a process is running this stage" for stage in stages_at_work())
    if not machine["gpus"] and Path("/proc/driver/nvidia").exists():
        yield "GPU: the machine has one, but this torch was built without CUDA or cannot use it"
    if not dvc["remote"]:
        yield "remote: none; this disk holds the only copy of every artifact; dvc remote add -d NAME URL"
    yield from other_load(machine["cores"])


def other_load(cores: int) -> Iterator[str]:
    """Whether other processes want these cores, so that the estimated times are longer than on an idle machine."""
    waiting = os.getloadavg()[0]
    if waiting > cores:
        yield (
            f"load: {waiting:.0f} processes want {cores} {'core' if cores == 1 else 'cores'}; "
            "the times are those of a machine as busy as that"
        )


def uncommitted() -> Iterator[str]:
    """Whether dvc.lock, code or params differ from the last commit: audit reads only commits."""
    import subprocess

    done = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True)
    if done.returncode:
        yield "git: not a repository; audit, trace and replay need its history"
    elif done.stdout.strip():
        yield f"git: {len(done.stdout.splitlines())} files differ from the last commit; audit reads only commits"


def stages_at_work() -> Iterator[str]:
    """The stages that a process is running now."""
    from filelock import FileLock, Timeout

    for path in sorted(Path(".scratch").glob("*/lock")):
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield path.parent.name
        else:
            lock.release()


# What is wrong


def wrong_packages(constraints: Path) -> Iterator[str]:
    """A line for Python, for each required package that is missing, and for each that differs from its pin."""
    if sys.version_info < PYTHON:
        yield f"python: expected {'.'.join(map(str, PYTHON))} or newer, got {platform.python_version()}"
    if not constraints.exists():
        yield f"{constraints}: no such file; expected the versions that the pipeline was tested with"
        return
    for name in needed(DISTRIBUTION):
        if version(name) is None:
            yield f"{name}: not installed; make setup"
    for name, wanted in pins(constraints.read_text(encoding="utf-8")).items():
        found = version(name)
        if found is not None and found.split("+")[0] != wanted:
            yield f"{name}: expected {wanted}, got {found}; make setup"


def needed(package: str) -> list[str]:
    """The names of the packages that it requires, its extras left out."""
    listed = metadata.requires(package) if version(package) else None
    return [re.split(r"[^\w.-]", line)[0] for line in listed or () if "extra ==" not in line]


def pins(constraints: str) -> dict[str, str]:
    """{package: version} of the lines `package==version`, what follows a + or ; left out."""
    return dict(re.findall(r"^([\w.-]+)==([^\s;+]+)", constraints, re.MULTILINE))


def settings() -> dict[str, Any]:
    """DVC's settings for this project, all files of them together. Raises StageError outside a DVC project."""
    from dvc.config import Config
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo

    try:
        return dict(Config(Repo.find_dvc_dir()))
    except NotDvcRepoError:
        raise StageError(f"{Path.cwd()}: expected a DVC project, got no .dvc folder; git init && dvc init") from None


def wrong_storage(found: Mapping[str, Any]) -> Iterator[str]:
    """A line for each remote that is not verified, and one for a cache that stores everything twice."""
    for name, remote in found["remote"].items():
        if not remote.get("verify"):
            yield (
                f"remote {name}: expected verify true, got false (corrupted files would be pulled without a warning); "
                f"dvc remote modify {name} verify true"
            )
    links = found["cache"].get("type") or ["reflink", "copy"]
    if not {"hardlink", "symlink"} & set(links):
        yield (
            f"cache: expected type hardlink,symlink,copy, got {','.join(links)} (each model takes its disk space "
            "twice); dvc config cache.type hardlink,symlink,copy"
        )


def wrong_launcher(sections: Mapping[str, Any]) -> Iterator[str]:
    """A line for each training whose precision `accelerate config` contradicts."""
    from accelerate.commands.config.config_args import default_config_file, load_config_from_file

    if not Path(default_config_file).exists():
        return
    words = {"float32": "no", "bfloat16": "bf16"}
    configured = str(load_config_from_file(None).mixed_precision).lower()
    for name, section in sections.items():
        wanted = words.get(getattr(section, "precision", ""))
        if hasattr(section, "max_grad_norm") and configured not in ("no", "none", wanted):
            yield (
                f"accelerate config: expected mixed_precision {wanted} for {name}.precision, got {configured}; "
                "run `accelerate config`"
            )


def too_large(run: Mapping[str, Any] | None, cards: Cards) -> Iterator[str]:
    """A line for each stage that does not fit the memory of the device it will run on, not even row by row."""
    kind = {0: "memory", 1: "the GPU"}.get(cards.count, "each GPU")
    for work in run["stages"] if run else ():
        if work["memory"] > cards.memory:
            yield (
                f"{work['stage']}: expected about {size(work['memory'])} free in {kind}, got {size(cards.memory)}; "
                "tuning lora with weights bfloat16 takes a fifth, with nf4 a tenth, a shorter block less; see "
                "presets/README.md for several GPUs"
            )


def cards_of(machine: Mapping[str, Any]) -> Cards:
    """What `device: auto` takes here: the GPUs, or the free memory of the machine."""
    from lethe.preflight.memory import Cards

    gpus = machine["gpus"]
    return Cards(len(gpus), gpus[0]["free"], len(gpus) > 1) if gpus else Cards(0, machine["free_memory"])


# What a run will take


def run_estimate(sections: Mapping[str, Any], cards: Cards, model: Path | None) -> dict[str, Any]:
    """The stages with their work and seconds, or why they are not known yet. Without text there are no seconds."""
    from lethe.evaluation.model_set import dtype_named
    from lethe.models.device import prepare
    from lethe.preflight.estimate import PROCESS, config_of, speed, texts_of
    from lethe.preflight.memory import weight_count
    from lethe.running.workload import resume_bytes, works

    config = config_of(sections["baseline"], model)
    if config is None:
        return {
            "unknown": "the model is not here yet; `dvc repro baseline` fetches it, or use --model",
            "stages": [],
        }
    device = prepare("auto")
    rate = speed(config, device, dtype_named(sections["finetune"].precision))
    texts = texts_of(sections["corpus"])
    process = 0 if cards.count else PROCESS
    stages = [
        work._asdict()
        | {"memory": work.memory + process, "pieces": work.pieces and work.pieces._asdict()}
        | {"seconds": float(f"{work.start + work.operations / rate:.3g}"), "last": last_cost(work.stage)}
        for work in works(sections, config, texts, cards)
    ]
    weights = weight_count(config)
    resuming = resume_bytes(sections, weights)
    return {
        "device": str(device),
        "cards": asdict(cards),
        "operations_per_second": round(rate),
        "weights": weights,
        "forget_tokens": texts.forget,
        "retain_tokens": texts.retain,
        "stages": stages,
        "total": total(stages, resuming),
    }


def total(stages: Sequence[Mapping[str, Any]], resuming: int) -> dict[str, Any]:
    """Seconds and disk of all stages together, the most memory; and the seconds of the last runs here.

    resuming: bytes that the largest training keeps to resume from.
    """
    last = [work["last"]["wall_seconds"] for work in stages if work["last"]]
    return {
        "seconds": float(f"{sum(work['seconds'] for work in stages):.3g}"),
        "memory": max((work["memory"] for work in stages), default=0),
        "disk": sum(work["disk"] for work in stages) + resuming,
        "resuming": resuming,
        "last_seconds": round(sum(last), 2) if last else None,
        "last_stages": len(last),
    }


def planned_seconds(params: Path) -> dict[str, float]:
    """Seconds of each stage by the planner; none where it cannot tell."""
    from lethe.core.params import read_yaml
    from lethe.core.whole_params import validated
    from lethe.preflight.presets import read_whole

    sections, _ = validated(read_yaml(Path("dvc.yaml"))["stages"], read_whole(params))
    if not all(name in sections for name in NEEDED):
        return {}
    run = run_estimate(sections, cards_of(this_machine()), None)
    return {work["stage"]: work["seconds"] for work in run["stages"]}


def last_cost(stage: str) -> dict[str, float] | None:
    """What the stage took the last time it ran here."""
    import json

    path = Path(".scratch/cost") / f"{stage}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


# What is shown


def show(found: Mapping[str, Any]) -> None:
    """Print what was found, problems last."""
    machine, out = found["machine"], console()
    out.print(", ".join(f"{name} {word}" for name, word in found["environment"].items()))
    gpus = ", ".join(f"{gpu['name']} ({size(gpu['free'])} free)" for gpu in machine["gpus"]) or "no GPU"
    room = f"{size(machine['free_memory'])} memory and {size(machine['free_disk'])} disk free"
    out.print(f"{machine['cores']} cores, {gpus}, {room}")
    if found["run"]:
        if found["run"].get("unknown") or found["run"]["forget_tokens"]:
            out.print(found["run"].get("unknown") or run_table(found["run"]))
        if found["run"]["stages"]:
            out.print(memory_table(found["run"]))
    if found.get("model"):
        out.print(model_sentence(**found["model"]), markup=False)
    for note in found["notes"]:
        out.print(f"note: {note}", markup=False)
    for problem in found["problems"]:
        out.print(f"problem: {problem}", markup=False)
    out.print(f"doctor: {len(found['problems'])} problems, {len(found['notes'])} notes")


def model_sentence(folder: str, checks: Mapping[str, tuple[str, str]]) -> str:
    """Which checks a tiny model of the folder's architecture passed."""
    fine = [name for name, (state, _) in checks.items() if state == "ok"]
    return (
        f"model {folder}: a tiny one of its architecture passes {len(fine)} of {len(checks)} checks: "
        f"{', '.join(fine) or 'none'}"
    )


def run_table(run: Mapping[str, Any]) -> Table:
    """A line for each stage, and all of them together."""
    from rich import box
    from rich.table import Table

    title = (
        f"estimate for {run['device']} at {run['operations_per_second'] / 1e9:.1f} billion operations per second, "
        f"{run['weights'] / 1e6:.1f} million weights"
    )
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    for name in ("stage", "tokens", "steps", "memory", "disk", "time", "last run here"):
        table.add_column(name, justify="left" if name == "stage" else "right")
    for work in run["stages"]:
        last = work["last"]
        shown = f"{duration(last['wall_seconds'])}, {last['peak_memory_mib'] / 1024:.1f} GiB" if last else ""
        steps = "" if work["steps"] is None else str(work["steps"])
        tokens = f"{work['tokens']:,}" if work["tokens"] else ""
        disk = size(work["disk"]) if work["disk"] else ""
        table.add_row(work["stage"], tokens, steps, size(work["memory"]), disk, duration(work["seconds"]), shown)
    whole = run["total"]
    last = f"{duration(whole['last_seconds'])} for {whole['last_stages']} stages" if whole["last_stages"] else ""
    table.add_section()
    table.add_row("total", "", "", size(whole["memory"]), size(whole["disk"]), duration(whole["seconds"]), last)
    table.caption = f"memory: the largest; disk: {size(whole['resuming'])} of it only while a training can be resumed"
    table.caption_justify = "left"
    return table


def memory_table(run: Mapping[str, Any]) -> Table:
    """The pieces of each training's memory, on each device."""
    from rich import box
    from rich.table import Table

    from lethe.preflight.estimate import PROCESS

    cards = run["cards"]
    sharing = ", the weights sharded over all of them" if cards["sharded"] else ""
    several = f"each of {cards['count']} GPUs" if cards["count"] > 1 else "a GPU"
    where = (
        f"on {several} of {size(cards['memory'])}{sharing}"
        if cards["count"]
        else f"on the CPU, {size(PROCESS)} for Python included"
    )
    table = Table(
        title=f"memory of a training step, {where}", box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left"
    )
    names = ("weights", "gradients", "moments", "copies", "activations", "head")
    for name in ("stage", *names, "rows at a time", "total"):
        table.add_column(name, justify="left" if name == "stage" else "right")
    for work in run["stages"]:
        if pieces := work["pieces"]:
            rows = f"{pieces['rows']}{', recomputed' if pieces['recomputed'] else ''}"
            table.add_row(work["stage"], *(size(pieces[name]) for name in names), rows, size(work["memory"]))
    return table


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
