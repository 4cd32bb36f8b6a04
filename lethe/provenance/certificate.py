"""A signed statement of what a model was made from and what was measured: in-toto, in a DSSE envelope."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lethe.console import Json, line, print_json
from lethe.core.errors import StageError
from lethe.custody.plain_git import plain
from lethe.custody.stated import end_of, now, stated_by
from lethe.provenance import verify
from lethe.provenance.audit import Ref
from lethe.provenance.verify import (
    PAYLOAD_TYPE,
    PREDICATE_TYPE,
    STATEMENT_TYPE,
    canonical,
    envelope_bytes,
    parts_of,
)

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

    from lethe.provenance.artifact_store import Store
    from lethe.provenance.fingerprint import Subject
    from lethe.provenance.history import History

CERTIFICATE, PAGE = b'{\n "parts": ', b"<!doctype html>"  # how the files begin
DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
ATTACKS = "reports/attacks.json"
PROVES = (
    "The files named under subject are, byte for byte, the model that dvc.lock recorded at this commit.",
    "dvc.lock recorded it as made by these stages from the inputs, code and params whose hashes are given here.",
    "The metrics, thresholds and attacks are those of the reports that dvc.lock recorded for this model.",
    "The holder of the private key vouched for all of this, and no byte of it has changed since.",
)
DOES_NOT_PROVE = (
    "That nothing of the corpus remains in the weights: the metrics only cover what was measured.",
    "That the recorded commands were run: a lock can be written by hand. `lethe replay` repeats them.",
    "That no other copy of the text or of a model that read it exists: the reinforced model is one.",
    "That the forget corpus is all that had to be erased; a holder of the text can compare its hashes.",
    "When it was signed: the date is only the signer's claim.",
)


def command(
    model: Annotated[str, typer.Argument(help="The model's folder.")] = "",
    key: Annotated[Path, typer.Option(help="The private key; the public key ends in .pub.")] = Path("lethe.key"),
    out: Annotated[Path, typer.Option(help="Where to write the certificate.")] = Path("certificate.json"),
    new_key: Annotated[bool, typer.Option("--new-key", help="First make a key pair; MODEL is optional.")] = False,
    p256: Annotated[
        bool, typer.Option("--p256", help="--new-key makes a P-256 key, which --model-signing needs; else ed25519.")
    ] = False,
    file_names: Annotated[
        bool, typer.Option("--file-names", help="Include the names of the corpus's files, not only their hashes.")
    ] = False,
    valid_until: Annotated[str, typer.Option(help="YYYY-MM-DD: the day after which it no longer holds.")] = "",
    supersedes: Annotated[
        Path | None, typer.Option(help="The certificate that it replaces; `lethe revoke` withdraws that one.")
    ] = None,
    html: Annotated[bool, typer.Option("--html", help="Also write it as a page for a person, beside it.")] = False,
    model_signing: Annotated[
        Path | None, typer.Option(help="Also sign the files as OpenSSF model-signing does, into this file.")
    ] = None,
    ref: Ref = "HEAD",
    json: Json = False,
) -> None:
    """Sign a certificate of a MODEL: its files, corpus hashes, dvc.lock, params, code, metrics, thresholds, attacks.

    It states what dvc.lock recorded in the commits that HEAD, or the --ref, was made from. A model whose records
    contradict each other is refused. The certificate holds no text of the corpus. Nothing leaves this machine. `lethe
    verify` checks it anywhere.
    """
    if not new_key and not model:
        raise StageError("MODEL: expected a model folder (or --new-key), got none")
    page = out.with_suffix(".html") if html else None
    check_apart(Path(model) if model else None, key, out, *(path for path in (page, model_signing) if path))
    made = write_new_key(key, p256) if new_key else []
    if new_key and (said := loose(key)):
        print(f"certify: warning: {said}", file=sys.stderr)
    stated: list[tuple[str, str]] = []
    if model:
        terms: dict[str, Any] = {"id": f"urn:uuid:{uuid.uuid4()}", "validUntil": last_moment(valid_until)}
        terms["supersedes"] = [named(supersedes, key)] if supersedes else []
        check_places(Path(model), out, *([page] if page else []))
        signer, statement = read_key(key), statement_about(model, file_names, ref)
        bundle = model_bundle(Path(model), statement, key, model_signing) if model_signing else b""
        statement["predicate"] |= terms
        write(out, envelope_bytes(signed(statement, signer)))
        made.append(out)
        made += [write_page(page, out.name, statement, signer)] if page else []
        if model_signing:
            write(model_signing, bundle)
            made.append(model_signing)
        stated = stated_by(statement)
    paths = [str(path) for path in made]
    print_json({"written": paths, "stated": [list(row) for row in stated]}) if json else show(paths, stated)


def show(paths: Iterable[str], stated: Iterable[tuple[str, str]]) -> None:
    """Print what was written, and what it states."""
    from lethe.console import console

    for path in paths:
        line(console(), "written", path)
    for label, text in stated:
        line(console(), label, text)


def write_new_key(path: Path, p256: bool = False) -> list[Path]:
    """Write an ed25519 or P-256 key pair; only its owner can read the private key. Raises StageError if one exists."""
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    public = path.with_suffix(".pub")
    for each in (path, public):
        if each.exists():
            raise StageError(
                f"{each}: expected a new path, got an existing file (a key is never overwritten); choose another --key"
            )
    private = generate_private_key(SECP256R1()) if p256 else Ed25519PrivateKey.generate()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with public.open("xb") as stream:
        stream.write(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return [path, public]


def loose(key: Path) -> str:
    """A warning where git would take the private key into the next commit, "" where it would not."""
    folder = key.resolve().parent

    def ask(*words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(["git", *words], cwd=folder, capture_output=True, env=plain())

    inside, ignored = ask("rev-parse", "--is-inside-work-tree"), ask("check-ignore", "--quiet", key.name)
    if inside.stdout.strip() != b"true" or ignored.returncode == 0:
        return ""
    return f"{key}: git does not ignore it; whoever has it can sign; echo '*.key' >> .gitignore"


def read_key(path: Path) -> CryptoSigner:
    """The signer of a private key. Raises StageError if there is none."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner

    if not path.is_file():
        raise StageError(f"{path}: no such file; expected a private key; lethe certify --new-key")
    try:
        return CryptoSigner(load_pem_private_key(path.read_bytes(), None))  # type: ignore[arg-type]
    except (ValueError, TypeError):
        raise StageError(f"{path}: expected a private key of lethe certify --new-key, got another file") from None


