"""What models answer to the questions of a task, and how right that is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lethe.inference.batching import BATCH_TOKENS, batches, pad_right
from lethe.inference.decoding import continue_greedily, end_ids
from lethe.models.distributed import shared
from lethe.models.output_head import headless

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from lethe.classification.prompts import Question

OTHER = ""  # the answer that is none of the task's words


def answered(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    asked: Sequence[Question],
    words: Mapping[str, Sequence[int]],
) -> list[str]:
    """For each question the word that the model writes greedily over the whole vocabulary, OTHER if it is none of them.

    words: word -> token ids. For words of one token that is the likeliest token at the label position.
    """
    longest = max(len(ids) for ids in words.values())
    prompts = [question.prompt for question in asked]
    # every prompt wants something; what it adds up to is not read
    found = continue_greedily(model, prompts, [[0]] * len(prompts), longest, end_ids(model, tokenizer) - set_of(words))
    return [word_at(continuation.tokens, words) for continuation in found]


def set_of(words: Mapping[str, Sequence[int]]) -> set[int]:
    """Every token of every word."""
    return {token for ids in words.values() for token in ids}


def word_at(written: Sequence[int], words: Mapping[str, Sequence[int]]) -> str:
    """The longest word with whose tokens the text begins, OTHER if there is none."""
    fitting = [word for word, ids in words.items() if list(written[: len(ids)]) == list(ids)]
    return max(fitting, key=lambda word: len(words[word]), default=OTHER)


def answer_losses(model: PreTrainedModel, asked: Sequence[Question]) -> list[float]:
    """For each question the negative log-likelihood of its answer, in nats, summed over the answer's tokens."""
    import torch
    from torch.nn.functional import cross_entropy

    spelled = [[*question.prompt, *question.answer] for question in asked]
    with headless(model) as head, torch.inference_mode():

        def lost(batch: list[int]) -> dict[int, float]:
            losses = {}
            tokens, mask = pad_right([spelled[i] for i in batch], model.device)
            hidden = model(input_ids=tokens, attention_mask=mask, use_cache=False).logits  # [B, T, d]
            for row, i in enumerate(batch):
                start, answer = len(asked[i].prompt), asked[i].answer
                logits = head(hidden[row, start - 1 : start - 1 + len(answer)]).float()
                wanted = torch.tensor(answer, device=logits.device)
                losses[i] = float(cross_entropy(logits.double(), wanted, reduction="sum"))
            return losses

        found = shared(list(batches([len(ids) for ids in spelled], BATCH_TOKENS)), lost)
    return [found[i] for i in range(len(asked))]


def accuracy(answers: Sequence[str], wanted: Sequence[str]) -> float:
    """The share of right answers; an answer that is none of the task's words is wrong."""
    return sum(found == word for found, word in zip(answers, wanted, strict=True)) / len(wanted)


def weighted_f1(answers: Sequence[str], wanted: Sequence[str]) -> float:
    """The F1 of each wanted word, weighted by how often it is wanted (SPUL section 5).

    F1 = 2 hits / (given + wanted) of a word.
    """
    scores = []
    for word in sorted(set(wanted)):
        hits = sum(found == want == word for found, want in zip(answers, wanted, strict=True))
        due = sum(want == word for want in wanted)
        scores.append(due * 2 * hits / (sum(found == word for found in answers) + due))
    return math.fsum(scores) / len(wanted)


def auc(lower: Sequence[float], higher: Sequence[float]) -> float:
    """The chance that a value of `lower` is below one of `higher`, ties counting half: the area under the ROC curve."""
    import numpy as np

    low, high = np.asarray(lower, dtype=float), np.sort(np.asarray(higher, dtype=float))
    above = len(high) - np.searchsorted(high, low, side="right")
    ties = np.searchsorted(high, low, side="right") - np.searchsorted(high, low, side="left")
    return float((above + 0.5 * ties).sum() / (len(low) * len(high)))


def share_interval(share: float, items: int) -> tuple[float, float]:
    """The 95 % interval of a share of `items` (Wilson 1927)."""
    z = 1.959964
    centre = (share + z * z / (2 * items)) / (1 + z * z / items)
    half = z * math.sqrt(share * (1 - share) / items + z * z / (4 * items * items)) / (1 + z * z / items)
    return max(0.0, centre - half), min(1.0, centre + half)
