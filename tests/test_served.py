"""Completions of a server against our own: a server of the test's that runs the tiny model."""

from __future__ import annotations

import json
import math
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from lethe import llm_client, served
from lethe.core.errors import StageError
from lethe.inference.decoding import continue_greedily
from lethe.models.checkpoints import load_model
from tests import fake_chat
from tests.conftest import tiny_model
from tests.fake_chat import Answer, Server

server = fake_chat.server
PROMPTS = [[5, 9, 2], [7], [11, 12, 13, 14, 15]]
WANTED = [[1, 2], [], [3]]
LENGTH = 6


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_model(tiny_model(tmp_path_factory.mktemp("model")), torch.device("cpu"))


def vllm(model: Any, shift: float = 0.0) -> Answer:
    """What vLLM's completions endpoint answers with this model. shift: of its log-probabilities."""

    alone = threading.Lock()  # a model's head is taken off while it writes

    def answer(body: dict[str, Any]) -> tuple[int, str]:
        with alone:
            return written_to(body)

    def written_to(body: dict[str, Any]) -> tuple[int, str]:
        assert (body["temperature"], body["model"]) == (0, "m")
        ids = continue_greedily(model, [body["prompt"]], [()], body["max_tokens"], ())[0].tokens
        last = next((place for place, token in enumerate(ids) if token in body["stop_token_ids"]), len(ids))
        ids = ids[: last + 1]
        [first] = continue_greedily(model, [body["prompt"]], [ids[:1]], 1, ())
        chances = [math.log(first.probability) + shift, *([0.0] * (len(ids) - 1))]
        found = {"tokens": [f"token_id:{token}" for token in ids], "token_logprobs": chances}
        choice = {"index": 0, "text": "", "finish_reason": "length", "logprobs": found}
        return 200, json.dumps({"id": "1", "object": "text_completion", "choices": [choice]})

    return answer


def settings(addresses: dict[str, str], **changes: Any) -> served.ServerSettings:
    values = {"addresses": addresses, "send_forget_text": False, "concurrency": 2, "retries": 0}
    return served.ServerSettings(**values | changes)


def written(model: Any, url: str, ends: tuple[int, ...] = ()) -> Any:
    write = served.writers(["unlearned"], settings({"unlearned": url}), "evaluate.server")["unlearned"]
    return write(model, PROMPTS, WANTED, LENGTH, ends)


def test_a_server_writes_what_the_model_writes_here(server: Server, model: Any) -> None:
    server.answer = vllm(model)
    own = continue_greedily(model, PROMPTS, WANTED, LENGTH, ())
    assert written(model, server.url) == own
    assert sorted(len(body["prompt"]) for body in server.asked) == [1, 3, 5]
    end = own[0].tokens[2]  # a text that ends with this token has only those before it
    ended = written(model, server.url, (end,))
    assert ended == continue_greedily(model, PROMPTS, WANTED, LENGTH, (end,))
    assert ended[0].ended


def test_models_without_an_address_are_run_here() -> None:
    found = served.writers(
        ["baseline", "unlearned"], settings({"baseline": "http://localhost:1/v1"}), "evaluate.server"
    )
    assert found["unlearned"] is continue_greedily
    assert found["baseline"] is not continue_greedily


@pytest.mark.parametrize(
    ("addresses", "line"),
    [
        ({"other": "http://localhost/v1"}, "addresses: expected one of unlearned, got other"),
        (
            {"unlearned": "https://host/v1"},
            "send_forget_text: expected true, got false; true allows forget text to leave this machine for "
            "https://host/v1",
        ),
        ({"unlearned": "host"}, "addresses.unlearned: expected an address such as https://host/v1, got host"),
    ],
)
def test_wrong_settings_are_one_line(addresses: dict[str, str], line: str) -> None:
    with pytest.raises(StageError) as error:
        served.writers(["unlearned"], settings(addresses), "evaluate.server")
    assert str(error.value) == f"params.yaml: evaluate.server.{line}"


def refused(model: Any, url: str) -> str:
    with pytest.raises(StageError) as error:
        written(model, url)
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix(f"{url}: ")


def test_another_model_behind_the_address_is_noticed(server: Server, model: Any, tmp_path: Path) -> None:
    other = load_model(tiny_model(tmp_path), torch.device("cpu"))
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    server.answer = vllm(other)
    assert refused(model, server.url).startswith(
        "expected unlearned, got another model or precision: after prompt 1 it "
    )
    server.answer = vllm(model, shift=-0.03)  # more than a float32 model may differ
    assert "got another model" in refused(model, server.url)
    server.answer = vllm(model, shift=-0.01)
    assert written(model, server.url) == continue_greedily(model, PROMPTS, WANTED, LENGTH, ())
    server.models = ["m", "n"]
    assert refused(model, server.url) == (
        "expected one model, unlearned, got m, n; start it with models/unlearned alone"
    )


def test_a_server_that_is_absent_hangs_redirects_or_gives_no_ids(
    server: Server, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = (
        "no answer; expected a completions endpoint with models/unlearned, such as `vllm serve models/unlearned`; "
        "start it or correct evaluate.server.addresses"
    )
    assert refused(model, "http://127.0.0.1:1/v1") == absent
    server.answer = lambda body: (302, "{}")
    server.headers = {"Location": "http://elsewhere/v1"}
    assert refused(model, server.url).startswith(
        "answered 302, a redirect to http://elsewhere/v1, which was not followed"
    )
    server.headers = {}
    texts = {"tokens": ["a", "b"], "token_logprobs": [-0.1, -0.2]}
    for given in (None, texts, {"tokens": [], "token_logprobs": []}, {"tokens": ["token_id:x"], "token_logprobs": [0]}):
        choice = {"index": 0, "text": "ab", "finish_reason": "length", "logprobs": given}
        server.answer = lambda body, choice=choice: (
            200,
            json.dumps({"object": "text_completion", "choices": [choice]}),
        )
        assert refused(model, server.url).startswith("expected token ids with log-probabilities, as vLLM gives them")
    monkeypatch.setattr(llm_client, "SECONDS", 0.2)
    server.answer = lambda body: (time.sleep(1), (200, "{}"))[1]
    assert refused(model, server.url) == absent
