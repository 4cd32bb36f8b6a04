"""Where `lethe` begins. `lethe verify` needs a certificate, a key and a model, and loads no other command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lethe.console import Json


def verify(
    certificate: Annotated[Path, typer.Argument(help="What `lethe certify` wrote.")],
    model: Annotated[Path, typer.Argument(help="The model folder, or one file of it.")],
    key: Annotated[Path, typer.Option(help="The public key of who signed it.")] = Path("lethe.pub"),
    json: Json = False,
) -> None:
    """Check a CERTIFICATE against a MODEL, with the public --key of who signed it.

    Needs nothing but these three: no project, no network. Exit code **0**: it holds. **1**: there is nothing to check.
    **3**: something does not hold, and where.
    """
    from lethe.provenance.verify import answer

    raise typer.Exit(answer(certificate, model, key, as_json=json))


def main() -> None:
    """The command line; what the user can fix is one line and exit code 1."""
    if sys.argv[1:2] == ["verify"]:
        alone = typer.Typer(rich_markup_mode="markdown", pretty_exceptions_enable=False, add_completion=False)
        alone.command()(verify)
        alone(sys.argv[2:], prog_name="lethe verify")
    from lethe.cli.commands import app
    from lethe.core.errors import StageError

    try:
        app()
    except StageError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
