"""Training rows that unlearn the forget set of a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lethe.classification.prompts import answer_tokens, check_length, questions
from lethe.classification.rows import question_rows
from lethe.training.adapters import check_prompt_room
from lethe.training.rows import Rows, joined
from lethe.unlearning.rows import paired

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from lethe.classification.dataset import Labelled
    from lethe.classification.prompts import Asking
    from lethe.unlearning.methods import Method, UnlearningParams


def with_share(rows: Sequence[Labelled], share: float, seed: int) -> list[Labelled]:
    """All retain rows and a sampled share of the forget rows, at least one, in their order."""
    forget = [index for index, row in enumerate(rows) if row.side == "forget"]
    wanted = max(1, round(share * len(forget)))
    kept = set(np.random.default_rng(seed).permutation(forget)[:wanted].tolist())
    return [row for index, row in enumerate(rows) if row.side == "retain" or index in kept]


def unlearning_rows(
    tokenizer: PreTrainedTokenizerFast,
    asking: Asking,
    known: Sequence[Labelled],
    method: Method,
    params: UnlearningParams,
    generic_words: Sequence[str],
    context: int | None,
) -> Rows:
    """Training rows: forget texts with the answers that the method requires, then retain texts with their own labels.

    One generic word is sampled for each forget text. context: the model's; None: unlimited. Raises StageError for a
    word without a token, a text too long for the model, or a prompt that leaves no room for a text.
    """
    words = answer_tokens(tokenizer, asking.template, [*asking.labels.values(), *generic_words])
    forget = [row for row in known if row.side == "forget"]
    retain = [row for row in known if row.side == "retain"] if method.retain else []
    pad = tokenizer.pad_token_id
    drawn = np.random.default_rng(params.seed).integers(0, len(generic_words), len(forget))
    true = questions(tokenizer, asking.template, forget, [words[asking.labels[row.label]] for row in forget])
    generic = questions(tokenizer, asking.template, forget, [words[generic_words[i]] for i in drawn])
    kept = questions(tokenizer, asking.template, retain, [words[asking.labels[row.label]] for row in retain])
    longest = max(len(question.prompt) + len(question.answer) for question in (*true, *generic, *kept))
    if params.tuning == "prompt":
        check_prompt_room(params.prompt, longest, context, "softprompt")
    elif context:
        check_length(
            [*generic, *kept], [*forget, *retain], context, "model's context", "shorten the text or the template"
        )
    width = longest - 1
    sets = [question_rows(own, [side] * len(own), pad, width) for own, side in ((generic, True), (true, True))]
    wanted = sets[method.labels == "true"]  # for random labels generic words: that is the paper's RL
    if method.labels == "pairs":
        wanted = paired(sets[1], sets[0])
    return joined(wanted, question_rows(kept, [False] * len(kept), pad, width)) if kept else wanted
