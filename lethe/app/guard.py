"""Who may talk to the app: programs that have the token and pages of the app itself, never another site.

A page of any site that is open in the browser can send requests to 127.0.0.1. It is kept out three times over: it has
no token, its `Origin` is another, and a name of its own that it points to 127.0.0.1 (DNS rebinding) shows in `Host`.
No answer carries a CORS header, so that no such page could read one.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# Any port: that of a tunnel may be another.
OWN_HOST = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::\d{1,5})?", re.IGNORECASE)
LARGEST = 1 << 20  # bytes of a request
METHODS = ("GET", "POST")
PAGES = ("/", "/report")  # what a browser opens by its address, which carries the token or a ticket
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Refusal(NamedTuple):
    """Why a request is refused, and with which status."""

    status: int
    reason: str


class Guard:
    """Passes on what may come in, and gives every answer the headers that keep other sites out."""

    def __init__(self, app: App, token: str) -> None:
        self.app, self.token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # there are no others, but for a websocket that somebody tries to open
            return

        async def send_guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                own = {name for name, _ in message["headers"]}
                more = [(name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in own]
                message["headers"] = [*message["headers"], *more]
            await send(message)

        refused = refusal(scope, self.token)
        if refused is None:
            await self.app(scope, receive, send_guarded)
            return
        content = json.dumps({"error": refused.reason}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await send_guarded({"type": "http.response.start", "status": refused.status, "headers": headers})
        await send_guarded({"type": "http.response.body", "body": content})


def refusal(scope: Scope, token: str) -> Refusal | None:
    """Why a request may not come in; None if it may."""
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    if any(len(found.get(name, ())) > 1 for name in ("host", "origin", "authorization", "content-length")):
        return Refusal(400, "expected each header once, got one twice")
    headers = {name: values[0] for name, values in found.items()}
    host, origin = headers.get("host", ""), headers.get("origin")
    if not OWN_HOST.fullmatch(host):
        return Refusal(421, f"Host: expected 127.0.0.1 or localhost, got {host or 'none'}")
    if origin is not None and origin.lower() != f"http://{host}".lower():
        return Refusal(403, f"Origin: expected http://{host}, got {origin}")
    if scope["method"] not in METHODS:
        return Refusal(405, f"expected {' or '.join(METHODS)}, got {scope['method']}")
    page = scope["path"] in PAGES
    foreign = headers.get("sec-fetch-dest", "document") != "document" if page else not own_site(headers)
    if foreign:
        return Refusal(403, "expected a request of the app's own page, got one of another site")
    if not admitted(scope, headers, token):
        return Refusal(403, "expected the token, got none or another; open the address that `lethe app` printed")
    return too_much(scope["method"], headers)


def own_site(headers: dict[str, str]) -> bool:
    """Whether a browser says that the app's own page asks; other programs do not say."""
    return headers.get("sec-fetch-site", "same-origin") == "same-origin"


def admitted(scope: Scope, headers: dict[str, str], token: str) -> bool:
    """Whether the request carries the token: in its header, or, for a page, in its address."""
    given = headers.get("authorization", "").removeprefix("Bearer ")
    query = {name: values[-1] for name, values in parse_qs(scope.get("query_string", b"").decode("latin-1")).items()}
    if scope["path"] == "/":
        given = query.get("token", "")
    elif scope["path"] == "/report":
        return same(query.get("ticket", ""), ticket(token, query.get("run", "")))
    return same(given, token)


def same(given: str, wanted: str) -> bool:
    """Whether two secrets are equal, in a time that does not depend on where they differ."""
    return hmac.compare_digest(given.encode(), wanted.encode())


def ticket(token: str, run: str) -> str:
    """What opens one run's report page and nothing else: that page must not learn the token."""
    return hmac.new(token.encode(), f"report {run}".encode(), hashlib.sha256).hexdigest()


def too_much(method: str, headers: dict[str, str]) -> Refusal | None:
    """Why the body of a request is not read: it is too large, has no length, or is no JSON."""
    if method != "POST":
        return None
    length = headers.get("content-length", "")
    if not re.fullmatch(r"\d{1,12}", length) or "transfer-encoding" in headers:
        return Refusal(411, "expected a body with its Content-Length, got none")
    if int(length) > LARGEST:
        return Refusal(413, f"expected at most {LARGEST} bytes, got {length}")
    if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        return Refusal(415, f"Content-Type: expected application/json, got {headers.get('content-type', 'none')}")
    return None
