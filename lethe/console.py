"""Output of every command: tables for people, JSON for programs, an exit code for both."""

from __future__ import annotations

import json
import sys
import time
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

EVERY = 5.0  # seconds between two lines of progress
LABEL = 10  # characters
NO = 3  # exit code where the answer is no
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead.")]


def console() -> Console:
    """Where tables go. In a file or a pipe nothing is wrapped or cut."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else 250)


def line(out: Console, label: str, text: str, colour: str = "") -> None:
    """One line with a label in front; brackets in the text are not markup, and control characters are spelt out.

    On a terminal a long text is wrapped between words, so that no hash or path is cut.
    """
    from rich.text import Text

    from lethe.provenance.verify import printable

    text = printable(text)
    rows = wrap(text, max(out.width - LABEL, 40), break_long_words=False, break_on_hyphens=False)
    for number, row in enumerate(rows if out.is_terminal and rows else [text]):
        out.print(Text(f"{'' if number else label:<{LABEL}}") + Text(row, style=colour), soft_wrap=True)


def titled(model: str) -> Text:
    """A model's name behind its mark, as every page and drawing has it; one that has no mark as it is."""
    from rich.text import Text

    from lethe.gate.model_catalogue import MODELS, marked_as

    name = marked_as(model)
    return Text(model) if name is None else Text.assemble((MODELS[name].sign, MODELS[name].terminal), " ", model)


class Ticker:
    """Lines of progress on stderr, one in so many seconds at most and none before: a quick command says nothing."""

    def __init__(self, seconds: float = EVERY) -> None:
        self.seconds, self.last = seconds, time.monotonic()

    def tell(self, text: str) -> None:
        """Print the text if it is time."""
        if time.monotonic() - self.last >= self.seconds:
            self.last = time.monotonic()
            print(text, file=sys.stderr, flush=True)


def print_json(content: Any) -> None:
    """One JSON object, readable characters kept."""
    print(json.dumps(content, indent=2, ensure_ascii=False).encode(errors="backslashreplace").decode())


def end(good: bool) -> None:
    """Exit with code 0, or with 3 where the answer is no."""
    raise typer.Exit(0 if good else NO)
