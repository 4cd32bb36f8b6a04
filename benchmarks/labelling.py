"""Generic labels, compared with a plain reference and with the bare forward passes they need.

python -m benchmarks.labelling CASE    prints one line of JSON; `make bench` runs all cases

Random Llamas, blocks of random tokens with anchors of two tokens in them. Six ways to label the same blocks, one after
another in one process: ours in bfloat16 and in float32; the latter with soft labels, everywhere and only outside names;
a plain one, block by block in float32 with lists per position (tests/reference_label.py); and the floor, which labels
nothing: the two forward passes with their heads under bfloat16 autocast over ours' batches. Memory is taken in a
process each.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.random_models import random_llama
from benchmarks.subprocess_case import cpu_seconds, medians, one_case, one_thread, peak_above, ratio, side_by_side

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel

    from lethe.labels.translation import Key, Spliced

ALPHA = 5.0
ANCHORS = 64
DENSITY = 0.03  # of positions where an anchor begins
WAYS = ("bfloat16", "float32", "plain", "floor")
SOFT = {"soft": True, "soft outside names": False}  # float32 with soft labels too: whether also inside names
SOFT_ALPHA, SOFT_TOP = 1.0, 64
SOFT_BAR = 1.3  # at most so many times the time and memory of hard labels alone
TOLERANCE = {"bfloat16": 2.0, "float32": 1e-3}  # of adjusted logits, which alpha spreads elevenfold: see `wrong`
BARS = {"4k": 1.25, "32k": 1.25, "128k": 1.4}  # ours in bfloat16 at most so many times the floor
PLAIN_BAR = 3.0  # and at least so many times faster than the plain way
BOUND_MIB = 256  # of memory above the weights, for any vocabulary and number of blocks


NOTE = f"""
CPU seconds on one thread, median of the rounds. *floor*: two bare bfloat16 forward passes with their heads over our
batches; *plain*: block by block in float32, lists per position. Bars: bfloat16 at most 1.25 times the floor at 4k and
32k, 1.4 times at 128k; at least {PLAIN_BAR} times faster than the plain way, which no label can be where *plain /
floor* is less. Other ids: positions where ours is not the plain way's id, and the largest distance of the two ids'
adjusted logits there; *wrong* are those further apart than {TOLERANCE["bfloat16"]} (bfloat16) and
{TOLERANCE["float32"]} (float32). *soft*: float32 with hard labels and soft ones (alpha {SOFT_ALPHA}, {SOFT_TOP} ids);
for positions inside a name the baseline reads the blocks a second time, as they are; *outside names*: without those.
Bar: {SOFT_BAR} times float32. Memory is the peak above the weights; bound for ours: {BOUND_MIB} MiB."""


class Case(NamedTuple):
    """A model, blocks for it, and what is measured: time of all ways, or the memory of one."""

    vocabulary: int
    hidden: int
    layers: int
    blocks: int
    tokens: int = 512
    rounds: int = 3
    way: str = "all"


SIZES = {
    "4k, 3M": Case(4096, 192, 3, 6),
    "4k, 20M": Case(4096, 448, 6, 3),
    "32k, 20M": Case(32768, 256, 4, 6),
    "32k, 60M": Case(32768, 576, 6, 3),
    "128k, 70M": Case(131072, 256, 4, 3),
    "128k, 120M": Case(131072, 416, 6, 3),
}
HELD = {
    f"memory of {way}, {vocabulary // 1024}k, {blocks} blocks": Case(vocabulary, 128, 2, blocks, way=way)
    for way in (*WAYS, *SOFT)
    for vocabulary, blocks in ((4096, 4), (32768, 4), (131072, 4), (32768, 16))
    if way in WAYS[:2] or blocks == 4
}
CASES = SIZES | HELD
QUICK = {
    "tiny": Case(300, 32, 2, 3, 24, 1),
    **{
        f"memory of bfloat16, {vocabulary}, {blocks} blocks": Case(vocabulary, 32, 1, blocks, 64, way="bfloat16")
        for vocabulary, blocks in ((4096, 4), (65536, 4), (4096, 32))
    },
}


class Blocks(NamedTuple):
    """Token ids [N, T] and the anchors in them, for our way and for the plain one."""

    tokens: np.ndarray
    keys: dict[int, dict[tuple[int, ...], Key]]
    entries: list[Any]


def measure(case: Case) -> dict[str, Any]:
    """CPU seconds, their ratios and the ids that differ; or MiB above the weights."""
    one_thread()
    pair, blocks = models(case), made_blocks(case)
    size = {"parameters": sum(parameter.numel() for parameter in pair[0].parameters())}
    ways = {
        "bfloat16": lambda: ours(blocks, pair, True),
        "float32": lambda: ours(blocks, pair, False),
        "plain": lambda: plain(blocks, pair),
        "floor": lambda: floor(blocks, pair),
    } | {name: partial(ours, blocks, pair, False, inside) for name, inside in SOFT.items()}
    if case.way != "all":
        return size | {"above_weights_mib": round(peak_above(ways[case.way]), 1)}
    once = {"plain": cpu_seconds(ways["plain"])}
    rounds = side_by_side({name: ways[name] for name in ("bfloat16", "floor", "float32", *SOFT)}, case.rounds)
    seconds = medians(rounds) | once
    return (
        size
        | {"tokens": case.blocks * case.tokens}
        | {f"{name}_s": round(value, 3) for name, value in seconds.items()}
        | {
            "bfloat16_to_floor": round(ratio(rounds, "bfloat16", "floor"), 3),
            "float32_to_floor": round(ratio(rounds, "float32", "floor"), 3),
            "soft_to_float32": {name: round(ratio(rounds, name, "float32"), 3) for name in SOFT},
            "plain_to_bfloat16": round(once["plain"] / seconds["bfloat16"], 2),
            "plain_to_float32": round(once["plain"] / seconds["float32"], 2),
        }
        | {f"{name}_ids": differences(blocks, pair, ways[name](), TOLERANCE[name]) for name in TOLERANCE}
    )


def models(case: Case) -> tuple[PreTrainedModel, PreTrainedModel]:
    """A random Llama and the same with slightly perturbed weights; logits spread like a trained model's."""
    import copy

    import torch

    inner = case.hidden * 8 // 3 // 32 * 32
    others = {"intermediate_size": inner, "max_position_embeddings": 2 * case.tokens, "initializer_range": 0.05}
    baseline = random_llama(case.vocabulary, case.hidden, case.layers, **others).eval()
    with torch.no_grad():
        baseline.lm_head.weight.normal_(std=3 / case.hidden**0.5)
        reinforced = copy.deepcopy(baseline)
        for parameter in reinforced.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1 * float(parameter.std()))
    return baseline, reinforced