def check_apart(model: Path | None, key: Path, *written: Path) -> None:
    """Raise StageError where two files would have one place, or the private key would go along with the model."""
    if model and key.resolve().is_relative_to(model.resolve()):
        raise StageError(f"--key: expected a place outside of the model, which is given away, got {key}")
    places = [path.resolve() for path in (key, key.with_suffix(".pub"), *written)]
    for path in written:
        if places.count(path.resolve()) > 1:
            raise StageError(f"{path}: expected another place for each file, got it for two of them")


def check_places(model: Path, out: Path, *pages: Path) -> None:
    """Raise StageError where a certificate would overwrite something else, or change the model that it is about."""
    for path in (out, *pages):
        if path.resolve().is_relative_to(model.resolve()):
            raise StageError(f"--out: expected a place outside of the model, whose files it names, got {path}")
        own = CERTIFICATE if path is out else PAGE
        if path.exists() and not (path.is_file() and path.read_bytes()[: len(own)] == own):
            raise StageError(
                f"--out: expected a new path or an earlier certificate, got {path}, which is something else"
            )


def write_page(path: Path, certificate: str, statement: Mapping[str, Any], signer: CryptoSigner) -> Path:
    """Write the page of a certificate beside it."""
    from lethe.custody.page import page

    write(path, page(statement, signer.public_key.keyid, certificate).encode(errors="backslashreplace"))
    return path


