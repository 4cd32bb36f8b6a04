"""The attacks: each queries a model in memory and leaves it unchanged.

An attack takes a model and the material, the same for every model, and returns (setting, metric, values) with one value
per item: whether it leaks (boolean), or a number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lethe.attacks import prompt_templates as templates
from lethe.attacks.leaks import Leaks, check_room, greedy_leaks, sampled_leaks
from lethe.attacks.linear_probe import frequent, last_states, layers_at, probe_hits, shuffled
from lethe.attacks.params import AttackParams, Lora, Relearn, SoftPrompt
from lethe.attacks.relearning import curve, passage_rows, restored
from lethe.attacks.results import CURVE, curve_values
from lethe.attacks.soft_prompt import answer_rows, train_soft_prompt, virtual_ids
from lethe.evaluation.familiarity import NameMatcher
from lethe.evaluation.prompts import Prompt, prepared
from lethe.models.config import shape_of
from lethe.text.cloze import Cloze
from lethe.training.quantisation import quantise
from lethe.training.recipe import RecipeParams
from lethe.training.rows import Rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

Result = list[tuple[str, str, Sequence[float]]]


@dataclass(frozen=True, eq=False)  # hashed by identity: what is made of it is made once for all models
class Material:
    """The inputs of the attacks, the same for every model."""

    tokenizer: PreTrainedTokenizerFast
    rows: list[dict[str, Any]]  # rows of data/prompts.jsonl to attack with
    prompts: list[Prompt]  # the same, prepared
    targeted: list[dict[str, Any]]  # every test prompt with a target name
    texts: dict[str, list[str]]  # side -> training texts
    training: list[Cloze]  # cloze prompts from training text of the forget set
    names: dict[str, bool]
    matcher: NameMatcher
    distinctive: set[int]
    room: int  # maximum tokens of a prompt
    work: Path
    params: AttackParams

    def prepared(self, rows: Sequence[Mapping[str, Any]]) -> list[Prompt]:
        return prepared(rows, self.names, self.distinctive, self.tokenizer, self.params.chat_template)


def inapplicable(attack: str, found: Material) -> str | None:
    """Why an attack cannot be run here, None if it can."""
    if attack == "benign" and not found.texts["retain"]:
        return "no retain text"
    if attack == "soft_prompt" and not found.training:
        return "no target name in the training text"
    if attack == "prefix" and not any(row.get("due") for row in found.rows):
        return f"none of {len(found.rows)} prompts has a target name"
    if attack == "probe":
        learnt, tested = probe_pairs(found)
        classes = len({name for _, name in learnt})
        if classes < 2 or not tested:
            return f"{classes} frequent names in the training text and {len(tested)} prompts with one as their target"
    return None


def ask(model: PreTrainedModel, found: Material, prompts: Sequence[Prompt], forced: Sequence[str] = ()) -> Leaks:
    """The leaks of the model's greedy completions of the prompts."""
    return greedy_leaks(model, found.tokenizer, prompts, found.matcher, found.params.new_tokens, forced)


def leak_results(setting: str, leaks: Leaks) -> Result:
    """Both metrics of greedy completions."""
    return [(setting, "leak", leaks.leak), (setting, "probability", leaks.probability)]


def unattacked(model: PreTrainedModel, found: Material) -> Result:
    """The unmodified prompts, for comparison with every attack."""
    return leak_results("unmodified prompts", ask(model, found, found.prompts))


def relearn(model: PreTrainedModel, found: Material) -> Result:
    """Fine-tuning of all weights on a few forget passages."""
    return relearned(model, found, "relearn", "forget", found.params.relearn)


def benign(model: PreTrainedModel, found: Material) -> Result:
    """Fine-tuning of all weights on retain passages, which contain nothing that was forgotten."""
    return relearned(model, found, "benign", "retain", found.params.benign)


def lora(model: PreTrainedModel, found: Material) -> Result:
    """LoRA fine-tuning on a few forget passages."""
    return relearned(model, found, "lora", "forget", found.params.lora)


def relearned(model: PreTrainedModel, found: Material, attack: str, side: str, settings: Relearn) -> Result:
    """A curve for each number of passages."""
    results: Result = []
    training = found.params.training
    several = [passages(found, side, count) for count in settings.passages]  # too many fail before the first training
    taken, measure = recipe(found.params, settings), partial(ask, model, found, found.prompts)
    for count, rows in zip(settings.passages, several, strict=True):
        points = curve(model, rows, taken, training.steps, measure, found.work, f"{attack} {count}")
        for step, leaks in points.items():
            results += leak_results(f"{count} {side} passages, {step} steps", leaks)
        whole = curve_values({step: leaks.leak for step, leaks in points.items()})
        results.append((f"{count} {side} passages, {span(training.steps)} steps", CURVE, whole))
    return results


