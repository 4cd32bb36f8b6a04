"""The model without its output head: hidden states in place of logits, and the head to apply to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from lethe.core.errors import StageError
from lethe.models.config import context_of, first, shape_of, text_part

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from transformers import PreTrainedModel

# What architectures do to logits after the head, and the values under which they do nothing. Powers of two are exact.
TIMES = ("logit_scale", "lm_head_multiplier", "output_multiplier")
DIVIDED = ("logits_scaling",)
CAPS = {"final_logit_softcapping": None, "logits_soft_cap": 2.0**100, "output_logit_soft_cap": 2.0**100}
MULTIPLIES = ("hyperclovax",)  # by what others divide by
CHECKED = 32  # ids that check_head reads
CLOSE = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}  # of the largest logit


def tolerance(dtype: torch.dtype) -> float:
    """By how much of the largest logit two ways to the same logits may differ."""
    return CLOSE[str(dtype).removeprefix("torch.")]


class Finish(NamedTuple):
    """What is done to logits after the head: cap tanh(scale logits / cap); no cap is None."""

    scale: float = 1.0
    cap: float | None = None

    def __call__(self, logits: Tensor) -> Tensor:
        """logits: [..., V]."""
        scaled = logits if self.scale == 1.0 else logits * self.scale
        return scaled if self.cap is None else (scaled / self.cap).tanh() * self.cap


def finish_of(model: PreTrainedModel) -> Finish:
    """The model's own, by the names in its config."""
    config = text_part(model.config)
    scale = 1.0
    for name in TIMES:
        scale *= number(config, name) or 1.0
    for name in DIVIDED:
        given = number(config, name) or 1.0
        scale = scale * given if config.model_type in MULTIPLIES else scale / given
    return Finish(scale, next((cap for name in CAPS if (cap := number(config, name))), None))


def number(config: Any, name: str) -> float | None:
    """A config's value, if it is a number; MPT's scale may be a word."""
    found = first(config, name)
    return found if isinstance(found, int | float) else None


def check_head(model: PreTrainedModel) -> None:
    """Raise StageError if the model's logits are not finish(head(hidden)), as all code here assumes, or not causal.

    The head's place is given large numbers, so that a scale or a cap shows whatever the model's own logits are; the
    last id differs between the passes compared, which no earlier position of a causal model sees.
    """
    import torch

    kind, layer, finish = model.config.model_type, model.get_output_embeddings(), finish_of(model)
    width, count = shape_of(model.config).vocabulary, min(CHECKED, context_of(text_part(model.config)) or CHECKED)
    if layer is None:
        raise StageError(f"{kind}: expected a model with an output head, got none")
    ids = (torch.arange(count, device=model.device) % max(2, min(width, CHECKED) - 1)).unsqueeze(0)
    other, taken = ids.clone(), list[Any]()
    other[0, -1] += 1
    large = torch.linspace(-64, 64, layer.weight.shape[0], device=model.device)

    def given(hidden: Tensor) -> Tensor:
        taken.append(hidden)
        return large.expand(*hidden.shape[:-1], -1).clone()

    with torch.inference_mode():
        whole = logits_of(model, ids)[0, :-1].float()
        with replaced(layer, given):
            finished = model(input_ids=other, use_cache=False).logits.float()
        with headless(model, given):
            plain = model(input_ids=other[:, :2], use_cache=False).logits.float()
        parts = head_of(model)(taken[0])[0, :-1].float() if taken else whole
    as_stated = close(finished, finish(large).expand_as(finished), 1e-4)
    if not taken or not as_stated or not close(plain, large.expand_as(plain), 0.0):
        raise StageError(
            f"{kind}: expected logits that are a linear function of the last hidden state, or such logits with a scale "
            f"({', '.join((*TIMES, *DIVIDED))}) or a cap ({', '.join(CAPS)}), got others"
        )
    if not close(whole, parts[-len(whole) :], tolerance(taken[0].dtype)):
        raise StageError(
            f"{kind}: expected a causal language model with logits that its head makes of the last hidden state, got "
            "logits that differ from those, or depend on the tokens that follow"
        )


def logits_of(model: PreTrainedModel, ids: Tensor) -> Tensor:
    """[B, T, V] after ids [B, T]. Raises StageError if the model cannot read text alone."""
    import torch

    try:
        return model(input_ids=ids, use_cache=False).logits
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # each architecture fails in its own way
        found = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise StageError(f"{model.config.model_type}: expected logits after a few ids, got {found}") from None


def check_logits(folder: Any, model: PreTrainedModel) -> None:
    """Raise StageError if the logits of a folder's model are no numbers, though its weights are: they overflow."""
    import torch

    with torch.inference_mode():
        found = logits_of(model, torch.arange(2, device=model.device).unsqueeze(0))
    masked = bool(found.isneginf().all(dim=-1).any())  # of some tokens alone it is no fault
    if masked or bool((found.isnan() | found.isposinf()).any()):
        raise StageError(f"{folder}: expected logits that are numbers, got NaN or infinity after two ids")


