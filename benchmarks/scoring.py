"""The cost of scoring, compared with the bare forward passes it needs, on the default's baseline and prompts.

python -m benchmarks.scoring [--prompts 1000] [--rounds 5]    writes reports/bench/scoring.json and prints it

Two ways of scoring, each compared with its floor on the same batches: the probability of a name after every prompt
(floor: the model's forward pass and its head at the last position) and the scores of every token (floor: forward pass
and head at all positions, no float32 copy, no softmax). CPU seconds of this process, rounds interleaved, median.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.subprocess_case import medians, ratio, side_by_side
from lethe.core.tables import numbered_jsonl
from lethe.inference.batching import BATCH_TOKENS, batches, pad_left, pad_right
from lethe.inference.decoding import continue_greedily, prompt_ids
from lethe.metrics.token_scores import tokenwise
from lethe.models.checkpoints import load_model, load_tokenizer
from lethe.models.device import prepare
from lethe.models.output_head import headless
from tools.sandbox import ROOT

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MODEL, PROMPTS = ROOT / "models/baseline", ROOT / "data/prompts.jsonl"
RESULT = ROOT / "reports/bench/scoring.json"
WANTED = 20  # ids whose probabilities are added up after each prompt


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    model = load_model(MODEL, prepare("cpu"), torch.float32)
    rows = token_rows(MODEL, PROMPTS, arguments.prompts)
    wanted = [range(WANTED)] * len(rows)
    cases = {
        "next token": (lambda: continue_greedily(model, rows, wanted, 1, ()), lambda: last_positions(model, rows)),
        "every token": (lambda: tokenwise(model, rows), lambda: all_positions(model, rows)),
    }
    result = {"prompts": len(rows), "tokens": sum(map(len, rows)), "threads": torch.get_num_threads()}
    result |= {name: compared(*pair, arguments.rounds) for name, pair in cases.items()}
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


def token_rows(folder: Path, prompts: Path, count: int) -> list[list[int]]:
    """Token ids of `count` prompts, those of the file over and over."""
    tokenizer = load_tokenizer(folder)
    texts = [row["prompt"] for _, row in numbered_jsonl(prompts, {"prompt": str})]
    return [prompt_ids(tokenizer, texts[place % len(texts)], False) for place in range(count)]


def compared(scoring: Callable[[], Any], floor: Callable[[], Any], rounds: int) -> dict[str, float]:
    """Median CPU seconds of both, after one of each that does not count, and the median of the rounds' ratios."""
    spent = side_by_side({"scoring": scoring, "forward": floor}, rounds)
    found = medians(spent) | {"ratio": ratio(spent, "scoring", "forward")}
    return {name: round(value, 3) for name, value in found.items()}


def last_positions(model: PreTrainedModel, rows: Sequence[Sequence[int]]) -> None:
    """The forward pass over the same batches, and the head where the next token is asked for."""
    import torch

    with headless(model) as head, torch.inference_mode():
        for batch in batches([len(row) + 1 for row in rows], BATCH_TOKENS):
            tokens, mask = pad_left([rows[i] for i in batch], model.device)
            positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
            output = model(input_ids=tokens, attention_mask=mask, position_ids=positions, use_cache=True)
            head(output.logits[:, -1])


def all_positions(model: PreTrainedModel, rows: Sequence[Sequence[int]]) -> None:
    """The forward pass over the same batches, and the head at every position but the padding."""
    import torch

    with headless(model) as head, torch.inference_mode():
        for batch in batches([len(row) for row in rows], BATCH_TOKENS):
            tokens, mask = pad_right([rows[i] for i in batch], model.device)
            hidden = model(input_ids=tokens, use_cache=False).logits[:, :-1][mask[:, 1:].bool()]
            for chunk in hidden.split(4096):
                head(chunk)


if __name__ == "__main__":
    main()
