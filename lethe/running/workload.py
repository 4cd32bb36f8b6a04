"""What every stage of a run computes and leaves on the disk, by arithmetic.

How many terms a text has is not known before `extract`: the square root of its tokens, which is good to a factor of
two or three on the texts tried. What a stage that only reads text takes is its start.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lethe.models.device import SPREAD
from lethe.preflight.estimate import CHARACTERS, FORWARD, Texts, Work, trained
from lethe.preflight.memory import BYTES, Cards, weight_count
from lethe.running.disk import ADAM_BYTES

if TYPE_CHECKING:
    from transformers import PretrainedConfig

START = 5.0  # CPU-seconds until torch, transformers and a model are there
START_TEXT = 1.0  # of a stage that needs neither
TOKENS_A_WORD = 1.4
OCCURRENCES = 20  # of a term that `extract` reads
ITEM_TOKENS = 40  # of an item of a multiple-choice task, per answer and in the text before it, on average
TEMPLATES = 12  # greedy passes of the attack `role`, about
LABEL_BYTES = 4  # an id of the labels, for each alpha
SOFT_BYTES = 6  # an id of a stored distribution


class Plan(NamedTuple):
    """What the stages have in common."""

    sections: Mapping[str, Any]
    config: PretrainedConfig
    texts: Texts
    cards: Cards
    weights: int

    def reading(self, stage: str, tokens: float, disk: float = 0, precision: str = "float32") -> Work:
        """A stage that sends so many tokens through models, one model in memory at a time, on one card or over all."""
        cards = max(1, self.cards.count) if self.spread(stage) else 1
        held = self.weights * BYTES[precision] // cards
        return Work(stage, round(tokens), FORWARD * self.weights * tokens, None, held, disk=round(disk), start=START)

    def spread(self, stage: str) -> bool:
        """Whether the stage puts a model's layers over all cards."""
        return getattr(self.sections.get(stage), "device", "auto") == SPREAD

    def training(self, stage: str, recipe: Any, width: int, tokens: float, models: int, save: str) -> Work:
        """A stage that trains on so many tokens and leaves so many models."""
        work = trained(stage, recipe, self.config, width, round(tokens), self.cards)
        return work._replace(disk=models * self.weights * BYTES[save], start=START)

    @property
    def terms(self) -> int:
        """About how many anchors there will be."""
        return min(self.sections["extract"].maximum_anchors, isqrt(self.texts.forget))

    def models(self, names: Any) -> int:
        """How many models an evaluation of these names reads."""
        retrain, finetune = self.sections["retrain"], self.sections["finetune"]
        trained_here = bool(self.sections["baseline"].epochs)
        several = {
            "retrained": int(trained_here or retrain.source == "folder"),
            "references": len(retrain.seeds) - 1 if trained_here else 0,
            "checkpoints": len(finetune.checkpoints),
            "suppressed": int(bool(self.sections["distil"].steps)),
        }
        return sum(several.get(name, 1) for name in names)


def works(sections: Mapping[str, Any], config: PretrainedConfig, texts: Texts, cards: Cards) -> list[Work]:
    """Every stage in the pipeline's order. sections: the validated sections of params.yaml.

    The last four are the classification task, whose model is another one; without its sections they are left out.
    """
    plan = Plan(sections, config, texts, cards, weight_count(config))
    return [work for part in (knowing, labelling, forgetting, measuring, classifying) for work in part(plan)]


def text_work(stage: str, disk: float = 0) -> Work:
    """A stage that sends nothing through a model."""
    return Work(stage, 0, 0.0, None, 0, disk=round(disk), start=START_TEXT)


