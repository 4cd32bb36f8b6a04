"""The training loop, compared with Hugging Face's Trainer and its own matrix products.

python -m benchmarks.trainings CASE    prints one line of JSON; `make bench` runs all cases

Trainer with its default settings and the bare products train the same rows as ours in the same process. Objectives are
in `benchmarks.objectives`, which has its rows, models and losses from here.
"""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.random_models import random_llama
from benchmarks.subprocess_case import medians, one_case, one_thread, peak_above, ratio

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from lethe.training.recipe import RecipeParams
    from lethe.training.rows import Rows
    from lethe.unlearning.methods import Method

ROOT = Path(__file__).resolve().parents[1]
OBJECTIVES = (
    *("cross_entropy", "gradient_ascent", "random_labels", "generic_labels", "ascent_kl", "grad_diff", "spul", "npo"),
    *("simnpo", "dpo", "rmu", "undial", "wga", "satimp", "ceu", "pdu"),
)
PLAIN = ("cross_entropy", "gradient_ascent", "ascent_kl", "grad_diff", "npo", "simnpo", "dpo", "rmu")
ROUNDS = 3
BAR_TRAINER, BAR_MEMORY = 1.3, 0.6
NOTE = f"""
One thread; tokens per CPU-second from the median step after the first. *Trainer*: Hugging Face's with default
settings, batches of 8 rows of 256 tokens in float32; *kept*: the same with a C allocator that keeps freed memory, as
our stages do; *products*: the matrix products of the step's linear layers alone, forward and backward. Bars at 32k:
{BAR_TRAINER} times Trainer's speed, {BAR_MEMORY} of its memory above the weights."""


LOOP = ("ours_tokens_per_s", "Trainer_tokens_per_s", "ours_to_Trainer", "ours_to_kept", "products_to_ours")


class Case(NamedTuple):
    """A model, rows, and what is trained on them."""

    vocabulary: int
    hidden: int
    layers: int
    intermediate: int
    what: str  # trainer | memory of ours | memory of Trainer | an objective
    rows: int = 8  # of a step, or forget rows of a step
    tokens: int = 256
    steps: int = 5
    tied: bool = True
    bfloat16: bool = False


SHAPES = {"1M, 4k": (4096, 128, 3, 352), "10M, 4k": (4096, 320, 7, 864), "1M, 32k": (32768, 32, 2, 96)}
SHAPES |= {"10M, 32k": (32768, 256, 2, 672)}
CASES = {name: Case(*shape, "trainer") for name, shape in SHAPES.items()}
CASES |= {
    f"memory of {way}, {name}": Case(*SHAPES[name], f"memory of {way}", steps=2)
    for name in ("1M, 32k", "10M, 32k")
    for way in ("ours", "Trainer")
}
TINY = Case(300, 32, 1, 64, "cross_entropy", 2, 16, 1)
QUICK = {
    "tiny": Case(300, 32, 1, 64, "trainer", 2, 16, 2),
    "memory of ours": Case(300, 32, 1, 64, "memory of ours", 2, 16, 2),
}


def measure(case: Case) -> dict[str, Any]:
    """Tokens per CPU-second of each way, or MiB above the weights."""
    one_thread()
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    ours(TINY, model_of(TINY))  # so that imports do not count as a step's memory
    if case.what == "trainer":
        return beside_trainer(case)
    work = ours if case.what.endswith("ours") else plain_trainer
    trained = model_of(case)
    return {"parameters": size(trained), "above_weights_mib": round(peak_above(lambda: work(case, trained)), 1)}


def beside_trainer(case: Case) -> dict[str, Any]:
    """All ways in turn, ROUNDS times, so that they see the same load on the machine.

    Trainer is alone in a process, with the allocator that Python comes with; *kept* is Trainer in ours.
    """
    model, tokens = model_of(case), case.rows * case.tokens
    works = {"ours": ours, "kept": plain_trainer, "products": products}
    rounds = [
        {way: step_seconds(work(case, copy.deepcopy(model))) for way, work in works.items()} | {"Trainer": apart(case)}
        for _ in range(ROUNDS)
    ]
    return {
        "parameters": size(model),
        **{f"{way}_tokens_per_s": round(tokens / spent, 1) for way, spent in medians(rounds).items()},
        "ours_to_Trainer": round(ratio(rounds, "Trainer", "ours"), 3),
        "ours_to_kept": round(ratio(rounds, "kept", "ours"), 3),
        "products_to_ours": round(ratio(rounds, "products", "ours"), 3),
    }


