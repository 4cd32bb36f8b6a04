"""A linear probe: whether hidden states still encode a name, even if the model no longer generates it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lethe.inference.batching import BATCH_TOKENS, batches, pad_left
from lethe.models.distributed import shared
from lethe.models.output_head import headless

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel


def last_states(model: PreTrainedModel, prompts: Sequence[Sequence[int]], layers: Sequence[int]) -> list[np.ndarray]:
    """The hidden state at each prompt's last token after each of `layers` (1: the first block): float32 [N, d] each."""
    import numpy as np
    import torch

    with headless(model), torch.inference_mode():

        def at_end(batch: list[int]) -> dict[int, list[np.ndarray]]:
            tokens, mask = pad_left([prompts[i] for i in batch], model.device)
            positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
            states = model(
                input_ids=tokens,
                attention_mask=mask,
                position_ids=positions,
                use_cache=False,
                output_hidden_states=True,
            ).hidden_states  # of the embeddings and after each block [B, T, d]
            last = [states[layer][:, -1].float().cpu().numpy() for layer in layers]
            return {i: [layer[place] for layer in last] for place, i in enumerate(batch)}

        found = shared(list(batches([len(prompt) for prompt in prompts], BATCH_TOKENS)), at_end)
    return [np.stack([found[i][k] for i in range(len(prompts))]) for k in range(len(layers))]


def layers_at(depths: Sequence[float], count: int) -> list[int]:
    """The layers at these depths of a model with `count` layers: 1.0 is the last, and the lowest is layer 1."""
    return [max(1, round(depth * count)) for depth in depths]


def frequent(labels: Sequence[str], fewest: int) -> set[str]:
    """The labels that occur at least `fewest` times; rarer ones cannot be learnt."""
    return {label for label, count in Counter(labels).items() if count >= fewest}


def shuffled(labels: Sequence[str], seed: int) -> list[str]:
    """The same labels in random order: what a probe learns of them is its own memorisation, not the model's knowledge.

    The control of Hewitt and Liang 2019 (arXiv 1909.03368, section 2), with the labels' own frequencies.
    """
    dealt = list(labels)
    random.Random(seed).shuffle(dealt)
    return dealt


def probe_hits(
    states: np.ndarray, labels: Sequence[str], tested: np.ndarray, wanted: Sequence[str], penalty: float
) -> list[bool]:
    """Whether a linear classifier trained on `states` and their labels is right on each of `tested`.

    states, tested: float [N, d] and [M, d]. penalty: of the squared weights of the logistic regression, per item. One
    thread: with two, sums have another order, which can change a close decision.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    classifier = LogisticRegression(C=1 / (penalty * len(labels)), max_iter=1000, tol=1e-3)
    with threadpool_limits(1):
        guessed = make_pipeline(StandardScaler(), classifier).fit(states, list(labels)).predict(tested)
    return [str(guess) == name for guess, name in zip(guessed, wanted, strict=True)]
