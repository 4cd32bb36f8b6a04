"""The commands of `lethe`, which complement `dvc repro`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lethe.app import command as web_app
from lethe.cli import card, compare, dataset, gguf, page, review, tune
from lethe.cli import main as cli
from lethe.custody import revoke, timestamp
from lethe.erasure import gc, purge, requests
from lethe.preflight import doctor, pin, presets, repro
from lethe.provenance import audit, replay, trace
from lethe.provenance import certificate as certify

if TYPE_CHECKING:
    from rich.table import Table

    from lethe.report.step_table import Row

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", pretty_exceptions_enable=False)


def print_version(asked: bool) -> None:
    """Print lethe's name and version and exit, if asked."""
    if asked:
        from importlib.metadata import version

        print(f"lethe {version('lethe-unlearning')}")
        raise typer.Exit


@app.callback()
def lethe(
    _: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Make a language model forget a corpus, measure what it still knows, and record what was done.

    The work itself is a DVC pipeline: **dvc repro** runs it, **params.yaml** holds every parameter.

    Exit codes: **0** success; **1** an error, with one line that says what to change; **2** wrong usage;
    **3** the answer is no (nothing matches, something differs).
    """


@app.command()
def check(
    params: Annotated[Path, typer.Argument(help="The params file, or a preset to check before using it.")] = Path(
        "params.yaml"
    ),
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
) -> None:
    """Validate all of params.yaml before the first stage runs.

    Unknown, missing and wrongly typed parameters, sections that contradict each other, input files, keys, GPU and disk
    space: all problems are printed, one line each, and the exit code is 1. A line says of every language of the forget
    text what the local backends cannot do.
    """
    from lethe.preflight.check import check as check_params
    from lethe.preflight.check import problems_of, remarks_of

    if json:
        problems = problems_of(params)
        remarks = [] if problems else remarks_of(params)
        print(as_json({"params": str(params), "problems": problems, "remarks": remarks}))
        raise typer.Exit(1 if problems else 0)
    print(check_params(params))


@app.command()
def result(
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
) -> None:
    """Show the results in reports/: the step table, the release gate, and whether they are this checkout's."""
    from lethe.cli.gate import as_dict, judge, table
    from lethe.core.tables import read_json
    from lethe.gate.criteria import sentence
    from lethe.report.step_table import step_rows
    from lethe.running.whose import of_checkout

    familiarity, benchmarks = (read_json(Path(f"reports/{name}.json")) for name in ("familiarity", "benchmarks"))
    finetune, distil = (read_json(Path(f"reports/{name}.json"))["steps"] for name in ("finetune", "distil"))
    rows = step_rows(familiarity, benchmarks, finetune, distil)
    criteria = judge(Path("params.yaml"), Path("reports"))
    whose, page = of_checkout(), Path("reports/index.html")
    if json:
        print(as_json({"steps": rows} | as_dict(criteria) | {"report": str(page), "checkout": whose._asdict()}))
        return
    there = f"The report: {page}" if page.exists() else f"The report {page} is not here; `lethe repro` writes it"
    show(step_table(rows), table(criteria), sentence(criteria), f"{whose.sentence()}\n{there}")


@app.command()
def gate(
    ref: Annotated[
        str, typer.Option(help="Judge a branch, tag, commit or experiment by its own reports and thresholds.")
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
) -> None:
    """Apply the release gate to the last run: the thresholds of `report.gate` in params.yaml.

    Reads reports/*.json, runs nothing, and names the commit that holds them. Exit code **0**: every criterion is met.
    **3**: one is missed. **1**: none is missed, but one could not be measured, or a report is missing or is not the one
    that dvc.lock records.
    """
    from lethe.cli.gate import as_dict, judge_here, judge_ref, table
    from lethe.core.errors import StageError
    from lethe.gate.criteria import EXIT_CODES, sentence, status

    try:
        criteria, of = judge_ref(ref) if ref else judge_here(Path("params.yaml"), Path("reports"))
    except StageError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(EXIT_CODES["cannot tell"]) from None
    if json:
        print(as_json(as_dict(criteria) | {"of": of}))
    else:
        show(table(criteria), *([of] if of else []), sentence(criteria))
    raise typer.Exit(EXIT_CODES[status(criteria)])


@app.command()
def cost(
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
) -> None:
    """Show what each stage cost when it last ran here: seconds, peak memory and tokens per second.

    Also writes the page .scratch/cost/index.html, which is not an artifact: the same inputs take different times.
    """
    from lethe.cli.cost import FOLDER, as_dict, costs, page, table

    found = costs(Path("dvc.yaml"), FOLDER)
    (FOLDER / "index.html").write_text(page(found), encoding="utf-8")
    if json:
        print(as_json(as_dict(found)))
    else:
        show(table(found), f"As a page: {FOLDER / 'index.html'}")


def as_json(content: dict[str, Any]) -> str:
    """One JSON object."""
    from json import dumps

    return dumps(content, indent=2)


def show(*parts: Table | str) -> None:
    """Print tables and sentences, a blank line between them."""
    from rich.console import Console

    # a file or a pipe has no width: nothing is wrapped or cut there
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 250)
    console.print(*parts, sep="\n\n")


def step_table(rows: list[Row]) -> Table:
    """The step table as the paper prints it."""
    from rich import box
    from rich.table import Table

    from lethe.console import titled
    from lethe.report.step_table import transposed

    titles, lines = transposed(rows)
    table = Table("", box=box.SIMPLE_HEAD, pad_edge=False)
    for title in titles:
        table.add_column(titled(title), justify="right")
    for name, cells in lines:
        table.add_row(name, *cells)
    return table


# A command lives in the module of its name, as a function `command`; a line here is all it needs.
app.command("repro", context_settings=repro.SETTINGS)(repro.command)
app.command("audit")(audit.command)
app.command("trace")(trace.command)
app.command("certify")(certify.command)
app.command("verify")(cli.verify)
app.command("revoke")(revoke.command)
app.command("timestamp")(timestamp.command)
app.command("card")(card.command)
app.command("page")(page.command)
app.command("gguf")(gguf.command)
app.command("compare")(compare.command)
app.command("app")(web_app.command)
app.command("tune")(tune.command)
app.command("review")(review.command)
app.command("doctor")(doctor.command)
app.command("preset")(presets.command)
app.command("pin")(pin.command)
app.command("dataset")(dataset.command)
app.command("replay")(replay.command)
app.command("purge")(purge.command)
app.command("gc", context_settings=gc.SETTINGS)(gc.command)
app.add_typer(requests.app, name="requests")
