"""The parameters of the attacks and their validation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, model_validator

from lethe.core.params import Beta, Seed, StageParams
from lethe.evaluation.model_set import Names
from lethe.models.device import TrainingDevice
from lethe.text.cloze import FEWEST_WORDS
from lethe.training.adapters import LoraParams
from lethe.training.quantisation import Bits

ATTACK_NAMES = (  # in the order of the report
    "relearn", "benign", "lora", "quantise", "context", "role", "prefix", "sample", "probe", "soft_prompt",
)  # fmt: skip


def _rising(values: list[int]) -> list[int]:
    if not values or sorted(set(values)) != values:
        raise ValueError(f"expected distinct numbers in ascending order, got {values}")
    return values


Rising = Annotated[list[PositiveInt], AfterValidator(_rising)]


class Training(StageParams):
    """Parameters that all attacks with training share."""

    passage_tokens: int = Field(ge=2)
    steps: Rising
    batch_size: PositiveInt
    adam_betas: list[Beta] = Field(min_length=2, max_length=2)
    max_grad_norm: PositiveFloat
    weights: Literal["float32", "bfloat16"]
    precision: Literal["float32", "bfloat16"]


class Relearn(StageParams):
    passages: Rising
    learning_rate: PositiveFloat


class Lora(Relearn):
    adapter: LoraParams


class Quantise(StageParams):
    bits: list[Bits] = Field(min_length=1)


class Sample(StageParams):
    completions: PositiveInt
    temperature: PositiveFloat


class Probe(StageParams):
    prompts: PositiveInt
    depths: list[Annotated[float, Field(gt=0, le=1)]] = Field(min_length=1)
    fewest: int = Field(ge=2)
    penalty: PositiveFloat


class SoftPrompt(StageParams):
    prompts: PositiveInt
    tokens: PositiveInt
    steps: PositiveInt
    batch_size: PositiveInt
    learning_rate: PositiveFloat


class AttackParams(StageParams):
    """The parameters of all attacks."""

    attacks: Names
    set: Literal["test", "development"]
    prompts: PositiveInt
    chat_template: bool
    new_tokens: PositiveInt
    words: Annotated[int, Field(ge=FEWEST_WORDS)]
    training: Training
    relearn: Relearn
    benign: Relearn
    lora: Lora
    quantise: Quantise
    context_tokens: int = Field(ge=8)
    letters: Rising
    sample: Sample
    probe: Probe
    soft_prompt: SoftPrompt
    device: TrainingDevice
    seed: Seed

    @model_validator(mode="after")
    def _known_attacks(self) -> AttackParams:
        unknown = [name for name in self.attacks if name not in ATTACK_NAMES]
        if unknown:
            raise ValueError(f"attacks: expected names from {', '.join(ATTACK_NAMES)}, got {', '.join(unknown)}")
        full = [name for name in ("relearn", "benign") if name in self.attacks]
        if full and self.training.weights != "float32":
            raise ValueError(
                f"attacks: expected lora attacks only with training.weights {self.training.weights}, got {full[0]}"
            )
        return self
