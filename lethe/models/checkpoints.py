"""Models and tokenizers as plain local folders, and the model's forward pass with its output head taken off."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from lethe.core.errors import StageError
from lethe.core.hashing import file_sha256
from lethe.core.stage import count_tokens

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

ABSENT = "absent.json"
PROMPT = "adapter_config.json"  # PEFT's name for it; a folder that holds one is a soft prompt's
OWN_PROMPT = "soft_prompt"  # folder of a prompt that belongs to the weights beside it
BASE = "base.json"


def write_absent(folder: Path, reason: str) -> None:
    """Mark a model that is not there, and why; every reader prints the reason."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ABSENT).write_text(json.dumps({"reason": reason}, indent=2) + "\n", encoding="utf-8")


def absent_reason(folder: Path) -> str | None:
    """Why the folder holds no model, or None if it holds one."""
    path = folder / ABSENT
    return json.loads(path.read_text(encoding="utf-8"))["reason"] if path.exists() else None


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The folder's fast tokenizer, with a padding token (the end-of-text token where it has none of its own).

    Raises StageError if the folder holds no tokenizer.json.
    """
    from transformers import AutoTokenizer

    if not (folder / "tokenizer.json").exists():
        raise StageError(f"{folder}: found no tokenizer.json, wanted a model folder with its fast tokenizer")
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def load_model(
    folder: Path, device: torch.device, dtype: torch.dtype | None = None, base: Path | None = None
) -> PreTrainedModel:
    """The folder's causal language model in evaluation mode, weights as `dtype` (None: as they are on disk).

    A folder with a soft prompt gives its base with the prompt always on; base: where the base lies, if not where the
    folder says. Only safetensors are read, code in the folder is never run.
    Raises StageError if the folder has no safetensors, its config is not a causal language model's, or the base is not
    the one a prompt was trained for.
    """
    reason = absent_reason(folder)
    if reason:
        raise StageError(f"{folder}: holds no model: {reason}")
    if (folder / PROMPT).exists():
        model = load_weights(checked_base(folder, base), device, dtype)
        vectors = read_prompt(folder, model)
        return with_prefix(model, vectors) if prompt_kind(folder) == "PREFIX_TUNING" else with_prompt(model, vectors)
    return load_weights(folder, device, dtype)


def load_weights(folder: Path, device: torch.device, dtype: torch.dtype | None) -> PreTrainedModel:
    """The model of a folder with weights of its own, as load_model says; a prompt that belongs to them is on."""
    return in_use(read_weights(folder, dtype=dtype or "auto").to(device), folder)


def read_weights(folder: Path, **how: Any) -> Any:
    """The causal language model of a folder. how: as from_pretrained takes it. Raises StageError as load_model does."""
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # ours says more than one line per model folder read
    if not any(folder.glob("*.safetensors")):
        raise StageError(f"{folder}: found no *.safetensors, wanted a model folder (pickled weights are never loaded)")
    try:
        return AutoModelForCausalLM.from_pretrained(
            folder,
            **how,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            attn_implementation="sdpa",
        )
    except (ValueError, OSError) as error:
        raise StageError(f"{folder}: not loadable as a causal language model: {' '.join(str(error).split())}") from None


def in_use(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """The model that was read from the folder, in evaluation mode, its architecture checked, its tokens counted."""
    model.eval()
    check_head(model)
    model.get_input_embeddings().register_forward_pre_hook(lambda _, ids: count_tokens(ids[0].numel()))
    own = folder / OWN_PROMPT
    return with_prompt(model, read_prompt(own, model)) if own.exists() else model


def virtual_tokens(folder: Path) -> int:
    """How many tokens of the context the folder's soft prompt takes; 0 where there is none."""
    path = next((place / PROMPT for place in (folder, folder / OWN_PROMPT) if (place / PROMPT).exists()), None)
    return json.loads(path.read_text(encoding="utf-8"))["num_virtual_tokens"] if path else 0


def weights_sha256(folder: Path) -> str:
    """The identity of a model: the hash of its config.json and safetensors, whatever else the folder holds."""
    files = sorted([folder / "config.json", *folder.glob("*.safetensors")])
    return hashlib.sha256("".join(file_sha256(path) for path in files).encode()).hexdigest()


def save_prompt(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, base: Path) -> None:
    """Write the p x d soft prompt of a model with vehicle prompt as PEFT's own folder, and which base it is for."""
    model.save_pretrained(folder)
    (folder / "README.md").unlink()  # PEFT's empty form
    write_base(folder, base)
    tokenizer.save_pretrained(folder)


