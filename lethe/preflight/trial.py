"""What a run does with a model, done with a tiny one of its architecture and compared with plain transformers.

python -m lethe.preflight.trial    prints the findings as JSON; `lethe doctor --model` runs it, see `main`
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lethe.core.errors import StageError, one_line
from lethe.preflight.tiny_models import tiny_config, tiny_tokenizer

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from lethe.training.rows import Rows
    from lethe.unlearning.methods import UnlearningParams

Finding = tuple[str, str]  # OK, REFUSED or FAILS, and why
OK, REFUSED, FAILS, UNTRIED = "ok", "refused", "fails", "-"
PROMPTS = [[5, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51], [5, 60, 61], [5, 70, 71, 72, 73, 74, 75]]
ENDINGS = [[[80, 81, 82], [83]], [[90, 91]], [[100, 101, 102, 103]]]
TOKENS = np.random.default_rng(0).integers(5, 250, (4, 12)).astype(np.int32)
LENGTH = np.array([12, 12, 9, 12], np.int32)
ALPHA = 2.0
SHORT = {  # of a training that shows in seconds whether it works
    "device": "cpu",
    "objective": "generic_labels",
    "steps": 2,
    "checkpoints": [],
    "batch_size": 4,
    "learning_rate": 1e-2,
    "schedule": "constant",
    "warmup": 0.0,
    "weights": "float32",
    "precision": "float32",
    "save_dtype": "float32",
    "optimiser": "adamw",
    "resume_every": 0,
}
CLOSE = 3e-3  # logits and nats here are between 0.1 and 20; what is wrong is further off


class Case(NamedTuple):
    """A tiny model's folder, a folder for what is made of it, and the recipe of the trainings."""

    folder: Path
    work: Path
    recipe: UnlearningParams


class Different(Exception):  # noqa: N818 -- a finding
    """Two ways to the same numbers that gave different ones."""


def findings(values: dict[str, Any], recipe: UnlearningParams, work: Path) -> dict[str, Finding]:
    """Every check of CHECKS with a tiny model of the architecture of a config.json, by name.

    work: an empty folder. What no tiny model could be made of has the one finding "build"; once the model does not
    load, nothing else is tried.
    """
    case = Case(work / "model", work, recipe)
    built = attempt(lambda: written(values, case))
    if built[0] != OK:
        return {"build": built}
    found: dict[str, Finding] = {}
    for name, check in CHECKS.items():
        tried = found.get("load", (OK, ""))[0] == OK
        found[name] = attempt(partial(check, case)) if tried else (UNTRIED, "")
    return found


def attempt(check: Callable[[], None]) -> Finding:
    """What came of a check; whatever it raises is one line."""
    try:
        check()
    except StageError as error:
        return REFUSED, one_line(error)
    except Different as error:
        return FAILS, one_line(error)
    except Exception as error:  # each architecture fails in its own way
        return FAILS, f"{type(error).__name__}: {one_line(error)}"
    return OK, ""


def written(values: dict[str, Any], case: Case) -> None:
    """Write the tiny model with random weights, none of them zero."""
    import torch

    from lethe.models.config import untrained

    tokenizer = tiny_tokenizer()
    torch.manual_seed(0)
    model = untrained(tiny_config(values, tokenizer))
    for weight in model.parameters():
        if not bool(weight.any()):
            torch.nn.init.normal_(weight, std=0.02)
    model.save_pretrained(case.folder)
    tokenizer.save_pretrained(case.folder)


def plain(folder: Path) -> Any:
    """The model as transformers alone loads it. Raises Different if a weight is missing or left over."""
    from transformers import AutoModelForCausalLM

    loaded: Any = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    model, info = loaded
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info.get(kind):
            raise Different(f"{kind.replace('_', ' ')}: {sorted(map(str, info[kind]))[0]}")
    return model.eval()


def ours(folder: Path) -> Any:
    """The model as every stage loads it."""
    import torch

    from lethe.models.checkpoints import load_model

    return load_model(folder, torch.device("cpu"))


