"""Soft prompts and prefixes: PEFT's folder, the base they belong to, and a plain model with one on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lethe.core.errors import StageError
from lethe.core.hashing import file_sha256
from lethe.models.config import context_of, shape_of, text_part

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
        sizes = shape_of(model.config)
        width = sizes.layers * 2 * sizes.cached_heads * sizes.head_width
    if kind not in ("PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING") or found is None or found.shape[1] != width:
        shape = "none" if found is None else f"{found.shape[0]} x {found.shape[1]}"
        raise StageError(f"{folder}: expected a soft prompt of width {width}, got {kind} with vectors {shape}")
    return found.float()


def with_prompt(model: PreTrainedModel, vectors: Tensor) -> PreTrainedModel:
    """The model with a soft prompt, [p, d], always on: its inputs and outputs are those of the plain model.

    So code that reads logits, caches keys and values or removes the head need not know of it. `generate` counts the
    cache's tokens itself, so it does: use PEFT's model there. In windows and recurrences the vectors stand after the
    padding of a row, so that they are as far from its tokens as without it; attention to all tokens sees no difference.
    """
    import torch

    plain, virtual = model.forward, len(vectors)
    model.register_buffer("soft_prompt", vectors.to(model.device), persistent=False)
    sees_all = "forward" not in vars(model) and not short_layers(model)

    def forward(
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        **others: Any,
    ) -> Any:
        if inputs_embeds is None:  # of now: an attack may have added tokens
            inputs_embeds = cast("Any", model.get_input_embeddings())(input_ids)
        embeds: Any = inputs_embeds  # [B, T, d]
        first, padding = not begun(past_key_values), None if sees_all else padding_of(attention_mask)
        if attention_mask is not None:
            attention_mask = inserted(attention_mask, attention_mask.new_ones(len(embeds), virtual), padding)
        if position_ids is not None:
            position_ids = position_ids.expand(len(embeds), -1) + virtual
        if first:
            prompt = cast("Tensor", model.soft_prompt).to(embeds.dtype).expand(len(embeds), -1, -1)
            embeds = inserted(embeds, prompt, padding)
            if position_ids is not None:
                before = torch.arange(virtual, device=embeds.device).expand(len(embeds), -1)
                position_ids = inserted(position_ids, before, padding)
        output = plain(
            inputs_embeds=embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            **others,
        )
        if first:
            if output.logits.ndim:  # they may be replaced by a loss; what is cut off is as wide as the prompt
                output.logits = output.logits[:, virtual:]
            if output.get("hidden_states"):
                output.hidden_states = tuple(states[:, virtual:] for states in output.hidden_states)
        return output

    model.forward = forward  # shadows the class's forward on this instance only
    return model


def short_layers(model: PreTrainedModel) -> list[str]:
    """The kinds of layers that do not attend to all tokens of the context, by the library's caches for them."""
    from transformers.cache_utils import DynamicCache, DynamicLayer

    config = text_part(model.config)
    context = context_of(config) or 0
    layers = DynamicCache(config=config).layers
    long = (type(each) is DynamicLayer or 0 < context <= getattr(each, "sliding_window", 0) for each in layers)
    return sorted({type(each).__name__ for each, whole in zip(layers, long, strict=True) if not whole})


def check_prefix(model: PreTrainedModel) -> None:
    """Raise StageError if a layer takes no keys and values in front of all tokens."""
    found = short_layers(model) if shape_of(model.config).heads and "forward" not in vars(model) else ["no attention"]
    if found:
        raise StageError(
            f"params.yaml: softprompt.layers: expected input for {text_part(model.config).model_type}, got every (it "
            f"needs layers that attend to all tokens, and it has {', '.join(found)})"
        )


def begun(cache: Any) -> bool:
    """Whether a cache holds anything."""
    try:
        return cache is not None and cache.get_seq_length() > 0
    except ValueError:  # of recurrences alone, which count no tokens
        return bool(cache.has_previous_state())


def padding_of(mask: Tensor | None) -> Tensor | None:
    """How many tokens of padding each row of a mask [B, T] begins with, int64 [B]; None if no row has any."""
    if mask is None or bool(mask[:, 0].all()):
        return None
    return (mask.cumsum(dim=1) == 0).sum(dim=1)


def inserted(rows: Tensor, new: Tensor, after: Tensor | None) -> Tensor:
    """Rows [B, T, ...] with `new` [B, p, ...] after the first so many of each, int64 [B]; None: before all."""
    import torch

    joined = torch.cat([new, rows], dim=1)
    if after is None:
        return joined
    place, width = torch.arange(joined.shape[1], device=rows.device), new.shape[1]
    source = torch.where(place < after[:, None], place + width, place - after[:, None])  # of new, after the padding
    source = torch.where(place >= after[:, None] + width, place, source)
    return joined[torch.arange(len(rows), device=rows.device)[:, None], source]


def with_prefix(model: PreTrainedModel, numbers: Tensor) -> PreTrainedModel:
    """The model with a prefix, [p, layers * 2 * kv_heads * head_width] as PEFT saves it, always on.

    Its inputs and outputs are those of the plain model.
    """
    import torch
    from transformers import DynamicCache

    config, sizes = text_part(model.config), shape_of(model.config)
    check_prefix(model)
    virtual, layers, heads = len(numbers), sizes.layers, sizes.cached_heads
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
        if not begun(past_key_values):
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
    shape = shape_of(model.config)
    config.num_layers, config.num_attention_heads = shape.layers, shape.heads
    config.num_transformer_submodules = 1
    config.save_pretrained(str(folder))
    save_file({"prompt_embeddings": vectors.detach().cpu().contiguous()}, folder / "adapter_model.safetensors")
