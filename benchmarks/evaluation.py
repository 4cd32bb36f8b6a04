"""Prompts scored and tokens generated in batches, beside one prompt at a time and beside the bare matrix products.

python -m benchmarks.evaluation CASE    prints one line of JSON; `make bench` runs all cases

A random Llama and random prompts, as many as the default is judged by. Ours is generation.py's; the other way is
Hugging Face's generate prompt by prompt, and one forward pass per prompt for the probability of some next tokens.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.fresh import medians, one_case, one_thread, ratio, side_by_side

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

BAR = 8
ROWS = 2048  # of one product
NOTE = f"""
Prompts (scored) or new tokens (generated) per CPU-second on one thread, medians of rounds side by side; *one by one*:
one forward pass, or Hugging Face's generate, per prompt, on the first prompts alone. Bar: {BAR} times.

*products*: the same tokens through the matrix products of the linear layers alone, unpadded, {ROWS} rows at a time, the
head once for each prompt or new token: no attention, no normalisation, nothing read or chosen. *at most*: how many
times one by one that is. Where it is below {BAR}, no way of batching reaches the bar in this precision; the last column
compares with one by one in float32, which is what the choice of `evaluate.precision` gains as well."""


class Case(NamedTuple):
    """A model and prompts of 20 to 60 tokens."""

    hidden: int
    layers: int
    new_tokens: int
    alone: int  # prompts that are also done one by one
    prompts: int = 600
    vocabulary: int = 4096
    rounds: int = 3
    bfloat16: bool = False


FLOAT32 = {
    "1M, scored": Case(96, 3, 1, 100),
    "1M, 24 tokens generated": Case(96, 3, 24, 30),
    "8M, scored": Case(256, 8, 1, 50),
    "8M, 24 tokens generated": Case(256, 8, 24, 12),
}
CASES = FLOAT32 | {f"{name}, bfloat16": case._replace(bfloat16=True) for name, case in FLOAT32.items()}
QUICK = {"tiny": Case(32, 1, 3, 2, 4, 300, 1)}


def measure(case: Case) -> dict[str, Any]:
    """The speed of all ways and their ratios."""
    one_thread()
    from stages.lib.generation import continue_greedily

    model, prompts = model_of(case), prompts_of(case)
    wanted = [range(10)] * len(prompts)

    def ours() -> list[list[int]]:
        return [list(row.tokens) for row in continue_greedily(model, prompts, wanted, case.new_tokens, ())]

    def alone() -> list[list[int]]:
        return one_by_one(model, prompts[: case.alone], case.new_tokens)

    same = sum(one == other for one, other in zip(ours(), alone(), strict=False))
    ways = {"ours": ours, "one by one": alone, "products": products(model, prompts, case.new_tokens)}
    rounds = side_by_side(ways, case.rounds)
    done = dict.fromkeys(ways, case.prompts * case.new_tokens) | {"one by one": case.alone * case.new_tokens}
    share = case.alone / case.prompts
    return {
        "prompts": case.prompts,
        "same_continuations": f"{same} of {case.alone}",
        **{f"{name} per s": round(done[name] / spent, 1) for name, spent in medians(rounds).items()},
        "times": round(ratio(rounds, "one by one", "ours") / share, 2),
        "at most": round(ratio(rounds, "one by one", "products") / share, 2),
    }


def model_of(case: Case) -> PreTrainedModel:
    """A random Llama."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=case.vocabulary,
        hidden_size=case.hidden,
        intermediate_size=3 * case.hidden,
        num_hidden_layers=case.layers,
        num_attention_heads=case.hidden // 32,
        num_key_value_heads=case.hidden // 32,
        eos_token_id=None,
    )
    return LlamaForCausalLM(config).eval().to(torch.bfloat16 if case.bfloat16 else torch.float32)


def prompts_of(case: Case) -> list[list[int]]:
    """Random token ids."""
    drawn = random.Random(0)
    return [[drawn.randrange(3, case.vocabulary) for _ in range(drawn.randint(20, 60))] for _ in range(case.prompts)]


def one_by_one(model: PreTrainedModel, prompts: Sequence[Sequence[int]], new_tokens: int) -> list[list[int]]:
    """What follows each prompt, the others not in sight."""
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


def products(model: PreTrainedModel, prompts: Sequence[Sequence[int]], new_tokens: int) -> Callable[[], None]:
    """The matrix products of the linear layers for every token read, and of the head for every token asked for."""
    import torch

    head = model.get_output_embeddings().weight.detach()
    layers = [layer.weight.detach() for layer in model.model.modules() if isinstance(layer, torch.nn.Linear)]
    asked = len(prompts) * new_tokens
    read = sum(map(len, prompts)) + asked - len(prompts)  # the last new token is read by nobody
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
    from benchmarks.bench import table

    keys = ("prompts", "same_continuations", "ours per s", "one by one per s", "times", "products per s", "at most")
    rows = []
    for name, found in cases.items():
        plain = cases.get(name.removesuffix(", bfloat16"), found)
        rows.append([name, *(found[key] for key in keys), round(found["ours per s"] / plain["one by one per s"], 2)])
    header = ["case", "prompts", "same continuations", "ours per s", "one by one per s", "times", "products per s"]
    return table([*header, "at most", "times one by one in float32"], rows)


if __name__ == "__main__":
    one_case(CASES | QUICK, measure)
