"""Tuning: which parameters are trained. All weights, low-rank adapters, or a soft prompt before frozen weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import Field, model_validator

from lethe.core.errors import StageError
from lethe.core.params import StageParams
from lethe.models.config import shape_of
from lethe.models.output_head import decoder_layers, text_module

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

Tuning = Literal["full", "lora", "prompt"]
SCANS = ("falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h")  # model types whose kernels take weights alone


class LoraParams(StageParams):
    """Low-rank adapters (Hu et al. 2021), by PEFT."""

    rank: int = Field(ge=1)
    alpha: int = Field(ge=1)
    dropout: float = Field(ge=0, lt=1)
    targets: Literal["all-linear"] | list[str]


class PromptParams(StageParams):
    """A soft prompt (Lester et al. 2021; with an encoder Liu et al. 2021, as SPUL section 3 has it), by PEFT."""

    tokens: int = Field(ge=1)  # p, the virtual tokens before the input
    encoder: int = Field(ge=0)  # hidden width of the MLP behind the vectors in training; 0: none
    start: Literal["random", "vocabulary"]  # without an encoder: from N(0, 1), or from embeddings of random tokens

    @model_validator(mode="after")
    def _an_encoder_starts_at_random(self) -> PromptParams:
        if self.encoder and self.start != "random":
            raise ValueError(f"start: expected random or encoder 0, got {self.start} with encoder {self.encoder}")
        return self


def attach(
    model: PreTrainedModel, tuning: Tuning, lora: LoraParams, seed: int, prompt: PromptParams | None = None
) -> PreTrainedModel:
    """The model with exactly the parameters of its tuning trainable; lora and prompt draw their start from `seed`."""
    if tuning == "full":
        return model.requires_grad_(True)
    import torch
    from peft import get_peft_model

    torch.manual_seed(seed)
    model.requires_grad_(False)
    if tuning == "prompt":
        if prompt is None:
            raise ValueError("tuning prompt without its parameters")
        check_vectors(model)
        config = prompt_config(prompt)
        embeddings, shape = cast("Any", model.get_input_embeddings()), shape_of(model.config)
        config.token_dim = embeddings.weight.shape[1]  # PEFT reads sizes from some names alone
        config.num_layers, config.num_attention_heads = shape.layers, max(1, shape.heads)
        try:
            prompted: Any = get_peft_model(model, config, autocast_adapter_dtype=False)
        except AttributeError:  # it does not find the embeddings
            raise no_vectors(model) from None
        prompted.word_embeddings = prompted.word_embeddings or embeddings  # it looks for vocab_size rows
        return prompted
    config = lora_config(lora)
    config.exclude_modules = without_adapters(model) or None
    return get_peft_model(model, config)


def check_vectors(model: PreTrainedModel) -> None:
    """Raise StageError if the model does not take embeddings in place of tokens, which a soft prompt needs."""
    import torch

    ids = torch.arange(4, device=model.device).unsqueeze(0)
    try:
        with torch.inference_mode():
            vectors = cast("Any", model.get_input_embeddings())(ids)
            wanted = model(input_ids=ids, use_cache=False).logits
            found = model(inputs_embeds=vectors, use_cache=False).logits
            model(inputs_embeds=0.9 * vectors, use_cache=False)  # some look up which token has such a vector
        same = torch.allclose(wanted, found, rtol=1e-2, atol=1e-2)
    except torch.OutOfMemoryError:
        raise
    except Exception:  # each architecture refuses in its own way
        same = False
    if not same:
        raise no_vectors(model)


def no_vectors(model: PreTrainedModel) -> StageError:
    """That a model is none for a soft prompt."""
    return StageError(
        f"params.yaml: tuning: expected full or lora for {model.config.model_type}, got prompt (the model does not "
        "take vectors in place of tokens)"
    )


def without_adapters(model: PreTrainedModel) -> list[str]:
    """The linear layers that adapters leave alone: those that read images or sound, and those that PEFT cannot wrap,
    which are routers that return a tuple and what Mamba's kernels fuse.
    """
    from torch import nn

    inside = {id(module) for module in text_module(model).modules()} | {id(model.get_output_embeddings())}
    found = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            fused = model.config.model_type in SCANS and name.endswith(".out_proj")
            found += [name] if fused or is_router(module) or id(module) not in inside else []
    return found


def is_router(layer: nn.Linear) -> bool:
    """Whether a linear layer returns something else than the product with its weights."""
    import torch
    from torch import nn

    if type(layer).forward is nn.Linear.forward or type(layer).__module__.startswith("bitsandbytes"):
        return False
    try:
        with torch.inference_mode():
            found = layer(layer.weight.new_zeros(1, layer.in_features))
    except Exception:  # each architecture's takes its own inputs
        return True
    return not isinstance(found, torch.Tensor) or found.shape != (1, layer.out_features)


def lora_config(lora: LoraParams) -> Any:
    """The PEFT configuration of the adapters."""
    from peft import LoraConfig

    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.targets,
        task_type="CAUSAL_LM",
    )


def prompt_config(prompt: PromptParams) -> Any:
    """The PEFT configuration of the soft prompt: P-tuning with an encoder, prompt tuning without."""
    from peft import PromptEncoderConfig, PromptTuningConfig

    if prompt.encoder:
        return PromptEncoderConfig(
            task_type="CAUSAL_LM", num_virtual_tokens=prompt.tokens, encoder_hidden_size=prompt.encoder
        )
    start = {"random": "RANDOM", "vocabulary": "SAMPLE_VOCAB"}[prompt.start]
    return PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=prompt.tokens, prompt_tuning_init=start)


def check_prompt_room(prompt: PromptParams, block_tokens: int, context: int | None, where: str) -> None:
    """Raise StageError if the prompt and a block together are longer than the model's context."""
    if context and prompt.tokens + block_tokens > context:
        raise StageError(
            f"params.yaml: {where}.prompt.tokens: expected at most {max(0, context - block_tokens)}, got "
            f"{prompt.tokens} (the model's context is {context}, a block has {block_tokens} tokens)"
        )


