"""`lethe page`: a copy of the report page that says by whom and when its numbers were recorded.

The page itself cannot say it: a commit is named by what it holds, the page too.
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lethe.console import Json, print_json
from lethe.core.errors import StageError

if TYPE_CHECKING:
    from lethe.provenance.history import Commit

PAGE = Path("reports/index.html")
PLACE = re.compile("<!--commit-->.*?<!--/commit-->", re.DOTALL)
ID = 12  # characters of a commit that the page shows


def command(
    out: Annotated[Path, typer.Option(help="Where to write the copy.")] = Path(".scratch/page/index.html"),
    json: Json = False,
) -> None:
    """Write a copy of the report page that names the commit, the author and the date of its numbers.

    For somebody who has not got the repository. The first commit whose dvc.lock records the page is the one; a page
    that no commit of this history records is refused.
    """
    from lethe.provenance.verify import printable

    found = recorded_in(PAGE)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(stamped(PAGE.read_text(encoding="utf-8"), found), encoding="utf-8")
    told = {"commit": found.id, "author": found.author, "date": found.date, "subject": found.subject}
    if json:
        print_json({"written": str(out)} | told)
    else:
        print(printable(f"page: {out}: commit {found.id[:ID]} by {found.author}, {found.date[:10]}"))


def recorded_in(page: Path) -> Commit:
    """The first commit of HEAD's history whose dvc.lock records the page. Raises StageError if there is none."""
    from lethe.provenance.fingerprint import md5_of
    from lethe.provenance.history import open_history, recorded

    if not page.is_file():
        raise StageError(f"{page}: expected the page of a finished run, got none; `lethe repro`")
    history = open_history(Path())
    own = md5_of(page)
    for lock in history.locks:
        if any(entry.outs.get(page.as_posix()) == own for entry in recorded(lock.text).values()):
            return lock.commits[0]
    raise StageError(
        f"{page}: expected the page that a dvc.lock in git records, got another; `git commit dvc.lock reports` first"
    )


def stamped(text: str, commit: Commit) -> str:
    """The page with its commit. Raises StageError for a page without the place for it."""
    name, date = escape(commit.author.partition(" <")[0]), escape(commit.date[:10])
    said = f"{name}, {date}<small>commit <code>{commit.id[:ID]}</code>: {escape(commit.subject)}</small>"
    if not PLACE.search(text):
        raise StageError(f"{PAGE}: expected the page of this version, got one without a place for its commit")
    return PLACE.sub(lambda _: said, text, count=1)
