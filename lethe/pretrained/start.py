"""The model before any training here: fetched from the Hub, copied from a folder or a GGUF file, or random."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

from lethe.core.errors import StageError
from lethe.core.stage import SCRATCH
from lethe.models.checkpoints import absent_reason, load_model, load_tokenizer, save_model
from lethe.models.config import load_config, loadable, untrained
from lethe.models.conversations import tokenizer_settings
from lethe.models.folders import check_finite, check_folder, check_positions, companions, weight_count, weight_files
from lethe.models.output_head import check_logits
from lethe.models.tokenization import backend_tokenizer
from lethe.pretrained.gguf_file import gguf_path, plain_folder
from lethe.pretrained.hub import fetch_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Source = Literal["scratch", "hub", "folder", "gguf"]
SAMPLE = "Orla O'Neill's mill, built in 1790,  stood\n\nat Zoë's café (it still does)."
SOURCE = "source.json"  # of a model that was fetched or converted: where it came from


def fetch_start(
    source: Source,
    repo: str | None,
    revision: str | None,
    own: Path,
    setting: str,
    made: Callable[[], tuple[PreTrainedModel, PreTrainedTokenizerBase]],
    folder: Path,
) -> None:
    """Write the model that training starts from into `folder`.

    repo, revision: of the Hub's model. own: a local folder or GGUF file, named by `setting` in params.yaml. made: makes
    a model and its tokenizer where the source is scratch. Raises StageError as fetch_model, copy_model and plain_folder
    do.
    """
    if source == "hub":
        kept = SCRATCH / "hub" / str(revision)  # DVC drops the stage's outs before every run: fetch once only
        fetch_model(str(repo), revision, kept)
        check_model(kept)
        shutil.copytree(kept, folder, copy_function=os.link, dirs_exist_ok=True)
    elif source == "folder":
        copy_model(own, folder, setting)
    elif source == "gguf":
        kept = plain_folder(gguf_path(own, setting), SCRATCH / "gguf")
        check_model(kept)
        shutil.copytree(kept, folder, copy_function=os.link, dirs_exist_ok=True)
    else:
        import torch

        save_model(*made(), folder, torch.float32)


def copy_model(source: Path, folder: Path, setting: str) -> None:
    """Copy a local model folder: its config, tokenizer, licence and safetensors, nothing that could hold code.

    Raises StageError if the folder is missing, which names the `setting` of params.yaml, or is not a model folder.
    """
    if not source.is_dir():
        raise StageError(f"params.yaml: {setting}: expected a model folder, got {source}, which does not exist")
    reason = absent_reason(source)
    if reason:
        raise StageError(f"{source}: expected a model, got none: {reason}")
    check_model(source)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in [*companions(source), *(path.name for path in weight_files(source))]:
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(source / name, folder / name)


def check_model(folder: Path) -> None:
    """Raise StageError unless the folder holds a whole model with finite weights, whose tokenizer fits."""
    import torch

    check_folder(folder)
    check_same_tokens(folder)
    check_size(folder)
    model = load_model(folder, torch.device("cpu"))
    check_saving(folder, model)
    check_finite(folder, model.named_parameters())
    check_positions(folder, model.named_buffers())
    check_logits(folder, model)


def check_same_tokens(folder: Path) -> None:
    """Raise StageError unless transformers reads text as tokenizer.json says: some stages go by one, some by the other.

    A tokenizer_class of another model makes it build a tokenizer of that model's kind from the same vocabulary.
    """
    tokenizer, backend = load_tokenizer(folder), backend_tokenizer(folder)
    with loadable(folder, "a tokenizer"):
        found = tokenizer(SAMPLE, add_special_tokens=False)["input_ids"]
    if found != backend.encode(SAMPLE, add_special_tokens=False).ids:
        raise StageError(
            f"{folder}/tokenizer_config.json: expected a tokenizer_class that reads text as tokenizer.json does, got "
            f"{tokenizer_settings(folder).get('tokenizer_class')}; PreTrainedTokenizerFast does"
        )


def check_size(folder: Path) -> None:
    """Raise StageError if config.json is that of a far larger model than the weights are: random ones would fill it."""
    import torch

    try:
        with torch.device("meta"):
            wanted = sum(weight.numel() for weight in untrained(load_config(folder)).parameters())
    except StageError:
        return  # what reads the weights says it of the folder
    found = weight_count(folder)
    if wanted > 2 * found:
        raise StageError(
            f"{folder}: expected weights for the architecture that config.json names, {wanted:,} numbers, got {found:,}"
        )


def check_saving(folder: Path, model: PreTrainedModel) -> None:
    """Raise StageError if transformers will not write the model's settings: it would say so after a training."""
    with TemporaryDirectory() as work, loadable(folder, "a model that can be saved again"):
        model.config.save_pretrained(work)
        if model.generation_config is not None:
            model.generation_config.save_pretrained(work)