def apart(case: Case) -> float:
    """CPU seconds of a step of Trainer's in a new process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(untouched, case).result()


def untouched(case: Case) -> float:
    """CPU seconds of a step of Trainer's on one thread, in a fresh process."""
    import torch

    torch.set_num_threads(1)
    return step_seconds(plain_trainer(case, model_of(case)))


def step_seconds(times: list[float]) -> float:
    """The median step from the CPU clock at the end of each, the first two left out where there are more."""
    steps = [end - start for start, end in pairwise(times)]
    return median(steps[1:] or steps)


def size(model: PreTrainedModel) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def model_of(case: Case) -> PreTrainedModel:
    others = {"max_position_embeddings": case.tokens, "tie_word_embeddings": case.tied}
    return random_llama(case.vocabulary, case.hidden, case.layers, intermediate_size=case.intermediate, **others)


def rows_of(case: Case, count: int, forget: bool, seed: int) -> Rows:
    import numpy as np

    from lethe.training.rows import Rows, true_next_ids

    tokens = np.random.default_rng(seed).integers(3, case.vocabulary, (count, case.tokens), dtype=np.int32)
    length = np.full(count, case.tokens, np.int32)
    return Rows(tokens, true_next_ids(tokens, length), length, np.full(count, forget))


def recipe_of(case: Case, batch: int) -> RecipeParams:
    from lethe.training.recipe import RecipeParams

    values = finetune_section() | {"batch_size": batch, "device": "cpu", "resume_every": 0, "learning_rate": 1e-4}
    values["precision"] = "bfloat16" if case.bfloat16 else "float32"
    return RecipeParams.model_validate({name: values[name] for name in RecipeParams.model_fields})


def finetune_section() -> dict[str, Any]:
    from lethe.core.params import read_params
    from stages.finetune import Params

    return read_params("finetune", Params, ROOT / "params.yaml").model_dump()


def method_of(case: Case, model: PreTrainedModel) -> Method:
    """The method of finetune's parameters; cross_entropy is the training of the other stages."""
    from lethe.training import losses as objectives
    from lethe.unlearning.methods import Method, MethodParams, chosen

    if case.what not in OBJECTIVES[1:]:
        return Method(objectives.cross_entropy, "true", False)
    values = finetune_section() | {"objective": case.what}
    params = MethodParams.model_validate({name: values[name] for name in MethodParams.model_fields})
    method = chosen(params, case.hidden, 0)
    if method.base_hidden and not method.layer:
        from lethe.models.output_head import frozen_head

        method = chosen(params, case.hidden, 0, frozen_head(model))
    return method


def ours(case: Case, model: PreTrainedModel, prepared: list[float] | None = None) -> list[float]:
    """The CPU clock after each step of the library's loop; `prepared` gets the time before the first step."""
    from lethe.training.adapters import train_only
    from lethe.training.loop import train
    from lethe.training.rows import joined
    from lethe.unlearning.reference import with_base
    from lethe.unlearning.rows import forget_rows

    started, method = time.process_time(), method_of(case, model)
    rows = forget_rows(rows_of(case, case.rows * 2, True, 0), method.labels, case.vocabulary, 0)
    if method.retain:
        rows = joined(rows, rows_of(case, case.rows * 2, False, 1))
    times: list[float] = []
    with tempfile.TemporaryDirectory() as work:
        rows = with_base(model, rows, method, case.bfloat16, Path(work) / "reference")
        if prepared is not None:
            prepared.append(time.process_time() - started)
        if method.layer:
            model = train_only(model, range(method.layer - 2, method.layer + 1))
        batch = case.rows * (2 if method.retain else 1)
        train(
            model,
            rows,
            recipe_of(case, batch),
            case.steps + 1,
            method.objective,
            Path(work),
            case.what,
            range(1, case.steps + 2),
            lambda step: times.append(time.process_time()),
            layer=method.layer,
        )
    return times


