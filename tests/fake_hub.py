"""A Hugging Face Hub on 127.0.0.1: model info, files with ETag, ranges, redirects to a second address, and bad days."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

TOKEN = "hf_fake"
LARGE = (".safetensors", ".bin")  # kept in large-file storage, at another address


@dataclass
class FakeHub:
    """What the Hub holds and how it behaves today. Requests are kept for the tests to look at."""

    repos: dict[str, dict[str, Path]] = field(default_factory=dict)  # repo -> commit -> folder
    branches: dict[str, str] = field(default_factory=dict)  # name -> commit, in every repo
    gated: bool = False  # files need TOKEN
    status: int = 0  # answer everything with this
    damage: str = ""  # flip the last byte of this file
    cut: dict[str, list[int]] = field(default_factory=dict)  # file -> after how many bytes each next answer breaks off
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)  # (method and path, host, headers)
    hub: str = ""
    storage: str = ""

    def paths(self, word: str) -> list[str]:
        """The requests so far whose path contains `word`."""
        return [request for request, _, _ in self.requests if word in request]


@contextmanager
def serving() -> Iterator[FakeHub]:
    """A hub that listens, on two ports, until the block ends."""
    fake = FakeHub()
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler(fake)) for _ in range(2)]
    fake.hub, fake.storage = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    for server in servers:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield fake
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def handler(fake: FakeHub) -> type[BaseHTTPRequestHandler]:
    """The request handler bound to one hub."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            fake.requests.append((f"GET {self.path}", headers["host"], headers))
            if fake.status:
                return self.refuse(fake.status, "", "not today")
            path = unquote(urlsplit(self.path).path)
            if match := re.fullmatch(r"/api/(?:models|datasets)/([^/]+/[^/]+)/revision/(.+)", path):
                return self.info(match[1], match[2])
            if match := re.fullmatch(r"/(?:datasets/)?([^/]+/[^/]+)/resolve/([0-9a-f]{40})/(.+)", path):
                return self.file(match[1], match[2], match[3])
            return self.refuse(404, "EntryNotFound", path)

        def info(self, repo: str, revision: str) -> None:
            if repo not in fake.repos:  # the real one does not tell strangers what is missing and what is private
                return self.refuse(401, "RepoNotFound", "Invalid username or password.")
            commit = fake.branches.get(revision, revision)
            if commit not in fake.repos[repo]:
                return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            folder = fake.repos[repo][commit]
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            siblings = [sibling(str(path.relative_to(folder)), path.read_bytes()) for path in files]
            return self.answer(json.dumps({"id": repo, "sha": commit, "siblings": siblings}).encode(), {})

        def file(self, repo: str, commit: str, name: str) -> None:
            if fake.gated and self.headers["Host"] in fake.hub and self.headers["Authorization"] != f"Bearer {TOKEN}":
                return self.refuse(401, "GatedRepo", f"Access to model {repo} is restricted.")
            if name.endswith(LARGE) and self.headers["Host"] in fake.hub:
                self.send_response(302)
                self.send_header("Location", fake.storage + self.path)
                self.send_header("Content-Length", "0")
                return self.end_headers()
            content = (fake.repos[repo][commit] / name).read_bytes()
            if name == fake.damage:
                content = content[:-1] + bytes([content[-1] ^ 1])
            return self.answer(content, {"ETag": f'"{git_sha1(content)}"', "X-Repo-Commit": commit}, name)

        def answer(self, content: bytes, headers: dict[str, str], name: str = "") -> None:
            start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").split("-")[0])
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            limit = fake.cut[name].pop(0) if fake.cut.get(name) else None
            self.wfile.write(content[start:] if limit is None else content[start : start + limit])
            self.close_connection = limit is not None

        def refuse(self, status: int, code: str, message: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", message)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def sibling(name: str, content: bytes) -> dict[str, object]:
    """A file as the model info lists it."""
    facts: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": git_sha1(content)}
    if name.endswith(LARGE):
        facts["lfs"] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "pointerSize": 130}
    return facts


def git_sha1(content: bytes) -> str:
    """`git hash-object` of the content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
