"""A model's files signed as OpenSSF model-signing does, whose own tool (1.1.1) accepted such a file."""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from tests import recorded
from tests.recorded import lethe

MODEL = Path("models/unlearned")


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a recorded model, a P-256 key and the signed list of the model's files."""
    folder = recorded.empty(tmp_path_factory.mktemp("signing") / "project")
    recorded.run(folder)
    recorded.commit(folder, "run")
    done = lethe(folder, "certify", str(MODEL), "--new-key", "--p256", "--model-signing", "model.sig")
    assert done.exit_code == 0, (done.output, done.exception)
    return folder


def test_the_list_is_of_the_folder_and_signed_by_the_key(past: Path) -> None:
    bundle = json.loads((past / "model.sig").read_text())
    assert bundle["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    public = (past / "lethe.pub").read_bytes()
    assert bundle["verificationMaterial"]["publicKey"]["hint"] == sha256(public).hexdigest()
    envelope = bundle["dsseEnvelope"]
    payload = base64.b64decode(envelope["payload"])
    signed = b"DSSEv1 28 application/vnd.in-toto+json " + str(len(payload)).encode() + b" " + payload
    key = load_pem_public_key(public)
    assert isinstance(key, EllipticCurvePublicKey)
    key.verify(base64.b64decode(envelope["signatures"][0]["sig"]), signed, ECDSA(SHA256()))  # raises
    statement = json.loads(payload)
    files = sorted(path for path in (past / MODEL).rglob("*") if path.is_file())
    hashes = [sha256(path.read_bytes()) for path in files]
    assert statement["predicate"]["resources"] == [
        {"name": path.relative_to(past / MODEL).as_posix(), "algorithm": "sha256", "digest": found.hexdigest()}
        for path, found in zip(files, hashes, strict=True)
    ]
    whole = sha256(b"".join(found.digest() for found in hashes)).hexdigest()
    assert statement["subject"] == [{"name": "unlearned", "digest": {"sha256": whole}}]
    assert statement["predicateType"] == "https://model_signing/signature/v1.0"


def test_a_certificate_of_a_p256_key_holds(past: Path) -> None:
    done = lethe(past, "verify", "certificate.json", str(MODEL))
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--new-key", "--key", "other.key"],
            "other.key: expected a P-256 key, which model-signing knows, got",
        ),
        (["--model-signing", "models/unlearned/model.sig"], "expected a place outside of the model"),
        (["--model-signing", "lethe.pub"], "expected another place for each file, got it for two of them"),
    ],
)
def test_what_cannot_be_signed_writes_nothing(past: Path, words: list[str], said: str) -> None:
    words = words if "--model-signing" in words else [*words, "--model-signing", "new.sig"]
    done = lethe(past, "certify", str(MODEL), "--out", "new.json", *words)
    assert done.exit_code == 1
    assert said in str(done.exception)
    assert not (past / "new.json").exists()
    assert not (past / "new.sig").exists()
