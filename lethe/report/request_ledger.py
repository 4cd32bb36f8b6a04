"""The ledger of erasure requests, each line chained to the previous one by its hash, and what forgetting cost."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lethe.core.errors import StageError

LEDGER = Path("data/requests.jsonl")
FIRST = "0" * 64  # the previous hash of the first line
EVENTS = ("added", "satisfied", "purged")
FIELDS: dict[str, type] = {"number": int, "event": str, "request": str, "date": str, "previous": str, "sha256": str}
MEASURED = ("leak", "completion_familiarity", "retain_perplexity", "benchmark")  # of a model that satisfied requests


def read_ledger(path: Path) -> list[dict[str, Any]]:
    """The lines of the ledger, none if there is no file. Raises StageError at the first line that breaks the chain."""
    from lethe.core.tables import numbered_jsonl

    if not path.exists():
        return []
    rows: list[dict[str, Any]] = []
    previous = FIRST
    for line, row in numbered_jsonl(path, FIELDS):
        problem = broken(row, len(rows) + 1, previous)
        if problem:
            raise StageError(f"{path}:{line}: {problem}; `git log -p {path}` shows what it was")
        rows.append(row)
        previous = row["sha256"]
    return rows


def broken(row: Mapping[str, Any], number: int, previous: str) -> str | None:
    """What is wrong with a line of the ledger, None if it continues the chain."""
    found = (("number", row["number"], number), ("previous", row["previous"], previous))
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