def made_blocks(case: Case) -> Blocks:
    """Random tokens with anchors of two tokens; each becomes one, two or three other tokens."""
    import numpy as np

    from lethe.labels.translation import Key, Rule, Translation
    from tests.reference_label import Entry

    drawn = random.Random(0)
    ids = drawn.sample(range(3, case.vocabulary), 5 * min(ANCHORS, (case.vocabulary - 3) // 5))
    tokens = [[drawn.randrange(3, case.vocabulary) for _ in range(case.tokens)] for _ in range(case.blocks)]
    keys, entries = {}, []
    for number, at in enumerate(range(0, len(ids), 5)):
        key, value = tuple(ids[at : at + 2]), tuple(ids[at + 2 : at + 3 + number % 3])
        keys[key[0]] = {key: Key(key, str(number), (Translation(value, (Rule(value[0], ()),)),))}
        entries.append(Entry(str(number), key, value, [value]))
    for block in tokens:
        for at in range(0, case.tokens - 1, 2):
            if drawn.random() < 2 * DENSITY:
                block[at : at + 2] = drawn.choice(entries).key
    return Blocks(np.array(tokens, np.int32), keys, entries)


def spliced(blocks: Blocks) -> list[Spliced]:
    """The blocks as the stage translates them."""
    from lethe.labels.translation import matches_in, splice

    return [
        splice(tokens.tolist(), matches_in(tokens.tolist(), blocks.keys, lambda *_: True), lambda *_: 0)
        for tokens in blocks.tokens
    ]


def ours(
    blocks: Blocks, pair: tuple[PreTrainedModel, PreTrainedModel], bfloat16: bool, inside: bool | None = None
) -> np.ndarray:
    """The stage's way: next ids int32 [N, T]. inside: with soft labels too, also inside names or not."""
    from lethe.labels.generic_labels import Settings, label_blocks
    from stages.label import BATCH_TOKENS, CHUNK_LOGITS

    settings = Settings([ALPHA], bfloat16, BATCH_TOKENS["cpu"], CHUNK_LOGITS["cpu"])
    if inside is not None:
        settings = settings._replace(soft_alphas=[SOFT_ALPHA], soft_top=SOFT_TOP, soft_inside=inside)
    length = (blocks.tokens >= 0).sum(axis=1)
    return label_blocks(blocks.tokens, length, spliced(blocks), pair, settings, iter).next_ids[0]


def plain(blocks: Blocks, pair: tuple[PreTrainedModel, PreTrainedModel]) -> list[list[int]]:
    """The plain way."""
    from tests import reference_label as reference

    found = []
    for tokens in blocks.tokens.tolist():
        block = reference.translate(tokens, blocks.entries, lambda *_: True, lambda _: b"xx")
        found.append(reference.labels(tokens, block, *pair, ALPHA))
    return found


def floor(blocks: Blocks, pair: tuple[PreTrainedModel, PreTrainedModel]) -> None:
    """The two forward passes alone, with their heads, over our batches."""
    import torch

    from lethe.labels.generic_labels import batches, padded
    from stages.label import BATCH_TOKENS

    translated = [block.translated for block in spliced(blocks)]
    longest = [max(len(block), blocks.tokens.shape[1]) for block in translated]
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for batch in batches(longest, BATCH_TOKENS["cpu"]):
            for model, ids in zip(pair, (padded([translated[i] for i in batch]), blocks.tokens[batch]), strict=True):
                model(input_ids=torch.from_numpy(ids).long(), use_cache=False)


def differences(
    blocks: Blocks, pair: tuple[PreTrainedModel, PreTrainedModel], found: Sequence[Sequence[int]], tolerance: float
) -> dict[str, float]:
    """Positions with a label, how many have another id than the plain way, and of those how many are wrong.

    Wrong: the plain way's adjusted logit of its own id is more than `tolerance` above that of the id found.
    """
    both = zip(blocks.tokens.tolist(), found, strict=True)
    gaps = [gap for tokens, ids in both for gap in gaps_of(tokens, ids, blocks, pair)]
    other = [gap for gap in gaps if gap > 0]
    return {
        "labels": len(gaps),
        "other": len(other),
        "largest_gap": round(max(other, default=0.0), 5),
        "wrong": sum(gap > tolerance for gap in other),
    }


def gaps_of(
    tokens: list[int], ids: Sequence[int], blocks: Blocks, pair: tuple[PreTrainedModel, PreTrainedModel]
) -> list[float]:
    """Per trained position of a block, how far the adjusted float32 logit of its id lies below the largest."""
    import torch

    from tests import reference_label as reference

    block = reference.translate(tokens, blocks.entries, lambda *_: True, lambda _: b"xx")
    with torch.inference_mode():
        g = pair[0](input_ids=torch.tensor([block.translated])).logits[0]
        r = pair[1](input_ids=torch.tensor([tokens])).logits[0]
        gaps = []
        for at, answered_by in enumerate(block.map):
            if answered_by == -1:
                assert ids[at] == -100
                continue
            row = g[answered_by].clone()
            row[sorted(reference.forbidden_at(block, answered_by))] = row.mean()
            row -= ALPHA * (r[at] - row).relu()
            gaps.append(float(row.max() - row[int(ids[at])]))
    return gaps


def page(cases: dict[str, Any]) -> str:
    """Tables of times, of ids and of memory."""
    from tools.markdown import table

    timed = {name: found for name, found in cases.items() if name in SIZES}
    times = [
        [name, f"{found['parameters'] / 1e6:.1f}M"]
        + [found[f"{way}_s"] for way in WAYS]
        + [found["bfloat16_to_floor"], BARS[name.split(",")[0]], found["plain_to_bfloat16"], found["plain_to_float32"]]
        + [round(found["plain_s"] / found["floor_s"], 2)]
        for name, found in timed.items()
    ]
    header = ["vocabulary, size", "parameters", *(f"{way} s" for way in WAYS)]
    header += ["bfloat16 / floor", "bar", "plain / bfloat16", "plain / float32", "plain / floor"]
    ids = [
        [name, way, *(found[f"{way}_ids"][key] for key in ("labels", "other", "largest_gap", "wrong"))]
        for name, found in timed.items()
        for way in TOLERANCE
    ]
    held = [[name, found["above_weights_mib"]] for name, found in cases.items() if name in HELD]
    soft = [
        [name, found["float32_s"]]
        + [cell for way in SOFT for cell in (found[f"{way}_s"], found["soft_to_float32"][way])]
        + [SOFT_BAR]
        for name, found in timed.items()
        if "soft_to_float32" in found
    ]
    soft_header = ["case", "float32 s", *(cell for way in SOFT for cell in (f"{way} s", "/ float32")), "bar"]
    return "\n\n".join(
        [
            table(header, times),
            table(soft_header, soft),
            table(["case", "precision", "labels", "other ids", "largest distance", "wrong"], ids),
            table(["case", "MiB above the weights"], held),
        ]
    )


if __name__ == "__main__":
    one_case(CASES | QUICK, measure)
