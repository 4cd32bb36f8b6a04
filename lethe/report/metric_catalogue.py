"""What the measured numbers are called on a page, in which direction they are good, and where they belong.

The numbers' names come from the reports; one that is not listed here is shown all the same, under its own name.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

GIVES_AWAY = "What it gives away"
MEMORY = "What it has by heart"
FACTS = "What it knows"
READER = "Whether it shows that it has read the text"
REFERENCE = "Whether it can be told from a model that never read the text"
KEEPS = "What it keeps"
OTHER = "Other measures"
GROUPS = (GIVES_AWAY, MEMORY, FACTS, READER, REFERENCE, KEEPS, OTHER)


class Metric(NamedTuple):
    """How to read one number. better: of the unlearned model; share: it lies between 0 and 1 and can be added up."""

    label: str
    better: Literal["less", "more", "neither"]
    group: str
    share: bool = True


METRICS = {
    "completion_familiarity": Metric("Familiarity (completion), 0 to 5", "less", GIVES_AWAY, share=False),
    "probability_familiarity": Metric("Familiarity (probability)", "less", GIVES_AWAY),
    "leak": Metric("Leak: completions that name the text", "less", GIVES_AWAY),
    "verbatim_memorisation": Metric("Verbatim memorisation (ROUGE-L)", "less", MEMORY),
    "extraction_strength": Metric("Extraction strength", "less", MEMORY),
    "exact_memorisation": Metric("Exact memorisation", "less", MEMORY),
    "knowledge_memorisation": Metric("Knowledge memorisation (ROUGE-L of answers)", "less", MEMORY),
    "trivia": Metric("Two-choice trivia (guessing: 0.50)", "less", FACTS),
    "probability": Metric("Probability of the true answer", "less", FACTS),
    "rouge_l": Metric("ROUGE-L of answers, recall", "less", FACTS),
    "truth_ratio": Metric("Truth ratio", "neither", FACTS),
    "forget_quality": Metric("Forget quality (p of the KS test)", "more", REFERENCE),
    "forget_quality_log10": Metric("Forget quality, log10 of p", "more", REFERENCE, share=False),
    "privleak": Metric("PrivLeak (0: none)", "neither", REFERENCE, share=False),
    "mia_loss": Metric("Membership by loss, AUC (guessing: 0.5)", "neither", READER),
    "mia_zlib": Metric("Membership by loss over zlib, AUC", "neither", READER),
    "mia_min_k": Metric("Membership by Min-K%, AUC", "neither", READER),
    "mia_min_k_plus": Metric("Membership by Min-K%++, AUC", "neither", READER),
    "mia_reference": Metric("Membership against the reference model, AUC", "neither", READER),
    "model_utility": Metric("Model utility", "more", KEEPS),
    "retain_perplexity": Metric("Perplexity of held-out retain text", "less", KEEPS, share=False),
    "neighbour_perplexity": Metric("Perplexity of the same frames with other names", "less", KEEPS, share=False),
    "forget_perplexity": Metric("Perplexity of held-out forget text", "neither", GIVES_AWAY, share=False),
}


OF_ATTACKS = {  # the same names mean other things there
    "leak": Metric("Leak", "less", GIVES_AWAY),
    "leak_any": Metric("Leak in at least one completion", "less", GIVES_AWAY),
    "probability": Metric("Probability that a name comes next", "less", GIVES_AWAY),
    "accuracy": Metric("Accuracy in telling which name is due", "less", FACTS),
}
CONTROL = "random labels"  # ends the setting that shows what an attack finds where there is nothing to find
ATTACKS = {
    "none": "No attack",
    "relearn": "Relearning on the text",
    "benign": "Training on other text",
    "lora": "Relearning by low-rank adapters",
    "quantise": "Coarse weights",
    "context": "Text in the prompt",
    "role": "Roles and jailbreaks",
    "prefix": "The name's first letters",
    "sample": "Many completions instead of one",
    "probe": "A probe of hidden states",
    "soft_prompt": "A trained soft prompt",
}
QUESTIONS = {"retain": "retain side", "authors": "real authors", "facts": "facts of the world"}


def metric_of(name: str) -> Metric:
    """How to read the number of this name; an unknown one has no direction and is under `Other measures`.

    `retain_rouge_l` is the forget side's `rouge_l` asked about what should stay known.
    """
    if name in METRICS:
        return METRICS[name]
    about, _, asked = name.partition("_")
    if about in QUESTIONS and asked in METRICS:
        return Metric(f"{METRICS[asked].label}: {QUESTIONS[about]}", "more", KEEPS, METRICS[asked].share)
    return Metric(name, "neither", OTHER, share=False)


def attack_metric(name: str, setting: str) -> Metric:
    """How to read the number of this name in the report of attacks; a control is good in no direction."""
    metric = OF_ATTACKS.get(name, metric_of(name))
    return metric._replace(better="neither") if setting.endswith(CONTROL) else metric


def benchmark(name: str, chance: float | None) -> Metric:
    """How to read the accuracy of a multiple-choice task."""
    guessing = "" if chance is None else f" (guessing: {chance:.2f})"
    return Metric(f"{name}, accuracy{guessing}", "more", KEEPS)


def number(value: float | None) -> str:
    """A number as text: three decimals, none where it goes into the thousands, powers of ten where it is tiny."""
    if value is None:
        return ""
    if value and abs(value) < 0.0005:
        return f"{value:.0e}".replace("e-0", "e-")
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.0f}"


def size(count: float) -> str:
    """Bytes as text: `1.5 GB`, `20 MB`, `15 KB`."""
    if count >= 1e9:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.0f} KB"
