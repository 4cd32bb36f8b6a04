"""Generic labels for one block, as plainly as the method reads: no batches, no chunks, lists per position."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from transformers import PreTrainedModel


class Entry(NamedTuple):
    """One tokenisation of one form of an anchor, its translation in that place, and all variants of the translation."""

    anchor: str
    key: tuple[int, ...]
    value: tuple[int, ...]
    every_value: list[tuple[int, ...]]


class Block(NamedTuple):
    """A translated block; forbidden[i]: (prefix, token) pairs stored at translated index i."""

    translated: list[int]
    map: list[int]
    forbidden: list[list[tuple[list[int], int]]]


def translate(
    tokens: Sequence[int], entries: Sequence[Entry], bounded: Callable[[int, int], bool], text: Callable[[int], bytes]
) -> Block:
    """Section 5, its pointers i and j and its five steps."""
    block = Block([], [], [])
    seen = set()
    i = j = 0
    while i < len(tokens):
        fitting = [e for e in entries if list(tokens[i : i + len(e.key)]) == list(e.key)]
        fitting = [e for e in fitting if bounded(i, i + len(e.key))]
        if not fitting:
            block.translated.append(tokens[i])
            block.forbidden.append([])
            block.map.append(j)
            i, j = i + 1, j + 1
            continue
        entry = max(fitting, key=lambda e: len(e.key))
        n, m = len(entry.key), len(entry.value)
        block.translated.extend(entry.value)
        if entry.anchor in seen:
            block.map[i - 1] = -1
        seen.add(entry.anchor)
        block.map.extend([-1] * n)
        block.map[-1] = j + m - 1
        block.forbidden.append([first_token(value, text) for value in entry.every_value])
        block.forbidden.extend([] for _ in range(m - 1))
        i, j = i + n, j + m
    return block


def first_token(value: Sequence[int], text: Callable[[int], bytes]) -> tuple[list[int], int]:
    """Section 6.4: a first token of fewer than two characters passes the ban on to the next, after that prefix."""
    for end in range(1, len(value) + 1):
        spelled = b"".join(text(token) for token in value[:end]).decode("utf-8", "ignore")
        if len(spelled.replace(" ", "")) >= 2:
            break
    return list(value[: end - 1]), value[end - 1]


def forbidden_at(block: Block, i: int) -> set[int]:
    """Section 6.2: of all insertions strictly before i."""
    banned = set()
    for stored in block.forbidden[:i]:
        for prefix, token in stored:
            if block.translated[i + 1 - len(prefix) : i + 1] == prefix:
                banned.add(token)
    return banned


def labels(
    tokens: Sequence[int], block: Block, baseline: PreTrainedModel, reinforced: PreTrainedModel, alpha: float
) -> list[int]:
    """Section 3: next ids of one block, -100 where nothing is trained."""
    with torch.inference_mode():
        after_translated = baseline(input_ids=torch.tensor([block.translated])).logits[0].float()
        after_original = reinforced(input_ids=torch.tensor([list(tokens)])).logits[0].float()
    next_ids = []
    for t in range(len(tokens)):
        i = block.map[t]
        if i == -1:
            next_ids.append(-100)
            continue
        g, r = after_translated[i].clone(), after_original[t]
        mean = g.mean()
        for token in forbidden_at(block, i):
            g[token] = mean
        next_ids.append(int(torch.argmax(g - alpha * torch.relu(r - g))))
    return next_ids
