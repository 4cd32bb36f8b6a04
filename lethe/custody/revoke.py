"""A signed list of certificates that no longer hold, which `lethe verify --revocations` asks without a network."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lethe.console import Json, print_json
from lethe.core.errors import StageError
from lethe.custody.alone import alone
from lethe.custody.stated import LIST_TYPE, REASONS, now

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

LONGEST = 3660  # days that a list may hold: whoever verifies asks for no newer one until then


def command(
    certificates: Annotated[
        list[Path] | None, typer.Argument(help="Certificates to revoke; none renews the list.")
    ] = None,
    key: Annotated[Path, typer.Option(help="The private key that signed them.")] = Path("lethe.key"),
    out: Annotated[Path, typer.Option("--list", help="The list, which grows.")] = Path("revocations.json"),
    reason: Annotated[str, typer.Option(help=f"One of: {', '.join(REASONS)}.")] = "other",
    by: Annotated[Path | None, typer.Option(help="The certificate that replaces them.")] = None,
    days: Annotated[
        int, typer.Option(help="Days until the list is stale and `lethe verify` asks for a newer one.")
    ] = 30,
    json: Json = False,
) -> None:
    """Revoke certificates: add them to a signed list, which whoever verifies a certificate has to have.

    A list only grows, and nothing leaves this machine: publish the list where the certificates are. Whoever has an
    older list that is not stale yet does not see what was revoked since.
    """
    from lethe.provenance.certificate import read_key

    if reason not in REASONS:
        raise StageError(f"--reason: expected one of {', '.join(REASONS)}, got {reason}")
    if not 1 <= days <= LONGEST:
        raise StageError(f"--days: expected 1 to {LONGEST}, got {days}")
    signer = read_key(key)
    with alone(out.with_name(f"{out.name}.lock")):
        content = grown(certificates or [], key, signer, out, (reason, by, days))
    if json:
        print_json({"written": str(out), **content})
    else:
        count = len(content["revoked"])
        print(f"revoke: {out}: list {content['number']} with {count} certificates, stale on {content['nextUpdate']}")


def grown(
    certificates: list[Path], key: Path, signer: CryptoSigner, out: Path, terms: tuple[str, Path | None, int]
) -> dict[str, Any]:
    """Write the list with these certificates, too; returns its content. terms: reason, successor, days."""
    from lethe.provenance.certificate import named, signed, write
    from lethe.provenance.verify import envelope_bytes

    reason, by, days = terms
    rows, number = read(out, key)
    found = [named(path, key) for path in certificates]
    successor = named(by, key)["id"] if by else None
    if successor in {row["id"] for row in (*rows, *found)}:
        raise StageError(f"--by: expected a certificate that is in force, got {by}, which is revoked")
    issued = now()
    new = {"revokedOn": stamp(issued), "reason": reason} | ({"supersededBy": successor} if successor else {})
    known = {row["sha256"] for row in rows}
    rows += [row | new for row in found if row["sha256"] not in known]
    times = {"issuedOn": stamp(issued), "nextUpdate": stamp(issued + timedelta(days=days))}
    content = {**times, "number": number + 1, "revoked": rows}
    write(out, envelope_bytes(signed(content, signer, LIST_TYPE)))
    return content


def stamp(time: Any) -> str:
    """A time to the second."""
    return str(time.isoformat(timespec="seconds"))


def read(path: Path, key: Path) -> tuple[list[dict[str, Any]], int]:
    """The rows and the number of a list that this key signed, none and 0 where there is no file.

    Raises StageError for any other file: a list that somebody shortened must not be signed again.
    """
    from lethe.provenance import verify

    if not path.exists():
        return [], 0
    try:
        public, keyid = verify.read_key(verify.content_of(key.with_suffix(".pub")))
        listed = verify.read_list(verify.content_of(path), public, keyid)
    except verify.UnansweredError as error:
        raise StageError(str(error)) from None
    except verify.BrokenError as error:
        raise StageError(f"{path}: expected a list that {key} signed, got another file: {error}") from None
    return list(listed["revoked"]), int(listed["number"])
