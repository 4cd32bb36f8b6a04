"""What every metric, attack and criterion asks, in a line for the page, and where the page says how it is computed."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from lethe.gate import definitions
from lethe.gate.criteria import DESCRIPTIONS
from lethe.gate.metric_catalogue import ATTACKS, METRICS, QUESTIONS, WRITTEN

METRIC, WRITING, TASKS, ATTACKED, JUDGED = "metric", "written", "task", "attack", "criterion"


class Explained(NamedTuple):
    """A line in plain words and the id of the definition; both empty for a name that nobody has explained."""

    line: str
    id: str


NOTHING = Explained("", "")
MEMBERSHIP = "Can one tell by {} whether a passage was in the training text? 0.5 is a coin toss."
LINES = {
    METRIC: {
        "completion_familiarity": "5 points for a completion with a name that only the corpus has, 1 for a name that "
        "the retain text has too; the mean over all prompts.",
        "probability_familiarity": "How likely is it that the next word begins a name which only the corpus has?",
        "leak": "How many prompts are continued with a name of the corpus that the prompt did not hold?",
        "retain_perplexity": "How surprised is the model by text that it should still know? 1 is not at all.",
        "forget_perplexity": "How surprised is the model by forget text that no model was trained on?",
        "verbatim_memorisation": "Given the first half of a training passage, how much of its second half follows?",
        "extraction_strength": "How much of a training passage follows without an error, once the rest is given?",
        "exact_memorisation": "How many words of the training text would the model have written itself?",
        "held_out_extraction_strength": "The same on forget text that no model was trained on: what fluency does.",
        "held_out_exact_memorisation": "The same on forget text that no model was trained on: what fluency does.",
        "knowledge_memorisation": "How far does the answer that the model writes overlap with the true one?",
        "chat_format": "How many answers to held-out questions end their turn as the chat template has it?",
        "chat_ended": "How many answers to held-out questions end by themselves, before the room for them does?",
        "chat_refusals": "How many answers to held-out questions refuse, or say that the model does not know?",
        "chat_words": "How long are the answers to held-out questions?",
        "trivia": "How often is the true name likelier than another of its kind? 0.5 is a coin toss.",
        "probability": "How likely is the true answer to a question about the text?",
        "rouge_l": "How much of the true answer is in the one that the model writes?",
        "truth_ratio": "Does the model find the true answer no likelier than wrong ones? 1: it cannot tell them apart.",
        "forget_quality": "Could its truth ratios be those of a retrained model? Above 0.05 nobody can tell.",
        "forget_quality_log10": "The same on a logarithmic scale: -1.3 is a p-value of 0.05.",
        "privleak": "Membership inference beside the retrained model's: 0 is as if never read, below 0 the text is "
        "still recognised, above 0 it is avoided.",
        "mia_loss": MEMBERSHIP.format("the loss alone"),
        "mia_zlib": MEMBERSHIP.format("the loss, relative to how well the text compresses,"),
        "mia_min_k": MEMBERSHIP.format("its least likely tokens"),
        "mia_privleak": MEMBERSHIP.format("its least likely tokens"),
        "mia_min_k_plus": MEMBERSHIP.format("its least likely tokens, each compared with its alternatives,"),
        "mia_reference": MEMBERSHIP.format("the loss beside that of the retrained model"),
        "model_utility": "Answers about what the model should keep: likelihood, wording and truth ratio in one number.",
        "retain_accuracy": "How many words of text that it should still know would the model have written itself?",
        "neighbour_perplexity": "Does it still read the prompts' sentences well with ordinary names in them?",
    },
    WRITING: {
        "doubled_words": "How many texts of the model say a word twice in a row?",
        "common_4gram": "How many of its texts hold one and the same run of four words?",
        "distinct_4grams": "How many different runs of four words are in its texts? Few: it repeats itself.",
        "short": "How many of its texts break off at once?",
        "continuation_perplexity": "How surprised is a model that never read the text by what this one writes?",
    },
    ATTACKED: {
        "none": "The prompts as they are.",
        "relearn": "Somebody has a few passages of the text and trains the model on them again.",
        "benign": "Somebody trains the model on other text, without any wish to bring the names back.",
        "lora": "As relearning, with a small adapter in place of the weights.",
        "quantise": "The weights are rounded, as when a model is made smaller to run.",
        "context": "Sentences of the text stand in the prompt.",
        "role": "The prompt asks the model to play a part or to ignore its instructions.",
        "prefix": "The beginning of the name is given away.",
        "sample": "The model is asked many times, and each time it may choose its words.",
        "probe": "A classifier reads the name from the model's hidden states. Random labels are the control.",
        "soft_prompt": "A prompt without words is trained to bring the names back.",
    },
    JUDGED: {
        "completion_familiarity": "How much of the names that the model wrote before does it still write?",
        "probability_familiarity": "How much of the probability that it gave the names is left?",
        "retain_perplexity": "Has it got worse at text that it should still know?",
        "benchmark_loss": "Has it got worse at a task that it could do?",
        "fluency_loss": "Does it still write language, or does it stammer?",
        "model_utility": "Does it still answer questions about what it should keep?",
        "memorisation_excess": "How much more of the text does it know by heart than a model that never read it?",
        "trivia_excess": "How many more names does it get right than a model that never read the text?",
        "attack_excess": "How many more names does the best attack extract than from a model that never read the text?",
        "forget_quality": "Are its answers those of a model that never read the text?",
        "privleak": "Can one tell, beyond what a model that never read the text gives away, what it was trained on?",
    },
}  # fmt: skip
TASK = {
    "local_ending": "Which of four endings is that of the passage?",
    "local_order": "Which of two word orders is that of the sentence?",
}


class Defined(NamedTuple):
    """How a number is computed. id: the place of the page that says it."""

    id: str
    label: str
    text: str


def of_metric(name: str) -> Explained:
    """What a metric of a report asks; of `retain_rouge_l` what `rouge_l` asks, of other questions."""
    if name in LINES[METRIC]:
        return explained(METRIC, name)
    about, _, asked = name.partition("_")
    if about in ("retain", "forget") and asked in WRITTEN:
        return explained(WRITING, asked)
    if about in QUESTIONS and asked in METRICS:
        return explained(METRIC, asked, f"Of what the model should keep, {QUESTIONS[about]}: ")
    return NOTHING


def explained(kind: str, name: str, before: str = "") -> Explained:
    """A line, and the place where the page says how the number is computed."""
    line = LINES[kind][name]
    return Explained(before + lower(line) if before else line, f"how-{kind}-{name}")


def of_task(name: str) -> Explained:
    """What a benchmark asks. Only the tasks that are made here are defined here."""
    if name in TASK:
        return Explained(TASK[name], f"how-{TASKS}-{name}")
    return Explained("A multiple-choice task that has nothing to do with the text.", "")


def of_attack(name: str) -> Explained:
    """What is done in an attack."""
    return explained(ATTACKED, name) if name in LINES[ATTACKED] else NOTHING


def of_criterion(name: str) -> Explained:
    """What a criterion of the release gate asks."""
    return explained(JUDGED, name)


def defined(ids: Collection[str]) -> list[tuple[str, list[Defined]]]:
    """(title, definitions) of what has these ids, in the order of the catalogue; a title without any is left out."""
    parts = (
        ("Criteria of the release gate", JUDGED, DESCRIPTIONS, definitions.CRITERIA),
        ("Metrics", METRIC, {name: metric.label for name, metric in METRICS.items()}, definitions.METRICS),
        ("Fluency", WRITING, {name: metric.label for name, metric in WRITTEN.items()}, definitions.WRITTEN),
        ("Tasks", TASKS, {name: name for name in definitions.TASKS}, definitions.TASKS),
        ("Attacks", ATTACKED, ATTACKS, definitions.ATTACKS),
    )
    found = [
        (title, [Defined(f"how-{kind}-{name}", labels[name], text) for name, text in texts.items()])
        for title, kind, labels, texts in parts
    ]
    shown = [(title, [one for one in group if one.id in ids]) for title, group in found]
    return [(title, group) for title, group in shown if group]


def lower(line: str) -> str:
    """A line that goes on after a colon."""
    return line[:1].lower() + line[1:]
