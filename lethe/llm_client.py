"""Questions to a language model behind any OpenAI-compatible chat endpoint; every reply is cached."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import NonNegativeInt, PositiveInt

from lethe.core.errors import StageError
from lethe.core.params import StageParams
from lethe.core.tables import read_json, write_json

if TYPE_CHECKING:
    from openai import APIStatusError, OpenAI

REPLIES = Path(".scratch/replies")
KEY = "OPENAI_API_KEY"
SECONDS = 180.0  # for one attempt; a local server with a full queue answers slowly

Message = dict[str, str]  # {"role": "system" | "user", "content": ...}


class ChatSettings(StageParams):
    """The `llm` part of a stage's section."""

    base_url: str
    model: str
    send_forget_text: bool
    concurrency: PositiveInt
    retries: NonNegativeInt


def ask_all(
    prompts: Sequence[list[Message]], settings: ChatSettings, desc: str, replies_folder: Path = REPLIES
) -> list[str]:
    """The model's reply to each prompt, in the order of the prompts; only those never asked before are sent.

    desc: the stage's name, for the progress bar and the messages. A reply without text (refused, filtered) is "".
    Raises StageError if sending is not allowed, the key is missing or the endpoint fails; replies so far are kept.
    """
    if not settings.send_forget_text:
        raise StageError(
            f"params.yaml: {desc}.llm.send_forget_text: expected true, got false; true allows forget text to "
            f"leave this machine for {settings.base_url}"
        )
    requests = [request(prompt, settings.model) for prompt in prompts]
    files = [replies_folder / f"{request_key(body)}.json" for body in requests]
    new = {file: body for file, body in zip(files, requests, strict=True) if not file.exists()}
    if new:
        _send(new, settings, desc)
    return [read_json(file)["reply"] for file in files]


def request(messages: list[Message], model: str) -> dict[str, Any]:
    """The body of the request: as reproducible as the endpoint allows."""
    return {"model": model, "messages": messages, "temperature": 0, "seed": 0}


def request_key(body: dict[str, Any]) -> str:
    """Hex sha256 of the request; the address is not part of it, so a proxy or a moved server costs nothing."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def json_in(reply: str) -> Any:
    """The JSON list or object that a reply is, or that it contains after a sentence or in a fence; None if broken.

    Only the outermost is tried: the inner part of a reply that was cut off is not what was asked for.
    """
    fenced = re.search(r"```(?:json)?\s*([\[{].*?)```", reply, re.DOTALL)
    text = fenced[1] if fenced else reply
    first = re.search(r"[\[{]", text)
    try:
        return json.JSONDecoder().raw_decode(text, first.start())[0] if first else None
    except json.JSONDecodeError:
        return None


def _send(new: dict[Path, dict[str, Any]], settings: ChatSettings, desc: str) -> None:
    from concurrent.futures import ThreadPoolExecutor, as_completed

    from tqdm import tqdm

    try:
        from openai import OpenAI
    except ImportError:
        raise StageError(
            f"params.yaml: {desc}.llm: the package openai is missing; `pip install 'lethe-unlearning[llm]'`"
        ) from None
    key = os.environ.get(KEY)
    if not key:
        raise StageError(f"{KEY}: not set; expected the key of {settings.base_url} (any text where it needs none)")
    client = OpenAI(base_url=settings.base_url, api_key=key, max_retries=settings.retries, timeout=SECONDS)
    with ThreadPoolExecutor(settings.concurrency) as pool:
        asked = [pool.submit(_ask_and_keep, client, settings, file, body) for file, body in new.items()]
        try:
            for done in tqdm(as_completed(asked), total=len(asked), desc=desc, unit="reply"):
                done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # those in flight still arrive and are kept
            raise


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
        raise StageError(_refusal(settings, error)) from None
    except (APIResponseValidationError, ValueError, AttributeError, LookupError, TypeError):
        raise StageError(
            f"{settings.base_url}: expected a chat completion, got another answer; correct "
            "base_url (it often ends in /v1)"
        ) from None


def _refusal(settings: ChatSettings, error: APIStatusError) -> str:
    status = error.status_code
    body = error.body if isinstance(error.body, dict) else {}
    reason = " ".join(str(body.get("message", "no reason given")).split())[:200]
    if status in (401, 403):
        remedy = f"set {KEY} to a key it accepts"
    elif status == 429:
        remedy = "wait, or lower concurrency, and run again: replies so far are kept"
    elif status < 500:
        remedy = f"correct base_url or the model {settings.model}"
    else:
        remedy = "run again later: replies so far are kept"
    return f"{settings.base_url}: answered {status} ({reason}); {remedy}"
