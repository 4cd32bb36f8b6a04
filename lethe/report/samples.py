"""Samples for the page, chosen by rule, with few words of the forget text in a row."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lethe.core.tables import COMPARED
from lethe.report.html import excerpt
from lethe.report.redaction import Run, found_in, leaked_words, parts_of, redacted, runs_of

if TYPE_CHECKING:
    import numpy as np
    from tokenizers import Tokenizer

MASKED = -100
LEAKED = 2  # the least grade of a leak
STILL, BEFORE, NEVER = "still leaks", "leaked before", "no leak"  # why a prompt is shown
SPACES = ("Ġ", "▁")  # how byte-level BPE and SentencePiece write the space that begins a word


class AnchorPosition(NamedTuple):
    """An anchor is tokens[row, place + 1 : end], and the label of `place` differs from it."""

    row: int
    place: int
    end: int


def spread(count: int, samples: int) -> list[int]:
    """At most `samples` evenly spaced indices below `count`."""
    taken = min(samples, count)
    return [(2 * number + 1) * count // (2 * taken) for number in range(taken)]


def chosen_prompts(completions: Sequence[Mapping[str, Any]], samples: int) -> dict[int, str]:
    """Prompt -> why it is shown, at most `samples`: first each that the unlearned model leaks at, then the first ones
    that the baseline leaks at; evenly spaced ones where neither does.
    """
    grades = {(row["model"], row["id"]): row.get("grade") or 0 for row in completions}
    ids = sorted({id for _, id in grades})
    still = [id for id in ids if grades.get(("unlearned", id), 0) >= LEAKED]
    before = [id for id in ids if id not in still and grades.get(("baseline", id), 0) >= LEAKED]
    found = dict.fromkeys(still, STILL) | dict.fromkeys(before, BEFORE)
    found = found or {ids[index]: NEVER for index in spread(len(ids), samples)}
    return dict(list(found.items())[:samples])


def side_by_side(
    prompts: Sequence[Mapping[str, Any]],
    completions: Sequence[Mapping[str, Any]],
    forget: Sequence[str],
    samples: int,
    words: int,
) -> list[dict[str, Any]]:
    """The completions of the chosen prompts by each of the compared models, whole, with the leaked names marked.

    forget: the texts of the forget set, of which prompt and completion together show at most `words` words in a row.
    """
    chosen = chosen_prompts(completions, samples)
    asked = {row["id"]: row["prompt"].split() for row in prompts if row["id"] in chosen}
    room = max(1, words // 2)  # of a prompt, which is the forget set's own text
    ends = {id: " ".join(own[-room:]) for id, own in asked.items()}
    said = [row for row in completions if row["model"] in COMPARED and row["id"] in asked]
    said = sorted(said, key=lambda row: COMPARED.index(row["model"]))
    known = known_runs(forget, [f"{ends[row['id']]} {row['completion']}" for row in said], words)
    answers: dict[int, list[dict[str, Any]]] = {id: [] for id in asked}
    for row in said:
        kept = redacted(row["completion"], ends[row["id"]], known, words)
        leaked = leaked_words(row["completion"], row.get("leaked", []))
        answers[row["id"]].append(
            {"model": row["model"], "parts": parts_of(kept, leaked), "leaks": (row.get("grade") or 0) >= LEAKED}
            | {"grade": row.get("grade")}
        )
    hidden = {id: [None] * (len(own) - room) for id, own in asked.items()}
    return [
        {"id": id, "why": why, "prompt": parts_of([*hidden[id], *ends[id].split()]), "answers": answers[id]}
        for id, why in chosen.items()
        if id in asked
    ]


def whole_continuations(
    rows: Sequence[Mapping[str, Any]], forget: Sequence[str], names: Collection[str], samples: int, words: int
) -> list[dict[str, Any]]:
    """What each model writes after a few evenly spaced beginnings of retain text, whole, with the names that leak.

    rows: of data/continuations.jsonl. forget: the texts of the forget set, of which at most `words` words in a row are
    shown. names: those that only the forget set has.
    """
    said = [row for row in rows if row["side"] == "retain" and row["model"] in COMPARED]
    asked = sorted({row["id"] for row in said})
    chosen = [asked[index] for index in spread(len(asked), samples)]
    said = sorted((row for row in said if row["id"] in chosen), key=lambda row: COMPARED.index(row["model"]))
    known = known_runs(forget, [row["prompt"] + row["continuation"] for row in said], words)
    found: dict[int, dict[str, Any]] = {}
    for row in said:
        prompt = parts_of(redacted(row["prompt"], "", known, words))
        sample = found.setdefault(row["id"], {"id": row["id"], "prompt": prompt, "answers": []})
        kept = redacted(row["continuation"], row["prompt"], known, words)
        leaked = leaked_words(row["continuation"], [name for name in names if name not in row["prompt"]])
        answer = {"model": row["model"], "parts": parts_of(kept, leaked), "leaks": bool(leaked)}
        sample["answers"].append(answer | {"doubled": row["doubled"]})
    return [found[id] for id in chosen]


def known_runs(forget: Sequence[str], texts: Sequence[str], words: int) -> set[Run]:
    """The runs of words + 1 in these texts that the forget set has too."""
    return found_in(forget, {run for text in texts for run in runs_of(text, words + 1)}, words + 1)


def common_grams(rows: Sequence[Mapping[str, Any]], words: int) -> list[tuple[str, str, int, int]]:
    """(model, its commonest 4-gram, continuations that hold it, continuations) after beginnings of retain text.

    Empty where no 4-gram is in two of them, and a 4-gram is where it has more than `words` words.
    """
    found = []
    for model in COMPARED:
        own = [row.get("common") for row in rows if (row["model"], row["side"]) == (model, "retain")]
        held = [gram for gram in own if gram is not None]
        if own:
            shown = held[0] if held and len(held[0].split()) <= words else ""
            found.append((model, shown, len(held), len(own)))
    return found


def term_ids(tokenizer: Tokenizer, forms: Collection[str]) -> set[tuple[int, ...]]:
    """The token ids of each form in running text, after a space."""
    before = "a "
    found = set()
    for encoding in tokenizer.encode_batch([before + form for form in forms], add_special_tokens=False):
        own = zip(encoding.ids, encoding.offsets, strict=True)
        found.add(tuple(id for id, (_, end) in own if end >= len(before)))
    return found


def anchor_positions(
    tokens: np.ndarray,
    next_ids: np.ndarray,
    length: np.ndarray,
    terms: Collection[tuple[int, ...]],
    tokenizer: Tokenizer,
) -> list[AnchorPosition]:
    """Where one of the terms follows in a block as a whole word and the label differs from it.

    tokens, next_ids: int32 [N, T], next_ids already shifted; length: real tokens [N].
    """
    by_first: dict[int, list[tuple[int, ...]]] = {}
    for ids in sorted(terms, key=lambda ids: (-len(ids), ids)):
        by_first.setdefault(ids[0], []).append(ids)
    found = []
    for row, (block, labels, real) in enumerate(zip(tokens.tolist(), next_ids.tolist(), length.tolist(), strict=True)):
        for place in range(real - 1):
            if labels[place] not in (MASKED, block[place + 1]):
                end = _term_end(block[:real], place + 1, by_first, tokenizer)
                found += [AnchorPosition(row, place, end)] if end else []
    return found


def _term_end(block: list[int], start: int, by_first: Mapping[int, list[tuple[int, ...]]], tokenizer: Tokenizer) -> int:
    """The end of the longest term that begins here and ends at a word boundary; 0 for none."""
    for ids in by_first.get(block[start], ()):
        end = start + len(ids)
        if tuple(block[start:end]) == ids and (end == len(block) or not goes_on(tokenizer, block[end])):
            return end
    return 0


def goes_on(tokenizer: Tokenizer, token: int) -> bool:
    """Whether a token continues the word before it."""
    name = tokenizer.id_to_token(token) or ""
    return not name.startswith(SPACES) and tokenizer.decode([token])[:1].isalnum()


def label_samples(
    blocks: Sequence[int],
    tokens: np.ndarray,
    next_ids: np.ndarray,
    anchors: Sequence[AnchorPosition],
    tokenizer: Tokenizer,
    samples: int,
    words: int,
) -> list[dict[str, Any]]:
    """One anchor position in each of evenly spaced blocks: `words` words of text, the term's included."""
    by_row: dict[int, list[AnchorPosition]] = {}
    for one in anchors:
        by_row.setdefault(one.row, []).append(one)
    rows = [by_row[row] for row in sorted(by_row)]
    found = []
    for places in (rows[index] for index in spread(len(rows), samples)):
        row, place, end = places[len(places) // 2]
        text = tokenizer.decode(tokens[row, place + 1 : end].tolist())
        room = max(0, words - len(text.split()))
        found.append(
            {
                "block": blocks[row],
                "before": excerpt(tokenizer.decode(tokens[row, : place + 1].tolist()), room, end=True),
                "text": excerpt(text, words),
                "label": tokenizer.decode([int(next_ids[row, place])]).strip(" ").replace("\n", "\\n"),
            }
        )
    return found
