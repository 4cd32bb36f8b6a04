"""The `lethe` command: what there is to do beside `dvc repro`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lethe import audit, certify, compare, doctor, gc, purge, replay, requests, trace, verify

if TYPE_CHECKING:
    from rich.table import Table

    from stages.lib.steps import Bar, Row

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", pretty_exceptions_enable=False)


@app.callback()
def lethe() -> None:
    """Make a language model forget a corpus, and prove what was done.

    The work itself is a DVC pipeline: **dvc repro** runs it, **params.yaml** holds every knob.

    Exit codes: **0** yes, done; **1** the question cannot be answered, and one line says what to change;
    **2** wrong usage; **3** it was answered, and the answer is no (nothing matches, something differs).
    """


@app.command()
def check(
    params: Annotated[
        Path, typer.Argument(help="The params file; a preset can be checked before it is copied.")
    ] = Path("params.yaml"),
) -> None:
    """Validate all of params.yaml before the first stage runs.

    Unknown, missing and ill-typed parameters, sections that contradict each other, input files, keys, GPU and disk
    space: every problem is named at once, one line each, and the exit code is 1.
    """
    from lethe.check import check as check_params

    print(check_params(params))


@app.command()
def result(
    json: Annotated[bool, typer.Option("--json", help="The same as JSON, for a program.")] = False,
) -> None:
    """Show what the last run measured: the step table, and whether the model forgot enough and kept the rest."""
    from stages.lib.steps import bars, step_rows
    from stages.lib.tables import read_json

    familiarity, benchmarks = (read_json(Path(f"reports/{name}.json")) for name in ("familiarity", "benchmarks"))
    rows = step_rows(familiarity, benchmarks, read_json(Path("reports/finetune.json"))["steps"])
    demands = bars(familiarity, rows)
    if json:
        print(as_json(rows, demands))
    else:
        show(rows, demands)


def as_json(rows: list[Row], demands: list[Bar]) -> str:
    """The step table and the bars as one JSON object."""
    from json import dumps

    content: dict[str, Any] = {
        "steps": rows,
        "bars": [bar._asdict() for bar in demands],
        "report": "reports/index.html",
    }
    return dumps(content, indent=2)


def show(rows: list[Row], demands: list[Bar]) -> None:
    """Print both tables and where the report lies."""
    from rich.console import Console

    # a file or a pipe has no width: nothing is wrapped or cut there
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 250)
    console.print(step_table(rows), bar_table(demands), "The report: reports/index.html", sep="\n\n")


def step_table(rows: list[Row]) -> Table:
    """The step table as the paper prints it."""
    from rich import box
    from rich.table import Table

    from stages.lib.steps import turned

    titles, lines = turned(rows)
    table = Table("", box=box.SIMPLE_HEAD, pad_edge=False)
    for title in titles:
        table.add_column(title, justify="right")
    for name, cells in lines:
        table.add_row(name, *cells)
    return table


def bar_table(demands: list[Bar]) -> Table:
    """What is demanded, what was found, and the word for it."""
    from rich import box
    from rich.table import Table

    table = Table("demand", box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("at most", "found", ""):
        table.add_column(title, justify="right" if title else "left")
    words = {True: "[green]pass[/]", False: "[red]miss[/]"}
    for bar in demands:
        found = "" if bar.value is None else f"{bar.value:.3f}"
        word = words[bar.met] if bar.met is not None else f"not measurable: {bar.reason}"
        table.add_row(bar.name, f"{bar.most:.2f}", found, word)
    return table


# A command lives in the module of its name, as a function `command`; a line here is all it needs.
app.command("audit")(audit.command)
app.command("trace")(trace.command)
app.command("certify")(certify.command)
app.command("verify")(verify.command)
app.command("compare")(compare.command)
app.command("doctor")(doctor.command)
app.command("replay")(replay.command)
app.command("purge")(purge.command)
app.command("gc", context_settings=gc.SETTINGS)(gc.command)
app.add_typer(requests.app, name="requests")


def main() -> None:
    """The command line; what the user can fix is one line and exit code 1."""
    try:
        app()
    except Exception as error:
        from stages.lib.errors import StageError  # only now: `lethe verify` imports nothing of stages

        if not isinstance(error, StageError):
            raise
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