def model_bundle(model: Path, statement: Mapping[str, Any], key: Path, place: Path) -> bytes:
    """The files that a statement names, signed as OpenSSF model-signing does. Raises StageError for a place or a key
    that will not do.
    """
    from lethe.custody.model_signing import BUNDLE, bundle
    from lethe.custody.model_signing import statement as listed

    if place.resolve().is_relative_to(model.resolve()):
        raise StageError(f"--model-signing: expected a place outside of the model, whose files it names, got {place}")
    if place.exists() and not (place.is_file() and BUNDLE.encode() in place.read_bytes()[:200]):
        raise StageError(
            f"--model-signing: expected a new path or an earlier signature, got {place}, which is something else"
        )
    files = {row["name"]: row["digest"]["sha256"] for row in statement["subject"]}
    return bundle(listed(model.resolve().name, files), key)


def last_moment(day: str) -> str | None:
    """The end of a day in UTC, None for no day. Raises StageError for anything else, and for one in the past."""
    if not day:
        return None
    end = f"{day}T23:59:59+00:00"
    if not DAY.fullmatch(day) or not end_of({"validUntil": end})[0]:
        raise StageError(f"--valid-until: expected YYYY-MM-DD, today or later, got {day}")
    return end


def named(path: Path, key: Path) -> dict[str, str]:
    """The id and the hash of a certificate that this key signed. Raises StageError for anything else."""
    public = key.with_suffix(".pub")
    try:
        own, keyid = verify.read_key(verify.content_of(public))
        envelope = verify.read_envelope(verify.content_of(path), PAYLOAD_TYPE)
        statement = verify.read_statement(envelope)
        verify.check_signature(envelope, statement, own, keyid)
        verify.check_statement(statement)
    except verify.UnansweredError as error:
        raise StageError(str(error)) from None
    except verify.BrokenError as error:
        raise StageError(f"{path}: expected a certificate that {public} signed, got another file: {error}") from None
    digest = sha256(canonical(statement)).hexdigest()
    return {"id": statement["predicate"].get("id", f"sha256:{digest}"), "sha256": digest}


def signed(statement: dict[str, Any], signer: CryptoSigner, kind: str = PAYLOAD_TYPE) -> dict[str, Any]:
    """The DSSE envelope of a statement, and next to the payload the hash of each of its parts.

    The parts are unsigned: they only show where a change is that the signature detects.
    """
    from securesystemslib.dsse import Envelope

    envelope = Envelope(canonical(statement), kind, {})
    envelope.sign(signer)
    return {**envelope.to_dict(), "parts": parts_of(statement)}


