"""Batched scoring and generation, compared with one prompt at a time and with the bare matrix products.

python -m benchmarks.evaluation CASE    prints one line of JSON; `make bench` runs all cases

A random Llama and random prompts, as many as the default evaluates. Ours is lethe/inference; the reference is
Hugging Face's generate prompt by prompt, one forward pass per prompt for the probability of some next tokens, and one
per prompt and choice for the likeliest of several endings.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.random_models import random_llama
from benchmarks.subprocess_case import medians, one_case, one_thread, ratio, side_by_side

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

Way = Callable[[], Any]
Texts = Sequence[Sequence[int]]  # token ids
BAR = 8
ROWS = 2048  # of one product
NOTE = f"""
Prompts (scored, or answered by choice) or new tokens (generated) per CPU-second on one thread, medians of rounds side
by side; *one by one*: Hugging Face's generate or one forward pass per prompt, per choice where there are some, on the
first prompts alone. Bar: {BAR} times.

*products*: the same tokens through the matrix products of the linear layers alone, unpadded, {ROWS} rows at a time, the
head once for each token asked for: no attention, no normalisation, nothing read or chosen. *at most*: how many
times one by one that is. Where it is below {BAR}, no way of batching reaches the bar in this precision; the last column
compares with one by one in float32, which is what the choice of `evaluate.precision` gains as well."""


class Case(NamedTuple):
    """A model and prompts of 20 to 60 tokens."""

    hidden: int
    layers: int
    new_tokens: int
    alone: int  # prompts that are also processed one by one
    prompts: int = 600
    vocabulary: int = 4096
    rounds: int = 3
    bfloat16: bool = False
    choices: int = 0  # endings of 5 to 15 tokens to choose from, instead of new tokens


FLOAT32 = {
    "1M, scored": Case(96, 3, 1, 100),
    "1M, 24 tokens generated": Case(96, 3, 24, 30),
    "1M, 4 choices": Case(96, 3, 1, 50, choices=4),
    "8M, scored": Case(256, 8, 1, 50),
    "8M, 24 tokens generated": Case(256, 8, 24, 12),
    "8M, 4 choices": Case(256, 8, 1, 25, choices=4),
}
CASES = FLOAT32 | {f"{name}, bfloat16": case._replace(bfloat16=True) for name, case in FLOAT32.items()}
QUICK = {"tiny": Case(32, 1, 3, 2, 4, 300, 1), "tiny choices": Case(32, 1, 1, 2, 4, 300, 1, choices=3)}


def measure(case: Case) -> dict[str, Any]:
    """The speed of all ways and their ratios."""
    one_thread()
    model, prompts = model_of(case), texts_of(case.prompts, 20, 60, case.vocabulary, 0)
    endings = [texts_of(case.choices, 5, 15, case.vocabulary, seed) for seed in range(case.prompts)]
    few = slice(case.alone)
    if case.choices:
        read = sum(map(len, prompts)) + sum(len(one) - 1 for own in endings for one in own)
        asked = sum(len(one) for own in endings for one in own)
        ours: Way = partial(chosen, model, prompts, endings)
        alone: Way = partial(chosen_one_by_one, model, prompts[few], endings[few])
    else:
        asked = case.prompts * case.new_tokens
        read = sum(map(len, prompts)) + asked - case.prompts  # no pass reads the last new token
        ours = partial(continued, model, prompts, case.new_tokens)
        alone = partial(continued_one_by_one, model, prompts[few], case.new_tokens)
    return compared(case, ours, alone, products(model, read, asked))


def compared(case: Case, ours: Way, alone: Way, bare: Way) -> dict[str, Any]:
    """Figures of the three ways. alone: of the first prompts only."""
    same = sum(one == other for one, other in zip(ours(), alone(), strict=False))
    rounds = side_by_side({"ours": ours, "one by one": alone, "products": bare}, case.rounds)
    share = case.alone / case.prompts
    spent = medians(rounds)
    spent["one by one"] /= share
    return {
        "prompts": case.prompts,
        "same_continuations": f"{same} of {case.alone}",
        **{f"{name} per s": round(case.prompts * case.new_tokens / seconds, 1) for name, seconds in spent.items()},
        "times": round(ratio(rounds, "one by one", "ours") / share, 2),
        "at most": round(ratio(rounds, "one by one", "products") / share, 2),
    }


def model_of(case: Case) -> PreTrainedModel:
    """A random Llama."""
    import torch

    model = random_llama(case.vocabulary, case.hidden, case.layers, eos_token_id=None)
    return model.eval().to(torch.bfloat16 if case.bfloat16 else torch.float32)


def texts_of(count: int, fewest: int, most: int, vocabulary: int, seed: int) -> list[list[int]]:
    """Random token ids."""
    drawn = random.Random(seed)
    return [[drawn.randrange(3, vocabulary) for _ in range(drawn.randint(fewest, most))] for _ in range(count)]


def continued(model: PreTrainedModel, prompts: Texts, new_tokens: int) -> list[list[int]]:
    """The continuation of each prompt, and the probability of some next tokens."""
    from lethe.inference.decoding import continue_greedily

    found = continue_greedily(model, prompts, [range(10)] * len(prompts), new_tokens, ())
    return [list(row.tokens) for row in found]


def continued_one_by_one(model: PreTrainedModel, prompts: Texts, new_tokens: int) -> list[list[int]]:
    """The same, one prompt at a time."""
    import torch

    found = []
    with torch.inference_mode():
        for prompt in prompts:
            ids = torch.tensor([prompt])
            if new_tokens == 1:
                last = model(input_ids=ids).logits[0, -1]
                last.softmax(dim=-1)[:10].sum()
                found.append([int(last.argmax())])
            else:
                options = {"attention_mask": torch.ones_like(ids), "max_new_tokens": new_tokens}
                whole = model.generate(ids, do_sample=False, pad_token_id=0, **options)  # type: ignore[operator]
                found.append(whole[0, len(prompt) :].tolist())
    return found


def chosen(model: PreTrainedModel, prompts: Texts, endings: Sequence[Texts]) -> list[int]:
    """The likeliest of each prompt's endings."""
    from lethe.inference.scoring import expectations

    return [likeliest([sum(scores) for scores in one.scores]) for one in expectations(model, prompts, endings)]


