"""Models and tokenizers as plain local folders, loaded from safetensors alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lethe.core.errors import StageError
from lethe.core.stage import count_tokens
from lethe.models.config import load_config, loadable, untrained
from lethe.models.device import SPREAD, STATE, device_map, gpus
from lethe.models.folders import (
    check_files,
    check_loaded,
    for_older_readers,
    keep_companions,
    refuse_adapter,
)
from lethe.models.output_head import check_head
from lethe.models.soft_prompts import (
    BASE,
    OWN_PROMPT,
    checked_base,
    prompt_kind,
    read_prompt,
    with_prefix,
    with_prompt,
    write_own_prompt,
)
from lethe.models.uniform import uniform

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

ABSENT = "absent.json"


def write_absent(folder: Path, reason: str) -> None:
    """Record that there is no model, and why; every reader prints the reason."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ABSENT).write_text(json.dumps({"reason": reason}, indent=2) + "\n", encoding="utf-8")


def absent_reason(folder: Path) -> str | None:
    """Why the folder holds no model, or None if it holds one."""
    path = folder / ABSENT
    return json.loads(path.read_text(encoding="utf-8"))["reason"] if path.exists() else None


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The folder's fast tokenizer, with a padding token (the end-of-text token where it has none of its own).

    Raises StageError if the folder holds no tokenizer.json, or transformers takes it for none.
    """
    from transformers import AutoTokenizer

    if not (folder / "tokenizer.json").exists():
        raise StageError(f"{folder}: expected a model folder with its fast tokenizer, got no tokenizer.json")
    with loadable(folder, "a tokenizer"):
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def load_model(
    folder: Path, device: torch.device, dtype: torch.dtype | None = None, base: Path | None = None
) -> PreTrainedModel:
    """The folder's causal language model in evaluation mode, weights as `dtype` (None: as they are on disk).

    A folder with a soft prompt gives its base with the prompt always on; base: the base's folder, if not the one
    that base.json names. Only safetensors are read, code in the folder is never run.
    Raises StageError if the folder has no safetensors, its config is not a causal language model's, or the base is not
    the one a prompt was trained for.
    """
    reason = absent_reason(folder)
    if reason:
        raise StageError(f"{folder}: expected a model, got none: {reason}")
    if (folder / BASE).exists():
        model = load_weights(checked_base(folder, base), device, dtype)
        vectors = read_prompt(folder, model)
        return with_prefix(model, vectors) if prompt_kind(folder) == "PREFIX_TUNING" else with_prompt(model, vectors)
    return load_weights(folder, device, dtype)


def quick_dtype(folder: Path, device: torch.device) -> torch.dtype | None:
    """float32 for a float16 model on a CPU, where float16 takes four times as long; else None: as on disk."""
    import torch

    halves = load_config(folder).dtype == torch.float16
    return torch.float32 if halves and device.type == "cpu" else None


def load_weights(folder: Path, device: torch.device, dtype: torch.dtype | None) -> PreTrainedModel:
    """The model of a folder that has weights, as load_model says; a prompt that belongs to them is on."""
    import torch

    if not STATE[SPREAD]:
        return in_use(read_weights(folder, dtype=dtype or "auto").to(device), folder)
    with torch.device("meta"):
        plan = device_map(untrained(load_config(folder)), gpus())
    return in_use(read_weights(folder, dtype=dtype or "auto", device_map=plan), folder)


def read_weights(folder: Path, **how: Any) -> Any:
    """The causal language model of a folder. how: as from_pretrained takes it. Raises StageError as load_model does.

    Every weight of the architecture must be in the files, and no other: what is missing would be random.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # the stages' bars say more than one per model folder
    refuse_adapter(folder)
    check_files(folder)
    with loadable(folder):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            **how,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # they are told apart by name below
            output_loading_info=True,
        )
    model, info = loaded
    check_loaded(folder, info)
    return model


def in_use(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """The model that was read from the folder, in evaluation mode, its architecture checked, its tokens counted."""
    model.eval()
    check_head(model)
    uniform(model)
    model.get_input_embeddings().register_forward_pre_hook(lambda _, ids: count_tokens(ids[0].numel()))
    own = folder / OWN_PROMPT
    return with_prompt(model, read_prompt(own, model)) if own.exists() else model


def first_names(model: PreTrainedModel) -> dict[str, str]:
    """{name: the first name of the same weight} of all weights of a model; tied ones have several."""
    first: dict[int, str] = {}
    return {name: first.setdefault(id(weight), name) for name, weight in model.named_parameters(remove_duplicate=False)}


def save_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    dtype: torch.dtype,
    weights: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a plain model folder: config, safetensors in `dtype`, tokenizer. Same tensors, same bytes; tied ones once.

    Config and tokenizer are those of the folder that the model was loaded from, if it was. The model in memory keeps
    its own dtype. A soft prompt that is on is saved too, and is on again once loaded.
    weights: all of the model's, where it holds a shard of them.
    """
    held, first = weights or model.state_dict(), first_names(model)
    state = {name: held[name].detach().to("cpu", dtype) for name in held if first.get(name, name) == name}
    state |= {name: state[first[name]] for name in held if name not in state}
    model.save_pretrained(folder, state_dict=state)
    source, name = Path(model.name_or_path or ""), str(dtype).removeprefix("torch.")
    if model.name_or_path and (source / "config.json").exists():
        keep_companions(source, folder, name)
    else:
        tokenizer.save_pretrained(folder)
        if model.dtype != dtype:  # save_pretrained names the dtype in memory, and readers would load twice the bytes
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            config["dtype"] = name
            (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        for_older_readers(folder)
    if hasattr(model, "soft_prompt"):
        write_own_prompt(cast("Tensor", model.soft_prompt), model, folder / OWN_PROMPT)
