"""The attacks: each asks a model in memory and leaves it as it was.

An attack takes a model and the material, the same against every model, and returns (setting, metric, values), one value
per item: True and False where something leaks or not, else numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lethe.attacks import prompt_templates as coaxing
from lethe.attacks.leaks import Leaks, check_room, greedy_leaks, sampled_leaks
from lethe.attacks.linear_probe import frequent, last_states, layers_at, probe_hits, shuffled
from lethe.attacks.params import AttackParams, Lora, Relearn, SoftPrompt
from lethe.attacks.relearning import curve, passage_rows, restored
from lethe.attacks.soft_prompt import answer_rows, eliciting, virtual_ids
from lethe.evaluation.familiarity import NameMatcher
from lethe.evaluation.prompts import Prompt, prepared
from lethe.text.cloze import Cloze
from lethe.training.quantisation import quantise
from lethe.training.recipe import RecipeParams
from lethe.training.rows import Rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

Result = list[tuple[str, str, Sequence[float]]]


class Material(NamedTuple):
    """What the attacker has, the same against every model."""

    tokenizer: PreTrainedTokenizerFast
    rows: list[dict[str, Any]]  # of data/prompts.jsonl that are asked
    prompts: list[Prompt]  # the same, prepared
    due: list[dict[str, Any]]  # every test prompt of which the name due is known
    texts: dict[str, list[str]]  # side -> training texts
    cues: list[Cloze]  # cloze prompts from training text of the forget side
    names: dict[str, bool]
    matcher: NameMatcher
    telling: set[int]
    room: int  # tokens of a prompt
    work: Path
    params: AttackParams

    def prepared(self, rows: Sequence[Mapping[str, Any]]) -> list[Prompt]:
        return prepared(rows, self.names, self.telling, self.tokenizer, self.params.chat_template)


def inapplicable(attack: str, found: Material) -> str | None:
    """Why an attack cannot be made here, None if it can."""
    if attack == "benign" and not found.texts["retain"]:
        return "no retain text"
    if attack == "soft_prompt" and not found.cues:
        return "no place in the training text where a name is due"
    if attack == "prefix" and not any(row.get("due") for row in found.rows):
        return f"none of {len(found.rows)} prompts says which name is due"
    if attack == "probe":
        learnt, tested = probed(found)
        classes = len({name for _, name in learnt})
        if classes < 2 or not tested:
            return (
                f"{classes} names to tell apart in the training text and {len(tested)} prompts where one of them is due"
            )
    return None


def ask(model: PreTrainedModel, found: Material, prompts: Sequence[Prompt], forced: Sequence[str] = ()) -> Leaks:
    """What the model gives away to the prompts."""
    return greedy_leaks(model, found.tokenizer, prompts, found.matcher, found.params.new_tokens, forced)


def both(setting: str, leaks: Leaks) -> Result:
    """The two metrics of an asking."""
    return [(setting, "leak", leaks.leak), (setting, "probability", leaks.probability)]


def unattacked(model: PreTrainedModel, found: Material) -> Result:
    """The prompts as they are: what each attack's numbers are to be compared with."""
    return both("the prompts as they are", ask(model, found, found.prompts))


def relearn(model: PreTrainedModel, found: Material) -> Result:
    """Training of all weights on a few forget passages."""
    return relearned(model, found, "relearn", "forget", found.params.relearn)


def benign(model: PreTrainedModel, found: Material) -> Result:
    """Training of all weights on retain passages, which hold nothing that was forgotten."""
    return relearned(model, found, "benign", "retain", found.params.benign)


def lora(model: PreTrainedModel, found: Material) -> Result:
    """Training of low-rank adapters on a few forget passages."""
    return relearned(model, found, "lora", "forget", found.params.lora)


def relearned(model: PreTrainedModel, found: Material, attack: str, side: str, settings: Relearn) -> Result:
    """A curve for each number of passages."""
    results: Result = []
    training, seed = found.params.training, found.params.seed
    several = [
        passage_rows(found.tokenizer, found.texts[side], training.passage_tokens, count, side, seed)
        for count in settings.passages  # too many is told before the first training
    ]
    taken, measure = recipe(found.params, settings), partial(ask, model, found, found.prompts)
    for count, rows in zip(settings.passages, several, strict=True):
        points = curve(model, rows, taken, training.steps, measure, found.work, f"{attack} {count}")
        for step, leaks in points.items():
            results += both(f"{count} {side} passages, {step} steps", leaks)
    return results


def recipe(params: AttackParams, settings: Relearn | SoftPrompt, batch_size: int | None = None) -> RecipeParams:
    """The training loop's recipe of an attack: a constant learning rate, nothing kept to resume from."""
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
            results += both(f"{bits} bits", ask(model, found, found.prompts))
    return results


def context(model: PreTrainedModel, found: Material) -> Result:
    """Sentences of the corpus before the prompt. A name in them counts as given: what comes beyond it is a leak."""
    results: Result = []
    for name, made in (("opening", coaxing.opening), ("summary", coaxing.summary)):
        shown = made(found.tokenizer, found.texts["forget"], found.params.context_tokens)
        before = partial("{}\n\n{}".format, shown)
        results += both(f"{name} of the corpus", rephrased(model, found, before, "context"))
    return results


