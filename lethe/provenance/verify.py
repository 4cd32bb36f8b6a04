"""Whether a certificate is genuine, still in force, and describes this model.

This file and stated.py stand alone: they need Python 3.11, securesystemslib and cryptography, and neither the rest of
lethe nor the project that made the model. `python verify.py CERTIFICATE MODEL --key PUBLIC_KEY` is `lethe verify`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

try:
    from lethe.custody.stated import LIST_TYPE, end_of, list_problem, printable, standing, start_of, stated_by, walk
except ImportError:  # at a recipient, beside this file
    sys.path.append(str(Path(__file__).resolve().parent))
    from stated import LIST_TYPE, end_of, list_problem, printable, standing, start_of, stated_by, walk  # type: ignore

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:lethe:unlearning:v1"
ENVELOPE = ("parts", "payload", "payloadType", "signatures")
HOLDS, UNANSWERED, BROKEN = 0, 1, 3  # exit codes
PICKLES = (".bin", ".ckpt", ".dill", ".joblib", ".pickle", ".pkl", ".pt", ".pt2", ".pth")
CODE = (  # what a loader may run, weights of formats that hold code too
    *(".bat", ".cmd", ".cpp", ".cu", ".dll", ".dylib", ".egg", ".exe", ".h5", ".ipynb", ".jar", ".js", ".keras"),
    *(".mar", ".nemo", ".ps1", ".py", ".pyc", ".pyd", ".pyw", ".pyx", ".pyz", ".sh", ".so", ".wasm", ".whl"),
)  # fmt: skip
SETTINGS = 16_000_000  # bytes of a .json file of a model that is read
LARGEST = 64_000_000  # bytes of a certificate
INSTALL = "pip install securesystemslib cryptography"
PICKLE_STARTS = (b"PK\x03\x04", *(bytes((0x80, protocol)) for protocol in range(2, 6)))


class Finding(NamedTuple):
    """One thing that was checked: a part of the certificate, the key, or a file of the model."""

    place: str
    holds: bool
    said: str


class BrokenError(Exception):
    """Something that does not hold, and where: nothing after it can be trusted."""

    def __init__(self, place: str, said: str) -> None:
        super().__init__(f"{place}: {said}")
        self.place, self.said = place, said


class UnansweredError(Exception):
    """What the user can fix, in one line."""


def canonical(content: Any) -> bytes:
    """JSON in canonical form, so that equal content has equal bytes."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def read_json(content: bytes) -> Any:
    """JSON from UTF-8; ValueError also for NaN and Infinity, which are not JSON, and for a number too large."""

    def refuse(word: str) -> float:
        raise ValueError(f"{word} is no number")

    def finite(word: str) -> float:
        return float(word) if abs(float(word)) < float("inf") else refuse(word)

    return json.loads(content.decode(), parse_constant=refuse, parse_float=finite)


def envelope_bytes(envelope: dict[str, Any]) -> bytes:
    """A certificate in canonical form: sorted, indented by one, a line feed at the end."""
    return (json.dumps(envelope, sort_keys=True, indent=1, ensure_ascii=True, allow_nan=False) + "\n").encode()


def parts_of(statement: dict[str, Any]) -> dict[str, str]:
    """{part: sha256} of a statement, its predicate by section, to show where a change is."""
    predicate = statement.get("predicate")
    sections = predicate if isinstance(predicate, dict) else {"": predicate}
    parts = {name: value for name, value in statement.items() if name != "predicate"}
    parts |= {f"predicate.{name}": value for name, value in sections.items()}
    return {name: hashlib.sha256(canonical(value)).hexdigest() for name, value in sorted(parts.items())}


def verify(certificate: Path, model: Path, key: Path, revocations: Path | None = None) -> list[Finding]:
    """Everything that was checked, in order; the certificate holds if every finding does.

    Raises UnansweredError where a file is missing, or is one that identifies no model.
    """
    return examined(certificate, model, key, revocations)[0]


def examined(
    certificate: Path, model: Path, key: Path, revocations: Path | None = None
) -> tuple[list[Finding], dict[str, Any]]:
    """The findings of `verify`, and the statement, {} if it is not genuine."""
    for path in (certificate, model, key, *([revocations] if revocations else [])):
        if not path.exists():
            raise UnansweredError(f"{path}: no such file; expected the certificate, the model and the public key")
    if not (model.is_dir() or model.is_file()):
        raise UnansweredError(f"{model}: expected a model folder or a file of it, got something else")
    try:
        public, keyid = read_key(content_of(key))
        envelope = read_envelope(content_of(certificate), PAYLOAD_TYPE)
        statement = read_statement(envelope)
        check_signature(envelope, statement, public, keyid)
        check_statement(statement)
    except BrokenError as error:
        return [Finding(error.place, False, error.said)], {}
    said = f"signed by {keyid[:16]}…, every part unchanged"
    findings = [Finding("certificate", True, said), *in_force(statement, revocations, public, keyid)]
    return [*findings, *model_findings(statement, model)], statement


