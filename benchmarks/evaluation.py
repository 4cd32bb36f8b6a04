"""Prompts scored and tokens generated in batches, beside one prompt at a time.

python -m benchmarks.evaluation CASE    prints one line of JSON; `make bench` runs all cases

A random Llama and random prompts. Ours is generation.py's; the other way is Hugging Face's generate prompt by prompt,
and one forward pass per prompt for the probability of some next tokens.
"""

from __future__ import annotations

import random
from typing import Any, NamedTuple

from benchmarks.fresh import medians, one_case, one_thread, ratio, side_by_side

NOTE = """
Prompts (scored) or new tokens (generated) per CPU-second on one thread, medians of rounds side by side; *one by one*:
one forward pass, or Hugging Face's generate, per prompt. Bar: 8 times."""


class Case(NamedTuple):
    """A model and prompts of 20 to 60 tokens."""

    hidden: int
    layers: int
    prompts: int
    new_tokens: int
    vocabulary: int = 4096
    rounds: int = 3


CASES = {
    "1M, scored": Case(96, 3, 200, 1),
    "1M, 24 tokens generated": Case(96, 3, 60, 24),
    "8M, scored": Case(256, 8, 100, 1),
    "8M, 24 tokens generated": Case(256, 8, 24, 24),
}
QUICK = {"tiny": Case(32, 1, 4, 3, 300, 1)}


def measure(case: Case) -> dict[str, Any]:
    """Both ways' speed and their ratio."""
    one_thread()
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from stages.lib.generation import continue_greedily

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
    model = LlamaForCausalLM(config).eval()
    drawn = random.Random(0)
    prompts = [[drawn.randrange(3, case.vocabulary) for _ in range(drawn.randint(20, 60))] for _ in range(case.prompts)]
    wanted = [range(10)] * len(prompts)

    def one_by_one() -> list[list[int]]:
        found = []
        with torch.inference_mode():
            for prompt in prompts:
                ids = torch.tensor([prompt])
                if case.new_tokens == 1:
                    last = model(input_ids=ids).logits[0, -1]
                    last.softmax(dim=-1)[:10].sum()
                    found.append([int(last.argmax())])
                else:
                    options = {"attention_mask": torch.ones_like(ids), "max_new_tokens": case.new_tokens}
                    whole = model.generate(ids, do_sample=False, pad_token_id=0, **options)  # type: ignore[operator]
                    found.append(whole[0, len(prompt) :].tolist())
        return found

    def ours() -> list[list[int]]:
        return [list(row.tokens) for row in continue_greedily(model, prompts, wanted, case.new_tokens, ())]

    same = sum(one == other for one, other in zip(ours(), one_by_one(), strict=True))
    rounds = side_by_side({"ours": ours, "one by one": one_by_one}, case.rounds)
    items = case.prompts * (1 if case.new_tokens == 1 else case.new_tokens)
    return {
        "prompts": case.prompts,
        "same_continuations": same,
        **{f"{name} per s": round(items / spent, 1) for name, spent in medians(rounds).items()},
        "times": round(ratio(rounds, "one by one", "ours"), 2),
    }


def page(cases: dict[str, Any]) -> str:
    """One table."""
    from benchmarks.bench import table

    keys = ("prompts", "same_continuations", "ours per s", "one by one per s", "times")
    rows = [[name, *(found[key] for key in keys)] for name, found in cases.items()]
    return table(["case", "prompts", "same continuations", "ours per s", "one by one per s", "times"], rows)


if __name__ == "__main__":
    one_case(CASES | QUICK, measure)
