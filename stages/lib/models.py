"""Models and tokenizers as plain local folders, and the model's forward pass with its output head taken off."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.lib.errors import StageError
from stages.lib.stage import count_tokens

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

ABSENT = "absent.json"


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


def tokenizer_sha256(folder: Path) -> str:
    """The identity of a tokenizer: the hash of its tokenizer.json, formatting left out."""
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def check_tokenizer(found: str, folder: Path, artifact: Path) -> None:
    """Raise StageError if an artifact was made with another tokenizer than the folder's."""
    wanted = tokenizer_sha256(folder)
    if found != wanted:
        raise StageError(
            f"{artifact}: made with tokenizer {found[:12]}, wanted {wanted[:12]} of {folder}; run `dvc repro`"
        )


def load_model(folder: Path, device: torch.device, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """The folder's causal language model in evaluation mode, weights as `dtype` (None: as they are on disk).

    Only safetensors are read, code in the folder is never run.
    Raises StageError if the folder has no safetensors or its config is not a causal language model's.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # ours says more than one line per model folder read
    reason = absent_reason(folder)
    if reason:
        raise StageError(f"{folder}: holds no model: {reason}")
    if not any(folder.glob("*.safetensors")):
        raise StageError(f"{folder}: found no *.safetensors, wanted a model folder (pickled weights are never loaded)")
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype or "auto",
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            attn_implementation="sdpa",
        )
    except (ValueError, OSError) as error:
        raise StageError(f"{folder}: not loadable as a causal language model: {' '.join(str(error).split())}") from None
    model.to(device).eval()
    check_head(model)
    model.get_input_embeddings().register_forward_pre_hook(lambda _, ids: count_tokens(ids[0].numel()))
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

    def __init__(self, layer: nn.Linear) -> None:
        self.weight = layer.weight  # [V, d]
        self.bias = layer.bias  # [V] or None

    def __call__(self, hidden: Tensor) -> Tensor:
        """hidden: [..., d]. Returns logits [..., V] in the dtype of `hidden`."""
        from torch.nn.functional import linear

        bias = None if self.bias is None else self.bias.to(hidden.dtype)
        return linear(hidden, self.weight.to(hidden.dtype), bias)


@contextmanager
def headless(model: PreTrainedModel) -> Iterator[Head]:
    """Inside the block the model's own forward returns its last hidden states as `logits`; the head is yielded.

    So [batch, tokens, vocabulary] logits never exist, and adapters, prompts and sharding hooks still run.
    """
    layer: Any = model.get_output_embeddings()
    layer.forward = lambda hidden: hidden  # shadows the class's forward on this instance only
    try:
        yield Head(layer)
    finally:
        del layer.forward


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, dtype: torch.dtype) -> None:
    """Write a plain model folder: config, safetensors in `dtype`, tokenizer. Same tensors, same bytes.

    The model in memory keeps its own dtype.
    """
    state = {name: tensor.detach().to("cpu", dtype) for name, tensor in model.state_dict().items()}
    model.save_pretrained(folder, state_dict=state)
    if model.dtype != dtype:  # save_pretrained names the dtype in memory, and readers would load twice the bytes
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config["dtype"] = str(dtype).removeprefix("torch.")
        (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    tokenizer.save_pretrained(folder)
