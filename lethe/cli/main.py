"""Entry point of `lethe`. `lethe verify` needs a certificate, a key and a model, and imports no other command."""

from __future__ import annotations

import errno
import io
import os
import re
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from lethe.console import Json

INTERRUPTED = 130
ADVISED = re.compile(r"`(dvc|lethe) repro\b")
REFUSED = {  # what a person can change: rights, room, and a folder where a file is wanted
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EISDIR, errno.ENOTDIR, errno.EEXIST),
    *(errno.ENOTEMPTY, errno.ENAMETOOLONG, errno.ELOOP, errno.EMFILE),
}


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
    """The command line. A StageError, what the system refuses and Ctrl-C are one line; a bug keeps its traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a character that the terminal has not stops no answer
    try:
        try:
            command_line()
        finally:
            sys.stdout.flush()  # here, where a reader that has gone, as `head` has, can be told from a bug
    except KeyboardInterrupt:
        leave_interrupted()
    except SystemExit as ending:
        if ending.code == INTERRUPTED:
            leave_interrupted()
        raise
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python flushes once more when it ends
        sys.exit(1)
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        if isinstance(error, PermissionError):
            sys.exit(f"error: {error.filename or 'a file'}: expected to be allowed to read or write it, got a refusal")
        where = error.filename2 or error.filename or Path.cwd()
        sys.exit(f"error: {os.fsdecode(where)}: expected to read or write it, got: {error.strerror}")


def command_line() -> None:
    """Run the command that the arguments name."""
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
        lost = bool(ADVISED.search(str(error))) and not Path("dvc.yaml").exists()
        sys.exit(f"error: {error}" + f"; {Path.cwd()} has no dvc.yaml: is it the project's folder?" * lost)


def leave_interrupted() -> NoReturn:
    """Exit as a shell says of a program that Ctrl-C ended, with one line."""
    print(f"lethe {' '.join(sys.argv[1:2])}: interrupted".replace(" :", ":"), file=sys.stderr)
    sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