def in_force(statement: dict[str, Any], revocations: Path | None, public: Any, keyid: str) -> list[Finding]:
    """Whether the certificate has neither ended nor been revoked.

    Raises UnansweredError for a list that is genuine and too old to tell.
    """
    predicate = statement["predicate"]
    found = [Finding("payload.validUntil", *end_of(predicate))] if predicate.get("validUntil") is not None else []
    if said := start_of(predicate):
        found.append(Finding("payload.signedOn", False, said))
    if revocations is None:
        return found
    try:
        listed = read_list(content_of(revocations), public, keyid)
    except BrokenError as error:
        return [*found, Finding(f"revocations.{error.place}", False, error.said)]
    holds, said = standing(listed, predicate, hashlib.sha256(canonical(statement)).hexdigest())
    if holds is None:
        raise UnansweredError(f"{revocations}: {said}; ask the signer for the newest list")
    return [*found, Finding("revocations", holds, said)]


def read_list(content: bytes, public: Any, keyid: str) -> dict[str, Any]:
    """A list of revocations that this key signed. Raises BrokenError for anything else."""
    envelope = read_envelope(content, LIST_TYPE)
    listed = read_statement(envelope)
    check_signature(envelope, listed, public, keyid)
    if problem := list_problem(listed):
        raise BrokenError("payload", problem)
    return listed


def content_of(path: Path) -> bytes:
    """The bytes of a certificate or key. Raises UnansweredError for anything else, however long it would last."""
    try:
        if not path.exists():
            raise UnansweredError(f"{path}: no such file")
        if path.is_file() and path.stat().st_size <= LARGEST:
            return path.read_bytes()
    except OSError as error:
        raise UnansweredError(f"{path}: cannot be read: {error.strerror}") from None
    raise UnansweredError(f"{path}: expected a file of at most {LARGEST} bytes, got something else")


