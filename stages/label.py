"""For every token of the forget corpus, what a model that never read it would say next.

reads   data/blocks.parquet  data/dictionary.csv  models/baseline  models/reinforced
writes  data/labels.parquet  data/labels.txt  reports/labels.json
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import AfterValidator, NonNegativeFloat

from lethe.core.corpus import Blocks, read_blocks
from lethe.core.errors import StageError
from lethe.core.hashing import check_tokenizer, tokenizer_sha256
from lethe.core.params import StageParams, read_params
from lethe.core.stage import run, workspace
from lethe.core.tables import DICTIONARY, read_csv, write_json, write_parquet
from lethe.labels.generic_labels import MASKED, Labels, Settings, both_fit, label_blocks, label_one_model_at_a_time
from lethe.labels.translation import (
    ALWAYS,
    Bounded,
    Dictionary,
    Keys,
    Rule,
    Spliced,
    Variants,
    cut_to_context,
    draw,
    index_keys,
    index_rules,
    own_rules,
    packed,
    splice,
    word_bounded,
    word_variants,
)
from lethe.models.checkpoints import load_model, load_tokenizer
from lethe.models.config import context_length
from lethe.models.device import prepare
from lethe.models.token_text import piece_bytes
from lethe.models.tokenization import padding_id

if TYPE_CHECKING:
    import torch

BATCH_TOKENS = {"cpu": 2048, "cuda": 16384}  # of one forward pass, padding included; no label depends on either
CHUNK_LOGITS = {"cpu": 2**20, "cuda": 2**26}  # float32 logits of one model held at a time: what a cache, a card holds
SHOWN_BLOCKS = 100  # in labels.txt


def _different(alphas: list[float]) -> list[float]:
    if not alphas or len(set(alphas)) < len(alphas):
        raise ValueError(f"found {alphas}, wanted one or more different numbers")
    return alphas


class Params(StageParams):
    """Which labels, and how exactly the two passes are computed."""

    alphas: Annotated[list[NonNegativeFloat], AfterValidator(_different)]
    forbid_anchors: bool
    precision: Literal["float32", "bfloat16"]
    device: Literal["auto", "cpu", "cuda"]
    seed: int


def main() -> None:
    params = read_params("label", Params)
    device = prepare(params.device)
    with workspace("label") as work:
        baseline, reinforced = Path("models/baseline"), Path("models/reinforced")
        check_tokenizer(tokenizer_sha256(reinforced), baseline, reinforced)
        blocks = read_blocks(Path("data/blocks.parquet"), baseline)
        dictionary = read_dictionary(Path("data/dictionary.csv"))
        tokenizer = load_tokenizer(baseline)
        pieces, variants = piece_bytes(tokenizer), word_variants(tokenizer, dictionary)
        keys = index_keys(dictionary, variants, pieces)
        bounded = partial(word_bounded, pieces=pieces)
        rules = own_rules(real_tokens(blocks), keys, bounded, pieces) if params.forbid_anchors else []
        spliced = translate_blocks(blocks, keys, bounded, rules, params.seed, context_length(baseline))
        dtype = weights_dtype(params.precision)
        folders, load = (baseline, reinforced), partial(load_model, device=device, dtype=dtype)
        sizes = BATCH_TOKENS[device.type], CHUNK_LOGITS[device.type]
        settings = Settings(params.alphas, params.precision == "bfloat16", *sizes)
        everywhere = [rule.token for rule in rules if not rule.prefix]
        given = blocks.tokens, blocks.length, spliced
        if both_fit(folders, device, dtype, settings):
            labels = label_blocks(*given, (load(baseline), load(reinforced)), settings, progress, everywhere)
        else:
            print(f"label: both models do not fit the free memory of {device.type}: one after the other, in two passes")
            labels = label_one_model_at_a_time(*given, folders, load, settings, progress, everywhere, work)
        schema = labels_schema(blocks.tokens.shape[1], params.alphas)
        facts = {"tokenizer": tokenizer_sha256(baseline), "pad_token": str(padding_id(baseline))}
        facts["alphas"] = ", ".join(map(str, params.alphas))
        write_parquet(label_rows(blocks, labels, params.alphas), schema, work / "data/labels.parquet", **facts)
        twin = readable(blocks, labels.next_ids[0], params.alphas[0], pieces)
        (work / "data/labels.txt").write_text(twin, encoding="utf-8")
        numbers = {"untokenised": untokenised(dictionary, variants), "own_rules": len(rules)}
        numbers |= statistics(blocks, spliced, labels, params.alphas)
        write_json(numbers, work / "reports/labels.json")
        print(sentence(numbers))


def read_dictionary(path: Path) -> Dictionary:
    """anchor -> form -> its translation under each choice. Raises StageError unless all its forms have all choices."""
    cells: dict[str, dict[str, dict[str, str]]] = {}
    unique = ("anchor", "choice", "form")
    for row in read_csv(path, DICTIONARY, unique=unique, filled=(*unique, "translation")):
        cells.setdefault(row["anchor"], {}).setdefault(row["form"], {})[row["choice"]] = row["translation"]
    for anchor, forms in cells.items():
        wanted = [str(choice) for choice in range(max(map(len, forms.values())))]
        for form, found in forms.items():
            if sorted(found) != sorted(wanted):
                raise StageError(
                    f"{path}: {anchor}: found choices {', '.join(sorted(found))} of the form {form}, "
                    f"wanted {', '.join(wanted)}"
                )
    return {
        anchor: {form: [found[str(choice)] for choice in range(len(found))] for form, found in forms.items()}
        for anchor, forms in cells.items()
    }


def translate_blocks(
    blocks: Blocks, keys: Keys, bounded: Bounded, rules: Sequence[Rule], seed: int, context: int | None
) -> list[Spliced]:
    """Every block with its anchors replaced, cut where the model could not read on.

    rules: of `own_rules`; those without a prefix hold for all blocks alike and need not be kept with each.
    """
    prefixed = index_rules(rule for rule in rules if rule.prefix)
    spliced = (
        splice(tokens, keys, partial(draw, seed, int(block)), bounded, prefixed)
        for block, tokens in zip(blocks.block, real_tokens(blocks), strict=True)
    )
    return [packed(cut_to_context(block, context) if context else block) for block in spliced]


def real_tokens(blocks: Blocks) -> Iterator[list[int]]:
    """The token ids of each block without its padding."""
    return (tokens[:length].tolist() for tokens, length in zip(blocks.tokens, blocks.length, strict=True))


def weights_dtype(precision: str) -> torch.dtype | None:
    """For bfloat16 passes weights stay as they are on disk: autocast rounds each where it is used, and no sooner."""
    import torch

    return torch.float32 if precision == "float32" else None


def progress(batches: list[list[int]]) -> Iterator[list[int]]:
    """The batches, with a bar that counts blocks."""
    from tqdm import tqdm

    with tqdm(total=sum(map(len, batches)), desc="label", unit="block") as bar:
        for batch in batches:
            yield batch
            bar.update(len(batch))


def labels_schema(block_tokens: int, alphas: Sequence[float]) -> pa.Schema:
    """One block a row: its padded token ids and, per alpha, for each position the id to be said next (shifted)."""
    ids = pa.list_(pa.int32(), block_tokens)
    columns = [("block", pa.int32()), ("length", pa.int32()), ("tokens", ids)]
    return pa.schema(columns + [(f"next_ids_{alpha}", ids) for alpha in alphas])


def label_rows(blocks: Blocks, labels: Labels, alphas: Sequence[float]) -> list[dict[str, Any]]:
    """Rows of labels_schema."""
    columns = {"block": blocks.block, "length": blocks.length, "tokens": blocks.tokens}
    columns |= {f"next_ids_{alpha}": next_ids for alpha, next_ids in zip(alphas, labels.next_ids, strict=True)}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def statistics(blocks: Blocks, spliced: Sequence[Spliced], labels: Labels, alphas: Sequence[float]) -> dict[str, Any]:
    """What was matched, masked, changed and forbidden, in positions and shares of them."""
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
        "pair_rules": sum(bool(rule.prefix) for rule in rules),  # the first token alone would have banned too much
        "alphas": {
            str(alpha): {
                "changed": round(float(changed[number][followed].mean()), 4) if followed.any() else 0.0,
                "forbidden_avoided": int(labels.avoided[number]),
                "forbidden_taught": int(labels.taught[number]),
            }
            for number, alpha in enumerate(alphas)
        },
    }


def sentence(numbers: dict[str, Any]) -> str:
    """The stage's printed sentence."""
    alpha, first = next(iter(numbers["alphas"].items()))
    cut = numbers["cut_by_context"]
    return (
        f"label: {numbers['trained']} of {numbers['tokens']} positions have a label, {first['changed']:.0%} of them "
        f"other than the text's next token at alpha {alpha}; {numbers['anchors_matched']} occurrences of "
        f"{numbers['distinct_anchors']} anchors"
        + (f"; {cut} positions have none because a translated block is longer than the model's context" if cut else "")
    )


def readable(blocks: Blocks, next_ids: np.ndarray, alpha: float, pieces: Sequence[bytes]) -> str:
    """The labels' twin for the eye: the text, with `[the text's next token -> the label]` where they differ."""
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
    """`[a -> b]`; a space that both begin with stands before the bracket."""
    space = " " if old.startswith(" ") and (new.startswith(" ") or not new) else ""
    return f"{space}[{old.removeprefix(space)} -> {new.removeprefix(space)}]"


def visible(token: int, pieces: Sequence[bytes]) -> str:
    """A token's text on one line. A model's head may have more rows than its tokenizer has tokens."""
    return pieces[token].decode(errors="replace").replace("\n", "\\n") if token < len(pieces) else f"<{token}>"


def untokenised(dictionary: Dictionary, variants: Variants) -> int:
    """How many forms and translations the tokenizer never writes as tokens of their own: they are not translated."""
    words = {word for forms in dictionary.values() for form in forms for word in (form, *forms[form])}
    return sum(not any(variants[word]) for word in words)


if __name__ == "__main__":
    run(main)
