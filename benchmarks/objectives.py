"""Every objective beside a plain loop: the same dtype, vocabulary and rows, in turn, with preparation and without.

python -m benchmarks.objectives CASE    prints one line of JSON; `make bench` runs all cases

The plain loop is written as in the papers: a deep copy of the model as the reference, run again in every step, and
whole [B, T, V] logits. `--peer PATH` of `benchmarks.bench` adds another library's trainers, by a file of the user's own
with one function:

    train(objective, model, forget, retain, steps, bfloat16, after_step)

trains the model for `steps` steps of all the rows, forget and retain int64 [B, T], and calls after_step() after each;
it raises KeyError for an objective that it has not.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from itertools import accumulate
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.subprocess_case import one_case, one_thread
from benchmarks.trainings import PLAIN, Case, model_of, ours, plain_losses, rows_of, size, step_seconds

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

PEER = "LETHE_BENCH_PEER"  # the peer's file
ROUNDS = 3
REFERENCE = ("ascent_kl", "npo", "dpo", "rmu")  # of PLAIN, those that compare with the model as it was
FEW = ("gradient_ascent", "grad_diff", "npo", "dpo")
SMALL, LARGE = (256, 8, 768), (576, 30, 1536)  # hidden, layers, intermediate: 6.8M and 106M weights without embeddings
NOTE = f"""
One thread. Steps of 2 forget rows of random tokens, and of 2 retain rows where the objective has a retain term; a row
has 128 tokens, 64 where the vocabulary is 262k or the model has 106M weights apart from the embeddings (*135M*; *9M*
has 6.8M). Embeddings are tied to the head from 32k on. *plain*: the same arithmetic and the same dtype (float32, or
bfloat16 by autocast on float32 weights), with a deep copy run in every step where the objective has a reference, and
whole logits. {ROUNDS} rounds in one process, the first way in turn; CPU seconds of a step after the first, the median
of the rounds. *times*: plain / ours, the median of the rounds and in brackets the least and the most. *with
preparation*: the same if every row is read once only, so that the reference columns, computed once, count in full.
*MiB*: what tensors held at the most above the model's weights, by torch's own record of a training of two steps,
gradients and Adam's moments included; in bfloat16 plain autocast keeps a copy of every weight."""


class Table(NamedTuple):
    """Objectives on one model, in one process."""

    case: Case
    objectives: tuple[str, ...]


def of(vocabulary: int, body: tuple[int, int, int], half: bool, objectives: tuple[str, ...] = PLAIN) -> Table:
    tokens = 64 if vocabulary > 200_000 or body == LARGE else 128
    case = Case(vocabulary, *body, "", 2, tokens, 1, tied=vocabulary > 4096, bfloat16=half)
    return Table(case, objectives)


CASES = {
    f"9M, {name}{', bfloat16' * half}": of(vocabulary, SMALL, bool(half), objectives[half])
    for name, vocabulary, objectives in (
        *(("4k", 4096, (PLAIN, FEW)), ("32k", 32_768, (PLAIN, FEW))),
        *(("128k", 131_072, (FEW, FEW[1:3])), ("262k", 262_144, (FEW, FEW[1:3]))),
    )
    for half in (0, 1)
}
CASES |= {f"135M, 49k{', bfloat16' * half}": of(49_152, LARGE, bool(half), FEW[1:3]) for half in (0, 1)}
QUICK = {"tiny, bfloat16": Table(Case(300, 32, 3, 64, "", 2, 16, 1, tied=False, bfloat16=True), ("npo", "rmu"))}

Steps = Callable[[Case, "PreTrainedModel"], list[float]]


def measure(table: Table) -> dict[str, Any]:
    """objective -> steps and memory of ours, of the plain loop and of the peer, if there is one."""
    one_thread()
    model, train = model_of(table.case), peer()
    tiny = QUICK["tiny, bfloat16"].case._replace(what="npo", bfloat16=table.case.bfloat16)
    ours(tiny, model_of(tiny))  # so that imports are in no round
    found = {what: beside(table.case._replace(what=what), model, train) for what in table.objectives}
    return {"parameters": size(model), "objectives": found}


def beside(case: Case, model: PreTrainedModel, train: Any) -> dict[str, Any]:
    """One objective. train: the peer's function, or None."""
    ways: dict[str, Steps] = {"ours": ours, "plain": plain_loop}
    if train and has(train, case, model):
        ways["peer"] = partial(peer_loop, train)
    rounds, prepared = [], list[float]()
    for number in range(ROUNDS):
        turn = list(ways)[number % len(ways) :] + list(ways)[: number % len(ways)]
        rounds.append({way: seconds(ways[way], case, model, prepared if way == "ours" else None) for way in turn})
    found: dict[str, Any] = {}
    for way, work in ways.items():
        found[f"{way}_step_s"] = spread([one[way] for one in rounds])
        found[f"{way}_held_mib"] = round(held(work, case, copy.deepcopy(model)), 1)
    found["preparation_s"] = round(median(prepared), 4)
    for way in ways:
        if way != "ours":
            found[f"{way}_times"] = spread([one[way] / one["ours"] for one in rounds])
            whole = [one[way] / (one["ours"] + spent) for one, spent in zip(rounds, prepared, strict=True)]
            found[f"{way}_times_prepared"] = spread(whole)
    return found