def write(path: Path, content: bytes) -> None:
    """Write a file completely or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.part")  # a name that nobody else has
    try:
        with half.open("xb") as stream:
            stream.write(content)
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


def statement_about(given: str, file_names: bool, ref: str) -> dict[str, Any]:
    """The in-toto statement about a model folder, from the history of a ref.

    Raises StageError for a model that no commit of it recorded, and for one whose records contradict each other.
    """
    from lethe.provenance.artifact_store import open_store
    from lethe.provenance.audit import audit
    from lethe.provenance.fingerprint import subject_of
    from lethe.provenance.history import open_history

    subject = subject_of(given)
    history = open_history(Path(), ref)
    store = open_store(history.project)
    answer = audit(history, store, subject, verify=False)
    if not answer["model"]:
        others = [name for row in answer["elsewhere"] for name in row["refs"]]
        beside = f" (only {', '.join(others)}, which --ref names)" if others else ""
        raise StageError(
            f"{given}: expected a model that a commit records, got none{beside}; lethe audit {given} lists the nearest"
        )
    if answer["contradictions"]:
        wrong = answer["contradictions"][0]
        raise StageError(
            f"{given}: expected records that agree with each other, got {wrong['path']}: {wrong['said']}; "
            f"`lethe audit {given} --verify`"
        )
    if answer["model"]["how"] != "the folder":
        raise StageError(f"{given}: expected the whole folder of a recorded model, got {answer['model']['how']}")
    return {
        "_type": STATEMENT_TYPE,
        "subject": subjects(subject),
        "predicateType": PREDICATE_TYPE,
        "predicate": predicate(history, store, answer, file_names),
    }


def subjects(subject: Subject) -> list[dict[str, Any]]:
    """Each file of the model with its sha256 and size."""
    from lethe.provenance.fingerprint import sha256s

    return [
        {"name": name, "digest": {"sha256": digest}, "annotations": {"size": subject.files[name].stat().st_size}}
        for name, digest in sha256s(subject).items()
    ]


def predicate(history: History, store: Store, answer: Mapping[str, Any], file_names: bool) -> dict[str, Any]:
    """All that is stated about the model; build and run follow the terms of SLSA."""
    recorded, metrics = answer["recorded"], answer["metrics"]
    attacks = metrics.get(ATTACKS, {}).get("attacks")
    return {
        "model": {"path": answer["model"]["path"], "md5": answer["model"]["md5"]},
        "history": answer["history"],
        "lock": lock_of(history, recorded["commit"]),
        "corpus": corpus_of(history, store, answer["corpus"], file_names),
        "buildDefinition": {
            "buildType": "urn:lethe:dvc-pipeline:v1",
            "externalParameters": answer["params"],
            "internalParameters": {"code": answer["code"], "recommitted": answer["recommitted"]},
            "resolvedDependencies": [
                {"name": row["path"], "digest": {"md5": row["md5"]}, "annotations": {"stage": row["stage"] or "input"}}
                for row in answer["chain"][1:]
            ],
        },
        "runDetails": {
            "builder": {"id": "urn:lethe:dvc-repro", "version": answer["versions"]},
            "metadata": {"recordedBy": recorded["author"], "recordedOn": recorded["date"]},
        },
        "baseline": answer["baseline"],
        "metrics": {path: content for path, content in metrics.items() if path != ATTACKS},
        "measuredIn": answer["measured_in"],
        "thresholds": answer["gate"]["criteria"] if answer["gate"] else [],
        "verdict": answer["gate"]["verdict"] if answer["gate"] else None,
        "attacks": attacks if attacks is not None else [],
        "proves": list(PROVES),
        "doesNotProve": [*DOES_NOT_PROVE, *caveats(answer, attacks)],
        "signedOn": now().isoformat(timespec="seconds"),
    }


def lock_of(history: History, commit: str) -> dict[str, str]:
    """The commit of the dvc.lock that recorded the model first, and the file's hash."""
    lock = next(lock for lock in history.locks if commit in {each.id for each in lock.commits})
    return {"path": "dvc.lock", "commit": commit, "sha256": sha256(lock.text.encode()).hexdigest()}


def corpus_of(
    history: History, store: Store, corpus: Mapping[str, Any] | None, file_names: bool
) -> dict[str, Any] | None:
    """The corpus's hash and, if it is available, that of every document's text. No text; file names only on request."""
    from lethe.provenance.audit import documents_of

    if corpus is None:
        return None
    documents, _ = documents_of(history, store, corpus["md5"])
    return {"digest": {"md5": corpus["md5"]}, "documents": [document_row(row, file_names) for row in documents]}


def document_row(row: Mapping[str, Any], file_names: bool) -> dict[str, Any]:
    """A document's span, side, part and hash, of its file's own characters; its file's name only on request: a name can
    reveal whose text it is.
    """
    from lethe.text.normal import edits_of, original

    kept = {name: row[name] for name in ("side", "part", "start", "end")}
    named = {"file": row["file"]} if file_names else {}
    return {**kept, **named, "digest": {"sha256": sha256(original(row["text"], edits_of(row)).encode()).hexdigest()}}


def caveats(answer: Mapping[str, Any], attacks: Any) -> list[str]:
    """What this certificate in particular does not prove."""
    said = []
    if attacks is None:
        said.append("That it withstands an attack: none was recorded for this model.")
    if not answer["gate"]:
        said.append("That it passed a release gate: no verdict was recorded for this model.")
    if not answer["code"]["commit"]:
        said.append("Which code made it: no commit holds all the files whose hashes dvc.lock recorded.")
    if answer["gate"] and not answer["gate"]["recomputed"]:
        said.append("That the verdict follows from the measurements: not all reports it was made from are recorded.")
    if answer["unvouched"]:
        said.append(f"What {', '.join(answer['unvouched'])} says: it is not the file that dvc.lock recorded.")
    if answer["corpus"] and not answer["corpus"]["at_hand"]:
        said.append("Which documents the corpus held: its bytes were not available, only its hash is given here.")
    return said
