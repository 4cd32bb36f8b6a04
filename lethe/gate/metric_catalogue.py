"""The label, the direction and the group of every metric on a page.

The names come from the reports; a metric that is not listed here is still shown, under its own name.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

LEAKAGE = "Leakage"
MEMORISATION = "Memorisation"
KNOWLEDGE = "Knowledge"
MEMBERSHIP = "Membership inference"
REFERENCE = "Distance from the retrained model"
UTILITY = "Utility"
FLUENCY = "Fluency"
OTHER = "Other metrics"
GROUPS = (LEAKAGE, MEMORISATION, KNOWLEDGE, MEMBERSHIP, REFERENCE, UTILITY, FLUENCY, OTHER)


class Metric(NamedTuple):
    """How to read one metric. better: for the unlearned model; share: values lie between 0 and 1."""

    label: str
    better: Literal["less", "more", "neither"]
    group: str
    share: bool = True


METRICS = {
    "completion_familiarity": Metric("Familiarity (completion), 0 to 5", "less", LEAKAGE, share=False),
    "probability_familiarity": Metric("Familiarity (probability)", "less", LEAKAGE),
    "leak": Metric("Leak: completions with a name of the corpus", "less", LEAKAGE),
    "verbatim_memorisation": Metric("Verbatim memorisation (ROUGE-L)", "less", MEMORISATION),
    "extraction_strength": Metric("Extraction strength", "less", MEMORISATION),
    "exact_memorisation": Metric("Exact memorisation", "less", MEMORISATION),
    "held_out_extraction_strength": Metric("Extraction strength, held-out forget text", "neither", MEMORISATION),
    "held_out_exact_memorisation": Metric("Exact memorisation, held-out forget text", "neither", MEMORISATION),
    "knowledge_memorisation": Metric("Knowledge memorisation (ROUGE-L of answers)", "less", MEMORISATION),
    "trivia": Metric("Two-choice trivia (chance: 0.50)", "less", KNOWLEDGE),
    "probability": Metric("Probability of the true answer", "less", KNOWLEDGE),
    "rouge_l": Metric("ROUGE-L of answers, recall", "less", KNOWLEDGE),
    "truth_ratio": Metric("Truth ratio", "neither", KNOWLEDGE),
    "forget_quality": Metric("Forget quality (p-value of the KS test)", "more", REFERENCE),
    "forget_quality_log10": Metric("Forget quality, log10 of the p-value", "more", REFERENCE, share=False),
    "privleak": Metric("PrivLeak (0: as retrained)", "neither", REFERENCE, share=False),
    "mia_loss": Metric("Membership by loss, AUC (chance: 0.5)", "neither", MEMBERSHIP),
    "mia_zlib": Metric("Membership by loss over zlib, AUC", "neither", MEMBERSHIP),
    "mia_min_k": Metric("Membership by Min-K%, AUC", "neither", MEMBERSHIP),
    "mia_privleak": Metric("Membership by PrivLeak's Min-K%, AUC", "neither", MEMBERSHIP),
    "mia_min_k_plus": Metric("Membership by Min-K%++, AUC", "neither", MEMBERSHIP),
    "mia_reference": Metric("Membership against the reference model, AUC", "neither", MEMBERSHIP),
    "model_utility": Metric("Model utility", "more", UTILITY),
    "retain_accuracy": Metric("Next tokens predicted in held-out retain text", "more", UTILITY),
    "retain_perplexity": Metric("Perplexity of held-out retain text", "less", UTILITY, share=False),
    "neighbour_perplexity": Metric("Perplexity of the same sentences with other names", "less", UTILITY, share=False),
    "chat_format": Metric("Chat answers in the format of the template", "more", UTILITY),
    "chat_ended": Metric("Chat answers that end by themselves", "more", UTILITY),
    "chat_refusals": Metric("Chat answers that refuse or do not know", "less", UTILITY),
    "chat_words": Metric("Words of a chat answer", "neither", UTILITY, share=False),
    "forget_perplexity": Metric("Perplexity of held-out forget text", "neither", LEAKAGE, share=False),
}
WRITTEN = {  # metrics of continuations, once for each side's prompts
    "doubled_words": Metric("Continuations with a doubled word", "less", FLUENCY),
    "common_4gram": Metric("Continuations with the commonest 4-gram", "less", FLUENCY),
    "distinct_4grams": Metric("Distinct 4-grams", "more", FLUENCY),
    "short": Metric("Continuations of fewer than four words", "less", FLUENCY),
    "continuation_perplexity": Metric("Perplexity under the retrained model", "neither", FLUENCY, share=False),
}
METRICS |= {
    f"{side}_{name}": metric._replace(label=f"{metric.label}, {side} prompts")
    for side in ("retain", "forget")
    for name, metric in WRITTEN.items()
}


OF_ATTACKS = {  # metrics with another meaning in reports/attacks.json
    "leak": Metric("Leak", "less", LEAKAGE),
    "leak_curve": Metric("Leak over all steps of the attack", "less", LEAKAGE),
    "leak_any": Metric("Leak in at least one completion", "less", LEAKAGE),
    "probability": Metric("Probability that a name comes next", "less", LEAKAGE),
    "accuracy": Metric("Accuracy of predicting the target name", "less", KNOWLEDGE),
}
CONTROL = "random labels"  # the setting of a control ends with it
ATTACKS = {
    "none": "No attack",
    "relearn": "Relearning on forget text",
    "benign": "Fine-tuning on retain text",
    "lora": "Relearning with LoRA",
    "quantise": "Weight quantisation",
    "context": "Corpus text in the prompt",
    "role": "Jailbreak and role-play prompts",
    "prefix": "Prefix of the target name",
    "sample": "Sampled completions",
    "probe": "Linear probe of hidden states",
    "soft_prompt": "Trained soft prompt",
}
QUESTIONS = {"retain": "retain set", "authors": "real authors", "facts": "world facts"}


def metric_of(name: str) -> Metric:
    """How to read the metric of this name; an unknown one has no direction and is listed under `Other metrics`.

    `retain_rouge_l` is `rouge_l` on questions about the retain set.
    """
    if name in METRICS:
        return METRICS[name]
    about, _, asked = name.partition("_")
    if about in QUESTIONS and asked in METRICS:
        return Metric(f"{METRICS[asked].label}: {QUESTIONS[about]}", "more", UTILITY, METRICS[asked].share)
    return Metric(name, "neither", OTHER, share=False)


def attack_metric(name: str, setting: str) -> Metric:
    """How to read the metric of this name in reports/attacks.json; a control has no direction."""
    metric = OF_ATTACKS.get(name, metric_of(name))
    return metric._replace(better="neither") if setting.endswith(CONTROL) else metric


def benchmark(name: str, chance: float | None) -> Metric:
    """How to read the accuracy of a multiple-choice task."""
    guessing = "" if chance is None else f" (chance: {chance:.2f})"
    return Metric(f"{name}, accuracy{guessing}", "more", UTILITY)


def number(value: float | None) -> str:
    """A number as text: three decimals, none from 1,000 on, scientific notation below 0.0005."""
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
