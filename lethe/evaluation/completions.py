"""Completions of the prompts, verdicts on them, and the scores of each model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lethe.core.tables import rounded
from lethe.evaluation.familiarity import (
    Verdict,
    answer,
    completion_scores,
    judge,
    name_matcher,
    question,
    without_cut_word,
)
from lethe.evaluation.intervals import bootstrap, mean_interval, rate_interval
from lethe.evaluation.prompts import Prompt
from lethe.inference.decoding import continue_greedily, end_ids, texts_after
from lethe.inference.scoring import MOST_NATS, Loss
from lethe.llm_client import ChatSettings, ask_all

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from lethe.served import Write


POINTS = {3: 5.0, 2: 1.0, 1: 0.0, 0: 0.0}  # of a graded completion: familiarity is their mean (the paper, section 3)


class Completion(NamedTuple):
    """One model's completion of one prompt."""

    model: str
    prompt: Prompt
    text: str
    ended: bool  # False: cut by the token limit
    probability: float


def complete(
    name: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[Prompt],
    new_tokens: int,
    write: Write = continue_greedily,
) -> list[Completion]:
    """The model's completion of every prompt. write: what continues them, of `lethe.served.writers`."""
    tokens, content = [prompt.tokens for prompt in prompts], [prompt.content for prompt in prompts]
    found = write(model, tokens, content, new_tokens, end_ids(model, tokenizer))
    texts = texts_after(tokenizer, tokens, [continuation.tokens for continuation in found])
    return [
        Completion(name, prompt, text, continuation.ended, continuation.probability)
        for prompt, text, continuation in zip(prompts, texts, found, strict=True)
    ]


def rule_verdicts(completions: Sequence[Completion], names: Mapping[str, bool]) -> list[Verdict]:
    """The rule's verdict on each completion. names: name -> True if it is unique to the forget side."""
    matcher = name_matcher(names)
    texts = [item.text if item.ended else without_cut_word(item.text) for item in completions]
    return [
        judge(item.prompt.text, item.prompt.references, text, matcher)
        for item, text in zip(completions, texts, strict=True)
    ]


def model_verdicts(completions: Sequence[Completion], settings: ChatSettings) -> list[Verdict]:
    """A language model's verdict on each completion."""
    asked = [question(item.prompt.text, item.prompt.references, item.text) for item in completions]
    return [
        answer(reply)
        for reply in ask_all(asked, settings, "evaluate", usable=lambda reply: answer(reply).grade is not None)
    ]


def model_scores(
    completions: Sequence[Completion],
    verdicts: Sequence[Verdict],
    perplexities: Mapping[str, Mapping[str, float | None]],
) -> dict[str, dict[str, Any]]:
    """Model -> its scores."""
    scores = {}
    for name, found in perplexities.items():
        own = [i for i, item in enumerate(completions) if item.model == name]
        measures = completion_scores([verdicts[i].grade for i in own])
        measures["probability_familiarity"] = math.fsum(completions[i].probability for i in own) / len(own)
        scores[name] = measures | dict(found)
    return scores


class Judged(NamedTuple):
    """What the prompts give for one model, in their order; a prompt whose verdict did not parse is in neither list."""

    points: list[float]  # of its completion, 0 to 5
    leaks: list[bool]
    probabilities: list[float]  # that a name comes next


def prompt_numbers(completions: Sequence[Completion], verdicts: Sequence[Verdict]) -> dict[str, Judged]:
    """Model -> its numbers prompt by prompt."""
    found: dict[str, Judged] = {}
    for item, verdict in zip(completions, verdicts, strict=True):
        own = found.setdefault(item.model, Judged([], [], []))
        own.probabilities.append(item.probability)
        if verdict.grade is not None:
            own.points.append(POINTS[verdict.grade])
            own.leaks.append(verdict.grade >= 2)
    return found


def score_intervals(judged: Mapping[str, Judged]) -> dict[str, dict[str, dict[str, Any]]]:
    """Model -> metric -> its number and 95 % interval over the prompts."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for model, own in judged.items():
        rows = {"probability_familiarity": mean_interval(own.probabilities)}
        if own.points:
            rows |= {"completion_familiarity": mean_interval(own.points), "leak": rate_interval(own.leaks)}
        found[model] = {metric: interval.row() for metric, interval in rows.items()}
    return found


def ratio_intervals(
    judged: Mapping[str, Judged], losses: Mapping[str, Sequence[Loss]]
) -> dict[str, dict[str, float | None]]:
    """The intervals of the ratios of `evaluate`: prompts or windows are resampled with their numbers of all models.

    losses: model -> its loss on each window of held-out retain text. A ratio whose models do not all have every item,
    or which is undefined for some resample, has no interval.
    """
    found = {}
    names = ("baseline", "unlearned", "retrained")
    for metric in ("points", "probabilities"):
        samples = [getattr(judged[name], metric) for name in names if name in judged]
        if {"baseline", "unlearned"} <= judged.keys() and len({len(sample) for sample in samples}) == 1 and samples[0]:
            name = {"points": "completion_familiarity", "probabilities": "probability_familiarity"}[metric]
            row = bootstrap(share_left, *samples, paired=True).row()
            found[name] = {"low": row["low"], "high": row["high"]}
    if all(losses.get(name) for name in ("baseline", "unlearned")):
        before, after = ([loss.nats for loss in losses[name]] for name in ("baseline", "unlearned"))
        tokens = [float(loss.tokens) for loss in losses["baseline"]]
        row = bootstrap(perplexity_factor, before, after, tokens, paired=True).row()
        found["retain_perplexity_factor"] = {"low": row["low"], "high": row["high"]}
    return found


def share_left(baseline: Any, unlearned: Any, retrained: Any = None, *, axis: int) -> Any:
    """What remains of the baseline's excess over the retrained model, of arrays of numbers along an axis."""
    never = 0.0 if retrained is None else retrained.mean(axis=axis)
    return (unlearned.mean(axis=axis) - never) / (baseline.mean(axis=axis) - never)


def perplexity_factor(before: Any, after: Any, tokens: Any, *, axis: int) -> Any:
    """How many times the perplexity has grown, from the summed losses of windows and their tokens."""
    import numpy as np

    return np.exp(np.minimum((after - before).sum(axis=axis) / tokens.sum(axis=axis), MOST_NATS))


def completion_rows(completions: Sequence[Completion], verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Rows of data/completions.jsonl."""
    return [
        {"model": item.model, "id": item.prompt.id, "completion": item.text}
        | {"grade": verdict.grade, "leaked": verdict.leaked, "probability": rounded(item.probability)}
        for item, verdict in zip(completions, verdicts, strict=True)
    ]