def has(train: Any, case: Case, model: PreTrainedModel) -> bool:
    """Whether the peer has the objective; a step of it is tried."""
    try:
        peer_loop(train, case._replace(steps=0), copy.deepcopy(model))
    except KeyError:
        return False
    return True


def seconds(work: Steps, case: Case, model: PreTrainedModel, prepared: list[float] | None) -> float:
    """CPU seconds of a step; `prepared` gets those of the preparation that the rows of one step need."""
    own = copy.deepcopy(model)
    if prepared is None:
        return step_seconds(work(case, own))
    spent: list[float] = []
    times = ours(case, own, spent)
    prepared.append(spent[0] / 2)  # ours has the rows of two steps
    return step_seconds(times)


def spread(ratios: list[float]) -> list[float]:
    """The median, the least and the most."""
    return [round(value, 3) for value in (median(ratios), min(ratios), max(ratios))]


def held(work: Steps, case: Case, model: PreTrainedModel) -> float:
    """MiB that tensors held at the most while `work` ran, above what was there."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        work(case, model)
    events = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return max(accumulate(event.nbytes() for event in events)) / 2**20


def batches(case: Case, step: int) -> list[dict[str, Tensor]]:
    """The forget and the retain rows of a step, as ours has them."""
    from lethe.training.rows import RowDataset, collate

    own = range(step % 2 * case.rows, step % 2 * case.rows + case.rows)
    data = (RowDataset(rows_of(case, case.rows * 2, forget, seed)) for forget, seed in ((True, 0), (False, 1)))
    return [collate([side[i] for i in own]) for side in data]


def plain_loop(case: Case, model: PreTrainedModel) -> list[float]:
    """The CPU clock after each step of a loop written as in the papers, in the case's dtype."""
    import torch

    reference = copy.deepcopy(model).requires_grad_(False) if case.what in REFERENCE else None
    loss_of = plain_losses()[case.what]
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
    times = []
    for step in range(case.steps + 1):
        forget, retain = batches(case, step)
        with torch.autocast("cpu", torch.bfloat16, enabled=case.bfloat16):
            loss = loss_of(model, reference, forget, retain)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        times.append(time.process_time())
    return times


def peer() -> Any:
    """The peer's function, None without a file. Raises SystemExit for a file without one."""
    path = os.environ.get(PEER)
    if not path:
        return None
    if not Path(path).is_file():
        raise SystemExit(f"--peer: expected a Python file with a function train, got {path}, which is no file")
    spec = spec_from_file_location("peer", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    if not callable(getattr(module, "train", None)):
        raise SystemExit(f"--peer: expected a Python file with a function train, got {path}, which has none")
    return module.train


def peer_loop(train: Any, case: Case, model: PreTrainedModel) -> list[float]:
    """The CPU clock after each step of the peer's trainer."""
    times: list[float] = []
    forget, retain = (batch["tokens"] for batch in batches(case, 0))
    after_step = lambda: times.append(time.process_time())  # noqa: E731
    train(case.what, model, forget, retain, case.steps + 1, case.bfloat16, after_step)
    if len(times) != case.steps + 1:
        raise SystemExit(f"--peer: expected after_step() after each of {case.steps + 1} steps, got {len(times)} calls")
    return times


def page(cases: dict[str, Any]) -> str:
    """A table of speed and memory, and one of the peer, if there was one."""
    from tools.markdown import table

    rows = [(f"{name}: {what}", one) for name, found in cases.items() for what, one in found["objectives"].items()]
    header = ["model, vocabulary: objective", "plain, s a step", "ours", "times", "with preparation"]
    header += ["plain, MiB", "ours", "ours / plain"]
    lines = [
        [
            name,
            *(found[f"{way}_step_s"][0] for way in ("plain", "ours")),
            *(shown(found[key]) for key in ("plain_times", "plain_times_prepared")),
            *(found[f"{way}_held_mib"] for way in ("plain", "ours")),
            round(found["ours_held_mib"] / found["plain_held_mib"], 2),
        ]
        for name, found in rows
    ]
    beside = [
        [
            *(name, found["peer_step_s"][0]),
            *(shown(found[key]) for key in ("peer_times", "peer_times_prepared")),
            found["peer_held_mib"],
        ]
        for name, found in rows
        if "peer_times" in found
    ]
    peers = [table([header[0], "peer, s a step", "times", "with preparation", "peer, MiB"], beside)] if beside else []
    missing = "; ".join(name for name in CASES if name not in cases)
    return "\n\n".join([table(header, lines), *peers, *([f"Not measured yet: {missing}."] if missing else [])])


def shown(values: list[float]) -> str:
    """`1.21 (1.18 to 1.25)`."""
    middle, least, most = (f"{value:.2f}" for value in values)
    return f"{middle} ({least} to {most})"


if __name__ == "__main__":
    one_case(CASES | QUICK, measure)
