"""Continuations by a server that holds the model, such as vLLM's, in place of our own decoding: completions endpoint.

The model is loaded here too, for what takes one pass: the probabilities at the first token. By them every answer is
checked, so that another model behind the address is noticed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from pydantic import NonNegativeInt, PositiveInt

from lethe.core.errors import StageError
from lethe.core.params import StageParams
from lethe.inference.decoding import Continuation, continue_greedily
from lethe.llm_client import at_once, check_address, connected, refusal
from lethe.models.distributed import shared

if TYPE_CHECKING:
    from openai import OpenAI
    from transformers import PreTrainedModel

HERE = ("127.0.0.1", "localhost", "::1")
CLOSE = {"float32": 0.02, "float16": 0.1, "bfloat16": 0.3}  # nats by which the first token's log-probability may differ
SURE = 1e-4  # of a first token: below it, a server rounds more than that
MARK = "token_id:"  # before an id, with vLLM's return_tokens_as_token_ids

Write = Callable[..., list[Continuation]]  # called as continue_greedily


class ServerSettings(StageParams):
    """The `server` part of a stage's section."""

    addresses: dict[str, str]  # model's name -> base_url; the others are run here
    send_forget_text: bool
    concurrency: PositiveInt
    retries: NonNegativeInt


class Server(NamedTuple):
    """One model's server."""

    model: str  # its name here
    base_url: str
    settings: ServerSettings
    where: str  # the settings' place in params.yaml


def writers(names: Collection[str], settings: ServerSettings, where: str) -> dict[str, Write]:
    """What continues prompts for each model of these names: continue_greedily, or the model's server.

    Raises StageError for the address of a model that is not there, one that is none, and one to which forget text must
    not go.
    """
    for name, base_url in settings.addresses.items():
        if name not in names:
            raise StageError(f"params.yaml: {where}.addresses: expected one of {', '.join(names)}, got {name}")
        check_address(f"params.yaml: {where}.addresses.{name}", base_url)
        if urlsplit(base_url).hostname not in HERE and not settings.send_forget_text:
            raise StageError(
                f"params.yaml: {where}.send_forget_text: expected true, got false; true allows forget text to leave "
                f"this machine for {base_url}"
            )
    servers = {name: Server(name, base_url, settings, where) for name, base_url in settings.addresses.items()}
    return {name: partial(continue_there, servers[name]) if name in servers else continue_greedily for name in names}


def continue_there(
    server: Server,
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    wanted: Sequence[Collection[int]],
    new_tokens: int,
    ends: Collection[int],
) -> list[Continuation]:
    """As continue_greedily, but what is written comes from the server. Of several processes the main one asks.

    Raises StageError if the server fails, or if the log-probability of some first token differs from the model's by
    more than CLOSE allows for the dtype that the model has here.
    """
    asked = shared([list(range(len(prompts)))], partial(ask_all, server, prompts, new_tokens, ends))
    written = [asked[number] for number in range(len(prompts))]
    own = continue_greedily(model, prompts, wanted, 1, ())
    firsts = continue_greedily(model, prompts, [ids[:1] for ids, _ in written], 1, ())
    allowed = CLOSE[str(model.dtype).removeprefix("torch.")]
    for number, ((ids, first), here) in enumerate(zip(written, firsts, strict=True), 1):
        if not agrees(first, here.probability, allowed):
            raise StageError(
                f"{server.base_url}: expected {server.model}, got another model or precision: after prompt {number} "
                f"it gives token {ids[0]} {first:.3f} nats, the model here "
                f"{math.log(max(here.probability, 1e-38)):.3f}; serve models/{server.model} in evaluate.precision"
            )
    found = []
    for (ids, _), one in zip(written, own, strict=True):
        end = next((place for place, token in enumerate(ids) if token in ends), None)
        found.append(Continuation(ids[:end], end is not None, one.probability))
    return found


def agrees(there: float, here: float, allowed: float) -> bool:
    """Whether a log-probability and a probability are the same token's, up to rounding."""
    return max(math.exp(there), here) < SURE or (here > 0 and abs(there - math.log(here)) <= allowed)


def ask_all(
    server: Server,
    prompts: Sequence[Sequence[int]],
    new_tokens: int,
    ends: Collection[int],
    numbers: Sequence[int],
) -> dict[int, tuple[list[int], float]]:
    """Number of a prompt -> the ids that the server writes after it, with the end of text, and the first one's
    log-probability.
    """
    client = connected(server.base_url, server.settings.retries, server.where)
    served = model_of(client, server)
    asks = [partial(ask, client, server, served, list(prompts[number]), new_tokens, sorted(ends)) for number in numbers]
    return dict(zip(numbers, at_once(asks, server.settings.concurrency, server.model), strict=True))


def model_of(client: OpenAI, server: Server) -> str:
    """The name under which the server has its model. Raises StageError unless there is exactly one."""
    listed = [one.id for one in answered(server, "", lambda: list(client.models.list().data))]
    if len(listed) != 1:
        raise StageError(
            f"{server.base_url}: expected one model, {server.model}, got {', '.join(map(str, listed)) or 'none'}; "
            f"start it with models/{server.model} alone"
        )
    return listed[0]


def ask(
    client: OpenAI, server: Server, served: str, prompt: list[int], new_tokens: int, ends: list[int]
) -> tuple[list[int], float]:
    """The ids that the server writes after one prompt, and the log-probability of the first."""
    body: dict[str, Any] = {"model": served, "prompt": prompt, "max_tokens": new_tokens, "temperature": 0}
    more = {"return_tokens_as_token_ids": True, "stop_token_ids": ends}
    choice = answered(
        server, served, lambda: client.completions.create(**body, seed=0, logprobs=1, extra_body=more).choices[0]
    )
    return answered(server, served, lambda: ids_of(choice.logprobs, new_tokens))


def ids_of(given: Any, new_tokens: int) -> tuple[list[int], float]:
    """The ids of an answer, and the log-probability of the first. Raises ValueError where they are none."""
    tokens, first = given.tokens, float(given.token_logprobs[0])
    if not 0 < len(tokens) <= new_tokens or not all(token.startswith(MARK) for token in tokens) or not first <= 0.01:
        raise ValueError("no ids")
    return [int(token.removeprefix(MARK)) for token in tokens], min(first, 0.0)


def answered(server: Server, served: str, asking: Callable[[], Any]) -> Any:
    """What `asking` returns. Raises StageError where the server is not there, refuses or says something else."""
    from openai import APIConnectionError, APIResponseValidationError, APIStatusError

    try:
        return asking()
    except APIConnectionError:
        raise StageError(
            f"{server.base_url}: no answer; expected a completions endpoint with models/{server.model}, such as "
            f"`vllm serve models/{server.model}`; start it or correct {server.where}.addresses"
        ) from None
    except APIStatusError as error:
        raise StageError(refusal(server.base_url, served or server.model, error)) from None
    except (APIResponseValidationError, ValueError, AttributeError, LookupError, TypeError):
        raise StageError(
            f"{server.base_url}: expected token ids with log-probabilities, as vLLM gives them, got another answer; "
            "correct the address (it often ends in /v1)"
        ) from None
