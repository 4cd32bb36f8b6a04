"""The app's addresses: a page, and the JSON that it asks for."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lethe.app import attacks, runs, stand_ins
from lethe.app.asking import Question, answers
from lethe.app.guard import Guard, ticket
from lethe.app.marks import Marker, read_marker
from lethe.app.passage import Passage, heat
from lethe.app.shelf import Shelf
from lethe.core.errors import StageError
from lethe.core.params import StageParams, join_problems, section_problems
from lethe.report.html import render

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

TEMPLATE = Path(__file__).with_name("page.html.j2")
# A report is a page of its own: it may run its script and nothing else, and is of no origin, so that it reads nothing.
REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
Body = TypeVar("Body", bound=StageParams)


def page_policy(nonce: str) -> str:
    """What the app's page may do: run its own script, ask its own server."""
    return (
        f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; "
        "img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )


class Handlers:
    """What the addresses answer, from one shelf of models."""

    def __init__(self, shelf: Shelf, token: str, new_tokens: int) -> None:
        self.shelf, self.token, self.new_tokens = shelf, token, new_tokens
        self.marker: Marker = read_marker()

    @cached_property
    def offered(self) -> dict[str, Any]:
        """What the page offers to choose from, read once: the page asks for its state while models load."""
        return attacks.offered()

    def page(self) -> tuple[bytes, dict[str, str]]:
        """The page and its headers. Its style and script stand in it, under a nonce of this answer alone."""
        nonce = secrets.token_urlsafe(16)
        text = render(TEMPLATE, charts={}, nonce=nonce, project=Path.cwd().name)
        return text.encode(), {"content-security-policy": page_policy(nonce)}

    def state(self) -> dict[str, Any]:
        """The models, and what the page offers to choose from."""
        models = [self.shelf.row(name) for name in self.shelf.folders]
        found = {"models": models, "loading": self.shelf.coming(), "new_tokens": self.new_tokens}
        return found | {"unmarked": self.marker.reason, "attacks": self.offered}

    def ask(self, question: Question) -> Iterator[str]:
        """A line of JSON for every event, and one for what somebody can mend."""
        readers = self.shelf.ask(question.models)
        return lines(answers(question, readers, self.shelf.lock, self.marker))

    def passage(self, passage: Passage) -> dict[str, Any]:
        """The heat map of a passage."""
        return heat(passage, self.shelf.ask(passage.models), self.shelf.lock, self.marker)

    def contexts(self) -> dict[str, str]:
        """Sentences of the corpus to put before a prompt."""
        if not self.shelf.ready:
            raise StageError("models: none is loaded yet")
        readers = list(self.shelf.ready.values())
        room = min(reader.context for reader in readers) - 2 * self.new_tokens
        return attacks.contexts(readers[0].tokenizer, max(8, room // 2))

    def report(self, run: str) -> tuple[bytes, dict[str, str]]:
        """The report page of a run and its headers."""
        return runs.report_page(run), {"content-security-policy": REPORT_POLICY}

    def compare(self, one: str, other: str) -> dict[str, Any]:
        """Two runs, with the tickets to their pages."""
        found = runs.compared(one, other)
        for run in found["runs"]:
            run["ticket"] = ticket(self.token, run["id"]) if run["page"] else None
        return found


def lines(events: Iterator[dict[str, Any]]) -> Iterator[str]:
    """Events as lines of JSON; one that says nothing is left out."""
    for event in events:
        if event.keys() - {"model"}:
            yield json.dumps(event, ensure_ascii=False) + "\n"


def body_of(content: bytes, schema: type[Body]) -> Body:
    """A request's body. Raises StageError naming what is wrong with it."""
    name = schema.__name__.lower()
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        raise StageError(f"{name}: expected JSON, got something else") from None
    problems = section_problems(name, schema, values)
    if problems:
        raise StageError(join_problems(Path("request"), problems))
    return schema.model_validate(values)


async def answer(find: Callable[..., Any], *arguments: Any) -> Response:
    """What a function finds, as JSON, or its error in one line. It runs in a thread: a model may take its time."""
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import JSONResponse

    try:
        return JSONResponse(await run_in_threadpool(find, *arguments))
    except StageError as error:
        return JSONResponse({"error": str(error)}, status_code=400)


async def document(find: Callable[..., tuple[bytes, dict[str, str]]], *arguments: Any) -> Response:
    """A page and its headers, or why there is none."""
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import HTMLResponse, JSONResponse

    try:
        content, headers = await run_in_threadpool(find, *arguments)
    except StageError as error:
        return JSONResponse({"error": str(error)}, status_code=404)
    return HTMLResponse(content, headers=headers)


async def posted(request: Request, schema: type[Body], find: Callable[[Body], Any]) -> Response:
    """What a function finds for a request's body."""
    content = await request.body()
    return await answer(lambda: find(body_of(content, schema)))


def make_app(handlers: Handlers) -> Guard:
    """The addresses behind the guard."""
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import JSONResponse, StreamingResponse
    from starlette.routing import Route

    async def ask(request: Request) -> Response:
        content = await request.body()
        try:
            found = await run_in_threadpool(lambda: handlers.ask(body_of(content, Question)))
        except StageError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        return StreamingResponse(found, media_type="application/x-ndjson")

    async def compare(request: Request) -> Response:
        return await answer(handlers.compare, *(request.query_params.get(name, "") for name in ("one", "other")))

    async def passage(request: Request) -> Response:
        return await posted(request, Passage, handlers.passage)

    async def save(request: Request) -> Response:
        return await posted(request, stand_ins.Changes, stand_ins.save)

    async def report(request: Request) -> Response:
        return await document(handlers.report, request.query_params.get("run", ""))

    async def page(_: Request) -> Response:
        return await document(handlers.page)

    def get(find: Callable[[], Any]) -> Callable[[Request], Any]:
        async def found(_: Request) -> Response:
            return await answer(find)

        return found

    routes = [
        Route("/", page),
        Route("/report", report),
        Route("/api/state", get(handlers.state)),
        Route("/api/ask", ask, methods=["POST"]),
        Route("/api/passage", passage, methods=["POST"]),
        Route("/api/contexts", get(handlers.contexts)),
        Route("/api/runs", get(runs.listed)),
        Route("/api/compare", compare),
        Route("/api/stand-ins", get(stand_ins.table), methods=["GET"]),
        Route("/api/stand-ins", save, methods=["POST"]),
    ]
    return Guard(Starlette(routes=routes), handlers.token)
