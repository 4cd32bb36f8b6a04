"""The ledger of erasure requests, each line chained to the previous one by its hash, and what forgetting cost."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lethe.core.errors import StageError
from lethe.core.strict_json import DoubledNameError, once

LEDGER = Path("data/requests.jsonl")
MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")
NAME = re.compile(r"[\w.-]+")  # of a request
FIRST = "0" * 64  # the previous hash of the first line
LARGEST = sys.float_info.max
EVENTS = ("added", "satisfied", "purged")
FIELDS: dict[str, type] = {"number": int, "event": str, "request": str, "date": str, "previous": str, "sha256": str}
OF_EVENT: dict[str, dict[str, type]] = {
    "added": {"folder": str, "corpus": str, "files": dict},
    "satisfied": {"model": dict, "measures": dict},
    "purged": {"purged": dict},
}
MEASURED = ("leak", "completion_familiarity", "retain_perplexity", "benchmark")  # of a model that satisfied requests


class Ledger(NamedTuple):
    """The lines of a ledger that are as they were written, and a line of words for everything else in the file."""

    rows: list[dict[str, Any]]
    problems: list[str]
    following: int  # the number of the line that comes next


def read_ledger(path: Path) -> list[dict[str, Any]]:
    """The lines of the ledger, none if there is no file. Raises StageError at the first line that breaks the chain."""
    found = open_ledger(path)
    if found.problems:
        raise StageError(f"{found.problems[0]}; `git log -p {path}` shows what it was")
    return found.rows


def open_ledger(path: Path) -> Ledger:
    """The ledger at a path; a broken line is told with its number and does not stop the others."""
    if path.exists() and not path.is_file():
        raise StageError(f"{path}: expected a file, got a folder, pipe or device")
    return examined(path.read_bytes(), str(path)) if path.exists() else Ledger([], [], 1)


def examined(content: bytes, where: str) -> Ledger:
    """The lines of a ledger's bytes. A line counts if it has its own hash and is no repetition of an earlier one."""
    rows: list[dict[str, Any]] = []
    problems: list[str] = []
    last, number, previous = 0, 0, {FIRST}  # the last good line, its number, and the hashes that may come before a line
    place = 0  # among the lines that are not empty
    for line, text in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not text.strip():
            continue
        place += 1
        row = parsed(text)
        problem = row if isinstance(row, str) else broken(row, number + place - last, previous)
        if problem:
            problems.append(f"{where}:{line}: {problem}")
        if isinstance(row, str) or row["sha256"] != row_sha256(row) or row["event"] not in EVENTS:
            previous |= set() if isinstance(row, str) else {row["sha256"]}
        elif row["number"] > number:
            rows.append(row)
            last, number, previous = place, row["number"], {row["sha256"]}
    return Ledger(rows, problems, number + place - last + 1)


def parsed(text: bytes) -> dict[str, Any] | str:
    """A line as a row with all fields of its event, or what is wrong with it."""
    try:
        row = json.loads(text.decode(), object_pairs_hook=once)
    except DoubledNameError as error:
        return str(error)
    except (ValueError, RecursionError) as error:
        return f"not valid JSON: {error}"
    if not isinstance(row, dict):
        return f"expected an object, got {type(row).__name__}"
    for name, kind in (FIELDS | OF_EVENT.get(str(row.get("event")), {})).items():
        if not isinstance(row.get(name), kind):
            return f"{name}: expected {kind.__name__}, got {type(row[name]).__name__ if name in row else 'none'}"
    if row["event"] == "added" and not NAME.fullmatch(row["request"]):
        return f"request: expected an id of letters, digits and . _ - only, got {row['request']!r}"
    return misshapen(row) or row