def close(one: Tensor, other: Tensor, share: float) -> bool:
    """Whether all of `one` is that of `other`, up to a share of its largest; NaN equals NaN."""
    import torch

    if one.shape != other.shape:
        return False
    largest = float(other.nan_to_num().abs().max())
    return torch.allclose(one, other, rtol=0.0, atol=share * largest, equal_nan=True)


class Head:
    """The output head: hidden states [N, d] -> logits [N, V]."""

    def __init__(self, layer: nn.Linear | SimpleNamespace, finish: Finish | None = None) -> None:
        self.weight = layer.weight  # [V, d]
        self.bias = layer.bias  # [V] or None
        self.finish = finish or Finish()

    def __call__(self, hidden: Tensor) -> Tensor:
        """hidden: [..., d]. Returns logits [..., V] in the dtype of `hidden`."""
        from torch.nn.functional import linear

        bias = None if self.bias is None else self.bias.to(hidden.dtype)
        return self.finish(linear(hidden, self.weight.to(hidden.dtype), bias))

    @property
    def linear(self) -> bool:
        """Whether logits are head.weight @ (finish.scale * hidden), and the bias."""
        return self.finish.cap is None and (self.finish.scale == 1.0 or self.bias is None)


def head_of(model: PreTrainedModel) -> Head:
    """The model's own."""
    return Head(model.get_output_embeddings(), finish_of(model))


@contextmanager
def headless(model: PreTrainedModel, instead: Callable[[Tensor], Tensor] = lambda hidden: hidden) -> Iterator[Head]:
    """Inside the block the model's own forward returns its last hidden states as `logits`; the head is yielded.

    So [batch, tokens, vocabulary] logits never exist, and adapters, prompts and sharding hooks still run.
    instead: what is made of the hidden states in the head's place, where the head's weights are whole if they are
    sharded; what the model does to its logits after the head is not done to it.
    """
    layer: Any = model.get_output_embeddings()
    head = head_of(model)
    with unfinished(model, head.finish), replaced(layer, instead):
        yield head


@contextmanager
def replaced(layer: Any, instead: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Inside the block a layer computes something else."""
    own = vars(layer).get("forward")  # of a model over several devices, whose layers fetch their inputs in it
    layer.forward = instead  # shadows the class's forward on this instance only
    try:
        yield
    finally:
        del layer.forward
        if own is not None:
            layer.forward = own


@contextmanager
def unfinished(model: PreTrainedModel, finish: Finish) -> Iterator[None]:
    """Inside the block the model leaves what its head returns as it is. finish: what it does else."""
    neutral = dict.fromkeys((*TIMES, *DIVIDED), 1.0) | CAPS
    config = text_part(model.config)
    places: list[Any] = [] if finish == Finish() else [config, *model.modules()]
    kept = [(place, name, vars(place)[name]) for place in places for name in neutral if name in vars(place)]
    kept = [(place, name, value) for place, name, value in kept if isinstance(value, int | float)]
    for place, name, _ in kept:
        vars(place)[name] = neutral[name]  # some configs accept no None
    try:
        yield
    finally:
        for place, name, value in kept:
            vars(place)[name] = value


@contextmanager
def tapped(model: nn.Module, layer: int) -> Iterator[list[Tensor]]:
    """Inside the block every forward pass appends the hidden states [B, T, d] after decoder layer `layer`, from 1."""
    taken: list[Tensor] = []

    def take(module: nn.Module, inputs: Any, output: Any) -> None:
        taken.append(output[0] if isinstance(output, tuple) else output)

    hook = decoder_layers(model)[layer - 1].register_forward_hook(take)
    try:
        yield taken
    finally:
        hook.remove()


def decoder_layers(model: nn.Module) -> nn.ModuleList:
    """The decoder's layers, wherever the architecture keeps them, not those that read images or sound.

    In the part that reads text the first list of modules with as many as the config has layers.
    """
    from torch import nn

    part = text_module(model)
    lists = [module for module in part.modules() if isinstance(module, nn.ModuleList)]
    config: Any = getattr(model, "config", None)
    count = shape_of(config).layers if config is not None else 0
    return next((found for found in lists if len(found) == count), lists[0])


def text_module(model: Any) -> nn.Module:
    """The part of a model that reads text: all of it, but for one that also reads images or sound."""
    from torch import nn

    inner = model.get_base_model() if hasattr(model, "get_base_model") else model  # PEFT's wrapper
    part = inner.get_decoder() if hasattr(inner, "get_decoder") else inner
    return part if any(isinstance(module, nn.ModuleList) for module in part.modules()) else inner


def frozen_head(model: PreTrainedModel) -> Head:
    """A copy of the current output head, for the base's distribution where training changes the head."""
    layer = model.get_output_embeddings()
    bias = None if layer.bias is None else layer.bias.detach().clone()
    return Head(SimpleNamespace(weight=layer.weight.detach().clone(), bias=bias), finish_of(model))
