"""Everything the metrics need from one model, collected in one pass: answers, continuations and token scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from lethe.core.errors import StageError
from lethe.dictionary.infilling import Frame as Gap
from lethe.dictionary.infilling import group, log_likelihoods
from lethe.inference.decoding import continue_greedily, end_ids, prompt_ids, texts_after
from lethe.inference.kv_cache import check_finite, check_numbers
from lethe.metrics.assistant import Chats, Reply, replies
from lethe.metrics.name_swaps import Frame, own_tokens
from lethe.metrics.questions import Question, candidates
from lethe.metrics.token_scores import Tokenwise, tokenwise
from lethe.models.tokenization import cut_blocks, leading_ids
from lethe.text.passages import draw

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


class Passage(NamedTuple):
    """A passage of the forget set."""

    item: str  # its name in data/measures.csv
    tokens: list[int]
    text: str


class Sentence(NamedTuple):
    """A neighbour sentence as the models read it."""

    item: str
    tokens: list[int]
    own: list[bool]  # per token but the first: not part of a name


class Material(NamedTuple):
    """The inputs that every model reads, as the same tokens."""

    questions: dict[str, list[Question]]  # by group
    trivia: list[Question]  # only their answers are scored
    members: list[Passage]  # of the forget set, trained on
    others: list[Passage]  # of the forget set, held out
    ability: list[Passage]  # of the retain set, held out
    sentences: list[Sentence]
    chats: Chats  # of the retain set, held out


class Readout(NamedTuple):
    """One model's outputs for the material."""

    answers: dict[str, list[dict[str, float]]]  # group -> question -> {answer: mean log-probability per token, nats}
    written: dict[str, list[str]]  # group -> its continuation of each question
    trivia: list[dict[str, float]]  # {answer: log-probability of the whole}
    members: list[Tokenwise]
    others: list[Tokenwise]
    ability: list[Tokenwise]
    recited: list[str]  # its continuation of the first half of each member
    sentences: list[Tokenwise]
    replies: list[Reply]  # to the chats


def check_passages(tokens: int, context: int) -> None:
    """Raise StageError for passages longer than the model's context."""
    if tokens > context:
        raise StageError(
            f"params.yaml: measure.passage_tokens: expected at most {context}, the model's context, got {tokens}"
        )


def drawn_passages(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerFast, name: str, tokens: int, limit: int, seed: int
) -> list[Passage]:
    """At most `limit` different sampled passages of `tokens` tokens, or of at least half as many at a text's end."""
    found = {
        text[block.start : block.end]: block.tokens
        for text in texts
        for block in cut_blocks(tokenizer, text, tokens)
        if len(block.tokens) >= tokens // 2
    }
    drawn = sorted(found, key=lambda text: (draw(text, seed), text))[:limit]
    return [Passage(f"{name} {number}", found[text], text) for number, text in enumerate(drawn)]


def sentences(frames: Sequence[Frame], tokenizer: PreTrainedTokenizerFast, context: int) -> list[Sentence]:
    """The frames as tokens, without those that no longer fit the model's context with their new names."""
    first = leading_ids(tokenizer.backend_tokenizer)
    found = []
    for frame in frames:
        encoding = tokenizer(frame.text, add_special_tokens=False, return_offsets_mapping=True)
        tokens = [*first, *encoding["input_ids"]]
        spans = [(0, 0)] * len(first) + encoding["offset_mapping"]
        if 1 < len(tokens) <= context:
            found.append(Sentence(frame.item, tokens, own_tokens(spans, frame.replaced)))
    return found


def check_lengths(
    questions: Sequence[Question], tokenizer: PreTrainedTokenizerFast, context: int, new_tokens: int
) -> None:
    """Raise StageError for the first question that does not fit the model's context with its longest answer."""
    for question in questions:
        prompt = prompt_ids(tokenizer, question.prompt, chat_template=False)
        answers = tokenizer(candidates(question), add_special_tokens=False)["input_ids"]
        length = len(prompt) + max(new_tokens, *map(len, answers))
        if length > context:
            raise StageError(
                f"{question.item}: expected at most {context} tokens, the model's context, got {length} with its "
                "longest answer; shorten it or lower measure.answer_tokens"
            )


