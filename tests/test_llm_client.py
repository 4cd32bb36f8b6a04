"""The chat client against a server of our own."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from lethe import llm_client as chat
from lethe.core.errors import StageError
from tests import fake_chat
from tests.fake_chat import Server, completion, echo

server = fake_chat.server


def settings(url: str, **changes: Any) -> chat.ChatSettings:
    values = {"base_url": url, "model": "m", "send_forget_text": True, "concurrency": 2, "retries": 1}
    return chat.ChatSettings(**{**values, **changes})


def prompts(*texts: str) -> list[list[chat.Message]]:
    return [[{"role": "user", "content": text}] for text in texts]


def test_replies_come_in_the_order_of_the_prompts(server: Server, tmp_path: Path) -> None:
    texts = [str(number) for number in range(12)]
    replies = chat.ask_all(prompts(*texts), settings(server.url, concurrency=5), "extract", tmp_path)
    assert replies == ["re: " + text for text in texts]
    assert (server.asked[0]["temperature"], server.asked[0]["model"]) == (0, "m")


def test_a_rerun_and_a_repeat_are_free(server: Server, tmp_path: Path) -> None:
    chat.ask_all(prompts("a", "b", "a"), settings(server.url), "extract", tmp_path)
    assert len(server.asked) == 2  # "a" twice in one call is one request
    assert chat.ask_all(prompts("c", "a"), settings(server.url), "translate", tmp_path) == ["re: c", "re: a"]
    assert len(server.asked) == 3
    chat.ask_all(prompts("a"), settings(server.url, model="other"), "extract", tmp_path)
    assert len(server.asked) == 4  # another model, another request


def test_kept_replies_need_no_key_and_no_server(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat.ask_all(prompts("a"), settings(server.url), "extract", tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY")
    assert chat.ask_all(prompts("a"), settings("http://127.0.0.1:1/v1"), "extract", tmp_path) == ["re: a"]


def test_a_failure_of_the_moment_is_retried(server: Server, tmp_path: Path) -> None:
    server.answer = lambda body: echo(body) if len(server.asked) > 1 else (500, '{"error": "busy"}')
    assert chat.ask_all(prompts("a"), settings(server.url), "extract", tmp_path) == ["re: a"]
    assert len(server.asked) == 2


def test_after_an_interruption_only_what_is_new_is_sent(server: Server, tmp_path: Path) -> None:
    def until_d(body: dict[str, Any]) -> tuple[int, str]:
        return (400, '{"error": "no"}') if body["messages"][0]["content"] == "d" else echo(body)

    server.answer = until_d
    with pytest.raises(StageError):
        chat.ask_all(prompts("a", "b", "c", "d"), settings(server.url, concurrency=1), "extract", tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json"}
    assert len(list(tmp_path.iterdir())) == 3
    server.answer, server.asked = echo, []
    replies = chat.ask_all(prompts("a", "b", "c", "d", "e"), settings(server.url), "extract", tmp_path)
    assert replies == ["re: a", "re: b", "re: c", "re: d", "re: e"]
    assert sorted(body["messages"][0]["content"] for body in server.asked) == ["d", "e"]


def test_a_reply_that_answers_nothing_is_asked_for_again_by_the_next_run(server: Server, tmp_path: Path) -> None:
    server.answer = lambda body: (200, completion(None))
    assert chat.ask_all(prompts("a"), settings(server.url), "extract", tmp_path) == [""]
    server.answer = lambda body: (200, completion("busy"))
    answers = {"usable": lambda reply: chat.json_in(reply) is not None}
    assert chat.ask_all(prompts("a"), settings(server.url), "extract", tmp_path, **answers) == ["busy"]
    server.answer = lambda body: (200, completion('["Orla"]'))
    for _ in range(2):
        assert chat.ask_all(prompts("a"), settings(server.url), "extract", tmp_path, **answers) == ['["Orla"]']
    assert len(server.asked) == 3  # the last one is kept


@pytest.mark.parametrize("held", ['{"request": ', '["Orla"]', '{"reply": null}', "{}"])
def test_a_kept_reply_that_was_damaged_is_asked_for_again(server: Server, tmp_path: Path, held: str) -> None:
    chat.ask_all(prompts("a"), settings(server.url), "extract", tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_text(held)
    assert chat.ask_all(prompts("a"), settings(server.url), "extract", tmp_path) == ["re: a"]
    assert len(server.asked) == 2


NONSENSE = "{url}: expected a chat completion, got another answer; correct base_url (it often ends in /v1)"


@pytest.mark.parametrize(
    ("status", "text", "message"),
    [
        (200, "<html>hello</html>", NONSENSE),
        (200, "[1, 2]", NONSENSE),
        (200, '{"choices": []}', NONSENSE),
        (200, '{"ok": true}', NONSENSE),
        (200, '{"choices": [{"message": {"content": 7}}]}', NONSENSE),
        (
            401,
            '{"error": {"message": "bad key"}}',
            "{url}: answered 401 (bad key); set OPENAI_API_KEY to a key it accepts",
        ),
        (404, '{"error": {"message": "none"}}', "{url}: answered 404 (none); correct base_url or the model m"),
        (
            429,
            '{"error": {"message": "slow"}}',
            "{url}: answered 429 (slow); wait, or lower concurrency, and run again: replies so far are kept",
        ),
        (422, '{"detail": "no such field"}', "{url}: answered 422 (no such field); correct base_url or the model m"),
        (
            422,
            '{"detail": [{"loc": ["body", "model"], "msg": "is empty"}, {"msg": "too long\\u001b[2K"}]}',
            "{url}: answered 422 (body.model: is empty; too long[2K); correct base_url or the model m",
        ),
        (404, '{"error": "no model"}', "{url}: answered 404 (no model); correct base_url or the model m"),
        (500, "{}", "{url}: answered 500 (no reason given); run again later: replies so far are kept"),
    ],
)
def test_bad_answers_are_one_line(server: Server, tmp_path: Path, status: int, text: str, message: str) -> None:
    server.answer = lambda body: (status, text)
    with pytest.raises(StageError) as caught:
        chat.ask_all(prompts("a"), settings(server.url), "extract", tmp_path)
    assert str(caught.value) == message.format(url=server.url)
    assert not list(tmp_path.iterdir())


def test_bad_settings_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "http://127.0.0.1:1/v1"  # nothing listens on port 1
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    with pytest.raises(StageError) as caught:
        chat.ask_all(prompts("a"), settings(url, send_forget_text=False), "extract", tmp_path)
    assert str(caught.value) == (
        "params.yaml: extract.llm.send_forget_text: expected true, got false; true allows forget text to "
        "leave this machine for http://127.0.0.1:1/v1"
    )
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(StageError) as caught:
        chat.ask_all(prompts("a"), settings(url), "extract", tmp_path)
    assert str(caught.value) == (
        "OPENAI_API_KEY: not set; expected the key of http://127.0.0.1:1/v1 (any text where it needs none)"
    )
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with pytest.raises(StageError) as caught:
        chat.ask_all(prompts("a"), settings(url), "extract", tmp_path)
    assert str(caught.value) == (
        "http://127.0.0.1:1/v1: no answer; expected an OpenAI-compatible chat endpoint; start it or correct base_url"
    )


def test_openai_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(StageError) as caught:
        chat.ask_all(prompts("a"), settings("http://127.0.0.1:1/v1"), "extract", tmp_path)
    assert str(caught.value) == (
        "params.yaml: extract.llm: the package openai is missing; `pip install 'lethe-unlearning[llm]'`"
    )


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ('["a", "b"]', ["a", "b"]),
        ('Here you are:\n```json\n{"a": [1]}\n```\nAnything else?', {"a": [1]}),
        ('Sure: {"a": 1} (that is all)', {"a": 1}),
        ("[]", []),
        ('["a", ["b"]', None),  # cut off: the inner list is not the answer
        ('<think>{"grade": 0}?</think>{"found":["Orla"],"grade":3}', {"found": ["Orla"], "grade": 3}),
        ('I think: {"grade": 0}\n</think>\n{"grade": 3}', {"grade": 3}),
        ('<think>{"grade": 0} and so on without an end', None),
        ('<Thinking>[1]</Thinking>["a"]', ["a"]),
        ('First {"grade": 1}, no: {"grade": 2}', {"grade": 2}),
        ('["a", "b",]', ["a", "b"]),
        ('{"a": [1, 2, ], }, then', {"a": [1, 2]}),
        ('He wrote 5" of it [x]: ["a,]", "b"]', ["a,]", "b"]),
        ('{"grade": 3, "found": ["a"', None),
        ('{"grade": 3, "found": "a', None),
        ("[" * 100_000, None),
        ("none found", None),
        ("", None),
    ],
)
def test_json_in_a_reply(reply: str, found: Any) -> None:
    assert chat.json_in(reply) == found


def test_the_last_value_that_fits_is_taken() -> None:
    reply = '["Orla", "Tom"], as in [1] and {"b": 2}'
    assert chat.json_in(reply, lambda found: isinstance(found, list) and "Tom" in found) == ["Orla", "Tom"]
    assert chat.json_in(reply, lambda found: found == 7) is None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_takes_the_text_nowhere(server: Server, tmp_path: Path, status: int) -> None:
    other = Server()
    try:
        server.answer = lambda body: (status, "{}")
        server.headers["Location"] = other.url + "/chat/completions"
        with pytest.raises(StageError) as caught:
            chat.ask_all(prompts("a"), settings(server.url, retries=0), "extract", tmp_path)
        assert other.asked == []
    finally:
        other.stop()
    assert str(caught.value) == (
        f"{server.url}: answered {status}, a redirect to {other.url}/chat/completions, which was not followed, as text "
        "goes to base_url alone; correct base_url"
    )


@pytest.mark.parametrize(("status", "limit"), [(200, "LARGEST"), (500, "LARGEST"), (200, "LONGEST")])
def test_a_reply_has_an_end(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, limit: str
) -> None:
    monkeypatch.setattr(chat, limit, 100 if limit == "LARGEST" else -1.0)
    server.answer = lambda body: (status, completion("x" * 200))
    with pytest.raises(StageError, match=r": expected a reply of at most \d+ bytes in -?\d+ seconds, got more"):
        chat.ask_all(prompts("a"), settings(server.url, retries=0), "extract", tmp_path)


def test_a_packed_reply_is_not_unpacked(server: Server, tmp_path: Path) -> None:
    server.headers["Content-Encoding"] = "gzip"
    with pytest.raises(StageError, match=r": expected a plain reply, got one in gzip, which was not read$"):
        chat.ask_all(prompts("a"), settings(server.url), "extract", tmp_path)


@pytest.mark.parametrize(
    ("refusal", "left"),
    [
        ("Unsupported value: 'temperature' does not support 0 with this model.", {"seed"}),
        ("Unrecognized request argument supplied: seed", {"temperature"}),
        ("temperature and seed are not allowed", set()),
    ],
)
def test_an_endpoint_that_refuses_temperature_or_seed_is_asked_without(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], refusal: str, left: set[str]
) -> None:
    def answer(body: dict[str, Any]) -> tuple[int, str]:
        unwanted = {"temperature", "seed"} & body.keys() - left
        return (400, json.dumps({"error": {"message": refusal}})) if unwanted else echo(body)

    server.answer = answer
    assert chat.ask_all(prompts("a", "b"), settings(server.url), "extract", tmp_path) == ["re: a", "re: b"]
    said = capsys.readouterr().err
    assert said.count("asked without, so another run may get other replies") == 1
    assert {"temperature", "seed"} & server.asked[-1].keys() == left
    assert chat.ask_all(prompts("a"), settings(server.url), "extract", tmp_path) == ["re: a"]
    assert len(server.asked) == 4  # kept under the question as it was meant


@pytest.mark.parametrize(
    "url", ["http://user:word@host/v1", "http://word@host/v1", "https://host/v1?key=word", "https://host/v1#word"]
)
def test_an_address_holds_no_secret(url: str, tmp_path: Path) -> None:
    with pytest.raises(StageError) as caught:
        chat.ask_all(prompts("a"), settings(url), "extract", tmp_path)
    assert str(caught.value) == (
        "params.yaml: extract.llm.base_url: expected an address without a password or key, got one with; the key "
        "belongs into OPENAI_API_KEY"
    )
    assert chat.address_problem("file:///etc/passwd").startswith("expected an address such as https://host/v1")
    assert chat.address_problem("host/v1").startswith("expected an address such as https://host/v1")
    assert chat.address_problem("http://[::1") == "expected an address such as https://host/v1, got another text"
    assert chat.address_problem("http://127.0.0.1:8000/v1") == ""
