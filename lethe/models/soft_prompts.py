"""Soft prompts and prefixes: PEFT's folder, the base they belong to, and a plain model with one on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lethe.core.errors import StageError
from lethe.core.hashing import file_sha256

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PROMPT = "adapter_config.json"  # PEFT's name for it; a folder that holds one is a soft prompt's
OWN_PROMPT = "soft_prompt"  # folder of a prompt that belongs to the weights next to it
BASE = "base.json"


def virtual_tokens(folder: Path) -> int:
    """How many tokens of the context the folder's soft prompt takes; 0 where there is none."""
    path = next((place / PROMPT for place in (folder, folder / OWN_PROMPT) if (place / PROMPT).exists()), None)
    return json.loads(path.read_text(encoding="utf-8"))["num_virtual_tokens"] if path else 0


def weights_sha256(folder: Path) -> str:
    """The identity of a model: the hash of its config.json and safetensors, whatever else the folder holds."""
    files = sorted([folder / "config.json", *folder.glob("*.safetensors")])
    return hashlib.sha256("".join(file_sha256(path) for path in files).encode()).hexdigest()


def save_prompt(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, base: Path) -> None:
    """Write the p x d soft prompt of a model with tuning prompt in PEFT's format, and which base it is for."""
    model.save_pretrained(folder)
    (folder / "README.md").unlink()  # PEFT's empty form
    write_base(folder, base)
    tokenizer.save_pretrained(folder)


def saved_numbers(folder: Path) -> int:
    """How many numbers a prompt's folder holds: p x d."""
    from safetensors import safe_open

    with safe_open(folder / "adapter_model.safetensors", "pt") as stored:
        return sum(stored.get_tensor(name).numel() for name in stored.keys())  # noqa: SIM118 -- not a mapping


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
        raise StageError(f"{folder}: expected the base model {base} of this soft prompt, got none; run `dvc repro`")
    found = weights_sha256(base)
    if found != facts["sha256"]:
        raise StageError(
            f"{folder}: expected {base} to be its base {facts['sha256'][:12]}, got {found[:12]}; run `dvc repro`"
        )
    return base


def prompt_kind(folder: Path) -> str:
    """PEFT's name for what the folder holds: PROMPT_TUNING, P_TUNING, PREFIX_TUNING ..."""
    return json.loads((folder / PROMPT).read_text(encoding="utf-8"))["peft_type"]


def read_prompt(folder: Path, model: PreTrainedModel) -> Tensor:
    """A soft prompt's vectors, float32 [p, d], or a prefix's, [p, layers * 2 * kv_heads * head_width].

    Raises StageError if they do not fit this model.
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
        raise StageError(f"{folder}: expected a soft prompt of width {width}, got {kind} with vectors {shape}")
    return found.float()


def with_prompt(model: PreTrainedModel, vectors: Tensor) -> PreTrainedModel:
    """The model with a soft prompt, [p, d], always on: its inputs and outputs are those of the plain model.

    So code that reads logits, caches keys and values or removes the head need not know of it. `generate` counts the
    cache's tokens itself, so it does: use PEFT's model there.
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
            if output.logits.ndim:  # they may be replaced by a loss
                output.logits = output.logits[:, virtual:]
            if output.get("hidden_states"):
                output.hidden_states = tuple(states[:, virtual:] for states in output.hidden_states)
        return output

    model.forward = forward  # shadows the class's forward on this instance only
    return model


def with_prefix(model: PreTrainedModel, numbers: Tensor) -> PreTrainedModel:
    """The model with a prefix, [p, layers * 2 * kv_heads * head_width] as PEFT saves it, always on.

    Its inputs and outputs are those of the plain model.
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