def plain_trainer(case: Case, model: PreTrainedModel) -> list[float]:
    """The same of Hugging Face's Trainer with its default settings."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            times.append(time.process_time())

    tokens = rows_of(case, case.rows * 2, True, 0).tokens
    data = [{"input_ids": row.tolist(), "labels": row.tolist()} for row in tokens]
    with tempfile.TemporaryDirectory() as work:
        arguments = TrainingArguments(
            output_dir=work,
            max_steps=case.steps + 1,
            per_device_train_batch_size=case.rows,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
        )
        Trainer(model=model, args=arguments, train_dataset=data, callbacks=[Clock()]).train()  # type: ignore[arg-type]
    return times


def products(case: Case, model: PreTrainedModel) -> list[float]:
    """The same of the matrix products of all linear layers: y = x w', dx = dy w, dw = dy' x."""
    import torch

    weights = [layer.weight.detach() for layer in model.modules() if isinstance(layer, torch.nn.Linear)]
    count, times = case.rows * case.tokens, []
    inputs = {shape: torch.randn(count, shape) for weight in weights for shape in weight.shape}
    for _ in range(case.steps + 1):
        for weight in weights:
            x, dy = inputs[weight.shape[1]], inputs[weight.shape[0]]
            x @ weight.T
            dy @ weight
            dy.T @ x
        times.append(time.process_time())
    return times


def plain_losses() -> dict[str, Callable[..., Tensor]]:
    """objective -> loss(model, reference, forget, retain), whole logits everywhere."""
    import torch
    from torch.nn.functional import cross_entropy, kl_div, logsigmoid

    def logits(model: Any, batch: dict[str, Tensor]) -> Tensor:
        return model(input_ids=batch["tokens"], attention_mask=batch["attention_mask"]).logits.float()

    def nll(model: Any, batch: dict[str, Tensor]) -> Tensor:
        return cross_entropy(logits(model, batch).flatten(0, 1), batch["next_ids"].flatten())

    def sequence(model: Any, batch: dict[str, Tensor]) -> Tensor:
        loss = cross_entropy(logits(model, batch).transpose(1, 2), batch["next_ids"], reduction="none")
        return loss.sum(dim=1)

    def frozen(of: Callable[..., Any], *arguments: Any) -> Any:
        with torch.no_grad():
            return of(*arguments)

    def kl(model: Any, reference: Any, batch: dict[str, Tensor]) -> Tensor:
        base = frozen(logits, reference, batch).log_softmax(-1)
        own = logits(model, batch).log_softmax(-1)
        return kl_div(own.flatten(0, 1), base.flatten(0, 1), reduction="batchmean", log_target=True)

    def npo(m: Any, ref: Any, f: dict[str, Tensor], r: dict[str, Tensor]) -> Tensor:
        ratio = frozen(sequence, ref, f) - sequence(m, f)
        return -20 * logsigmoid(-0.1 * ratio).mean() + nll(m, r)

    def simnpo(m: Any, ref: Any, f: dict[str, Tensor], r: dict[str, Tensor]) -> Tensor:
        return -2 / 4.5 * logsigmoid(4.5 * sequence(m, f) / f["tokens"].shape[1] - 0.125).mean() + nll(m, r)

    def dpo(m: Any, ref: Any, f: dict[str, Tensor], r: dict[str, Tensor]) -> Tensor:
        other = f | {"next_ids": f["next_ids"].roll(1, 0)}
        win = frozen(sequence, ref, other) - sequence(m, other)
        lose = frozen(sequence, ref, f) - sequence(m, f)
        return -20 * logsigmoid(0.1 * (win - lose)).mean() + nll(m, r)

    def rmu(m: Any, ref: Any, f: dict[str, Tensor], r: dict[str, Tensor]) -> Tensor:
        def layer(model: Any, batch: dict[str, Tensor]) -> Tensor:
            return model(input_ids=batch["tokens"], output_hidden_states=True).hidden_states[2]

        return layer(m, f).square().mean() + 10 * (layer(m, r) - frozen(layer, ref, r)).square().mean()

    return {
        "cross_entropy": lambda m, ref, f, r: nll(m, f),
        "gradient_ascent": lambda m, ref, f, r: -nll(m, f),
        "grad_diff": lambda m, ref, f, r: -nll(m, f) + nll(m, r),
        "ascent_kl": lambda m, ref, f, r: -nll(m, f) + kl(m, ref, r),
        "npo": npo,
        "simnpo": simnpo,
        "dpo": dpo,
        "rmu": rmu,
    }


def page(cases: dict[str, Any]) -> str:
    """Tables of the loop and of its memory."""
    from tools.markdown import table

    loop = [
        [name, f"{found['parameters'] / 1e6:.1f}M", *(found[key] for key in LOOP)]
        for name, found in cases.items()
        if "ours_to_Trainer" in found
    ]
    held = [[name, found["above_weights_mib"]] for name, found in cases.items() if "above_weights_mib" in found]
    return "\n\n".join(
        [
            table(
                [
                    *("case", "parameters", "ours tokens/s", "Trainer tokens/s", "ours / Trainer"),
                    *("ours / kept", "products / ours"),
                ],
                loop,
            ),
            table(["case", "MiB above the weights"], held),
        ]
    )


if __name__ == "__main__":
    one_case(CASES | QUICK, measure)