def start_from(model: Any, tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    """Initialise a soft prompt with the embeddings of a text (Lester et al. 2021), repeated or cut to its length.

    Only an initialisation: training does not constrain the vectors.
    """
    import torch

    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    vectors = model.prompt_encoder["default"].embedding.weight  # [p, d]
    repeated = [ids[place % len(ids)] for place in range(len(vectors))]
    with torch.no_grad():
        vectors.copy_(model.get_input_embeddings().weight[torch.tensor(repeated, device=vectors.device)])


def prompt_vectors(model: Any) -> Tensor:
    """The soft prompt of a model with tuning prompt: float32 [p, d] on the CPU, its encoder applied."""
    return model.get_prompt_embedding_to_save("default").float()


def merge(model: Any) -> PreTrainedModel:
    """The plain model with its adapters merged into the weights. A soft prompt cannot be merged."""
    return model.merge_and_unload() if hasattr(model, "merge_and_unload") else model


def folded(base: Path, adapter: Path) -> PreTrainedModel:
    """The base with a saved adapter merged into its weights: float32, on the CPU, whatever the training ran in.

    Call it after the trained model is freed, as two may not fit the card; lower precision would round the weights.
    """
    import torch
    from peft import PeftModel

    from lethe.models.checkpoints import load_model

    return merge(PeftModel.from_pretrained(load_model(base, torch.device("cpu"), torch.float32), adapter))


def train_only(model: PreTrainedModel, layers: range) -> PreTrainedModel:
    """Freeze everything but the decoder layers `layers`, counted from 1 (RMU moves three)."""
    model.requires_grad_(False)
    for number, layer in enumerate(decoder_layers(model), start=1):
        layer.requires_grad_(number in layers)
    return model


def trainable_parameters(model: PreTrainedModel) -> int:
    """How many values are trained."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
