"""Methods: an objective by its name in params, with the labels, rows and reference columns it needs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from lethe.core.params import StageParams
from lethe.training.adapters import PromptParams
from lethe.training.losses import cross_entropy
from lethe.training.recipe import RecipeParams
from lethe.unlearning import objectives

if TYPE_CHECKING:
    from lethe.models.output_head import Head
    from lethe.training.losses import Objective

Side = Literal["forget", "retain"]
Labels = Literal["generic", "true", "random", "pairs"]


class AscentKlParams(StageParams):
    weight: NonNegativeFloat


class GradDiffParams(StageParams):
    retain: NonNegativeFloat


class SpulParams(StageParams):
    alpha: NonNegativeFloat
    beta: NonNegativeFloat


class NpoParams(StageParams):
    beta: PositiveFloat
    retain: NonNegativeFloat


class SimnpoParams(StageParams):
    beta: PositiveFloat
    gamma: float
    retain: NonNegativeFloat


class DpoParams(StageParams):
    beta: PositiveFloat
    preferred: Literal["generic", "idk"]
    retain: NonNegativeFloat


class RmuParams(StageParams):
    layer: PositiveInt
    steering: PositiveFloat
    alpha: NonNegativeFloat


class UndialParams(StageParams):
    beta: PositiveFloat
    retain: NonNegativeFloat


class WgaParams(StageParams):
    beta: NonNegativeFloat
    retain: NonNegativeFloat


class SatimpParams(StageParams):
    beta1: NonNegativeFloat
    beta2: NonNegativeFloat
    retain: NonNegativeFloat


class PduParams(StageParams):
    epsilon: NonNegativeFloat
    dual: NonNegativeFloat
    rate: NonNegativeFloat


class MethodParams(StageParams):
    """Which objective is trained, and the numbers of each."""

    shared_section: ClassVar[str] = "methods"
    objective: Literal[
        "generic_labels",
        "gradient_ascent",
        "random_labels",
        "ascent_kl",
        "grad_diff",
        "spul",
        "npo",
        "simnpo",
        "dpo",
        "rmu",
        "undial",
        "wga",
        "satimp",
        "ceu",
        "pdu",
    ]
    ascent_kl: AscentKlParams
    grad_diff: GradDiffParams
    spul: SpulParams
    npo: NpoParams
    simnpo: SimnpoParams
    dpo: DpoParams
    rmu: RmuParams
    undial: UndialParams
    wga: WgaParams
    satimp: SatimpParams
    pdu: PduParams


class UnlearningParams(RecipeParams, MethodParams):
    """A training that unlearns: any objective, by any tuning."""

    prompt: PromptParams


class Method(NamedTuple):
    """An objective and what has to be made ready for it, before the first step and once."""

    objective: Objective
    labels: Labels  # what is wanted at the forget positions
    retain: bool  # whether retain rows play a part
    base_hidden: Side | None = None  # rows that need the column BASE_HIDDEN
    base_nll: bool = False  # whether forget rows need the column BASE_NLL
    layer: int | None = None  # hidden states are those after this decoder layer, counted from 1; None: the last ones


def chosen(params: MethodParams, width: int, seed: int, base_head: Head | None = None) -> Method:
    """The method that `params.objective` names.

    width: of the hidden states. seed: of what is drawn once. base_head: the head before training, where it will move.
    """
    o = objectives
    match params.objective:
        case "generic_labels":
            return Method(cross_entropy, "generic", True)
        case "gradient_ascent":
            return Method(o.gradient_ascent, "true", False)
        case "random_labels":
            return Method(o.forget_cross_entropy, "random", False)
        case "ascent_kl":
            loss = partial(o.ascent_kl, weight=params.ascent_kl.weight, base_head=base_head)
            return Method(loss, "true", True, "retain")
        case "grad_diff":
            return _with_retain(o.gradient_ascent, params.grad_diff.retain)
        case "spul":
            alpha, beta = params.spul.alpha, params.spul.beta
            loss = partial(o.spul, alpha=alpha, beta=beta, base_head=base_head)
            return Method(loss, "generic", alpha + beta > 0, "retain" if beta else None)
        case "npo":
            return _with_retain(partial(o.npo, beta=params.npo.beta), params.npo.retain, base_nll=True)
        case "simnpo":
            loss = partial(o.simnpo, beta=params.simnpo.beta, gamma=params.simnpo.gamma)
            return _with_retain(loss, params.simnpo.retain)
        case "dpo":
            loss = partial(o.dpo, beta=params.dpo.beta)
            return _with_retain(loss, params.dpo.retain, labels="pairs", base_nll=True)
        case "rmu":
            control = o.control_vector(width, params.rmu.steering, seed)
            loss = partial(o.rmu, control=control, alpha=params.rmu.alpha)
            return Method(loss, "true", True, "retain", layer=params.rmu.layer)
        case "undial":
            loss = partial(o.undial, beta=params.undial.beta, base_head=base_head)
            return _with_retain(loss, params.undial.retain, base_hidden="forget")
        case "wga":
            loss = partial(o.weighted_ascent, saturation=params.wga.beta, importance=0.0)
            return _with_retain(loss, params.wga.retain)
        case "satimp":
            loss = partial(o.weighted_ascent, saturation=params.satimp.beta1, importance=params.satimp.beta2)
            return _with_retain(loss, params.satimp.retain)
        case "ceu":
            return Method(o.ceu, "true", False)
        case "pdu":
            pdu = params.pdu
            return Method(o.PrimalDual(pdu.dual, pdu.rate, pdu.epsilon), "true", True)


def _with_retain(
    forget_loss: Objective,
    weight: float,
    labels: Labels = "true",
    base_hidden: Side | None = None,
    base_nll: bool = False,
) -> Method:
    loss = partial(objectives.with_retain, forget_loss, weight)
    return Method(loss, labels, weight > 0, base_hidden, base_nll)
