"""When a file existed, by somebody else's clock: an RFC 3161 timestamp of a certificate or of the request ledger."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from lethe.console import Json, print_json
from lethe.core.errors import StageError

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography.x509 import Certificate

TYPES = ("application/timestamp-query", "application/timestamp-reply")
LARGEST, SECONDS = 1_000_000, 30  # bytes and time of a reply
LONGEST = 1 << 30  # bytes of a file
HELD, BROKEN = 0, 3  # exit codes
INSTALL = "pip install 'lethe-unlearning[timestamp]'"


def command(
    file: Annotated[Path, typer.Argument(help="A certificate, or data/requests.jsonl; any file.")],
    url: Annotated[str, typer.Option(help="Ask this timestamp authority, and write FILE.tsr.")] = "",
    authority: Annotated[
        Path | None, typer.Option(help="Check FILE.tsr against this root certificate of the authority, in PEM.")
    ] = None,
    timestamp: Annotated[Path | None, typer.Option(help="The timestamp; default: FILE.tsr.")] = None,
    json: Json = False,
) -> None:
    """Get an RFC 3161 timestamp of a FILE with --url, or check one with --authority.

    Only a hash of the file and a random number leave this machine. A timestamp proves that the file existed then, byte
    for byte as it is, and nothing about what it says. Without lethe: `openssl ts -verify -data FILE -in FILE.tsr
    -CAfile ROOT`. Exit code **0**: it holds. **1**: a file is missing or nobody answered. **3**: it does not hold.
    """
    from lethe.provenance.certificate import write

    if not url and authority is None:
        raise StageError("timestamp: expected --url to get one, or --authority to check one, got neither")
    content, place = read(file, LONGEST), timestamp or file.with_name(file.name + ".tsr")
    if url:
        check_place(place)
        write(place, asked(url, content))
    if authority is None:
        print_json({"written": str(place)}) if json else print(f"timestamp: {place}")
        return
    when, wrong = checked(content, read(place), roots(authority))
    if json:
        print_json({"holds": not wrong, "time": when.isoformat() if when else None, "problem": wrong})
    elif wrong:
        print(f"FAIL  {place}: {wrong}")
    else:
        print(f"ok    {file} existed on {when:%Y-%m-%d %H:%M:%S} UTC, as it is")
    raise typer.Exit(BROKEN if wrong else HELD)


def check_place(path: Path) -> None:
    """Raise StageError where a timestamp would be written over something else."""
    held = read(path) if path.exists() else b""
    try:
        if held:
            library().decode_timestamp_response(held)
    except ValueError:
        raise StageError(f"{path}: expected a new path or an earlier timestamp, got something else") from None


def read(path: Path, most: int = LARGEST) -> bytes:
    """The bytes of a file. Raises StageError for anything else, an empty one and one that is far too long included."""
    try:
        if path.is_file() and path.stat().st_size > most:
            raise StageError(f"{path}: expected at most {most} bytes, got {path.stat().st_size}")
        content = path.read_bytes() if path.is_file() else b""
    except OSError as error:
        raise StageError(f"{path}: cannot be read: {error.strerror}") from None
    if not content:
        raise StageError(f"{path}: expected a file with something in it, got none")
    return content


def library() -> Any:
    """The package that reads and checks timestamps. Raises StageError where it is not installed."""
    try:
        import rfc3161_client
    except ImportError:
        raise StageError(f"timestamp: the package rfc3161-client is missing; {INSTALL}") from None
    return rfc3161_client


def asked(url: str, content: bytes) -> bytes:
    """A timestamp of the content, from an authority. Raises StageError unless it grants one, of this very content."""
    rfc3161 = library()
    request = rfc3161.TimestampRequestBuilder().data(content).cert_request(cert_request=True).build()
    reply = posted(url, request.as_bytes())
    try:
        found = rfc3161.decode_timestamp_response(reply)
        granted = found.status == rfc3161.PKIStatus.GRANTED
        same = granted and found.tst_info.message_imprint.message == request.message_imprint.message
        fresh = granted and found.tst_info.nonce == request.nonce
    except ValueError as error:
        raise StageError(f"{url}: expected a timestamp, got {len(reply)} bytes of something else: {error}") from None
    if not granted:
        raise StageError(f"{url}: expected a timestamp, got a refusal (status {found.status}) {found.status_string}")
    if not (same and fresh):
        raise StageError(f"{url}: expected a timestamp of this file, got an older one or another file's")
    return reply


def posted(url: str, body: bytes) -> bytes:
    """The reply to a request. Raises StageError; a redirect is not followed, and a long or slow reply is cut off."""
    from urllib.error import HTTPError, URLError
    from urllib.parse import urlsplit
    from urllib.request import HTTPRedirectHandler, Request, build_opener

    if urlsplit(url).scheme not in ("http", "https"):
        raise StageError(f"--url: expected http:// or https://, got {url}")
    if "@" in urlsplit(url).netloc:  # it would stand in messages and in the shell's history
        raise StageError("--url: expected an address without a password, got one with")

    class Stay(HTTPRedirectHandler):
        def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
            return None

    asked = Request(url, body, {"Content-Type": TYPES[0], "Accept": TYPES[1]})
    try:
        with build_opener(Stay).open(asked, timeout=SECONDS) as stream:
            reply = b"".join(parts(stream))
    except HTTPError as error:
        what = "a redirect, which was not followed" if 300 <= error.code < 400 else str(error.reason)
        refused(url, f"{error.code} ({what})")
    except (URLError, OSError) as error:
        refused(url, f"no reply ({getattr(error, 'reason', error)})")
    if len(reply) > LARGEST:
        refused(url, f"more than {LARGEST} bytes")
    return reply


def parts(stream: Any) -> Iterator[bytes]:
    """A reply as it comes, until it is too long. Raises TimeoutError where it comes too slowly."""
    from time import monotonic

    end, left = monotonic() + SECONDS, LARGEST + 1
    while left > 0 and (part := stream.read1(min(left, 1 << 16))):
        if monotonic() > end:
            raise TimeoutError(f"it takes more than {SECONDS} seconds")
        left -= len(part)
        yield part


def refused(url: str, got: str) -> NoReturn:
    raise StageError(f"{url}: expected a timestamp, got {got}")


def roots(path: Path) -> list[Certificate]:
    """The certificates of a PEM file. Raises StageError if it has none."""
    from cryptography.x509 import load_pem_x509_certificates

    try:
        return load_pem_x509_certificates(read(path))
    except ValueError:
        raise StageError(f"{path}: expected the authority's root certificate in PEM, got another file") from None


def checked(content: bytes, timestamp: bytes, trusted: list[Certificate]) -> tuple[datetime | None, str]:
    """When the authority saw the content, and "" or what is wrong: another file's, or of no trusted authority."""
    rfc3161 = library()
    try:
        found = rfc3161.decode_timestamp_response(timestamp)
        rfc3161.VerifierBuilder(roots=trusted).build().verify_message(found, content)
    except ValueError as error:
        return None, f"expected an RFC 3161 timestamp, got something else: {error}"
    except rfc3161.VerificationError as error:
        return None, f"does not hold for this file and authority: {error}"
    when: datetime = found.tst_info.gen_time
    return when, ""