def halves(passage: Passage) -> tuple[list[int], list[int]]:
    """The first half of a passage, given as a prompt, and the second half, which the model should continue with."""
    middle = (len(passage.tokens) + 1) // 2
    return passage.tokens[:middle], passage.tokens[middle:]


def second_halves(passages: Sequence[Passage], tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """The second half of each passage as text."""
    pairs = [halves(passage) for passage in passages]
    return texts_after(tokenizer, [given for given, _ in pairs], [rest for _, rest in pairs])


def read_out(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, material: Material, answer_tokens: int
) -> Readout:
    """Collect all outputs of one model. Raises StageError if logits are NaN."""
    check_numbers(model)
    asked = material.questions
    passages = [*material.members, *material.others, *material.ability]
    token_rows = [*(passage.tokens for passage in passages), *(sentence.tokens for sentence in material.sentences)]
    numbers = tokenwise(model, token_rows)
    cuts = (len(material.members), len(material.members) + len(material.others), len(passages))
    return Readout(
        {name: per_token(tokenizer, own, answer_scores(model, tokenizer, own)) for name, own in asked.items()},
        {name: written(model, tokenizer, own, answer_tokens) for name, own in asked.items()},
        answer_scores(model, tokenizer, material.trivia),
        numbers[: cuts[0]],
        numbers[cuts[0] : cuts[1]],
        numbers[cuts[1] : cuts[2]],
        recited(model, tokenizer, material.members),
        numbers[cuts[2] :],
        replies(model, tokenizer, material.chats),
    )


def answer_scores(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, questions: Sequence[Question]
) -> list[dict[str, float]]:
    """Per question the log-probability, in nats, of each of its answers; the question is read once for all of them."""
    offered = [candidates(question) for question in questions]
    sums = log_likelihoods(model, tokenizer, [gap(question) for question in questions], offered, desc="measure")
    check_finite(model, all(math.isfinite(value) for row in sums for value in row))
    return [dict(zip(answers, row, strict=True)) for answers, row in zip(offered, sums, strict=True)]


def per_token(
    tokenizer: PreTrainedTokenizerFast, questions: Sequence[Question], sums: Sequence[dict[str, float]]
) -> list[dict[str, float]]:
    """Per question the mean log-probability per token of each answer. sums: from answer_scores."""
    means = []
    for question, of_answers in zip(questions, sums, strict=True):
        rows = group(tokenizer, 0, gap(question), list(of_answers)).rows
        counts = [len(row.ids) - row.given for row in rows]
        means.append({answer: of_answers[answer] / count for answer, count in zip(of_answers, counts, strict=True)})
    return means


def gap(question: Question) -> Gap:
    """The question as a text in which the answer is missing."""
    return Gap(f"{question.prompt} ", "")


def written(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, questions: Sequence[Question], new_tokens: int
) -> list[str]:
    """The model's greedy continuation of each question."""
    prompts = [prompt_ids(tokenizer, question.prompt, chat_template=False) for question in questions]
    found = continue_greedily(model, prompts, [()] * len(prompts), new_tokens, end_ids(model, tokenizer))
    return texts_after(tokenizer, prompts, [continuation.tokens for continuation in found])


def recited(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, passages: Sequence[Passage]) -> list[str]:
    """The model's greedy continuation of each passage's first half, as long as the second half."""
    pairs = [halves(passage) for passage in passages]
    given = [start for start, _ in pairs]
    longest = max((len(rest) for _, rest in pairs), default=0)
    found = continue_greedily(model, given, [()] * len(given), longest, end_ids(model, tokenizer))
    tokens = [continuation.tokens[: len(rest)] for continuation, (_, rest) in zip(found, pairs, strict=True)]
    return texts_after(tokenizer, given, tokens)
