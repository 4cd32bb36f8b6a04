"""What models answer to the questions of a task, and how right that is."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lethe.classification.dataset import PARTS, SIDES, Labelled
from lethe.classification.forget_split import mentions
from lethe.classification.prompts import Asking, Question, questions
from lethe.evaluation.intervals import auc, rate_interval
from lethe.inference.batching import BATCH_TOKENS, batches, pad_right
from lethe.inference.decoding import continue_greedily, end_ids
from lethe.models.distributed import shared
from lethe.models.output_head import headless

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


OTHER = ""  # the answer that is none of the task's words
ANSWERS = ("row", "side", "part", "label", "task", "softprompt", "retrained", "keyword_filter", "constant")
Answers = dict[str, list[str]]  # who answers -> the word for each row


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


def countering(text: str, rows: Sequence[Labelled], asking: Asking, tokenizer: Any, true: Any) -> list[Question]:
    """The forget rows' questions with a sentence in front that asks to disregard what came before."""
    own = [index for index, row in enumerate(rows) if row.side == "forget"]
    led = [rows[i]._replace(text=f"{text} {rows[i].text}") for i in own]
    return questions(tokenizer, asking.template, led, [true[i] for i in own])


def baselines(
    known: Sequence[str], rows: Sequence[Labelled], asking: Asking, generic: Sequence[str], patterns: Sequence[str]
) -> Answers:
    """Two that need no training: the task model behind a filter of the entity list, and the most frequent label.

    The filter is absent where no entity list drew the line.
    """
    train = Counter(row.label for row in rows if (row.side, row.part) == ("retain", "train"))
    constant = asking.labels[min(train, key=lambda label: (-train[label], label))]
    found = {"constant": [constant] * len(rows)}
    if patterns:
        pairs = zip(rows, known, strict=True)
        found["keyword_filter"] = [generic[0] if mentions(row.text, patterns) else word for row, word in pairs]
    return found


def scores(found: Sequence[str], wanted: Sequence[str], rows: Sequence[Labelled]) -> dict[str, dict[str, Any]]:
    """{train_retain ...: accuracy with its 95 % interval, weighted F1, items}, in the order of the paper's tables."""
    told = {}
    for part in PARTS:
        for side in reversed(SIDES):
            own = [index for index, row in enumerate(rows) if (row.side, row.part) == (side, part)]
            told[f"{part}_{side}"] = score([found[i] for i in own], [wanted[i] for i in own])
    return told


def score(found: Sequence[str], wanted: Sequence[str]) -> dict[str, Any]:
    """Accuracy with its 95 % interval, weighted F1, items; an answer that is none of the task's words is wrong."""
    share = rate_interval([given == word for given, word in zip(found, wanted, strict=True)])
    return {
        "accuracy": share.value,
        "low": share.low,
        "high": share.high,
        "weighted_f1": weighted_f1(found, wanted),
        "items": share.items,
    }


def attacks(
    answers: Answers,
    countered: Answers,
    losses: Mapping[str, Sequence[float]],
    wanted: Sequence[str],
    rows: Sequence[Labelled],
) -> dict[str, Any]:
    """Ways round the unlearning, by the forget rows.

    strip_prompt: accuracy once the prompt is taken off (the task model itself: a prompt changes no weight).
    counter_prompt: accuracy with a sentence in front of the text. membership: how well the loss of the true label tells
    training rows from test rows (area under the curve; 0.5: not at all).
    """
    places = {part: [i for i, row in enumerate(rows) if (row.side, row.part) == ("forget", part)] for part in PARTS}
    forget = [i for i, row in enumerate(rows) if row.side == "forget"]
    found: dict[str, Any] = {"strip_prompt": {}, "counter_prompt": {}, "membership": {}}
    for part, own in places.items():
        found["strip_prompt"][part] = score([answers["task"][i] for i in own], [wanted[i] for i in own])
    for text, words in countered.items():
        held = dict(zip(forget, words, strict=True))
        found["counter_prompt"][text] = {
            part: score([held[i] for i in own], [wanted[i] for i in own]) for part, own in places.items()
        }
    for name, loss in losses.items():
        found["membership"][name] = float(auc([loss[i] for i in places["test"]], [loss[i] for i in places["train"]]))
    return found


def answer_rows(rows: Sequence[Labelled], wanted: Sequence[str], answers: Answers) -> list[dict[str, Any]]:
    """Rows of data/answers.csv; an answer outside the task's words is an empty cell."""
    names = ANSWERS[4:]
    return [
        {"row": row.row, "side": row.side, "part": row.part, "label": wanted[i]}
        | {name: answers[name][i] if name in answers else "" for name in names}
        for i, row in enumerate(rows)
    ]
