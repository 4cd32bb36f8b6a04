"""The models side by side in a browser: a local web app, for whoever has its address."""

from __future__ import annotations

import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lethe.console import Json, print_json
from lethe.core.errors import StageError

if TYPE_CHECKING:
    from lethe.app.server import Handlers

HERE = "127.0.0.1"
NEEDED = ("starlette", "uvicorn")
USUAL = "baseline,suppressed,unlearned,retrained"


def command(
    models: Annotated[
        str, typer.Option(help="Names under models/, checkpoints as step-00010, or model folders, separated by commas.")
    ] = USUAL,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0: any that is free.")] = 0,
    show: Annotated[bool, typer.Option("--open", help="Open the page in the default browser.")] = False,
    json: Json = False,
) -> None:
    """Open a local web app: ask the models side by side, see heat maps, compare runs, correct stand-ins, attack.

    It listens on 127.0.0.1 alone and prints an address with a token, which opens it. Precision and device are those of
    the stage evaluate; each model is loaded once. No text leaves the machine. Needs the extra app. Ctrl-C ends it.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise StageError(f"lethe app: the package {missing[0]} is missing; `pip install 'lethe-unlearning[app]'`")
    import uvicorn

    from lethe.app.server import Handlers
    from lethe.app.shelf import Shelf, wanted
    from lethe.core.params import read_params
    from stages.evaluate import Params

    params, shelf = read_params("evaluate", Params), Shelf(wanted(models.split(",")))
    handlers = Handlers(shelf, secrets.token_urlsafe(24), params.new_tokens)
    with bound(port) as listening:
        address = f"http://{HERE}:{listening.getsockname()[1]}/?token={handlers.token}"
        Thread(target=shelf.load, args=(params.precision, params.device), daemon=True).start()
        if json:
            print_json({"url": address, "models": list(shelf.folders), "absent": shelf.absent})
        else:
            print(f"lethe app: {address}\nThe address opens it on this machine, and only there. Ctrl-C ends it.")
            for name, reason in shelf.absent.items():
                print(f"{name}: {reason}")
        sys.stdout.flush()
        # Ctrl-C is raised once more when all connections are closed
        with opened(address) if show else nullcontext(), suppress(KeyboardInterrupt):
            uvicorn.Server(configured(handlers)).run(sockets=[listening])


@contextmanager
def opened(address: str) -> Iterator[None]:
    """Open an address in the default browser, by a file that only this user can read and that is gone in the end.

    The words that a browser is started with are for every user of the machine to see, and the address has the token.
    """
    import webbrowser

    folder = Path(tempfile.mkdtemp(prefix="lethe-app-"))  # which nobody else may enter
    page = folder / "open.html"
    page.write_text(f'<!doctype html><meta http-equiv="refresh" content="0; url={address}">', encoding="utf-8")
    webbrowser.open(page.as_uri())
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def bound(port: int) -> socket.socket:
    """A socket that listens on this machine only. Raises StageError if the port is taken."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HERE, port))
        listening.listen()
    except OSError as error:
        listening.close()
        raise StageError(f"--port: expected a free port, got {port}: {error.strerror}") from None
    return listening


def configured(handlers: Handlers) -> Any:
    """uvicorn's settings. Nothing is logged: an address has the token, a question the text."""
    import uvicorn

    from lethe.app.server import make_app

    return uvicorn.Config(
        make_app(handlers),
        access_log=False,
        log_level="warning",
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=1,
        ws="none",
    )