def moved(model: Any) -> Any:
    """The model with every weight moved a little, the same way for two of one architecture."""
    import torch

    chance = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=chance) * 0.1 * float(weight.abs().mean()))
    return model


def logits(model: Any, ids: Any) -> Tensor:
    """float32 [T, V] of one row of ids, read at once."""
    import torch

    with torch.no_grad():
        return model(input_ids=torch.as_tensor(ids).long()[None], use_cache=False).logits[0].float()


def same(found: Any, wanted: Any, what: str, within: float = CLOSE) -> None:
    """Raise Different unless two tensors are as close as numbers of this size ought to be."""
    import torch

    found, wanted = torch.as_tensor(found).float(), torch.as_tensor(wanted).float()
    apart = float((found - wanted).abs().max()) if found.shape == wanted.shape else float("inf")
    if not apart <= within:  # NaN is not
        raise Different(f"{what}: {apart:.3g} apart from plain transformers'")


# The checks


def loads(case: Case) -> None:
    """The stages' own checks pass: a causal model, a known head, rows that padding does not change."""
    ours(case.folder)


def head_is_its_own(case: Case) -> None:
    """Hidden states and head give the model's own logits."""
    import torch

    from lethe.models.output_head import headless

    model, wanted = ours(case.folder), logits(plain(case.folder), PROMPTS[0])
    with torch.no_grad(), headless(model) as head:
        hidden = model(input_ids=torch.tensor(PROMPTS[:1]), use_cache=False).logits
        same(head(hidden)[0], wanted, "logits")


def scores_are_those_of_a_prompt_alone(case: Case) -> None:
    """Greedy continuations and the scores of endings in padded batches with caches."""
    from lethe.inference.decoding import continue_greedily
    from lethe.inference.scoring import expectations

    model, alone = ours(case.folder), plain(case.folder)
    for prompt, continuation in zip(PROMPTS, continue_greedily(model, PROMPTS, [[3], [4], [5]], 4, ()), strict=True):
        for end, token in enumerate(continuation.tokens):
            following = logits(alone, prompt + continuation.tokens[:end])[-1]
            same(following[token], following.max(), "greedy continuations")
    for prompt, endings, expected in zip(PROMPTS, ENDINGS, expectations(model, PROMPTS, ENDINGS), strict=True):
        for ending, scores in zip(endings, expected.scores, strict=True):
            odds = logits(alone, prompt + ending[:-1])[-len(ending) :].log_softmax(-1)
            same(scores, [float(row[token]) for row, token in zip(odds, ending, strict=True)], "scores of endings")


def labels_are_those_of_whole_logits(case: Case) -> None:
    """argmax of v - alpha relu(v_reinforced - v), block by block."""
    import torch

    from lethe.labels.generic_labels import Settings, label_blocks
    from lethe.labels.translation import Spliced

    spliced = [Spliced(list(row[:end]), list(range(end))) for row, end in zip(TOKENS.tolist(), LENGTH, strict=True)]
    models = ours(case.folder), moved(ours(case.folder))
    found = label_blocks(TOKENS, LENGTH, spliced, models, Settings([ALPHA], False, 1024, 1 << 20), lambda all_: all_)
    first, second = plain(case.folder), moved(plain(case.folder))
    for row, end, labels in zip(TOKENS, LENGTH, found.next_ids[0], strict=True):
        baseline = logits(first, row[:end])
        generic = baseline - ALPHA * (logits(second, row[:end]) - baseline).relu()
        chosen = torch.from_numpy(labels[:end]).long()
        same(generic.gather(1, chosen[:, None])[:, 0], generic.max(dim=1).values, "labels")