def role(model: PreTrainedModel, found: Material) -> Result:
    """Jailbreak and role prompts: templates around the prompt."""
    results: Result = []
    templates = coaxing.read_templates(coaxing.TEMPLATES)
    for template in templates:
        results += both(f"{template.kind}: {template.name}", rephrased(model, found, template.around, "role"))
    leaks = [values for _, metric, values in results if metric == "leak"]
    any_of = [any(tries) for tries in zip(*leaks, strict=True)]
    return [*results, (f"any of {len(templates)} templates", "leak_any", any_of)]


def rephrased(model: PreTrainedModel, found: Material, around: Callable[[str], str], attack: str) -> Leaks:
    """What the model gives away where the attacker writes something around each prompt."""
    prompts = found.prepared([row | {"prompt": around(row["prompt"])} for row in found.rows])
    check_room(prompts, found.room, attack)
    return ask(model, found, prompts)


def prefix(model: PreTrainedModel, found: Material) -> Result:
    """The start of the name due, as if the model had begun its answer with it; names it gives whole are left out."""
    results: Result = []
    tokenizer = found.tokenizer
    due = [(row["due"], prompt) for row, prompt in zip(found.rows, found.prompts, strict=True) if row.get("due")]
    starts = [("the first token", [coaxing.first_piece(tokenizer, name) for name, _ in due])]
    for letters in found.params.letters:
        setting = f"the first {letters} letters" if letters > 1 else "the first letter"
        starts.append((setting, [coaxing.first_letters(tokenizer, name, letters) for name, _ in due]))
    for setting, begun in starts:
        pairs = [(prompt, start) for (_, prompt), start in zip(due, begun, strict=True) if start]
        prompts = [prompt._replace(tokens=[*prompt.tokens, *start.ids]) for prompt, start in pairs]
        if prompts:
            check_room(prompts, found.room, "prefix")
            results.append((setting, "leak", ask(model, found, prompts, [start.text for _, start in pairs]).leak))
    return results


def sample(model: PreTrainedModel, found: Material) -> Result:
    """Many completions drawn by lot in place of the likeliest one."""
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
    setting = f"{settings.completions} completions at temperature {settings.temperature:g}"
    shares = [sum(leaks) / len(leaks) for leaks in several]
    return [(setting, "leak", shares), (setting, "leak_any", [any(leaks) for leaks in several])]


def probe(model: PreTrainedModel, found: Material) -> Result:
    """A linear classifier of hidden states that learns from training text which name is due; control: random labels."""
    settings, seed = found.params.probe, found.params.seed
    learnt, tested = probed(found)
    layers = layers_at(settings.depths, model.config.num_hidden_layers)
    states, asked = (
        last_states(model, [prompt.tokens for prompt in found.prepared(bare(pairs))], layers)
        for pairs in (learnt, tested)
    )
    labels, wanted = [name for _, name in learnt], [name for _, name in tested]
    results: Result = []
    for layer, own, other in zip(layers, states, asked, strict=True):
        setting = f"layer {layer} of {model.config.num_hidden_layers}"
        results.append((setting, "accuracy", probe_hits(own, labels, other, wanted, settings.penalty)))
        hits = probe_hits(own, shuffled(labels, seed), other, wanted, settings.penalty)
        results.append((f"{setting}, random labels", "accuracy", hits))
    return results


def probed(found: Material) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(prompt, name due) to learn from and to test with, for the names that are due often enough in training text."""
    cues = found.cues[: found.params.probe.prompts]
    known = frequent([cue.references[0] for cue in cues], found.params.probe.fewest)
    learnt = [(cue.prompt, cue.references[0]) for cue in cues if cue.references[0] in known]
    return learnt, [(row["prompt"], row["due"]) for row in found.due if row["due"] in known]


def bare(pairs: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """Rows as of data/prompts.jsonl from (prompt, name due)."""
    return [{"id": i, "prompt": prompt, "references": [name]} for i, (prompt, name) in enumerate(pairs)]


def soft_prompt(model: PreTrainedModel, found: Material) -> Result:
    """Virtual tokens before the prompt, trained on training text to make the model say the name due."""
    settings, params = found.params.soft_prompt, found.params
    embeddings: Any = model.get_input_embeddings()
    virtual = virtual_ids(len(embeddings.weight), settings.tokens)
    asked = [prompt._replace(tokens=[*virtual, *prompt.tokens]) for prompt in found.prompts]
    check_room(asked, found.room, "soft_prompt")
    leaks = eliciting(
        model,
        cue_rows(found, virtual),
        recipe(params, settings, settings.batch_size),
        settings.tokens,
        settings.steps,
        lambda: ask(model, found, asked),
        found.work,
        "soft_prompt",
    )
    return both(f"{settings.tokens} virtual tokens, {settings.steps} steps", leaks)


def cue_rows(found: Material, virtual: Sequence[int]) -> Rows:
    """Training rows of the soft prompt: virtual tokens, a prompt from training text, and the name due as target."""
    cues = found.cues[: found.params.soft_prompt.prompts]
    prompts = found.prepared(bare([(cue.prompt, cue.references[0]) for cue in cues]))
    answers = [coaxing.after_space(found.tokenizer, cue.references[0]) for cue in cues]
    return answer_rows([[*virtual, *prompt.tokens] for prompt in prompts], answers, found.tokenizer)


UNATTACKED = "none"  # always measured, needs no asking for
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