def misshapen(row: Mapping[str, Any]) -> str:
    """What is wrong inside the fields of a line, "" if nothing is: its hash is no secret, so anybody can write one."""
    inner = {
        "files": lambda facts: (
            isinstance(facts, dict) and is_md5(facts.get("md5")) and isinstance(facts.get("sha256"), str)
        ),
        "measures": lambda numbers: isinstance(numbers, dict) and all(map(is_measure, numbers.values())),
    }
    for name, fits in inner.items():
        value = row.get(name)
        wrong = [key for key, each in value.items() if not fits(each)] if isinstance(value, dict) else []
        if wrong:
            return f"{name}: {wrong[0]}: expected what `lethe requests` writes, got something else"
    if isinstance(model := row.get("model"), dict) and not isinstance(model.get("md5"), str):
        return "model: expected its md5, got none"
    verdict = row.get("verdict")
    if verdict is not None and not (isinstance(verdict, dict) and isinstance(verdict.get("status"), str)):
        return "verdict: expected its status, got something else"
    objects = row["purged"].get("objects") if isinstance(row.get("purged"), dict) else []
    fine = isinstance(objects, list) and all(
        isinstance(each, dict) and is_md5(each.get("md5")) and isinstance(each.get("paths"), list) for each in objects
    )
    return "" if fine else "purged: expected its objects, got something else"


def is_md5(value: Any) -> bool:
    """Whether it is a hash as DVC writes it: one becomes a path in the cache."""
    return isinstance(value, str) and MD5.fullmatch(value) is not None


def is_measure(value: Any) -> bool:
    """Whether it is a finite number, or none."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST
    return value is None or number


def broken(row: Mapping[str, Any], number: int, previous: set[str]) -> str | None:
    """What is wrong with a line of the ledger, None if it continues the chain."""
    before = row["previous"] if row["previous"] in previous else min(previous)
    found = (("number", row["number"], number), ("previous", row["previous"], before))
    for name, value, wanted in (*found, ("sha256", row["sha256"], row_sha256(row))):
        if value != wanted:
            return f"expected {name} {wanted}, got {value} (this line or an earlier one was changed, removed or added)"
    return None if row["event"] in EVENTS else f"event: expected one of {', '.join(EVENTS)}, got {row['event']}"


def row_sha256(row: Mapping[str, Any]) -> str:
    """The hash of a line: of its JSON with sorted keys and no spaces, its own hash left out."""
    content = {name: value for name, value in row.items() if name != "sha256"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def head(rows: Sequence[Mapping[str, Any]]) -> str:
    """The hash of the last line, which identifies the whole ledger."""
    return rows[-1]["sha256"] if rows else FIRST


def cost(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The measured cost of each model that satisfied requests, in the ledger's order; one line per model.

    retain_damage: the perplexity of retain text divided by the baseline's before the first such model, so that it
    accumulates over requests.
    """
    found: dict[str, dict[str, Any]] = {}
    first: float | None = None
    for row in rows:
        if row["event"] != "satisfied":
            continue
        before, after = (row["measures"].get(name, {}) for name in ("baseline", "unlearned"))
        first = first or before.get("retain_perplexity")
        now = after.get("retain_perplexity")
        line = found.setdefault(row["model"]["md5"], {"model": row["model"]["md5"], "requests": []})
        line["requests"].append(row["request"])
        line |= {"date": row["date"], **after, "retain_damage": round(now / first, 4) if now and first else None}
    return list(found.values())


def history(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """`cost` with a first line for the model before any request, then one line per model. Empty without a model.

    forgotten: the number of requests forgotten so far.
    """
    lines = cost(rows)
    if not lines:
        return []
    before = next(row["measures"].get("baseline", {}) for row in rows if row["event"] == "satisfied")
    found: list[dict[str, Any]] = [{"forgotten": 0, "requests": [], "model": None, **before, "retain_damage": 1.0}]
    forgotten: set[str] = set()
    for line in lines:
        forgotten |= set(line["requests"])
        found.append(line | {"forgotten": len(forgotten)})
    return [dict.fromkeys(MEASURED) | line for line in found]
