"""Entry point of `lethe`. `lethe verify` needs a certificate, a key and a model, and imports no other command."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from lethe.console import Json


def verify(
    certificate: Annotated[Path, typer.Argument(help="A certificate that `lethe certify` wrote.")],
    model: Annotated[Path, typer.Argument(help="The model folder, or one file of it.")],
    key: Annotated[Path, typer.Option(help="The signer's public key.")] = Path("lethe.pub"),
    revocations: Annotated[
        Path | None, typer.Option(help="The signer's newest list of revocations, from `lethe revoke`.")
    ] = None,
    json: Json = False,
) -> None:
    """Check a CERTIFICATE against a MODEL with the signer's public --key.

    Needs only these three: no project, no network. Exit code **0**: it holds. **1**: a file is missing, or the list of
    revocations is too old to tell. **3**: it does not hold, has ended or was revoked; each problem with its place.
    """
    from lethe.provenance.verify import answer

    raise typer.Exit(answer(certificate, model, key, json, revocations))


def main() -> None:
    """The command line; a StageError is printed as one line, with exit code 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a character that the terminal has not stops no answer
    if sys.argv[1:2] == ["verify"]:
        alone = typer.Typer(rich_markup_mode="markdown", pretty_exceptions_enable=False, add_completion=False)
        alone.command()(verify)
        alone(sys.argv[2:], prog_name="lethe verify")
    from lethe.cli.commands import app
    from lethe.core.errors import StageError
    from lethe.custody.plain_git import LEADING

    for name in LEADING:  # a hook of git sets them, and DVC and its git would follow
        os.environ.pop(name, None)

    try:
        app()
    except StageError as error:
        sys.exit(f"error: {error}")
    except PermissionError as error:
        sys.exit(f"error: {error.filename or 'a file'}: expected to be allowed to read or write it, got a refusal")


if __name__ == "__main__":
    main()
