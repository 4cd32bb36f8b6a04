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
from lethe.evaluation.prompts import Prompt
from lethe.inference.decoding import continue_greedily, end_ids, texts_after
from lethe.llm_client import ChatSettings, ask_all

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


class Completion(NamedTuple):
    """One model's completion of one prompt."""

    model: str
    prompt: Prompt
    text: str
    ended: bool  # False: cut by the token limit
    probability: float


def complete(
    name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, prompts: Sequence[Prompt], new_tokens: int
) -> list[Completion]:
    """The model's completion of every prompt."""
    tokens, content = [prompt.tokens for prompt in prompts], [prompt.content for prompt in prompts]
    found = continue_greedily(model, tokens, content, new_tokens, end_ids(model, tokenizer))
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


def completion_rows(completions: Sequence[Completion], verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Rows of data/completions.jsonl."""
    return [
        {"model": item.model, "id": item.prompt.id, "completion": item.text}
        | {"grade": verdict.grade, "leaked": verdict.leaked, "probability": rounded(item.probability)}
        for item, verdict in zip(completions, verdicts, strict=True)
    ]
