"""What a certificate states, in words, and whether it still holds: its end, its successor, its revocation. And the
files of the folder that it is about.

Standard library only: it lies beside verify.py where a recipient has the two files alone.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

LIST_TYPE = "application/vnd.lethe.revocations+json"  # the payload type of a signed list of revocations
DAY = timedelta(days=1)
REASONS = ("key compromised", "wrong statement", "superseded", "text not erased", "other")


def now() -> datetime:
    """The time here, in UTC."""
    return datetime.now(UTC)


def moment(text: Any) -> datetime | None:
    """A date and time with its offset from UTC, None for anything else."""
    try:
        found = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else None


def end_of(predicate: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether a certificate has not reached the end it states, and words. One from before it could has none."""
    end = predicate.get("validUntil")
    if end is None:
        return True, "it states no end"
    until = moment(end)
    if until is None:
        return False, f"expected a date and time, got {end!r}"
    past = now() >= until
    return not past, f"expired on {end}, by the clock here" if past else f"valid until {end}"


def start_of(predicate: Mapping[str, Any]) -> str:
    """Why a certificate cannot have been signed when it says, "" if it can: clocks of two places may be a day apart."""
    signed, end = moment(predicate.get("signedOn")), moment(predicate.get("validUntil"))
    if predicate.get("signedOn") is not None and signed is None:
        return f"expected a date and time, got {predicate['signedOn']!r}"
    if signed and signed > now() + DAY:
        return f"signed on {predicate['signedOn']}, which has not come yet by the clock here"
    if signed and end and signed >= end:
        return f"signed on {predicate['signedOn']}, after its end on {predicate['validUntil']}"
    return ""


def list_problem(listed: Any) -> str:
    """What is wrong with the form of a list of revocations, "" if nothing is."""
    fields = {"issuedOn": str, "nextUpdate": str, "number": int, "revoked": list}
    if not isinstance(listed, dict) or any(not isinstance(listed.get(name), kind) for name, kind in fields.items()):
        return f"expected the fields {', '.join(fields)}, got another form"
    if None in (moment(listed["issuedOn"]), moment(listed["nextUpdate"])):
        return "issuedOn, nextUpdate: expected dates and times, got something else"
    rows = listed["revoked"]
    names = ("id", "sha256", "revokedOn", "reason")
    if not all(isinstance(row, dict) and all(isinstance(row.get(name), str) for name in names) for row in rows):
        return f"revoked: expected rows of {', '.join(names)}, got something else"
    return ""


def standing(listed: Mapping[str, Any], predicate: Mapping[str, Any], sha256: str) -> tuple[bool | None, str]:
    """Whether a certificate is in force by a list of revocations, None where the list is too old to tell, and words.

    sha256: of the certificate's payload. Who is in an old list is revoked: a revocation is never taken back.
    """
    named = f"list {listed['number']} of {listed['issuedOn']}"
    for row in listed["revoked"]:
        if row["sha256"] == sha256 or row["id"] == predicate.get("id"):
            by = f", superseded by {row['supersededBy']}" if row.get("supersededBy") else ""
            return False, f"revoked on {row['revokedOn']}: {row['reason']}{by} ({named})"
    issued, following = moment(listed["issuedOn"]), moment(listed["nextUpdate"])
    if issued is None or issued > now():
        return None, f"{named} is from the future, by the clock here"
    if following is None or following <= now():
        return None, f"{named} is stale: the next was due on {listed['nextUpdate']}"
    return True, f"not in {named}, which holds until {listed['nextUpdate']}"


