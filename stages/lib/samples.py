"""Small samples for a person to look at: evenly spaced, not chosen, with few words of the forget text in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stages.lib.page import excerpt

if TYPE_CHECKING:
    import numpy as np
    from tokenizers import Tokenizer

MASKED = -100
SPACES = ("Ġ", "▁")  # how byte-level BPE and SentencePiece write the space that begins a word


def spread(count: int, samples: int) -> list[int]:
    """At most `samples` evenly spaced indices below `count`."""
    taken = min(samples, count)
    return [(2 * number + 1) * count // (2 * taken) for number in range(taken)]


def side_by_side(
    prompts: Sequence[Mapping[str, Any]], completions: Sequence[Mapping[str, Any]], samples: int, words: int
) -> list[dict[str, Any]]:
    """What each model says to a few evenly spaced prompts."""
    texts = {row["id"]: row["prompt"] for row in prompts}
    asked = sorted({row["id"] for row in completions})
    answers: dict[int, list[dict[str, Any]]] = {asked[index]: [] for index in spread(len(asked), samples)}
    for row in completions:
        if row["id"] in answers:
            said = {"model": row["model"], "completion": excerpt(row["completion"], words), "grade": row.get("grade")}
            answers[row["id"]].append(said)
    return [{"id": id, "prompt": excerpt(texts[id], words, end=True), "answers": said} for id, said in answers.items()]


def starting_words(tokenizer: Tokenizer) -> np.ndarray:
    """Which ids begin a word: bool [V]."""
    import numpy as np

    names = [tokenizer.id_to_token(index) or "" for index in range(tokenizer.get_vocab_size())]
    return np.array([name.startswith(SPACES) and len(name) > 1 for name in names])


def changed_positions(tokens: np.ndarray, next_ids: np.ndarray, length: np.ndarray, starting: np.ndarray) -> np.ndarray:
    """Where the text's next token and another one, the label, both begin a word: bool [N, T].

    tokens, next_ids: int32 [N, T], next_ids already shifted; length: real tokens [N]; starting: bool [V].
    """
    import numpy as np

    following = np.roll(tokens, -1, axis=1)  # what it wraps into the last column lies outside every length
    inside = np.arange(tokens.shape[1]) < (length - 1)[:, None]
    named = (next_ids != MASKED) & (next_ids < len(starting))  # a model can have more ids than its tokenizer
    changed = inside & named & (next_ids != following)
    return changed & starting[np.where(changed, following, 0)] & starting[np.where(changed, next_ids, 0)]


def label_samples(
    blocks: Sequence[int],
    tokens: np.ndarray,
    next_ids: np.ndarray,
    changed: np.ndarray,
    tokenizer: Tokenizer,
    samples: int,
    words: int,
) -> list[dict[str, Any]]:
    """One changed label each of evenly spaced blocks, with `words` words of the text, the replaced one included."""
    rows = [index for index, row in enumerate(changed) if row.any()]
    found = []
    for row in (rows[index] for index in spread(len(rows), samples)):
        places = changed[row].nonzero()[0]
        place = int(places[len(places) // 2])
        found.append(
            {
                "block": blocks[row],
                "before": excerpt(tokenizer.decode(tokens[row, : place + 1].tolist()), words - 1, end=True),
                "text": tokenizer.decode([int(tokens[row, place + 1])]).strip(),
                "label": tokenizer.decode([int(next_ids[row, place])]).strip(),
            }
        )
    return found
