"""Lines of the ledger beyond their form: whether they can be true of each other, of the calendar and of the project."""

from __future__ import annotations

import datetime
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lethe.core.corpus import MADE
from lethe.erasure.spellings import ALIKE
from lethe.provenance.history import leads_out
from lethe.report.request_ledger import Ledger, open_ledger


def opened(path: Path) -> Ledger:
    """The ledger at a path, without the lines that cannot be: their hashes are no secret, so anybody can write one."""
    found = open_ledger(path)
    rows: list[dict[str, Any]] = []
    problems = list(found.problems)
    for row in found.rows:
        if wrong := misshapen(row) or impossible(row, rows):
            problems.append(f"{path}: line {row['number']}: {wrong}")
        else:
            problems += [f"{path}: line {row['number']}: {said}" for said in [untimely(row, rows)] if said]
            rows.append(row)
    return Ledger(rows, problems, found.following)


def misshapen(row: Mapping[str, Any]) -> str:
    """What is wrong inside the fields of a line, "" if nothing is."""
    purged = row["purged"] if isinstance(row.get("purged"), dict) else {}
    lists = [purged.get(name, []) for name in ("experiments", "kept", "bodies")]
    lists += [each["paths"] for each in purged.get("objects", [])]
    if not all(isinstance(each, list) and all(isinstance(name, str) for name in each) for each in lists):
        return "purged: expected lists of names, got something else"
    if not isinstance(row.get("supersedes"), str | None):
        return "supersedes: expected an id or none, got something else"
    named = [*row["files"], row["folder"]] if row["event"] == "added" else []
    wrong = [name for name in named if "\0" in name or not is_text(name)]
    wrong += [name for name in named[:-1] if leads_out(name)]
    return f"files: expected names inside the request's folder, got {wrong[0]!r}" if wrong else ""


def is_text(name: str) -> bool:
    """Whether a name can be written as UTF-8, or is one of a file whose name is no text."""
    return not any("\ud800" <= sign <= "\udfff" and not "\udc80" <= sign <= "\udcff" for sign in name)


def impossible(row: Mapping[str, Any], before: list[dict[str, Any]]) -> str:
    """Why a line cannot follow the lines before it, "" if it can: it would undo what they say."""
    events = [other["event"] for other in before if other["request"] == row["request"]]
    if row["event"] == "added" and events:
        return f"request {row['request']} was added before; its lines before this one count"
    if row["event"] == "added" and row.get("supersedes") == row["request"]:
        return f"request {row['request']} cannot supersede itself"
    if "purged" in events:
        return f"request {row['request']} was purged before; nothing follows that"
    return ""


def untimely(row: Mapping[str, Any], before: list[dict[str, Any]]) -> str:
    """What is wrong with the date of a line that counts all the same, "" if nothing is."""
    if (date := calendar(row["date"])) is None:
        return f"date: expected YYYY-MM-DD, got {row['date']}"
    if date > datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=1):
        return f"date: expected one that has come, by the clock here, got {row['date']}"
    came = [day for other in before if other["request"] == row["request"] and (day := calendar(other["date"]))]
    return f"date: expected {came[0]} or later, when the request came, got {date}" if came and date < came[0] else ""


def calendar(text: str) -> datetime.date | None:
    """A day in one of the forms of ISO 8601, None for anything else."""
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        return None


def inside_project(folder: str) -> bool:
    """Whether a folder is one that `lethe requests add` would take: of text, inside the project, also after links."""
    root, place = Path().resolve(), Path(folder)
    inside = (root / place).resolve().is_relative_to(root) and (root / place).resolve() != root
    return not leads_out(folder) and inside and len(place.parts) > 1 and place.parts[0] not in MADE


def skeleton(request: str) -> str:
    """What an id looks like: without case, with Latin letters for those that look like them."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", request).casefold().translate(ALIKE)).casefold()
