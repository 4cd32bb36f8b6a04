"""Timestamps: of a local authority, and what of them does not hold."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from lethe.custody import timestamp
from tests.recorded import lethe

SETTINGS = """[req]
distinguished_name = name
prompt = no
x509_extensions = {kind}
[name]
CN = {name}
[root]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
[clock]
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, timeStamping
[tsa]
default_tsa = here
[here]
serial = serial
signer_cert = clock.pem
signer_key = clock.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha512
ess_cert_id_alg = sha256
"""
KEY = ["-newkey", "rsa:2048", "-nodes", "-days", "30"]


def openssl(folder: Path, *words: str, given: bytes = b"") -> bytes:
    done = subprocess.run(["openssl", *words], cwd=folder, input=given, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def authority_in(folder: Path, name: str) -> Path:
    """A root certificate root.pem and a clock's certificate that it signed, as files of a new folder."""
    folder.mkdir()
    (folder / "root.cnf").write_text(SETTINGS.format(kind="root", name=f"{name} root"))
    (folder / "clock.cnf").write_text(SETTINGS.format(kind="clock", name=name))
    openssl(folder, "req", "-x509", "-config", "root.cnf", *KEY, "-keyout", "root.key", "-out", "root.pem")
    signed = ["-CA", "root.pem", "-CAkey", "root.key", "-keyout", "clock.key", "-out", "clock.pem"]
    openssl(folder, "req", "-x509", "-config", "clock.cnf", *KEY, *signed)
    (folder / "serial").write_text("01\n")
    return folder


class Clock(BaseHTTPRequestHandler):
    """Answers /tsa as an authority does, and the other paths as none should."""

    folder: ClassVar[Path]
    kept: ClassVar[bytes] = b""  # an earlier reply
    asked: ClassVar[list[bytes]] = []

    def do_POST(self) -> None:
        query = self.rfile.read(int(self.headers["Content-Length"]))
        Clock.asked.append(query)
        code, reply = 200, b""
        if self.path == "/tsa":
            (self.folder / "query").write_bytes(query)
            options = ["-config", "clock.cnf", "-section", "here", "-queryfile", "query"]
            reply = Clock.kept = openssl(self.folder, "ts", "-reply", *options)
        elif self.path == "/old":
            reply = Clock.kept
        elif self.path == "/refuse":  # status rejection, bad request
            reply = bytes.fromhex("3009300702010203020520")
        elif self.path == "/long":
            reply = b"0" * (timestamp.LARGEST + 10)
        elif self.path == "/moved":
            code = 307
        elif self.path == "/broken":
            code = 500
        else:
            reply = b"<html>welcome</html>"
        self.send_response(code)
        if code == 307:
            self.send_header("Location", "/tsa")
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a local authority."""
    Clock.folder = authority_in(tmp_path_factory.mktemp("authority") / "here", "clock")
    server = HTTPServer(("127.0.0.1", 0), Clock)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def folder(tmp_path: Path, clock: str) -> Path:
    (tmp_path / "certificate.json").write_text('{"what": "it says"}\n')
    shutil.copy(Clock.folder / "root.pem", tmp_path)
    return tmp_path


def test_a_timestamp_is_fetched_and_holds(folder: Path, clock: str) -> None:
    done = lethe(folder, "timestamp", "certificate.json", "--url", f"{clock}/tsa", "--authority", "root.pem")
    assert done.exit_code == 0, done.output
    assert "certificate.json existed on 20" in done.output
    assert b"it says" not in Clock.asked[-1]  # only a hash was sent
    checked = ["-data", "certificate.json", "-in", "certificate.json.tsr", "-CAfile", "root.pem"]
    openssl(folder, "ts", "-verify", *checked)  # as somebody without lethe would
    again = lethe(folder, "timestamp", "certificate.json", "--authority", "root.pem", "--json")
    assert again.exit_code == 0
    assert '"holds": true' in again.output


def changed_file(folder: Path) -> None:
    (folder / "certificate.json").write_text('{"what": "it does not"}\n')


def other_authority(folder: Path) -> None:
    authority_in(folder / "other", "another")
    shutil.copy(folder / "other/root.pem", folder / "root.pem")


def flipped(folder: Path) -> None:
    content = bytearray((folder / "certificate.json.tsr").read_bytes())
    content[-20] ^= 1  # in the signature
    (folder / "certificate.json.tsr").write_bytes(content)


def no_timestamp(folder: Path) -> None:
    (folder / "certificate.json.tsr").write_bytes(b"not one")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (changed_file, "does not hold for this file and authority"),
        (other_authority, "does not hold for this file and authority"),
        (flipped, ""),
        (no_timestamp, "expected an RFC 3161 timestamp, got something else"),
    ],
)
def test_what_was_changed_does_not_hold(folder: Path, clock: str, spoil: Callable[[Path], None], said: str) -> None:
    assert lethe(folder, "timestamp", "certificate.json", "--url", f"{clock}/tsa").exit_code == 0
    spoil(folder)
    done = lethe(folder, "timestamp", "certificate.json", "--authority", "root.pem")
    assert done.exit_code == 3, done.output
    assert done.output.startswith("FAIL  ")
    assert said in done.output


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("refuse", "got a refusal (status 2)"),
        ("page", "expected a timestamp, got 20 bytes of something else"),
        ("long", "got more than 1000000 bytes"),
        ("moved", "got 307 (a redirect, which was not followed)"),
        ("broken", "got 500 (Internal Server Error)"),
        ("old", "got an older one or another file's"),
    ],
)
def test_an_authority_that_gives_none(folder: Path, clock: str, path: str, said: str) -> None:
    if path == "old":
        lethe(folder, "timestamp", "certificate.json", "--url", f"{clock}/tsa")
        (folder / "certificate.json.tsr").unlink()
    done = lethe(folder, "timestamp", "certificate.json", "--url", f"{clock}/{path}")
    assert done.exit_code == 1
    assert said in str(done.exception)
    assert not (folder / "certificate.json.tsr").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["certificate.json"], "expected --url to get one, or --authority to check one, got neither"),
        (["none.json", "--authority", "root.pem"], "none.json: expected a file with something in it, got none"),
        (["certificate.json", "--authority", "root.pem"], "certificate.json.tsr: expected a file"),
        (["certificate.json", "--url", "file:///etc/passwd"], "--url: expected http:// or https://, got file:///"),
        (["certificate.json", "--url", "http://127.0.0.1:9/tsa"], "expected a timestamp, got no reply"),
        (["certificate.json", "--authority", "certificate.json", "--timestamp", "root.pem"], "root certificate in PEM"),
    ],
)
def test_wrong_input_is_one_line(folder: Path, words: list[str], said: str) -> None:
    done = lethe(folder, "timestamp", *words)
    assert done.exit_code == 1
    assert said in str(done.exception)
    assert "\n" not in str(done.exception)


def test_without_its_package_it_says_how_to_install_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rfc3161_client", None)
    done = lethe(folder, "timestamp", "certificate.json", "--url", "http://127.0.0.1:9/tsa")
    assert str(done.exception) == f"timestamp: the package rfc3161-client is missing; {timestamp.INSTALL}"