def stated_by(statement: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(label, words) of what a certificate states, the verdict first, and of what it does not prove."""
    predicate = statement["predicate"]
    model, lock, run, corpus = (part(predicate, name) for name in ("model", "lock", "runDetails", "corpus"))
    who, count = part(run, "metadata"), len(part(corpus, "documents", list))
    versions = part(part(run, "builder"), "version")
    made = moment(who.get("recordedOn"))
    ahead = ", a date that has not come yet by the clock here" if made and made > now() + DAY else ""
    rows = [
        ("verdict", verdict_words(predicate)),
        ("model", f"{model.get('path')} {model.get('md5')}"),
        ("recorded", f"in commit {lock.get('commit')} on {who.get('recordedOn')} by {who.get('recordedBy')}{ahead}"),
        ("measured", f"in commit {predicate.get('measuredIn')}"),
        ("corpus", f"md5 {part(corpus, 'digest').get('md5')}, {count or 'unknown'} documents" if corpus else "none"),
        ("tools", ", ".join(f"{name} {version}" for name, version in versions.items()) or "not recorded"),
        ("signed", f"on {predicate.get('signedOn')}, as the signer says"),
    ]
    rows += [("id", f"{predicate['id']}")] if "id" in predicate else []
    rows += [("replaces", f"certificate {part_of(row, 'id')}") for row in part(predicate, "supersedes", list)]
    rows += [("end", end_of(predicate)[1])]
    return rows + [("no proof", str(text)) for text in part(predicate, "doesNotProve", list)]


def verdict_words(predicate: Mapping[str, Any]) -> str:
    """`FAIL: attack_excess 0.5, at most 0.1; not measured: privleak`; a pass only if its own numbers give it."""
    given = part(predicate, "thresholds", list)
    rows = [row for row in given if isinstance(row, dict)]
    missed = [row for row in rows if row.get("met") is False or row.get("result") == "fail"]
    beyond = [str(row.get("name")) for row in rows if row.get("result") == "not measurable"]
    unknown = [str(row.get("name")) for row in rows if row.get("met") is None and str(row.get("name")) not in beyond]
    words = [f"{row.get('name')} {row.get('value')}, {row.get('bound')} {row.get('limit')}" for row in missed]
    words += [f"cannot tell: {', '.join(unknown)}"] if unknown else []
    verdict, passed = predicate.get("verdict"), [row for row in rows if is_met(row)]
    said = [
        str(row.get("name")) for row in rows if row.get("met") is not None and not is_met(row) and row not in missed
    ]
    words += [f"called met, by no number: {', '.join(said)}"] if said else []
    words += ["rows of another form"] if len(rows) < len(given) else []
    if verdict == "pass" and (words or not rows or 2 * len(passed) < len(rows)):
        return f"CANNOT TELL: it says pass, but of its own criteria: {'; '.join(words) or 'none'}"
    words += [f"not measurable here: {', '.join(beyond)}"] if beyond else []
    if verdict in ("pass", "fail", "cannot tell"):
        return f"{verdict.upper()}{': ' if words else ''}{'; '.join(words)}"
    return "NONE: no release gate was recorded for this model"


def is_met(row: Mapping[str, Any]) -> bool:
    """Whether a criterion is met by its own numbers, as it says. allowed: beyond the limit, as far as retrained models
    differ from each other."""
    numbers = (row.get("value"), row.get("allowed", row.get("limit")))
    if row.get("met") is not True or row.get("result", "pass") != "pass" or not all(map(is_number, numbers)):
        return False
    value, most = numbers
    return bool({"at most": value <= most, "at least": value >= most}.get(str(row.get("bound"))))


def is_number(value: Any) -> bool:
    """Whether it is a number; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def part(content: Mapping[str, Any], name: str, kind: type = dict) -> Any:
    """A part of a statement that should be an object or a list; an empty one where it is something else."""
    found = content.get(name)
    return found if isinstance(found, kind) else kind()


def part_of(row: Any, name: str) -> Any:
    """A value of what should be an object."""
    return row.get(name) if isinstance(row, dict) else row


def printable(text: str) -> str:
    """The text with every character that could write over other lines spelt out: names come from strangers."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def walk(folder: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """Every file below a folder by its path in it, hidden and linked ones too; and what is none, with the reason.

    A folder is entered once, so that links to folders above or beside end; a link to one elsewhere is not followed. A
    pipe or a device is not opened.
    """
    root = folder.resolve()
    files: dict[str, Path] = {}
    problems: dict[str, str] = {}
    entered, waiting = set[tuple[int, int]](), [folder]
    while waiting:
        place = waiting.pop()
        name = place.relative_to(folder).as_posix()
        try:
            facts = place.stat()
            if (facts.st_dev, facts.st_ino) in entered:
                problems[name] = "a link to a folder of the model, which was checked under its own name"
                continue
            entered.add((facts.st_dev, facts.st_ino))
            entries = sorted(os.scandir(place), key=lambda entry: (entry.is_symlink(), entry.name), reverse=True)
        except OSError as error:
            problems[name] = f"cannot be read: {error.strerror}"
            continue
        for entry in entries:
            path = place / entry.name
            name = path.relative_to(folder).as_posix()
            try:
                kind = path.stat().st_mode
            except OSError as error:  # a link to nothing or to itself
                problems[name] = f"cannot be read: {error.strerror}"
                continue
            if stat.S_ISDIR(kind) and entry.is_symlink() and not path.resolve().is_relative_to(root):
                problems[name] = "a link to a folder outside of the model, which was not entered"
            elif stat.S_ISDIR(kind):
                waiting.append(path)
            elif stat.S_ISREG(kind):
                files[name] = path
            else:
                said = "a pipe" if stat.S_ISFIFO(kind) else "a device or socket"
                problems[name] = f"expected a file, got {said}, which was not opened"
    return files, problems
