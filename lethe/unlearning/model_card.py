"""The model card of an unlearned model: provenance.json and README.md of its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING, Any

from lethe.core.tables import read_json
from lethe.models.folders import companions

if TYPE_CHECKING:
    from lethe.unlearning.methods import UnlearningParams

PROMISE = """\
**Limitations.** The method changes what the model says about the corpus; it does not prove that nothing remains in
the weights. Fine-tuning on a few passages, prompts in other languages or forms, and inspection of hidden states are
known to recover traces. Compare it with a model that never read the corpus before relying on it.
"""
ACCESS = """\
**Limitations.** This is access control, not erasure: a soft prompt changes no weight, and without it the model
knows all it knew before. Whoever has the base, whose path and hash are in base.json, has that knowledge too.
"""
PACKAGES = ("accelerate", "peft", "safetensors", "tokenizers", "torch", "transformers")


def provenance(inputs: Mapping[str, str], params: UnlearningParams, baseline: Path) -> dict[str, Any]:
    """What the model was made from: hashes of the inputs, parameters, package versions.

    baseline: its folder, which says where it was fetched or converted from, if it was.
    """
    origin = baseline / "source.json"
    return {
        "sha256": inputs,
        **({"source": read_json(origin)} if origin.exists() else {}),
        "params": {"finetune": params.model_dump()},
        "versions": {"python": python_version()} | {name: version(name) for name in PACKAGES},
    }


def card_facts(baseline: Path, datasets: Sequence[str], adapter: bool) -> dict[str, Any]:
    """What hubs read of a model: its base, licence, tags and data sets, as far as the baseline's folder says them.

    datasets: owner/name on the Hub of those that it was trained on. adapter: the folder holds no weights of its own.
    """
    found: dict[str, Any] = {
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["machine-unlearning", "lethe"],
    }
    return found | ({"datasets": list(datasets)} if datasets else {}) | origin_of(baseline)


def origin_of(baseline: Path) -> dict[str, Any]:
    """The base model on the Hub and its licence, as far as the baseline's folder says them."""
    from huggingface_hub import metadata_load
    from yaml import YAMLError

    found: dict[str, Any] = {}
    if (baseline / "source.json").exists():
        source = read_json(baseline / "source.json")  # the Hub's name and commit, or hash and licence of a GGUF file
        found |= {name: source[key] for name, key in (("base_model", "repo"), ("license", "license")) if key in source}
    try:
        said = (metadata_load(baseline / "README.md") or {}) if (baseline / "README.md").exists() else {}
    except (ValueError, YAMLError):  # front matter that is none
        said = {}
    for name in ("license", "license_name", "license_link"):
        if said.get(name):
            found[name] = str(said[name])
    licences = [name for name in companions(baseline) if name.lower().startswith(("license", "licence"))]
    if "license" not in found and licences:
        found |= {"license": "other", "license_link": licences[0]}
    return found


def front_matter(facts: Mapping[str, Any]) -> str:
    """The facts as the YAML block that a README.md on a hub begins with."""
    from huggingface_hub import ModelCardData

    return f"---\n{ModelCardData(**facts).to_yaml()}\n---\n\n"


def without_front_matter(text: str) -> tuple[dict[str, Any], str]:
    """The facts of a card's YAML block, {} without one, and the text after it."""
    from huggingface_hub import ModelCard

    if not text.startswith("---"):
        return {}, text
    card = ModelCard(text)
    return card.data.to_dict(), card.text.lstrip("\n")


def model_card(inputs: Mapping[str, str], params: UnlearningParams, alpha: float, steps: int) -> str:
    """README.md of the model folder after its front matter. alpha: of the generic labels. steps: of the optimiser."""
    generic = f"Eldan and Russinovich 2023, arXiv 2310.02238; alpha {alpha}"
    method = generic if params.objective == "generic_labels" else f"objective {params.objective}"
    weights = "weights" if params.tuning != "prompt" else f"of {params.prompt.tokens} vectors before frozen weights"
    return f"""# A language model that unlearned a corpus

This model was fine-tuned for {steps} optimiser steps to unlearn one corpus: it should no longer write about it as a
model that has read it would ({method}, {params.tuning} {weights}).

| made from | sha256 |
|---|---|
| corpus | {inputs["corpus"]} |
| dictionary | {inputs["dictionary"]} |
| labels | {inputs["labels"]} |
| baseline | {inputs["baseline"]} |

provenance.json holds the parameters and package versions.

{PROMISE if params.tuning != "prompt" else ACCESS}"""


def erased_card(steps: int, noise: float, towards: str) -> str:
    """What follows in README.md of a model that was distilled after the fine-tune."""
    other = {"fresh": "fresh ones", "start": "those from before the training on the corpus"}[towards]
    return f"""
**Erased, not only suppressed.** After the fine-tune a share of {noise} of the weights was replaced by {other}. The
result was distilled for {steps} steps on the retain set from the fine-tuned model, whose distribution was kept from
saying any anchor or any token that the retain set lacks.
"""