def write_base(folder: Path, base: Path) -> None:
    """Say in a prompt's folder which base it was trained for: its path, relative to the project, and its hash."""
    config = json.loads((folder / PROMPT).read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = str(base)
    (folder / PROMPT).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    facts = {"base": str(base), "sha256": weights_sha256(base)}
    (folder / BASE).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def checked_base(folder: Path, base: Path | None = None) -> Path:
    """The folder of the base a prompt was trained for. Raises StageError if it is another model."""
    facts = json.loads((folder / BASE).read_text(encoding="utf-8"))
    base = base or Path(facts["base"])
    if not (base / "config.json").exists():
        raise StageError(f"{folder}: a soft prompt for {base}, found no model there, wanted its base; run `dvc repro`")
    found = weights_sha256(base)
    if found != facts["sha256"]:
        raise StageError(
            f"{folder}: a soft prompt for the base {facts['sha256'][:12]}, found {found[:12]} in {base}; run "
            "`dvc repro`"
        )
    return base


def prompt_kind(folder: Path) -> str:
    """PEFT's name for what the folder holds: PROMPT_TUNING, P_TUNING, PREFIX_TUNING ..."""
    return json.loads((folder / PROMPT).read_text(encoding="utf-8"))["peft_type"]


def read_prompt(folder: Path, model: PreTrainedModel) -> Tensor:
    """A soft prompt's vectors, float32 [p, d], or a prefix's, [p, layers * 2 * kv_heads * head_width].

    Raises StageError if they are none for this model.
    """
    from safetensors.torch import load_file

    kind = prompt_kind(folder)
    found = load_file(folder / "adapter_model.safetensors").get("prompt_embeddings")
    embedding: Any = model.get_input_embeddings()
    width = embedding.weight.shape[1]
    if kind == "PREFIX_TUNING":
        config: Any = model.config
        width = config.num_hidden_layers * 2 * config.num_key_value_heads * (width // config.num_attention_heads)
    if kind not in ("PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING") or found is None or found.shape[1] != width:
        shape = "none" if found is None else f"{found.shape[0]} x {found.shape[1]}"
        raise StageError(f"{folder}: found {kind} with vectors {shape}, wanted a soft prompt of width {width}")
    return found.float()


def with_prompt(model: PreTrainedModel, vectors: Tensor) -> PreTrainedModel:
    """The model with a soft prompt, [p, d], always on: it takes and returns what it would without, token by token.

    So whoever reads logits, caches keys and values or takes the head off need not know of it. `generate` counts the
    cache's tokens itself and does: PEFT's own model is for that.
    """
    import torch

    plain, virtual, embedding = model.forward, len(vectors), cast("Any", model.get_input_embeddings())
    model.register_buffer("soft_prompt", vectors.to(model.device), persistent=False)

    def forward(
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        **others: Any,
    ) -> Any:
        embeds = embedding(input_ids) if inputs_embeds is None else inputs_embeds  # [B, T, d]
        first = past_key_values is None or past_key_values.get_seq_length() == 0
        if attention_mask is not None:
            attention_mask = torch.cat([attention_mask.new_ones(len(embeds), virtual), attention_mask], dim=1)
        if position_ids is not None:
            position_ids = position_ids.expand(len(embeds), -1) + virtual
        if first:
            prompt = cast("Tensor", model.soft_prompt).to(embeds.dtype).expand(len(embeds), -1, -1)
            embeds = torch.cat([prompt, embeds], dim=1)
            if position_ids is not None:
                before = torch.arange(virtual, device=embeds.device).expand(len(embeds), -1)
                position_ids = torch.cat([before, position_ids], dim=1)
        output = plain(
            inputs_embeds=embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            **others,
        )
        if first:
            if output.logits.ndim:  # a loss may stand in their place
                output.logits = output.logits[:, virtual:]
            if output.get("hidden_states"):
                output.hidden_states = tuple(states[:, virtual:] for states in output.hidden_states)
        return output

    model.forward = forward  # shadows the class's forward on this instance only
    return model


def with_prefix(model: PreTrainedModel, numbers: Tensor) -> PreTrainedModel:
    """The model with a prefix, [p, layers * 2 * kv_heads * head_width] as PEFT saves it, always on.

    It takes and returns what it would without, position by position.
    """
    import torch
    from transformers import DynamicCache

    config: Any = model.config
    heads = config.num_key_value_heads
    virtual, layers = len(numbers), config.num_hidden_layers
    split = numbers.view(1, virtual, layers * 2, heads, -1).permute(2, 0, 3, 1, 4)  # [2 layers, 1, heads, p, width]
    model.register_buffer("prefix", split.to(model.device), persistent=False)
    plain = model.forward

    def forward(
        input_ids: Tensor, attention_mask: Tensor | None = None, position_ids: Tensor | None = None,
        past_key_values: Any = None, **others: Any,
    ) -> Any:  # fmt: skip
        rows, tokens = input_ids.shape
        if attention_mask is None:
            attention_mask = input_ids.new_ones(rows, tokens)
        if position_ids is None:
            position_ids = (attention_mask.cumsum(dim=1) - 1).clamp(min=0)[:, -tokens:]
        if past_key_values is None or past_key_values.get_seq_length() == 0:
            past_key_values, prefix = DynamicCache(config=config), cast("Tensor", model.prefix)
            for layer in range(layers):
                pair = (prefix[2 * layer + which].to(model.dtype).expand(rows, -1, -1, -1) for which in (0, 1))
                past_key_values.update(*pair, layer)
        whole = torch.cat([attention_mask.new_ones(rows, virtual), attention_mask], dim=1)
        return plain(
            input_ids=input_ids, attention_mask=whole, position_ids=position_ids + virtual,
            past_key_values=past_key_values, **others,
        )  # fmt: skip

    model.forward = forward  # type: ignore[method-assign]  # shadows the class's forward on this instance only
    return model


def check_head(model: PreTrainedModel) -> None:
    """Raise StageError if the model's logits are not simply head(hidden), as all our arithmetic takes for granted.

    Some architectures cap or scale the logits after the head.
    """
    import torch

    ids = torch.arange(2, device=model.device).unsqueeze(0)
    with torch.inference_mode():
        whole = model(input_ids=ids, use_cache=False).logits
        with headless(model) as head:
            parts = head(model(input_ids=ids, use_cache=False).logits)
    if not torch.allclose(whole.float(), parts.float(), rtol=1e-2, atol=1e-2, equal_nan=True):
        raise StageError(
            f"{model.config.model_type}: its logits are not a linear function of the last hidden state, wanted an "
            "architecture without logit scaling or capping"
        )


class Head:
    """The output head: hidden states [N, d] -> logits [N, V]."""

    def __init__(self, layer: nn.Linear | SimpleNamespace) -> None:
        self.weight = layer.weight  # [V, d]
        self.bias = layer.bias  # [V] or None

    def __call__(self, hidden: Tensor) -> Tensor:
        """hidden: [..., d]. Returns logits [..., V] in the dtype of `hidden`."""
        from torch.nn.functional import linear

        bias = None if self.bias is None else self.bias.to(hidden.dtype)
        return linear(hidden, self.weight.to(hidden.dtype), bias)


@contextmanager
def headless(model: PreTrainedModel, instead: Callable[[Tensor], Tensor] = lambda hidden: hidden) -> Iterator[Head]:
    """Inside the block the model's own forward returns its last hidden states as `logits`; the head is yielded.

    So [batch, tokens, vocabulary] logits never exist, and adapters, prompts and sharding hooks still run.
    instead: what is made of the hidden states in the head's place, where the head's weights are whole if they are
    sharded.
    """
    layer: Any = model.get_output_embeddings()
    layer.forward = instead  # shadows the class's forward on this instance only
    try:
        yield Head(layer)
    finally:
        del layer.forward


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
    """The decoder's layers, wherever the architecture keeps them: the first list of modules."""
    from torch import nn

    return next(module for module in model.modules() if isinstance(module, nn.ModuleList))


def frozen_head(model: PreTrainedModel) -> Head:
    """A copy of the output head as it is now: for the base's distribution, where training moves the head."""
    layer = model.get_output_embeddings()
    bias = None if layer.bias is None else layer.bias.detach().clone()
    return Head(SimpleNamespace(weight=layer.weight.detach().clone(), bias=bias))


def save_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    dtype: torch.dtype,
    weights: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a plain model folder: config, safetensors in `dtype`, tokenizer. Same tensors, same bytes.

    The model in memory keeps its own dtype. A soft prompt that is on goes along, and is on again once loaded.
    weights: all of the model's, where it holds a shard of them.
    """
    state = {name: tensor.detach().to("cpu", dtype) for name, tensor in (weights or model.state_dict()).items()}
    model.save_pretrained(folder, state_dict=state)
    if model.dtype != dtype:  # save_pretrained names the dtype in memory, and readers would load twice the bytes
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config["dtype"] = str(dtype).removeprefix("torch.")
        (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    tokenizer.save_pretrained(folder)
    if hasattr(model, "soft_prompt"):
        write_own_prompt(cast("Tensor", model.soft_prompt), model, folder / OWN_PROMPT)


def write_own_prompt(vectors: Tensor, model: PreTrainedModel, folder: Path) -> None:
    """Write a soft prompt as PEFT's folder inside that of the weights it belongs to from now on."""
    from peft import PromptTuningConfig
    from safetensors.torch import save_file

    virtual, width = vectors.shape
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=virtual, inference_mode=True, token_dim=width)
    config.num_layers, config.num_attention_heads = model.config.num_hidden_layers, model.config.num_attention_heads
    config.num_transformer_submodules = 1
    config.save_pretrained(str(folder))
    save_file({"prompt_embeddings": vectors.detach().cpu().contiguous()}, folder / "adapter_model.safetensors")
