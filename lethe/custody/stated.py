"""What a certificate states, in words, and whether it still holds: its end, its successor, its revocation.

Standard library only: it lies beside verify.py where a recipient has the two files alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

LIST_TYPE = "application/vnd.lethe.revocations+json"  # the payload type of a signed list of revocations
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
    rows = [
        ("verdict", verdict_words(predicate)),
        ("model", f"{model.get('path')} {model.get('md5')}"),
        ("recorded", f"in commit {lock.get('commit')} on {who.get('recordedOn')} by {who.get('recordedBy')}"),
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
    """`FAIL: attack_excess 0.5, at most 0.1; not measured: privleak`."""
    rows = [row for row in part(predicate, "thresholds", list) if isinstance(row, dict)]
    missed = [row for row in rows if row.get("met") is False or row.get("result") == "fail"]
    beyond = [str(row.get("name")) for row in rows if row.get("result") == "not measurable"]
    unknown = [str(row.get("name")) for row in rows if row.get("met") is None and str(row.get("name")) not in beyond]
    words = [f"{row.get('name')} {row.get('value')}, {row.get('bound')} {row.get('limit')}" for row in missed]
    words += [f"cannot tell: {', '.join(unknown)}"] if unknown else []
    verdict, passed = predicate.get("verdict"), [row for row in rows if row.get("met") is True and row not in missed]
    if verdict == "pass" and (words or not rows or 2 * len(passed) < len(rows)):
        return f"CANNOT TELL: it says pass, but of its own criteria: {'; '.join(words) or 'none'}"
    words += [f"not measurable here: {', '.join(beyond)}"] if beyond else []
    if verdict in ("pass", "fail", "cannot tell"):
        return f"{verdict.upper()}{': ' if words else ''}{'; '.join(words)}"
    return "NONE: no release gate was recorded for this model"


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