def knowing(plan: Plan) -> Iterator[Work]:
    """corpus, baseline, retrain: the texts and the models of them."""
    baseline, retrain, texts = plan.sections["baseline"], plan.sections["retrain"], plan.texts
    yield text_work("corpus", (texts.forget + texts.retain) * CHARACTERS)
    width, both = baseline.block_tokens, texts.forget + texts.retain
    if not baseline.epochs:
        yield text_work("baseline", plan.weights * 4)._replace(start=START)
        yield text_work("retrain")
        return
    first = plan.training("baseline", baseline, width, both * baseline.epochs, 1, baseline.save_dtype)
    yield first._replace(disk=first.disk + plan.weights * 4)  # models/start
    count = len(retrain.seeds)
    one = plan.training("retrain", baseline, width, texts.retain * baseline.epochs, count, baseline.save_dtype)
    yield one._replace(
        tokens=count * one.tokens,
        operations=count * one.operations,
        steps=count * (one.steps or 0),
        memory=one.memory * (1 if plan.cards.count else at_most(count, plan.cards.memory, one.memory)),
    )


def at_most(count: int, memory: float, each: int) -> int:
    """How many of several trainings are in memory together on the CPU."""
    return max(1, min(count, int(memory // max(1, each))))


def labelling(plan: Plan) -> Iterator[Work]:
    """block to label."""
    sections, forget = plan.sections, plan.texts.forget
    width, label, reinforce = sections["block"].tokens, sections["label"], sections["reinforce"]
    yield text_work("block", 8 * forget)
    yield plan.training("reinforce", reinforce, width, forget * reinforce.epochs, 1, reinforce.save_dtype)
    extract, translate = sections["extract"], sections["translate"]
    read = 2 * min(forget, OCCURRENCES * extract.maximum_anchors * width) if extract.backend == "local" else 0
    baseline = sections["baseline"]  # these two load the weights as they are; a published model's have two bytes
    stored = baseline.save_dtype if baseline.epochs else "bfloat16"
    yield plan.reading("extract", read, 0, stored)
    ranked = translate.contexts * (32 + 3 * translate.candidates) if translate.backend == "local" else 0
    yield plan.reading("translate", plan.terms * ranked, 0, stored)
    each = LABEL_BYTES * len(label.alphas) + SOFT_BYTES * label.soft_top * len(label.soft_alphas)
    yield plan.reading("label", (2 + label.soft_inside) * forget, each * forget, label.precision)


def forgetting(plan: Plan) -> Iterator[Work]:
    """finetune and distil."""
    finetune, distil, width = plan.sections["finetune"], plan.sections["distil"], plan.sections["block"].tokens
    models = 0 if finetune.tuning == "prompt" else 1 + len(finetune.checkpoints)
    rows = finetune.steps * finetune.batch_size * width
    yield plan.training("finetune", finetune, width, rows, models, finetune.save_dtype)
    if not distil.steps:
        yield text_work("distil")  # a copy, which the cache holds once
        return
    read = distil.steps * distil.batch_size * distil.block_tokens
    work = plan.training("distil", distil, distil.block_tokens, read, 1, distil.save_dtype)
    yield work._replace(operations=work.operations + FORWARD * plan.weights * read)  # the teacher


def measuring(plan: Plan) -> Iterator[Work]:
    """prompt to report."""
    sections, texts = plan.sections, plan.texts
    prompt, evaluate, benchmark = sections["prompt"], sections["evaluate"], sections["benchmark"]
    measure, term = sections["measure"], sections["term"]
    yield text_work("prompt")
    share = prompt.development if evaluate.set == "development" else 1 - prompt.development
    prompts = share * prompt.cloze * (TOKENS_A_WORD * prompt.words + evaluate.new_tokens)
    fluency = evaluate.fluency
    prompts += 2 * fluency.prompts * (TOKENS_A_WORD * fluency.words + fluency.new_tokens)
    out = sections["corpus"].held_out
    held_out = (texts.forget + texts.retain) * out / (1 - out)
    each = plan.models(evaluate.models) * (prompts + held_out)
    yield plan.reading("evaluate", each, 0, evaluate.precision)
    items = 2 * len(benchmark.tasks) * (benchmark.limit or 1000) * ITEM_TOKENS
    yield plan.reading("benchmark", plan.models(benchmark.models) * items, 0, benchmark.precision)
    asked = 2 * measure.cloze * (1 + measure.wrong) * ITEM_TOKENS / 2
    asked += 3 * measure.passages * measure.passage_tokens
    yield plan.reading("measure", plan.models(measure.models) * asked, 0, measure.precision)
    places = plan.terms * term.places / 2 * TOKENS_A_WORD * term.words
    compared = plan.models(("baseline", "suppressed", "unlearned", "retrained"))
    yield plan.reading("term", compared * places, 0, term.precision)
    yield attacking(plan)
    yield text_work("report")


def attacking(plan: Plan) -> Work:
    """attack: trainings of all weights, and many completions of the same prompts."""
    from lethe.attacks.suite import recipe

    attack, sections = plan.sections["attack"], plan.sections
    asked = attack.prompts * (TOKENS_A_WORD * sections["prompt"].words + attack.new_tokens)
    shared, wanted = attack.training, set(attack.attacks)
    looks, steps = len(shared.steps), max(shared.steps)
    kinds = {"relearn": attack.relearn, "benign": attack.benign, "lora": attack.lora}
    trainings = sum(len(kind.passages) for name, kind in kinds.items() if name in wanted)
    passes = 1 + looks * trainings + len(attack.quantise.bits) * ("quantise" in wanted) + 4 * ("context" in wanted)
    passes += TEMPLATES * ("role" in wanted) + (1 + len(attack.letters)) * ("prefix" in wanted)
    read = passes * asked
    if "sample" in wanted:
        read += attack.prompts * attack.sample.completions * attack.new_tokens
    if "probe" in wanted:
        read += attack.probe.prompts * TOKENS_A_WORD * attack.words
    learnt = trainings * steps * shared.batch_size * shared.passage_tokens
    if "soft_prompt" in wanted:
        soft = attack.soft_prompt
        learnt += soft.steps * soft.batch_size * (soft.tokens + TOKENS_A_WORD * attack.words)
    models = plan.models(("baseline", "suppressed", "unlearned", "retrained", "references"))
    work = plan.reading("attack", models * (read + learnt), 0, shared.weights)
    if not trainings:
        return work
    each = [recipe(attack, kind) for name, kind in kinds.items() if name in wanted and kind.passages]
    width = shared.passage_tokens
    whole = replace(plan.cards, sharded=False)  # all weights on every card: they are put back after each training
    largest = max(trained("attack", one, plan.config, width, 1, whole).memory for one in each)
    more = models * 2 * FORWARD * plan.weights * learnt  # backwards
    kept = 0 if plan.cards.count else BYTES[shared.weights] * plan.weights  # in main memory, to go back to
    return work._replace(operations=work.operations + more, memory=largest + kept)


def classifying(plan: Plan) -> Iterator[Work]:
    """The classification task; nothing where its model or its table is not here."""
    needed = ("split", "specialise", "softprompt", "classify")
    if not all(name in plan.sections for name in needed):
        return
    split, specialise, softprompt = (plan.sections[name] for name in needed[:3])
    table, background = Path(split.table), Path(specialise.background)
    if specialise.source != "scratch" or not table.is_file():
        return
    from lethe.pretrained.from_scratch import llama_config

    config = llama_config(specialise.scratch.shape, specialise.scratch.shape.vocabulary)
    own = plan._replace(config=config, weights=weight_count(config))
    rows = table.stat().st_size * (1 - split.test) / CHARACTERS  # tokens
    noted = background.stat().st_size * specialise.background_share / CHARACTERS if background.is_file() else 0
    yield text_work("split", table.stat().st_size)
    width = specialise.scratch.shape.context
    read = 2 * specialise.epochs * (rows + noted)
    yield own.training("specialise", specialise, width, read, 2, specialise.save_dtype)
    yield own.training("softprompt", softprompt, width, softprompt.epochs * rows, 0, "float32")
    yield own.reading("classify", 10 * rows)


def resume_bytes(sections: Mapping[str, Any], weights: int) -> int:
    """The most that a training keeps to resume from: two checkpoints, the old one until the new one is whole."""
    recipes = [sections[name] for name in ("baseline", "reinforce", "finetune", "distil") if name in sections]
    sizes = [
        2 * (BYTES[recipe.weights] + ADAM_BYTES) * weights
        for recipe in recipes
        if recipe.resume_every and recipe.tuning == "full"
    ]
    return round(max(sizes, default=0))
