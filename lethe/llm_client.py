"""Questions to a language model behind any OpenAI-compatible chat endpoint; every reply is cached."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import NonNegativeInt, PositiveInt

from lethe.core.errors import StageError
from lethe.core.params import StageParams
from lethe.core.tables import read_json, write_json

if TYPE_CHECKING:
    from openai import APIStatusError, OpenAI

REPLIES = Path(".scratch/replies")
KEY = "OPENAI_API_KEY"
SECONDS = 180.0  # without a byte; a local server with a full queue answers slowly
LONGEST = 900.0  # seconds that one reply may take to arrive
LARGEST = 16_000_000  # bytes of a reply
OPTIONAL = ("temperature", "seed")  # what makes replies repeatable, where the endpoint allows it
THINKING = re.compile(r"<(think|thinking|reasoning|thought|reflection)>.*?(</\1>|$)", re.DOTALL | re.IGNORECASE)
THOUGHT = re.compile(r"^.*</(think|thinking|reasoning|thought|reflection)>", re.DOTALL | re.IGNORECASE)
BRACKET = re.compile(r"[\[{]")
FORGIVEN = 50  # brackets at which a comma too many is looked for
LOOSE = re.compile(  # a string; one in other quotation marks; a comment; a comma after the last item; a word of Python
    r"""("(?:\\.|[^"\\])*")|(“[^”"\n]*”|(?<=[\[{,:\s])'(?:[^'"\\\n]|'(?!\s*[,:\]}]))*'(?=\s*[,:\]}]))|//[^\n]*|,(?=\s*[\]}])"""
    r"|\b(?:True|False|None)\b"
)
PYTHON = {"True": "true", "False": "false", "None": "null"}

Reply = TypeVar("Reply")
Message = dict[str, str]  # {"role": "system" | "user", "content": ...}


class ChatSettings(StageParams):
    """The `llm` part of a stage's section."""

    base_url: str
    model: str
    send_forget_text: bool
    concurrency: PositiveInt
    retries: NonNegativeInt


def ask_all(
    prompts: Sequence[list[Message]],
    settings: ChatSettings,
    desc: str,
    replies_folder: Path = REPLIES,
    usable: Callable[[str], bool] = bool,
) -> list[str]:
    """The model's reply to each prompt, in the order of the prompts; only those never answered before are sent.

    desc: the stage's name, for the progress bar and the messages. A reply without text (refused, filtered) is "".
    usable: whether a reply answers its question; one that does not, such as `busy`, is asked for again by the next run.
    Raises StageError if sending is not allowed, the key is missing or the endpoint fails; replies so far are kept.
    """
    if not settings.send_forget_text:
        raise StageError(
            f"params.yaml: {desc}.llm.send_forget_text: expected true, got false; true allows forget text to "
            f"leave this machine for {settings.base_url}"
        )
    check_address(f"params.yaml: {desc}.llm.base_url", settings.base_url)
    requests = [request(prompt, settings.model) for prompt in prompts]
    files = [replies_folder / f"{request_key(body)}.json" for body in requests]
    new = {file: body for file, body in zip(files, requests, strict=True) if not _kept(file, usable)}
    if new:
        _send(new, settings, desc)
    return [read_json(file)["reply"] for file in files]


def request(messages: list[Message], model: str) -> dict[str, Any]:
    """The body of the request: as reproducible as the endpoint allows."""
    return {"model": model, "messages": messages, "temperature": 0, "seed": 0}


def request_key(body: dict[str, Any]) -> str:
    """Hex sha256 of the request; the address is not part of it, so a proxy or a moved server costs nothing."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def address_problem(url: str) -> str:
    """What is wrong with the address of an endpoint, "" if nothing is: it is shown in messages and on the page."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return "expected an address such as https://host/v1, got another text"
    if parts.username or parts.password or parts.query or parts.fragment:
        return f"expected an address without a password or key, got one with; the key belongs into {KEY}"
    if parts.scheme not in ("http", "https") or not host:
        return f"expected an address such as https://host/v1, got {url}"
    return ""


def check_address(where: str, url: str) -> None:
    """Raise StageError for the address of an endpoint that holds a secret or is none."""
    if problem := address_problem(url):
        raise StageError(f"{where}: {problem}")


def json_in(reply: str, fits: Callable[[Any], bool] = lambda found: True) -> Any:
    """The last whole JSON list or object in a reply that fits, or None."""
    found = all_json_in(reply, fits)
    return found[-1] if found else None


def all_json_in(reply: str, fits: Callable[[Any], bool] = lambda found: True) -> list[Any]:
    """Every whole JSON list or object in a reply that fits, what the model thought aloud left out.

    A part of another one is not tried, nor the inside of one that was cut off; what LOOSE lists is forgiven.
    """
    text = without_thoughts(reply)
    found, place, forgiven = [], 0, 0
    while start := BRACKET.search(text, place):
        value, place = _value_at(text, start.start())
        if value is None and place <= start.end() and forgiven < FORGIVEN:
            forgiven += 1
            value, place = _value_at(LOOSE.sub(_strict, text[start.start() :]), 0, start.start())
        if value is not None and fits(value):
            found.append(value)
    return found


def without_thoughts(reply: str) -> str:
    """The reply without what the model thought aloud."""
    return THOUGHT.sub("", THINKING.sub("", reply))


def _strict(found: re.Match[str]) -> str:
    """A match of LOOSE as JSON has it, of the same length."""
    if found[2]:
        return f'"{found[2][1:-1]}"'
    return found[1] or PYTHON.get(found[0]) or " " * len(found[0])


def _value_at(text: str, start: int, offset: int = 0) -> tuple[Any, int]:
    """The JSON value that begins at a bracket, None if there is none, and where to look for the next one.

    offset: of the text in the whole, in which that place counts.
    """
    try:
        value, end = json.JSONDecoder(strict=False).raw_decode(text, start)
    except RecursionError:
        return None, offset + len(text)
    except json.JSONDecodeError as error:
        cut_off = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated")
        return None, offset + (len(text) if cut_off else start + 1)
    return value, offset + end


def _kept(file: Path, usable: Callable[[str], bool]) -> bool:
    """Whether an earlier run kept an answer to this question."""
    try:
        found = read_json(file) if file.exists() else None
    except (StageError, UnicodeDecodeError):
        return False  # half written by another program, or damaged since
    return isinstance(found, dict) and isinstance(found.get("reply"), str) and usable(found["reply"])


def _send(new: dict[Path, dict[str, Any]], settings: ChatSettings, desc: str) -> None:
    client = connected(settings.base_url, settings.retries, f"{desc}.llm")
    asks = [partial(_ask_and_keep, client, settings, file, body) for file, body in new.items()]
    at_once(asks, settings.concurrency, desc)


def connected(base_url: str, retries: int, where: str) -> OpenAI:
    """A client of the endpoint, with the limits of this module. where: of the parameters.

    Raises StageError if the package or the key is missing.
    """
    try:
        from openai import DefaultHttpxClient, OpenAI
    except ImportError:
        raise StageError(
            f"params.yaml: {where}: the package openai is missing; `pip install 'lethe-unlearning[llm]'`"
        ) from None
    key = os.environ.get(KEY)
    if not key:
        raise StageError(f"{KEY}: not set; expected the key of {base_url} (any text where it needs none)")
    return OpenAI(
        base_url=base_url,
        api_key=key,
        max_retries=retries,
        timeout=SECONDS,
        http_client=DefaultHttpxClient(follow_redirects=False, event_hooks={"response": [partial(_limited, base_url)]}),
        default_headers={"Accept-Encoding": "identity"},  # a small reply must not become a huge one
    )


def at_once(asks: Sequence[Callable[[], Reply]], concurrency: int, desc: str) -> list[Reply]:
    """What each of them returns, `concurrency` of them at a time; the first that fails ends all."""
    from concurrent.futures import ThreadPoolExecutor, as_completed

    from tqdm import tqdm

    with ThreadPoolExecutor(concurrency) as pool:
        asked = [pool.submit(ask) for ask in asks]
        try:
            for done in tqdm(as_completed(asked), total=len(asked), desc=desc, unit="reply"):
                done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # those in flight still arrive
            raise
    return [done.result() for done in asked]


def _limited(base_url: str, response: Any) -> None:
    """Let a reply end with a StageError where it grows too large, takes too long, or is compressed against our wish."""
    coding = response.headers.get("content-encoding", "identity")
    if coding != "identity":
        raise StageError(f"{base_url}: expected a plain reply, got one in {_printable(coding)}, which was not read")
    library = importlib.import_module(type(response).__module__.split(".")[0])  # httpx, by the name openai has it
    whole = response.stream

    class Limited(library.SyncByteStream):  # type: ignore[misc, name-defined]
        def __iter__(self) -> Iterator[bytes]:
            read, until = 0, time.monotonic() + LONGEST
            for chunk in whole:
                read += len(chunk)
                if read > LARGEST or time.monotonic() > until:
                    raise StageError(
                        f"{base_url}: expected a reply of at most {LARGEST} bytes in {LONGEST:.0f} seconds, got more; "
                        "the rest was not read; correct base_url"
                    )
                yield chunk

        def close(self) -> None:
            whole.close()

    response.stream = Limited()


def _ask_and_keep(client: OpenAI, settings: ChatSettings, file: Path, body: dict[str, Any]) -> None:
    reply = _ask(client, settings, body)
    half = file.with_suffix(".half")
    write_json({"request": body, "reply": reply}, half)
    half.replace(file)


def _ask(client: OpenAI, settings: ChatSettings, body: dict[str, Any]) -> str:
    from openai import APIConnectionError, APIResponseValidationError, APIStatusError

    try:
        completion = client.chat.completions.create(**body)
        return "" + (completion.choices[0].message.content or "")  # a TypeError where it is not text
    except APIConnectionError:
        raise StageError(
            f"{settings.base_url}: no answer; expected an OpenAI-compatible chat endpoint; start it or correct base_url"
        ) from None
    except APIStatusError as error:
        refused = [name for name in OPTIONAL if name in body and name in _reason(error).lower()]
        if error.status_code not in (400, 422) or not refused:
            raise StageError(refusal(settings.base_url, settings.model, error)) from None
    except (APIResponseValidationError, ValueError, AttributeError, LookupError, TypeError):
        raise StageError(
            f"{settings.base_url}: expected a chat completion, got another answer; correct "
            "base_url (it often ends in /v1)"
        ) from None
    _tell_once(f"{settings.base_url} refuses {', '.join(refused)}: asked without, so another run may get other replies")
    return _ask(client, settings, {name: value for name, value in body.items() if name not in refused})


@cache
def _tell_once(line: str) -> None:
    print(line, file=sys.stderr)


def refusal(base_url: str, model: str, error: APIStatusError) -> str:
    """One line about an endpoint's refusal and what to do."""
    status = error.status_code
    if 300 <= status < 400:
        place = _printable(error.response.headers.get("location", "nowhere"))
        return (
            f"{base_url}: answered {status}, a redirect to {place}, which was not followed, as text goes to "
            "base_url alone; correct base_url"
        )
    if status in (401, 403):
        remedy = f"set {KEY} to a key it accepts"
    elif status == 429:
        remedy = "wait, or lower concurrency, and run again: replies so far are kept"
    elif status < 500:
        remedy = f"correct base_url or the model {model}"
    else:
        remedy = "run again later: replies so far are kept"
    return f"{base_url}: answered {status} ({_reason(error)}); {remedy}"


def _reason(error: APIStatusError) -> str:
    """What an endpoint says of its refusal, in any of the forms in use."""
    body: Any = error.body
    if isinstance(body, dict):
        body = next((body[name] for name in ("message", "detail", "error", "msg") if body.get(name)), "")
    return _printable(_words(body)) or "no reason given"


def _words(said: Any) -> str:
    """A text, or a list of {"loc": [...], "msg": ...} as FastAPI has it, as one line."""
    if isinstance(said, list):
        return "; ".join(_words(each) for each in said)
    if isinstance(said, dict):
        where = said.get("loc")
        place = ".".join(map(str, where)) if isinstance(where, list) else ""
        return ": ".join(filter(None, (place, _words(said.get("msg") or said.get("message") or ""))))
    return said if isinstance(said, str) else ""


def _printable(text: str) -> str:
    """The start of a stranger's text, in one line and without control characters."""
    return "".join(sign for sign in " ".join(text.split()) if sign.isprintable())[:200]
