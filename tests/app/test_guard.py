"""Who is let in: requests with the token and of the app's own page, and no other."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lethe.app import guard
from lethe.app.guard import Guard, refusal, ticket

TOKEN = "the-token"
HOST = {"host": "127.0.0.1:8000"}
KEY = HOST | {"authorization": f"Bearer {TOKEN}"}
BODY = KEY | {"content-length": "2", "content-type": "application/json"}


def scope(path: str, headers: dict[str, str], method: str = "GET", query: str = "") -> dict[str, Any]:
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": pairs}


def status(*arguments: Any, **more: Any) -> int:
    """The status of a refusal, 200 where there is none."""
    found = refusal(scope(*arguments, **more), TOKEN)
    return 200 if found is None else found.status


def test_whoever_has_the_token_is_let_in() -> None:
    assert status("/api/state", KEY) == 200
    assert status("/", HOST, query=f"token={TOKEN}") == 200
    assert status("/api/ask", BODY, method="POST") == 200
    assert status("/api/state", KEY | {"host": "localhost:1", "origin": "http://localhost:1"}) == 200
    assert status("/api/state", KEY | {"host": "[::1]:8000", "sec-fetch-site": "same-origin"}) == 200


@pytest.mark.parametrize("given", ["", "Bearer ", "Bearer the-toke", "Bearer the-tokeN", "the-tokenx", "Bearer \xe9"])
def test_without_the_token_nobody_is(given: str) -> None:
    assert status("/api/state", HOST | {"authorization": given}) == 403
    assert status("/", HOST, query=f"token={given}") == 403
    assert status("/", KEY) == 403  # the page is opened by its address alone
    assert status("/api/state", HOST, query=f"token={TOKEN}") == 403  # and everything else not by one


def test_secrets_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(guard.hmac, "compare_digest", lambda *both: bool(seen.append(both)))
    assert status("/api/state", KEY) == 403
    assert seen == [(TOKEN.encode(), TOKEN.encode())]


@pytest.mark.parametrize(
    "host", ["", "evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example:80",
             "127.0.0.1:8000@evil.example", "127.0.0.2:8000", "0.0.0.0:8000", "169.254.169.254"],
)  # fmt: skip
def test_a_name_that_was_made_to_point_here_is_refused(host: str) -> None:
    assert status("/api/state", KEY | {"host": host}) == 421
    assert status("/", HOST | {"host": host}, query=f"token={TOKEN}") == 421


@pytest.mark.parametrize(
    "origin", ["null", "http://evil.example", "http://127.0.0.1", "http://127.0.0.1:8001", "https://127.0.0.1:8000",
               "http://localhost:8000", "http://127.0.0.1:8000.evil.example"],
)  # fmt: skip
def test_a_page_of_another_origin_is_refused(origin: str) -> None:
    assert status("/api/ask", BODY | {"origin": origin}, method="POST") == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none"])
def test_what_a_browser_says_comes_from_elsewhere_is_refused(site: str) -> None:
    assert status("/api/state", KEY | {"sec-fetch-site": site}) == 403
    page = HOST | {"sec-fetch-site": site}
    assert status("/", page | {"sec-fetch-dest": "document"}, query=f"token={TOKEN}") == 200  # a link in a terminal
    for kind in ("iframe", "script", "image", "empty"):
        assert status("/", page | {"sec-fetch-dest": kind}, query=f"token={TOKEN}") == 403


@pytest.mark.parametrize(
    ("headers", "method", "code"),
    [
        (KEY, "OPTIONS", 405),  # what a browser asks before a request of another origin
        (KEY, "PUT", 405),
        (KEY, "POST", 411),
        (BODY | {"transfer-encoding": "chunked"}, "POST", 411),
        (BODY | {"content-length": str(guard.LARGEST + 1)}, "POST", 413),
        (BODY | {"content-type": "text/plain"}, "POST", 415),  # what another site may send without asking
    ],
)
def test_other_requests_are_refused(headers: dict[str, str], method: str, code: int) -> None:
    assert status("/api/ask", headers, method=method) == code


def test_a_header_that_is_there_twice_is_refused() -> None:
    twice = scope("/api/state", KEY)
    twice["headers"].append((b"host", b"evil.example"))
    found = refusal(twice, TOKEN)
    assert found is not None
    assert found.status == 400


def test_a_ticket_opens_one_report_and_nothing_else() -> None:
    own = ticket(TOKEN, "a" * 40)
    assert status("/report", HOST, query=f"run={'a' * 40}&ticket={own}") == 200
    assert status("/report", HOST, query=f"run={'b' * 40}&ticket={own}") == 403
    assert status("/report", KEY, query=f"run={'a' * 40}&ticket={TOKEN}") == 403
    assert status("/api/state", HOST | {"authorization": f"Bearer {own}"}) == 403


def test_every_answer_keeps_others_out_and_none_lets_them_in() -> None:
    async def inner(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-security-policy", b"its own")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"in"})

    def answer(given: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        asyncio.run(Guard(inner, TOKEN)(scope("/api/state", given), None, send))  # type: ignore[arg-type]
        return sent[0]["status"], {k.decode(): v.decode() for k, v in sent[0]["headers"]}, sent[1]["body"]

    for given, code in ((KEY, 200), (HOST, 403)):
        got, headers, body = answer(given)
        assert got == code
        assert (body == b"in") == (code == 200)
        assert not [name for name in headers if name.startswith("access-control")]
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"
    assert answer(KEY)[1]["content-security-policy"] == "its own"
    assert answer(HOST)[1]["content-security-policy"].startswith("default-src 'none'")


def test_a_websocket_is_not_answered() -> None:
    asyncio.run(Guard(None, TOKEN)({"type": "websocket"}, None, None))  # type: ignore[arg-type]