def span(steps: Sequence[int]) -> str:
    """`5 to 100`, or the only one."""
    return f"{steps[0]} to {steps[-1]}" if len(steps) > 1 else str(steps[0])


@cache
def passages(found: Material, side: str, count: int) -> Rows:
    """The passages to train on."""
    params = found.params
    return passage_rows(found.tokenizer, found.texts[side], params.training.passage_tokens, count, side, params.seed)


def recipe(params: AttackParams, settings: Relearn | SoftPrompt, batch_size: int | None = None) -> RecipeParams:
    """The training recipe of an attack: a constant learning rate, no checkpoints to resume from."""
    shared = params.training
    return RecipeParams(
        tuning="lora" if isinstance(settings, Lora) else "full",
        lora=params.lora.adapter,
        weights=shared.weights if isinstance(settings, Lora) else "float32",
        learning_rate=settings.learning_rate,
        batch_size=batch_size or shared.batch_size,
        schedule="constant",
        warmup=0.0,
        weight_decay=0.0,
        adam_betas=shared.adam_betas,
        optimiser="adamw",
        max_grad_norm=shared.max_grad_norm,
        precision=shared.precision,
        save_dtype="float32",
        resume_every=0,
        device=params.device,
        seed=params.seed,
    )


def quantised(model: PreTrainedModel, found: Material) -> Result:
    """Weights rounded to fewer bits."""
    results: Result = []
    for bits in found.params.quantise.bits:
        with restored(model):
            quantise(model, bits)
            results += leak_results(f"{bits} bits", ask(model, found, found.prompts))
    return results


def context(model: PreTrainedModel, found: Material) -> Result:
    """Sentences of the corpus before the prompt. Names in them count as given; only other names are leaks."""
    results: Result = []
    for setting, prompts in in_context(found).items():
        results += leak_results(setting, ask(model, found, prompts))
    return results


@cache
def in_context(found: Material) -> dict[str, list[Prompt]]:
    """Setting -> the prompts after these sentences."""
    prompts = {}
    for name, made in (("opening", templates.opening), ("summary", templates.summary)):
        shown = made(found.tokenizer, found.texts["forget"], found.params.context_tokens)
        prompts[f"{name} of the corpus"] = rephrased(found, partial("{}\n\n{}".format, shown), "context")
    return prompts


def role(model: PreTrainedModel, found: Material) -> Result:
    """Jailbreak and role-play prompts: templates around the prompt."""
    results: Result = []
    listed = in_templates(found)
    for setting, prompts in listed.items():
        results += leak_results(setting, ask(model, found, prompts))
    leaks = [values for _, metric, values in results if metric == "leak"]
    any_of = [any(tries) for tries in zip(*leaks, strict=True)]
    return [*results, (f"any of {len(listed)} templates", "leak_any", any_of)]


@cache
def in_templates(found: Material) -> dict[str, list[Prompt]]:
    """Setting -> the prompts in this template."""
    return {
        f"{template.kind}: {template.name}": rephrased(found, template.around, "role")
        for template in templates.read_templates(templates.TEMPLATES)
    }


def rephrased(found: Material, around: Callable[[str], str], attack: str) -> list[Prompt]:
    """The prompts with text added around each."""
    prompts = found.prepared([row | {"prompt": around(row["prompt"])} for row in found.rows])
    check_room(prompts, found.room, attack)
    return prompts


def prefix(model: PreTrainedModel, found: Material) -> Result:
    """A prefix of the target name, as if the answer began with it; names that it completes are skipped."""
    return [
        (setting, "leak", ask(model, found, prompts, begun).leak)
        for setting, (prompts, begun) in with_prefixes(found).items()
    ]


@cache
def with_prefixes(found: Material) -> dict[str, tuple[list[Prompt], list[str]]]:
    """Setting -> the prompts with the start of an answer, and these starts; without settings that suit no name."""
    tokenizer = found.tokenizer
    targets = [(row["due"], prompt) for row, prompt in zip(found.rows, found.prompts, strict=True) if row.get("due")]
    starts = [("the first token", [templates.first_piece(tokenizer, name) for name, _ in targets])]
    for letters in found.params.letters:
        setting = f"the first {letters} letters" if letters > 1 else "the first letter"
        starts.append((setting, [templates.first_letters(tokenizer, name, letters) for name, _ in targets]))
    settings = {}
    for setting, begun in starts:
        pairs = [(prompt, start) for (_, prompt), start in zip(targets, begun, strict=True) if start]
        prompts = [prompt._replace(tokens=[*prompt.tokens, *start.ids]) for prompt, start in pairs]
        check_room(prompts, found.room, "prefix")
        if prompts:
            settings[setting] = prompts, [start.text for _, start in pairs]
    return settings


