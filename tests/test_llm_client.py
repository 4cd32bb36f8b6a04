"""The chat client against a server of our own."""

from __future__ import annotations

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


def test_a_reply_without_text_is_empty_and_kept(server: Server, tmp_path: Path) -> None:
    server.answer = lambda body: (200, completion(None))
    assert chat.ask_all(prompts("a"), settings(server.url), "extract", tmp_path) == [""]


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
        ("none found", None),
        ("", None),
    ],
)
def test_json_in_a_reply(reply: str, found: Any) -> None:
    assert chat.json_in(reply) == found
