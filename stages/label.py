"""Computes the generic labels: the next tokens that a model which never read the forget text would predict.

reads   data/blocks.parquet  data/corpus.parquet  data/anchors.csv  data/dictionary.csv  data/dropped.csv
        models/baseline  models/reinforced
writes  data/labels.parquet  data/labels.txt  reports/labels.json
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, NonNegativeFloat

from lethe.core.corpus import read_blocks, real_tokens
from lethe.core.hashing import check_tokenizer, tokenizer_sha256
from lethe.core.params import Seed, StageParams, read_params
from lethe.core.stage import run, workspace
from lethe.core.tables import write_json
from lethe.dictionary.entries import read_dictionary, read_dropped, read_terms
from lethe.labels.artifact import learnt_labels, readable, statistics, write_labels
from lethe.labels.generic_labels import Settings, both_fit, label_blocks, label_one_model_at_a_time
from lethe.labels.occurrences import by_reason, locate, not_replaced, told
from lethe.labels.translation import dropped_rules, inside_rules, own_rules, tokenised, translate_blocks, untokenised
from lethe.models.checkpoints import load_model, load_tokenizer
from lethe.models.config import context_length
from lethe.models.device import Device, prepare
from lethe.models.tokenization import padding_id
from lethe.text.streaming import training_texts

if TYPE_CHECKING:
    import torch

BATCH_TOKENS = {"cpu": 2048, "cuda": 16384}  # of one forward pass, padding included; no label depends on either
CHUNK_LOGITS = {"cpu": 2**20, "cuda": 2**26}  # float32 logits of one model held at a time: sized to the cache, the card


def _different(alphas: list[float]) -> list[float]:
    if not alphas or len(set(alphas)) < len(alphas):
        raise ValueError(f"expected one or more distinct numbers, got {alphas}")
    return alphas


class Params(StageParams):
    """Which labels are computed, and the precision of the two passes."""

    alphas: Annotated[list[NonNegativeFloat], AfterValidator(_different)]
    soft_alphas: list[NonNegativeFloat]
    soft_top: Annotated[int, Field(ge=2)]
    soft_inside: bool
    forbid_anchors: bool
    precision: Literal["float32", "bfloat16"]
    device: Device
    seed: Seed


def main() -> None:
    params = read_params("label", Params)
    device = prepare(params.device)
    with workspace("label") as work:
        baseline, reinforced = Path("models/baseline"), Path("models/reinforced")
        check_tokenizer(tokenizer_sha256(reinforced), baseline, reinforced)
        blocks = read_blocks(Path("data/blocks.parquet"), baseline)
        dictionary = read_dictionary(Path("data/dictionary.csv"))
        tokenizer = load_tokenizer(baseline)
        anchors = tokenised(dictionary, tokenizer)
        documents = training_texts(Path("data/corpus.parquet"), "forget")
        located = locate(blocks, documents, read_terms(Path("data/anchors.csv")), dictionary, anchors, tokenizer)
        rules, loose = [], []
        if params.forbid_anchors:
            rules = own_rules(real_tokens(blocks), located.keys, anchors.bounded, anchors.pieces)
            loose = dropped_rules(real_tokens(blocks), read_dropped(Path("data/dropped.csv")), tokenizer, rules)
        context = context_length(baseline)
        spliced = translate_blocks(blocks, located.matches, rules, params.seed, context, loose)
        dtype = weights_dtype(params.precision)
        folders, load = (baseline, reinforced), partial(load_model, device=device, dtype=dtype)
        sizes = BATCH_TOKENS[device.type], CHUNK_LOGITS[device.type]
        soft = {name: getattr(params, name) for name in ("soft_alphas", "soft_top", "soft_inside")}
        settings = Settings(params.alphas, params.precision == "bfloat16", *sizes, **soft, folder=work)
        everywhere, unless_said = ([rule.token for rule in group if not rule.prefix] for group in (rules, loose))
        given = blocks.tokens, blocks.length, spliced
        rest = unless_said, inside_rules(located.keys, [*rules, *loose])
        if both_fit(folders, device, dtype, settings):
            labels = label_blocks(*given, (load(baseline), load(reinforced)), settings, progress, everywhere, *rest)
        else:
            print(f"label: both models do not fit the free memory of {device.type}: one after the other, in two passes")
            labels = label_one_model_at_a_time(*given, folders, load, settings, progress, everywhere, work, *rest)
        labels = learnt_labels(labels, blocks)
        facts = {"tokenizer": tokenizer_sha256(baseline), "pad_token": str(padding_id(baseline))}
        facts["alphas"] = ", ".join(map(str, params.alphas))
        if params.soft_alphas:
            facts |= {"soft_alphas": ", ".join(map(str, params.soft_alphas)), "soft_top": str(params.soft_top)}
        write_labels(blocks, labels, settings, work / "data/labels.parquet", **facts)
        missed = not_replaced(located, spliced)
        twin = readable(blocks, labels.next_ids[0], params.alphas[0], anchors.pieces)
        twin += told(missed, located.count + located.within)
        (work / "data/labels.txt").write_text(twin, encoding="utf-8")
        numbers = {"untokenised": untokenised(dictionary, anchors.variants)}
        numbers |= {"own_rules": len(rules), "dropped_rules": len(loose)}
        numbers |= statistics(blocks, spliced, labels, params.alphas) | {"not_replaced": by_reason(missed)}
        write_json(numbers, work / "reports/labels.json")
        print(sentence(numbers))


def weights_dtype(precision: str) -> torch.dtype | None:
    """For bfloat16 passes weights keep their dtype on disk: autocast rounds each one only where it is used."""
    import torch

    return torch.float32 if precision == "float32" else None


def progress(batches: list[list[int]]) -> Iterator[list[int]]:
    """The batches, with a bar that counts blocks."""
    from tqdm import tqdm

    with tqdm(total=sum(map(len, batches)), desc="label", unit="block") as bar:
        for batch in batches:
            yield batch
            bar.update(len(batch))


def sentence(numbers: dict[str, Any]) -> str:
    """The stage's printed sentence."""
    alpha, first = next(iter(numbers["alphas"].items()))
    cut, missed = numbers["cut_by_context"], sum(numbers["not_replaced"].values())
    return (
        f"label: {numbers['trained']} of {numbers['tokens']} positions have a label, {first['changed']:.0%} of them "
        f"other than the text's next token at alpha {alpha}; {numbers['anchors_matched']} occurrences of "
        f"{numbers['distinct_anchors']} anchors"
        + (f", {missed} more not replaced (the end of data/labels.txt says why)" if missed else "")
        + (f"; {cut} positions have none because a translated block is longer than the model's context" if cut else "")
    )


if __name__ == "__main__":
    run(main)