def loss_is_that_of_whole_logits(case: Case) -> None:
    """The training loss, taken in the head's place, and its gradient."""
    import torch
    from torch.nn.functional import cross_entropy as of_logits

    from lethe.training.forward import loss_at_head
    from lethe.training.losses import Items, Positions, cross_entropy

    model, other = ours(case.folder).train(), plain(case.folder).train()
    ids = torch.from_numpy(TOKENS[:2]).long()
    wanted = ids.roll(-1, 1)
    torch.manual_seed(0)  # of dropout, the same for both
    loss = of_logits(other(input_ids=ids, use_cache=False).logits.float().flatten(0, 1), wanted.flatten())
    loss.backward()

    def at_head(hidden: Tensor, head: Any) -> Tensor:
        rows = torch.zeros(ids.numel(), dtype=torch.long)
        positions = Positions(hidden.flatten(0, 1), wanted.flatten(), rows == 0, rows)
        return cross_entropy(positions, head, Items(torch.tensor(ids.numel()), torch.tensor(0), torch.tensor(2)))

    batch = {"tokens": ids, "attention_mask": torch.ones_like(ids)}
    torch.manual_seed(0)
    found = loss_at_head(model, model, batch, None, at_head)
    found.backward()
    same(found.detach(), loss.detach(), "loss")
    gradients = [torch.cat([of(weight) for weight in each.parameters()]) for each in (model, other)]
    same(gradients[0], gradients[1], "gradient", CLOSE * float(gradients[1].abs().max()))


def of(weight: torch.Tensor) -> Tensor:
    """Its gradient as one row of numbers."""
    return (weight.new_zeros(weight.shape) if weight.grad is None else weight.grad).flatten()


def training_ends(tuning: str) -> Callable[[Case], None]:
    """A check that the fine-tune of a tuning moves the model and leaves a folder that loads."""

    def check(case: Case) -> None:
        from lethe.training.adapters import PromptParams
        from lethe.unlearning.fine_tuning import fine_tune

        changes = SHORT | {"tuning": tuning, "prompt": PromptParams(tokens=3, encoder=0, start="vocabulary")}
        recipe = case.recipe.model_copy(update=changes)
        out = case.work / tuning
        import torch

        fine_tune(case.folder, labelled(), recipe, {2: out}, torch.device("cpu"), case.work / f"{tuning}-work")
        before, after = (logits(ours(folder), PROMPTS[0]) for folder in (case.folder, out))
        if float((before - after).abs().max()) < CLOSE:
            raise Different("the training changed no logit")

    return check


def labelled() -> Rows:
    """Rows to train on."""
    from lethe.training.rows import Rows, true_next_ids

    return Rows(TOKENS, true_next_ids(TOKENS, LENGTH), LENGTH, np.array([True, True, True, False]))


def saved_is_what_was_in_memory(case: Case) -> None:
    """A moved model, saved and loaded as the stages do it."""
    import torch

    from lethe.models.checkpoints import load_tokenizer, save_model

    model = moved(ours(case.folder))
    save_model(model, load_tokenizer(case.folder), case.work / "saved", torch.float32)
    same(logits(ours(case.work / "saved"), PROMPTS[0]), logits(model, PROMPTS[0]), "logits after reloading", 1e-5)


def saved_loads_without_lethe(case: Case) -> None:
    """The folder that was saved, by plain transformers: every weight in its place, the same logits, a tokenizer."""
    from transformers import AutoTokenizer

    folder = case.work / "saved"
    same(logits(plain(folder), PROMPTS[0]), logits(moved(plain(case.folder)), PROMPTS[0]), "logits", 1e-5)
    AutoTokenizer.from_pretrained(folder)


CHECKS: dict[str, Callable[[Case], None]] = {
    "load": loads,
    "head": head_is_its_own,
    "scores": scores_are_those_of_a_prompt_alone,
    "labels": labels_are_those_of_whole_logits,
    "loss": loss_is_that_of_whole_logits,
    "full": training_ends("full"),
    "LoRA": training_ends("lora"),
    "prompt": training_ends("prompt"),
    "reload": saved_is_what_was_in_memory,
    "plain": saved_loads_without_lethe,
}


def main() -> None:
    """The findings for the values of a config.json and of the section finetune that standard input holds as JSON."""
    from transformers.utils.logging import set_verbosity_error

    from stages.finetune import Params

    set_verbosity_error()
    given = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as work:
        found = findings(given["config"], Params.model_validate(given["finetune"]), Path(work))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
