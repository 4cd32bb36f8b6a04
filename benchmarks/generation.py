"""Generation, compared with Hugging Face's generate in batches of 32.

python -m benchmarks.generation CASE    prints one line of JSON; `make bench` runs all cases

A random Llama and random prompts. The peer gets the prompts in their order, 32 rows at a time, padded on the left, with
its cache and in the same dtype; of a prompt's samples, 32 at a time, its own return sequences.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.evaluation import texts_of
from benchmarks.random_models import random_llama
from benchmarks.subprocess_case import cpu_seconds, medians, one_case, one_thread

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Texts = list[list[int]]  # token ids
ROWS = 32  # of a batch of the peer
MARKED = 0.2  # share of the ids of which one settles an answer
ENDING = 0.05  # share of the ids that end one
NOTE = f"""
New tokens per CPU-second on one thread, as many as were asked for, written or not; both ways in one process, in turn,
medians of rounds after one that does not count; *times*: the median of the rounds' ratios, the least and the most.
*generate*: Hugging Face's, {ROWS} rows at a time. *same*: answers with the same ids, as far as ours go.

*own*: prompts of 20 to 60 tokens. *context*: after 120 tokens that all begin with. *samples*: {ROWS} of each prompt at
temperature 1, other draws than generate's. *ends*: {ENDING:.0%} of the ids end an answer. *settled*: an answer with one
of {MARKED:.0%} of the ids is not read further, as one that leaks; generate has nothing of the kind and ends with the
last token."""


class Case(NamedTuple):
    """A model, prompts, and what is generated."""

    hidden: int
    layers: int
    what: str  # own | context | samples | ends | settled
    prompts: int = 64
    new_tokens: int = 24
    copies: int = 1
    vocabulary: int = 4096
    rounds: int = 3
    bfloat16: bool = False


KINDS: dict[str, dict[str, int]] = {
    "context": {},
    "samples": {"prompts": 4, "copies": ROWS},
    **{"own": {}, "settled": {}, "ends": {"new_tokens": 48}},
}
CASES = {f"8M, {kind}": Case(256, 8, kind, **more) for kind, more in KINDS.items()}
CASES |= {f"1M, {kind}": Case(96, 3, kind, **more) for kind, more in KINDS.items()}
CASES["8M, own, bfloat16"] = Case(256, 8, "own", bfloat16=True)
QUICK = {f"tiny, {kind}": Case(32, 1, kind, 3, 5, more.get("copies", 1), 300, 1) for kind, more in KINDS.items()}


def measure(case: Case) -> dict[str, Any]:
    """Tokens per second of both ways, their ratio, and how many answers agree."""
    import torch

    one_thread()
    model: Any = random_llama(case.vocabulary, case.hidden, case.layers, eos_token_id=None).eval()
    model.to(torch.bfloat16 if case.bfloat16 else torch.float32)
    prompts = texts_of(case.prompts, 20, 60, case.vocabulary, 0)
    if case.what == "context":
        [beginning] = texts_of(1, 120, 120, case.vocabulary, 1)
        prompts = [[*beginning, *prompt] for prompt in prompts]
    ways: dict[str, Callable[[], list[Texts]]] = {
        "ours": partial(ours, model, prompts, case),
        "generate": partial(peer, model, prompts, case),
    }
    answers = [way() for way in ways.values()]
    rounds = [{name: cpu_seconds(way) for name, way in ways.items()} for _ in range(case.rounds)]
    asked = case.prompts * case.copies * case.new_tokens
    shares = [one["generate"] / one["ours"] for one in rounds]
    found = {"answers": case.prompts * case.copies, "same": "" if case.copies > 1 else agreement(*answers)}
    found |= {f"{name} per s": round(asked / seconds, 1) for name, seconds in medians(rounds).items()}
    found |= {"times": round(median(shares), 2), "least": round(min(shares), 2), "most": round(max(shares), 2)}
    return found


def ids_of(share: float, vocabulary: int) -> list[int]:
    """So many of the ids."""
    return sorted(random.Random(0).sample(range(3, vocabulary), int(share * vocabulary)))


def ours(model: PreTrainedModel, prompts: Texts, case: Case) -> list[Texts]:
    """The answers to each prompt."""
    from lethe.inference.decoding import continue_greedily, sample_continuations

    ends = ids_of(ENDING, case.vocabulary) if case.what == "ends" else []
    if case.copies > 1:
        several = sample_continuations(model, prompts, case.copies, case.new_tokens, ends, 1.0, 0)
        return [[one.tokens for one in own] for own in several]
    marked = set(ids_of(MARKED, case.vocabulary))
    settled = (lambda i, ids: not marked.isdisjoint(ids)) if case.what == "settled" else None
    found = continue_greedily(model, prompts, [()] * len(prompts), case.new_tokens, ends, settled)
    return [[one.tokens] for one in found]


def peer(model: Any, prompts: Texts, case: Case) -> list[Texts]:
    """The same by generate."""
    import torch

    from lethe.inference.batching import pad_left

    ends = ids_of(ENDING, case.vocabulary) if case.what == "ends" else None
    options = {"max_new_tokens": case.new_tokens, "pad_token_id": 0, "eos_token_id": ends}
    options |= (
        {"do_sample": True, "num_return_sequences": case.copies, "top_k": 0}
        if case.copies > 1
        else {"do_sample": False}
    )
    found: list[Texts] = []
    at_once = max(1, ROWS // case.copies)
    with torch.inference_mode():
        for start in range(0, len(prompts), at_once):
            tokens, mask = pad_left(prompts[start : start + at_once], model.device)
            rows = model.generate(tokens, attention_mask=mask, **options)[:, tokens.shape[1] :].tolist()
            found += [rows[i : i + case.copies] for i in range(0, len(rows), case.copies)]
    return found


def agreement(one: Sequence[Texts], other: Sequence[Texts]) -> str:
    """`126 of 128`: how many answers begin with ours."""
    pairs = [(mine, theirs) for [mine], [theirs] in zip(one, other, strict=True)]
    return f"{sum(theirs[: len(mine)] == mine for mine, theirs in pairs)} of {len(pairs)}"


def page(cases: dict[str, Any]) -> str:
    """One table."""
    from tools.markdown import table

    keys = ("answers", "ours per s", "generate per s", "times", "same")
    rows = []
    for name, found in cases.items():
        own = {key: found[key] for key in keys}
        own["times"] = f"{found['times']} ({found['least']} to {found['most']})"
        rows.append([name, *own.values()])
    return table(["case", *keys], rows)


if __name__ == "__main__":
    one_case(CASES | QUICK, measure)
