"""Quantisation: weights rounded to 8 or 4 bits, as is usual for sharing a model or running it on small hardware."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal

from lethe.core.errors import StageError

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import Tensor, nn
    from transformers import PreTrainedModel

Bits = Literal[8, 4]
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # hides the suggestion to fetch a faster kernel


def load_rounded(folder: Path, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
    """The folder's model with linear layers in 4-bit NormalFloats and all else in `dtype`: QLoRA's base for adapters.

    Dettmers et al. 2023, arXiv 2305.14314: a scale per 64 weights, itself rounded, about half a byte a weight. The
    weights stay frozen. dtype: also the layers' compute dtype. Raises StageError as load_model does.
    """
    from transformers import BitsAndBytesConfig

    from lethe.models.checkpoints import in_use, read_weights

    rounding = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    model = read_weights(folder, dtype=dtype, quantization_config=rounding, device_map={"": device})
    layer: Any
    for layer in linear_layers(model).values():  # some CPUs would round the scales again for passes without gradients
        layer.support_avx512bf16_for_cpu = False
    return in_use(model, folder)


def quantise(model: PreTrainedModel, bits: Bits) -> None:
    """Round the weights of every linear layer in place to `bits` bits, but not embeddings and output head, as is usual.

    Experts count, and GPT-2's layers, which hold their weights transposed. The rounded weights are kept as
    floating-point values, so the model can be used like any other. Rounding undoes a change smaller than its step
    (Zhang et al. 2024, arXiv 2410.16454). Raises StageError if the model has no such weights.
    """
    import torch
    from transformers.pytorch_utils import Conv1D

    found = matrices(model)
    if not found:
        raise StageError(
            f"params.yaml: attack.attacks: quantise rounds linear layers, and {model.config.model_type} has none; take "
            "it off the list"
        )
    for layer, name in found:
        weight = getattr(layer, name).detach()
        if isinstance(layer, Conv1D):
            rounded = rounded_weight(weight.T, bits).T.contiguous()
        else:
            rounded = rounded_weight(weight.flatten(0, -2), bits).view_as(weight)
        setattr(layer, name, torch.nn.Parameter(rounded))


def rounded_weight(weight: Tensor, bits: Bits) -> Tensor:
    """A weight matrix [rows, columns] as bitsandbytes stores it, in its own dtype again.

    8 bits: integers with one scale per row (Dettmers et al. 2022, arXiv 2208.07339). 4 bits: NormalFloat, one scale per
    64 weights (Dettmers et al. 2023, arXiv 2305.14314).
    """
    from bitsandbytes import functional

    if bits == 4:
        codes, state = functional.quantize_4bit(weight.contiguous(), quant_type="nf4")
        return functional.dequantize_4bit(codes, state).to(weight.dtype)
    integers, largest, _ = functional.int8_vectorwise_quant(weight.half().contiguous())
    return (integers.float() * (largest.float() / 127).unsqueeze(1)).to(weight.dtype)


def matrices(model: PreTrainedModel) -> list[tuple[nn.Module, str]]:
    """(module, name in it) of the weights that multiply hidden states: [out, in] of a linear layer, [in, out] of a
    Conv1D, and [experts, rows, columns] of all experts of a layer together. Without the output head.
    """
    from torch import nn
    from torch.nn.modules.conv import _ConvNd
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    found: list[tuple[nn.Module, str]] = []
    for module in model.modules():
        if isinstance(module, nn.Linear | Conv1D):
            found += [(module, "weight")] if module is not head else []
        elif not isinstance(module, _ConvNd):
            own = module.named_parameters(recurse=False)
            found += [(module, name) for name, weight in own if weight.ndim == 3]
    return found


def linear_layers(model: PreTrainedModel) -> dict[str, nn.Linear]:
    """The model's linear layers by name, without the output head."""
    from torch import nn

    head = model.get_output_embeddings()
    found = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    return {name: module for name, module in found.items() if module is not head}
