"""A chat endpoint on 127.0.0.1 that answers, fails, talks nonsense or goes away."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

Answer = Callable[[dict[str, Any]], tuple[int, str]]  # request body -> status, response body


def completion(text: str | None) -> str:
    message = {"role": "assistant", "content": text}
    return json.dumps({"id": "1", "object": "chat.completion", "choices": [{"index": 0, "message": message}]})


def echo(body: dict[str, Any]) -> tuple[int, str]:
    return 200, completion("re: " + body["messages"][-1]["content"])


class Server:
    """An endpoint whose behaviour is a function, and the list of what it was asked."""

    def __init__(self) -> None:
        self.answer: Answer = echo
        self.asked: list[dict[str, Any]] = []
        self.headers: dict[str, str] = {}  # more of them
        self.models = ["m"]  # what it lists
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                listed = [{"id": name, "object": "model"} for name in outer.models]
                self.reply(200, json.dumps({"object": "list", "data": listed}))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append(body)
                self.reply(*outer.answer(body))

            def reply(self, status: int, text: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text.encode())))
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    endpoint = Server()
    yield endpoint
    endpoint.stop()