def read_key(content: bytes) -> tuple[Any, str]:
    """A public key from PEM and its id. Raises BrokenError."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
        from securesystemslib.signer import SSlibKey
    except ImportError as error:
        raise UnansweredError(f"the package {error.name} is missing; {INSTALL}") from None
    try:
        found = load_pem_public_key(content)
        public = SSlibKey.from_crypto(found)  # type: ignore[arg-type]
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BrokenError(
            "key", "expected the public key of `lethe certify --new-key` in PEM, got another file"
        ) from None
    if found.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo) != content:
        raise BrokenError("key", "expected the PEM file exactly as it was written, got a changed one")
    return public, public.keyid


def read_envelope(content: bytes, kind: str) -> dict[str, Any]:
    """The DSSE envelope of a payload type, in canonical form. Raises BrokenError with the first wrong byte's place."""
    try:
        envelope = read_json(content)
        again = envelope_bytes(envelope)
    except UnicodeDecodeError as error:
        raise BrokenError("certificate", f"not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise BrokenError("certificate", f"not JSON at byte {error.pos}: {error.msg}") from None
    except (ValueError, RecursionError):
        raise BrokenError("certificate", "not the JSON that `lethe certify` writes") from None
    if again != content:
        raise BrokenError("certificate", f"byte {first_difference(content, again)}: not as `lethe certify` writes it")
    wrong = set(ENVELOPE) ^ set(envelope) if isinstance(envelope, dict) else {"no object"}
    if wrong:
        raise BrokenError(
            "certificate", f"expected the fields {', '.join(ENVELOPE)}, missing or unknown: {', '.join(sorted(wrong))}"
        )
    if envelope["payloadType"] != kind:
        raise BrokenError("payloadType", f"expected {kind}, got {envelope['payloadType']}")
    return envelope


def first_difference(found: bytes, wanted: bytes) -> int:
    """The offset of the first byte that differs, or the shorter one's length."""
    return next(
        (n for n, pair in enumerate(zip(found, wanted, strict=False)) if pair[0] != pair[1]),
        min(len(found), len(wanted)),
    )


def read_statement(envelope: dict[str, Any]) -> dict[str, Any]:
    """The payload in its canonical form. Raises BrokenError with the place."""
    try:
        payload = base64.b64decode(envelope["payload"], validate=True)
        again = base64.b64encode(payload).decode()
    except (binascii.Error, ValueError, TypeError) as error:
        raise BrokenError("payload", f"not base64: {error}") from None
    if again != envelope["payload"]:
        raise BrokenError("payload", "not base64 as `lethe certify` writes it")
    try:
        statement = read_json(payload)
        form = canonical(statement)
    except UnicodeDecodeError as error:
        raise BrokenError("payload", f"not UTF-8 at byte {error.start}") from None
    except (ValueError, RecursionError) as error:
        raise BrokenError("payload", f"not JSON: {error}") from None
    if form != payload:
        raise BrokenError("payload", "not in the one form that `lethe certify` writes")
    if not isinstance(statement, dict):
        raise BrokenError("payload", "expected an in-toto statement, got something other than a JSON object")
    return statement


def check_signature(envelope: dict[str, Any], statement: dict[str, Any], public: Any, keyid: str) -> None:
    """Raise BrokenError unless this key, and no other, signed the payload as it is."""
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError

    signatures = envelope["signatures"]
    one = signatures[0] if isinstance(signatures, list) and len(signatures) == 1 else None
    if not isinstance(one, dict) or {name: type(text) for name, text in one.items()} != {"keyid": str, "sig": str}:
        raise BrokenError("signatures", "expected one signature with keyid and sig, got something else")
    check_parts(envelope["parts"], statement)
    if signatures[0]["keyid"] != keyid:
        raise BrokenError(
            "signatures.keyid", f"expected {keyid}, got {signatures[0]['keyid']}: another key signed, or it was changed"
        )
    try:
        Envelope.from_dict(json.loads(json.dumps(envelope))).verify([public], 1)
    except (VerificationError, ValueError, TypeError, KeyError):
        raise BrokenError("signatures.sig", "invalid: the signature or what it signs was changed") from None
    if base64.b64encode(base64.b64decode(signatures[0]["sig"])).decode() != signatures[0]["sig"]:
        raise BrokenError("signatures.sig", "not base64 as `lethe certify` writes it")


def check_parts(parts: Any, statement: dict[str, Any]) -> None:
    """Raise BrokenError naming the parts whose hash is not the one recorded next to the payload."""
    found = parts_of(statement)
    noted = parts if isinstance(parts, dict) else {}
    wrong = sorted(name for name in {*found, *noted} if found.get(name) != noted.get(name))
    if wrong:
        raise BrokenError("payload", f"{', '.join(wrong)}: changed since it was signed (or its hash in parts was)")
    if canonical(parts) != canonical(found):
        raise BrokenError("parts", "changed since the certificate was written")


def check_statement(statement: dict[str, Any]) -> None:
    """Raise BrokenError for a signed statement of another type or form."""
    for name, wanted in (("_type", STATEMENT_TYPE), ("predicateType", PREDICATE_TYPE)):
        if statement.get(name) != wanted:
            raise BrokenError(f"payload.{name}", f"expected {wanted}, got {statement.get(name)}")
    try:
        rows = [(row["name"], row["digest"]["sha256"], row["annotations"]["size"]) for row in statement["subject"]]
        model = statement["predicate"]["model"]
        good = all(isinstance(name, str) and isinstance(sha, str) and isinstance(size, int) for name, sha, size in rows)
        good = good and bool(rows) and all(isinstance(model[name], str) for name in ("path", "md5"))
        good = good and len({name for name, _, _ in rows}) == len(rows)  # two rows of one file say two things
    except (KeyError, TypeError):
        good = False
    if not good:
        raise BrokenError("payload.subject", "expected the files of a model with sha256 and size, got another form")


def model_findings(statement: dict[str, Any], model: Path) -> list[Finding]:
    """A finding for each file of the model folder, or for a single file of it."""
    subjects = {subject["name"]: subject for subject in statement["subject"]}
    if model.is_file():
        try:
            return [single_file(subjects, model)]
        except OSError as error:
            return [Finding(str(model), False, f"cannot be read: {error.strerror}")]
    files, problems = walk(model)
    every = sorted({*subjects, *files} - problems.keys())
    findings = [file_finding(name, subjects.get(name), files.get(name)) for name in every]
    findings += [Finding(name, False, said) for name, said in sorted(problems.items())]
    weights = [finding for finding in findings if finding.place.endswith(".safetensors")]
    marks = [finding for finding in findings if finding.place == "provenance.json"]
    if weights and all(not finding.holds for finding in (*weights, *marks)) and any(marks):
        wanted = statement["predicate"]["model"]
        said = f"expected {wanted['path']} {wanted['md5']}, which the certificate describes, got another model"
        return [Finding(str(model), False, said)]  # that every file differs adds nothing
    return findings


def single_file(subjects: dict[str, Any], path: Path) -> Finding:
    """Whether the file, whatever its name, is one of those the certificate names.

    Raises UnansweredError for one without weights: another model may have the same tokenizer.
    """
    sizes = {subject["annotations"]["size"] for subject in subjects.values()}
    found = sha256_of(path) if path.stat().st_size in sizes else ""
    named = [name for name, subject in subjects.items() if subject["digest"]["sha256"] == found]
    if named and not named[0].endswith(".safetensors"):
        raise UnansweredError(
            f"{path}: expected the model folder or its weights, got {named[0]}, which other models may have too"
        )
    if named:
        others = ", ".join(sorted(subjects.keys() - named)) or "no other"
        return Finding(
            str(path), True, f"is {named[0]}, one of {len(subjects)} files of the model; not covered: {others}"
        )
    if path.name in subjects or is_pickle(path):
        return file_finding(str(path), subjects.get(path.name), path)
    return Finding(str(path), False, f"none of the {len(subjects)} files that the certificate names")


def file_finding(name: str, subject: dict[str, Any] | None, path: Path | None) -> Finding:
    """Whether one file exists, is named in the certificate, and is unchanged."""
    if path is None:
        return Finding(name, False, "missing: the certificate names it, the model has no such file")
    try:
        return content_finding(name, subject, path)
    except OSError as error:
        return Finding(name, False, f"cannot be read: {error.strerror}")


def content_finding(name: str, subject: dict[str, Any] | None, path: Path) -> Finding:
    """The finding for a file that exists."""
    if is_pickle(path):
        return Finding(name, False, "expected safetensors, got a pickle (refused: it can run code when loaded)")
    if subject is None:
        code = path.suffix.lower() in CODE
        return Finding(
            name, False, f"extra: {'code that a loader may run' if code else 'the certificate names no such file'}"
        )
    size, wanted = path.stat().st_size, subject["annotations"]["size"]
    if size != wanted:  # one of other size is not read: it may have holes without end
        return Finding(
            name, False, f"{'truncated' if size < wanted else 'changed'}: expected {wanted} bytes, got {size}"
        )
    if sha256_of(path) != subject["digest"]["sha256"]:
        return Finding(name, False, f"changed: its sha256 is not {subject['digest']['sha256']}")
    if path.suffix.lower() in CODE:
        return Finding(name, True, "equal; it is code, which was not judged")
    return Finding(name, True, "equal; it names code to load (auto_map), not judged" if names_code(path) else "equal")


def names_code(path: Path) -> bool:
    """Whether a model's settings name code, perhaps of another place, that a loader runs where it is trusted."""
    if not path.name.endswith("config.json") or path.stat().st_size > SETTINGS:
        return False
    return b'"auto_map"' in path.read_bytes()


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_pickle(path: Path) -> bool:
    """Whether a file is named or begins like a pickle, torch's zip archive included; it is never loaded."""
    with path.open("rb") as stream:
        start = stream.read(4)
    named = path.suffix.lower() in PICKLES
    return named or (path.suffix.lower() == ".safetensors" and start.startswith(PICKLE_STARTS))


def answer(certificate: Path, model: Path, key: Path, as_json: bool, revocations: Path | None = None) -> int:
    """Print the findings and what is certified; returns the exit code."""
    try:
        findings, statement = examined(certificate, model, key, revocations)
    except UnansweredError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return UNANSWERED
    good = all(finding.holds for finding in findings)
    unasked = [] if revocations else [("revoked", "not looked up: --revocations LIST, which the signer publishes")]
    stated = [*stated_by(statement), *unasked] if good else []
    if as_json:
        content = {"holds": good, "findings": [finding._asdict() for finding in findings], "stated": stated}
        print(json.dumps(content, indent=2))
        return HOLDS if good else BROKEN
    for finding in findings:
        if good or not finding.holds:
            write("ok" if finding.holds else "FAIL", f"  {finding.place}: {finding.said}", finding.holds)
    for label, text in stated:
        write(f"{label:<10}", text, True)
    verdict = f" Its release gate: {stated[0][1]}" if good else ""
    of = "this file of the model" if model.is_file() else "this model"
    write(f"The certificate {'holds' if good else 'does not hold'} for {of}.{verdict}", "", good)
    return HOLDS if good else BROKEN


def write(word: str, text: str, good: bool) -> None:
    """Print a line, its word in colour where rich is installed."""
    word, text = printable(word), printable(text)
    try:
        from rich.console import Console
        from rich.text import Text
    except ImportError:
        print(f"{word}{text}")
    else:
        Console(highlight=False).print(Text(word, style="green" if good else "bold red") + Text(text), soft_wrap=True)


def main() -> None:
    """The same without the rest of lethe."""
    import argparse

    parser = argparse.ArgumentParser(description="Check a certificate against a model, with the signer's public key.")
    parser.add_argument("certificate", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--key", type=Path, default=Path("lethe.pub"))
    parser.add_argument("--revocations", type=Path, default=None)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.exit(answer(given.certificate, given.model, given.key, given.json, given.revocations))


if __name__ == "__main__":
    main()
