"""The files of a model as OpenSSF model-signing lists and signs them, so that its tools can check the folder.

Format: an in-toto Statement v1 of the predicate https://model_signing/signature/v1.0, in a DSSE envelope, in a Sigstore
bundle v0.3 that names a public key by the hash of its PEM. Its own tool checks it: `model_signing verify key MODEL
--signature FILE --public_key lethe.pub`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from lethe.core.errors import StageError
from lethe.provenance.verify import PAYLOAD_TYPE, STATEMENT_TYPE

PREDICATE = "https://model_signing/signature/v1.0"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"


def statement(name: str, files: Mapping[str, str]) -> dict[str, Any]:
    """The in-toto statement of a folder. files: path in it -> hex sha256.

    Its one subject is the folder, with the hash of all files' hashes in the order of their paths.
    """
    listed = sorted(files.items())
    whole = sha256(b"".join(bytes.fromhex(digest) for _, digest in listed)).hexdigest()
    resources = [{"name": path, "algorithm": "sha256", "digest": digest} for path, digest in listed]
    serialization = {"method": "files", "hash_type": "sha256", "allow_symlinks": False}
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": whole}}],
        "predicateType": PREDICATE,
        "predicate": {"serialization": serialization, "resources": resources},
    }


def bundle(content: Mapping[str, Any], key: Path) -> bytes:
    """The signed statement. Raises StageError for a key of a kind that model-signing does not know."""
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    private = load_pem_private_key(key.read_bytes(), None)
    if not isinstance(private, EllipticCurvePrivateKey) or not isinstance(private.curve, SECP256R1):
        raise StageError(
            f"{key}: expected a P-256 key, which model-signing knows, got another kind; "
            "lethe certify --new-key --p256 --key FILE"
        )
    payload = json.dumps(content, sort_keys=True).encode()
    kind = PAYLOAD_TYPE.encode()
    signature = private.sign(b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload), ECDSA(SHA256()))
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
    }
    material = {"publicKey": {"hint": sha256(public).hexdigest()}, "tlogEntries": []}
    found = {"mediaType": BUNDLE, "verificationMaterial": material, "dsseEnvelope": envelope}
    return (json.dumps(found, indent=1) + "\n").encode()