def chosen_one_by_one(model: PreTrainedModel, prompts: Texts, endings: Sequence[Texts]) -> list[int]:
    """The same, a forward pass for every prompt with an ending."""
    import torch

    found = []
    with torch.inference_mode():
        for prompt, own in zip(prompts, endings, strict=True):
            scores = []
            for ending in own:
                ids = torch.tensor([[*prompt, *ending[:-1]]])
                logs = model(input_ids=ids).logits[0].float().log_softmax(dim=-1)[-len(ending) :]
                scores.append(float(logs.gather(1, torch.tensor(ending)[:, None]).sum()))
            found.append(likeliest(scores))
    return found


def likeliest(scores: Sequence[float]) -> int:
    """The index of the largest."""
    return max(range(len(scores)), key=scores.__getitem__)


def products(model: PreTrainedModel, read: int, asked: int) -> Way:
    """The matrix products of the linear layers for every token read, and of the head for every token asked for."""
    import torch

    head = model.get_output_embeddings().weight.detach()
    layers = [layer.weight.detach() for layer in model.model.modules() if isinstance(layer, torch.nn.Linear)]
    inputs = {size: torch.randn(ROWS, size).to(head.dtype) for weight in layers for size in weight.shape[1:]}

    def multiply(weight: Tensor, rows: int) -> None:
        for start in range(0, rows, ROWS):
            inputs[weight.shape[1]][: rows - start] @ weight.T

    def work() -> None:
        with torch.inference_mode():
            for weight in layers:
                multiply(weight, read)
            multiply(head, asked)

    return work


def page(cases: dict[str, Any]) -> str:
    """One table."""
    from tools.markdown import table

    keys = ("prompts", "same_continuations", "ours per s", "one by one per s", "times", "products per s", "at most")
    rows = []
    for name, found in cases.items():
        plain = cases.get(name.removesuffix(", bfloat16"), found)
        rows.append([name, *(found[key] for key in keys), round(found["ours per s"] / plain["one by one per s"], 2)])
    header = ["case", "prompts", "same answers", "ours per s", "one by one per s", "times", "products per s"]
    return table([*header, "at most", "times one by one in float32"], rows)


if __name__ == "__main__":
    one_case(CASES | QUICK, measure)
