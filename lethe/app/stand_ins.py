"""Anchors and their stand-ins, to review and to correct: what is saved is data/overrides.csv and nothing else."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Annotated, Any

from pydantic import Field

from lethe.cli.review import check
from lethe.core.errors import StageError
from lethe.core.hashing import file_sha256
from lethe.core.params import StageParams, read_yaml
from lethe.core.stage import stages_after
from lethe.core.tables import ANCHORS, read_csv, write_csv
from lethe.dictionary.entries import (
    NO_ANCHOR,
    Override,
    override_rows,
    read_entries,
    read_overrides,
    read_terms,
)

FOUND, MADE, OWN = (Path(f"data/{name}.csv") for name in ("anchors", "dictionary", "overrides"))
TEXT = Path("data/corpus.parquet")
SAVING = Lock()
Word = Annotated[str, Field(min_length=1, max_length=200)]


class Changes(StageParams):
    """What somebody changed. version: of the file as it was shown to them."""

    version: str
    own: dict[Word, list[Word]]  # anchor -> its stand-ins, `-` alone to take it out, none to leave it


def table() -> dict[str, Any]:
    """Every anchor with its stand-ins and the corrections, and what would run again.

    Raises StageError without anchors or a readable data/overrides.csv.
    """
    rows = read_csv(FOUND, ANCHORS, unique=("anchor",), filled=("anchor", "forms"))
    chosen: dict[str, dict[str, str]] = {}
    kinds: dict[str, str] = {}
    for entry in read_entries(MADE) if MADE.exists() else ():
        kinds[entry["anchor"]] = entry["kind"]
        chosen.setdefault(entry["anchor"], {}).setdefault(entry["choice"], entry["translation"])
    own = corrections()
    listed = [
        {
            "anchor": row["anchor"],
            "forms": row["forms"].split("|"),
            "count": int(row["count"] or 0),
            "kind": kinds.get(row["anchor"], ""),
            "stand_ins": list(chosen.get(row["anchor"], {}).values()),
            "own": own.pop(row["anchor"], []),
        }
        for row in rows
    ]
    for anchor, given in own.items():
        added = {"forms": [anchor], "count": 0, "kind": kinds.get(anchor, ""), "own": given}
        listed.append({"anchor": anchor, "stand_ins": list(chosen.get(anchor, {}).values())} | added)
    return {"rows": listed, "version": version(), "notes": notes(), "plan": plan(str(OWN))}


def corrections() -> dict[str, list[str]]:
    """Anchor -> what data/overrides.csv gives for it, in the order of its lines."""
    found: dict[str, list[str]] = {}
    for override in read_overrides(OWN) if OWN.exists() else ():
        if override.translation:
            found.setdefault(override.anchor, []).append(override.translation)
    return found


def with_judged(pairs: list[tuple[str, str]]) -> tuple[tuple[str, ...], list[dict[str, str]]]:
    """Header and rows of the file: the corrections, and what the file says of kinds, genders and groups as it is."""
    judged = {row.anchor: row[3:] for row in (read_overrides(OWN) if OWN.exists() else ()) if any(row[3:])}
    judged = {anchor: cells for anchor, cells in judged.items() if (anchor, NO_ANCHOR) not in pairs}
    none = ("", "", "")
    found = [Override(0, *pair, *judged.pop(pair[0], none)) for pair in pairs]
    return override_rows([*found, *(Override(0, anchor, "", *cells) for anchor, cells in judged.items())])


def version() -> str:
    """Which data/overrides.csv this is, "" for none."""
    return file_sha256(OWN) if OWN.exists() else ""


def save(changes: Changes) -> dict[str, Any]:
    """Write the corrections, checked as `translate` checks them, and say what would run again.

    Raises StageError, and writes nothing, if the file has changed since it was shown or `translate` would refuse it.
    """
    with SAVING:
        if changes.version != version():
            raise StageError(f"{OWN}: somebody has changed it since you loaded this page; load it again")
        own = corrections()
        for anchor, given in changes.own.items():
            own[anchor.strip()] = [each.strip() for each in given]
        pairs = [(anchor, each) for anchor, given in own.items() for each in given]
        check([Override(line, *pair) for line, pair in enumerate(pairs, start=2)], read_terms(FOUND))
        half = OWN.with_suffix(".csv.half")
        header, rows = with_judged(pairs)
        write_csv(rows, header, half)
        try:
            read_overrides(half)  # an empty cell, a line given twice
            os.replace(half, OWN)
        except StageError as error:
            raise StageError(str(error).replace(str(half), str(OWN))) from None
        finally:
            half.unlink(missing_ok=True)
    return table()


def plan(changed: str) -> dict[str, Any]:
    """The stages that `dvc repro` would run again for a changed file, in their order, and what they took last time.

    At most these: a stage whose inputs come out as they were is skipped. None where dvc.lock has this very file.
    """
    from lethe.preflight.doctor import last_cost

    stages = [
        {"stage": stage, "what": entry["desc"], "seconds": (last_cost(stage) or {}).get("wall_seconds")}
        for stage, entry in (stages_after(changed) if recorded_otherwise(changed) else ())
    ]
    known = [row["seconds"] for row in stages if row["seconds"] is not None]
    return {"stages": stages, "seconds": round(sum(known)) if known else None, "unknown": len(stages) - len(known)}


def recorded_otherwise(path: str) -> bool:
    """Whether the file is another than the one that a stage last read, by dvc.lock."""
    from lethe.provenance.fingerprint import md5_of

    known = {md5 for deps in locked("deps") for dep, md5 in deps.items() if dep == path}
    return not Path(path).exists() or md5_of(Path(path)) not in known


def locked(kind: str) -> list[Mapping[str, str]]:
    """{path: md5} of the deps or outs of every stage in dvc.lock; none without a readable one."""
    from lethe.provenance.history import recorded, unreadable

    lock = Path("dvc.lock")
    text = lock.read_text(encoding="utf-8", errors="replace") if lock.exists() else ""
    return [] if not text or unreadable(text) else [getattr(entry, kind) for entry in recorded(text).values()]


def notes() -> list[str]:
    """What somebody who corrects should know first."""
    from lethe.provenance.fingerprint import md5_of

    said = []
    if read_yaml(Path("params.yaml")).get("translate", {}).get("backend") == "none":
        said.append("translate.backend is none: no dictionary is made, and corrections are ignored")
    outs = {path: md5 for made in locked("outs") for path, md5 in made.items()}
    for path in (FOUND, MADE):
        if path.exists() and outs.get(str(path)) not in (None, md5_of(path)):
            said.append(f"{path} is not the file that the last run made: what was edited there is lost with the next")
    return said
