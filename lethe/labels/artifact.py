"""data/labels.parquet, its statistics in reports/labels.json and its readable form data/labels.txt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lethe.core.conversation import TRAINED
from lethe.core.corpus import Blocks, only_trained, real_tokens
from lethe.labels.generic_labels import MASKED, Labels, Settings
from lethe.labels.on_disk import let_go
from lethe.labels.translation import ALWAYS, Spliced
from lethe.text.streaming import parquet_stream

SHOWN_BLOCKS = 100  # in labels.txt
AT_ONCE = 64  # blocks that are written at once
GROUP_BYTES = 256 << 20  # of a row group: a distribution takes 384 bytes a token


def labels_schema(block_tokens: int, settings: Settings, conversations: bool = False) -> pa.Schema:
    """One block a row: its padded token ids and, per alpha, the target id of each position (already shifted).

    Per soft alpha also the K likeliest ids of each position, one position after the other, and their probabilities.
    conversations: with the column `trained` of the blocks.
    """
    ids = pa.list_(pa.int32(), block_tokens)
    columns = [("block", pa.int32()), ("length", pa.int32()), ("tokens", ids)]
    columns += [(f"next_ids_{alpha}", ids) for alpha in settings.alphas]
    size = block_tokens * settings.soft_top
    for alpha in settings.soft_alphas:
        columns.append((f"target_ids_{alpha}", pa.list_(pa.int32(), size)))
        columns.append((f"target_probabilities_{alpha}", pa.list_(pa.float16(), size)))
    return pa.schema(columns + [(TRAINED, pa.list_(pa.bool_(), block_tokens))] * conversations)


def learnt_labels(labels: Labels, blocks: Blocks) -> Labels:
    """The labels without those of tokens that are not to be learnt: questions, and what a chat template writes.

    The soft ones are changed in place.
    """
    if blocks.trained is None:
        return labels
    masked = only_trained(np.zeros(blocks.tokens.shape, np.int32), blocks.trained) == MASKED  # bool [N, T]
    for one in labels.target_probabilities:
        one[masked] = 0
    return labels._replace(next_ids=only_trained(labels.next_ids, blocks.trained))


def write_labels(blocks: Blocks, labels: Labels, settings: Settings, path: Path, **facts: str) -> None:
    """Write data/labels.parquet, a few blocks at a time; `facts` travel in the file's metadata."""
    schema = labels_schema(blocks.tokens.shape[1], settings, blocks.trained is not None)
    with parquet_stream(schema, path, GROUP_BYTES, **facts) as append:
        for table in label_tables(blocks, labels, settings, schema):
            append(table)


def label_tables(blocks: Blocks, labels: Labels, settings: Settings, schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows of labels_schema, AT_ONCE blocks at a time."""
    columns = {"block": blocks.block, "length": blocks.length, "tokens": blocks.tokens}
    columns |= {f"next_ids_{alpha}": ids for alpha, ids in zip(settings.alphas, labels.next_ids, strict=True)}
    for number, alpha in enumerate(settings.soft_alphas):
        columns[f"target_ids_{alpha}"] = labels.target_ids[number]
        columns[f"target_probabilities_{alpha}"] = labels.target_probabilities[number]
    if blocks.trained is not None:
        columns[TRAINED] = blocks.trained
    for start in range(0, len(blocks.block), AT_ONCE):
        own = {name: column[start : start + AT_ONCE] for name, column in columns.items()}
        lists = [column.reshape(len(column), -1) if column.ndim > 1 else column for column in own.values()]
        arrays = [listed(values, schema.field(name).type) for name, values in zip(own, lists, strict=True)]
        yield pa.Table.from_arrays(arrays, names=list(own))
        let_go(labels.target_ids, labels.target_probabilities)


def listed(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    """Numbers [N], or lists of them [N, W], as a column of that type."""
    if values.ndim == 1:
        return pa.array(values, kind)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1), kind.value_type), type=kind)


def statistics(blocks: Blocks, spliced: Sequence[Spliced], labels: Labels, alphas: Sequence[float]) -> dict[str, Any]:
    """Counts and shares of the positions that were matched, masked, changed and forbidden."""
    trained = labels.next_ids[0] != MASKED  # bool [N, T], the same for every alpha
    followed = trained[:, :-1] & (np.arange(1, trained.shape[1]) < blocks.length[:, None])
    changed = labels.next_ids[:, :, :-1] != blocks.tokens[:, 1:]
    rules = [rule for block in spliced for rule, since in block.forbidden.items() if since != ALWAYS]
    return {
        "blocks": len(spliced),
        "tokens": int(blocks.length.sum()),
        "trained": int(trained.sum()),
        "masked_repeats": sum(block.repeats for block in spliced),
        "masked_interior": sum(block.interior for block in spliced),
        "cut_by_context": sum(block.cut for block in spliced),
        "anchors_matched": sum(len(block.anchors) for block in spliced),
        "distinct_anchors": len({anchor for block in spliced for anchor in block.anchors}),
        "forbidden_rules": len(rules),
        "pair_rules": sum(bool(rule.prefix) for rule in rules),  # the first token alone would ban too much
        "alphas": {
            str(alpha): {
                "changed": round(float(changed[number][followed].mean()), 4) if followed.any() else 0.0,
                "forbidden_avoided": int(labels.avoided[number]),
                "forbidden_taught": int(labels.taught[number]),
            }
            for number, alpha in enumerate(alphas)
        },
    }


def readable(blocks: Blocks, next_ids: np.ndarray, alpha: float, pieces: Sequence[bytes]) -> str:
    """The labels as readable text, with `[the text's next token -> the label]` where they differ."""
    shown = zip(blocks.block, blocks.document, real_tokens(blocks), next_ids, strict=True)
    parts = [
        f"The first {SHOWN_BLOCKS} blocks with their labels for alpha {alpha}. [a -> b]: the text goes on with a, the "
        "label is b.\n[a -> ]: never trained.\n"
    ]
    for block, document, tokens, targets in islice(shown, SHOWN_BLOCKS):
        parts.append(f"\n=== block {block} of document {document}\n{marked(tokens, targets.tolist(), pieces)}\n")
    return "".join(parts)


def marked(tokens: Sequence[int], targets: Sequence[int], pieces: Sequence[bytes]) -> str:
    """A block's text with every other label in brackets. The first token and the last label have no counterpart."""
    text, masked = pieces[tokens[0]], ""
    for token, target in zip(tokens[1:], targets, strict=False):
        if target == MASKED:
            masked += visible(token, pieces)
            continue
        new = pieces[token] if token == target else bracket(visible(token, pieces), visible(target, pieces)).encode()
        text += (bracket(masked, "").encode() if masked else b"") + new
        masked = ""
    return (text + (bracket(masked, "").encode() if masked else b"")).decode(errors="replace").strip("\n")


def bracket(old: str, new: str) -> str:
    """`[a -> b]`; a space that both begin with is moved before the bracket."""
    space = " " if old.startswith(" ") and (new.startswith(" ") or not new) else ""
    return f"{space}[{old.removeprefix(space)} -> {new.removeprefix(space)}]"


def visible(token: int, pieces: Sequence[bytes]) -> str:
    """A token's text on one line. A model's head may have more rows than its tokenizer has tokens."""
    return pieces[token].decode(errors="replace").replace("\n", "\\n") if token < len(pieces) else f"<{token}>"