def sample(model: PreTrainedModel, found: Material) -> Result:
    """Many sampled completions in place of the greedy one."""
    settings = found.params.sample
    several = sampled_leaks(
        model,
        found.tokenizer,
        found.prompts,
        found.matcher,
        found.params.new_tokens,
        settings.completions,
        settings.temperature,
        found.params.seed,
    )
    setting = f"{settings.completions} sampled completions at temperature {settings.temperature:g}"
    shares = [sum(leaks) / len(leaks) for leaks in several]
    return [(setting, "leak", shares), (setting, "leak_any", [any(leaks) for leaks in several])]


def probe(model: PreTrainedModel, found: Material) -> Result:
    """A linear classifier of hidden states, trained to predict the target name; control: random labels."""
    settings, seed = found.params.probe, found.params.seed
    count = shape_of(model.config).layers
    layers = layers_at(settings.depths, count)
    (states, labels), (asked, wanted) = (
        (last_states(model, prompts, layers), names) for prompts, names in probe_prompts(found)
    )
    results: Result = []
    for layer, own, other in zip(layers, states, asked, strict=True):
        setting = f"layer {layer} of {count}"
        results.append((setting, "accuracy", probe_hits(own, labels, other, wanted, settings.penalty)))
        hits = probe_hits(own, shuffled(labels, seed), other, wanted, settings.penalty)
        results.append((f"{setting}, random labels", "accuracy", hits))
    return results


@cache
def probe_prompts(found: Material) -> list[tuple[list[list[int]], list[str]]]:
    """The token ids of the prompts and their target names, to train on and to test on."""
    return [
        ([prompt.tokens for prompt in found.prepared(prompt_rows(pairs))], [name for _, name in pairs])
        for pairs in probe_pairs(found)
    ]


def probe_pairs(found: Material) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(prompt, target name) to train on and to test on, for the names that are frequent enough in training text."""
    clozes = found.training[: found.params.probe.prompts]
    known = frequent([cloze.references[0] for cloze in clozes], found.params.probe.fewest)
    learnt = [(cloze.prompt, cloze.references[0]) for cloze in clozes if cloze.references[0] in known]
    return learnt, [(row["prompt"], row["due"]) for row in found.targeted if row["due"] in known]


def prompt_rows(pairs: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """Rows in the format of data/prompts.jsonl from (prompt, target name)."""
    return [{"id": i, "prompt": prompt, "references": [name]} for i, (prompt, name) in enumerate(pairs)]


def soft_prompt(model: PreTrainedModel, found: Material) -> Result:
    """Virtual tokens before the prompt, trained on training text to make the model generate the target name."""
    settings, params = found.params.soft_prompt, found.params
    embeddings: Any = model.get_input_embeddings()
    virtual = virtual_ids(len(embeddings.weight), settings.tokens)
    asked = [prompt._replace(tokens=[*virtual, *prompt.tokens]) for prompt in found.prompts]
    check_room(asked, found.room, "soft_prompt")
    leaks = train_soft_prompt(
        model,
        soft_prompt_rows(found, virtual),
        recipe(params, settings, settings.batch_size),
        settings.tokens,
        settings.steps,
        lambda: ask(model, found, asked),
        found.work,
        "soft_prompt",
    )
    return leak_results(f"{settings.tokens} virtual tokens, {settings.steps} steps", leaks)


def soft_prompt_rows(found: Material, virtual: Sequence[int]) -> Rows:
    """Training rows of the soft prompt: virtual tokens, a prompt from training text, and the target name."""
    prompts, answers = cued(found)
    return answer_rows([[*virtual, *prompt] for prompt in prompts], answers, found.tokenizer)


@cache
def cued(found: Material) -> tuple[list[list[int]], list[list[int]]]:
    """The token ids of the prompts from training text that the soft prompt is trained on, and of their target names."""
    clozes = found.training[: found.params.soft_prompt.prompts]
    prompts = found.prepared(prompt_rows([(cloze.prompt, cloze.references[0]) for cloze in clozes]))
    answers = [templates.after_space(found.tokenizer, cloze.references[0]) for cloze in clozes]
    return [prompt.tokens for prompt in prompts], answers


UNATTACKED = "none"  # always measured, not listed in attack.attacks
ATTACKS: dict[str, Callable[[PreTrainedModel, Material], Result]] = {
    UNATTACKED: unattacked,
    "relearn": relearn,
    "benign": benign,
    "lora": lora,
    "quantise": quantised,
    "context": context,
    "role": role,
    "prefix": prefix,
    "sample": sample,
    "probe": probe,
    "soft_prompt": soft_prompt,
}
