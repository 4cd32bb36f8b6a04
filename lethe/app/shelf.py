"""The models that the app asks: loaded once, in the background, and shared by every tab."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from lethe.cli.compare import folder_of, known
from lethe.core.errors import StageError
from lethe.evaluation.model_set import Precision, dtype_named, is_distilled
from lethe.gate.model_catalogue import MODELS, marked_as, role
from lethe.models.checkpoints import absent_reason, load_model, load_tokenizer
from lethe.models.config import context_length
from lethe.models.device import Device
from lethe.models.soft_prompts import virtual_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

WINDOW = 2048  # tokens of context for a model without a limit of its own
NOT_DISTILLED = "the unlearned model is it: nothing was distilled after the fine-tune"


class Reader(NamedTuple):
    """A loaded model with what it takes to ask it."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    context: int  # tokens of text that it can read at once


class Shelf:
    """The wanted models, by name: loaded, absent for a reason, or still to come."""

    def __init__(self, folders: Mapping[str, Path | str]) -> None:
        """folders: name -> the model's folder, or why there is none."""
        self.folders = dict(folders)
        self.ready: dict[str, Reader] = {}
        self.absent = {name: found for name, found in folders.items() if isinstance(found, str)}
        self.lock = Lock()  # around every pass through a model: its forward is another while its head is off

    def load(self, precision: Precision, device: Device) -> None:
        """Load what is to come, one after the other; a model that cannot be loaded is absent, and the line says why."""
        from lethe.models.device import prepare

        try:
            place = prepare(device)
        except StageError as error:
            self.absent |= {name: str(error) for name in self.coming()}
            return
        import torch

        for name in self.coming():
            folder = Path(self.folders[name])
            try:
                model = load_model(folder, place, dtype_named(precision))
                limit = (context_length(folder) or WINDOW) - virtual_tokens(folder)
                self.ready[name] = Reader(model, load_tokenizer(folder), limit)
            except StageError as error:
                self.absent[name] = str(error)
            except (torch.OutOfMemoryError, MemoryError):
                self.absent[name] = f"{folder}: no memory left beside the others; choose fewer with --models"
            except Exception as error:  # a bug keeps its traceback, and the others are loaded all the same
                traceback.print_exc()
                self.absent[name] = f"{folder}: {type(error).__name__}; the terminal of lethe app says more"

    def coming(self) -> list[str]:
        """The names of the models that are not loaded yet."""
        return [name for name in self.folders if name not in self.ready and name not in self.absent]

    def ask(self, names: Sequence[str]) -> dict[str, Reader]:
        """These models. Raises StageError if one is not there, or none is named."""
        for name in names:
            if name not in self.ready:
                reason = self.absent.get(name, "it is still loading" if name in self.folders else "no such model")
                raise StageError(f"{name}: {reason}")
        if not names:
            raise StageError("models: expected at least one, got none")
        return {name: self.ready[name] for name in dict.fromkeys(names)}

    def row(self, name: str) -> dict[str, Any]:
        """A model as the page shows it."""
        state = "ready" if name in self.ready else "absent" if name in self.absent else "loading"
        chat = name in self.ready and self.ready[name].tokenizer.chat_template is not None
        context = self.ready[name].context if name in self.ready else None
        shown = {"name": name, "role": role(name), "mark": marked_as(name) or "other", "state": state}
        shown["folder"] = str(folder_of(name) or name)
        return shown | {"reason": self.absent.get(name), "chat": chat, "context": context}


def wanted(names: Sequence[str]) -> dict[str, Path | str]:
    """Name -> the model's folder, or why there is none. Raises StageError for a name that nothing here has."""
    found: dict[str, Path | str] = {}
    for name in names:
        folder = folder_of(name)
        if folder is None and name not in MODELS:
            raise StageError(f"--models: expected {', '.join((*MODELS, *known()))} or a model folder, got {name}")
        found[name] = place_of(name, folder)
    if all(isinstance(place, str) for place in found.values()):
        raise StageError(
            f"models: expected at least one of {', '.join(names)}, got none; `dvc checkout` or `dvc repro`"
        )
    return found


def place_of(name: str, folder: Path | None) -> Path | str:
    """The folder of a model, or why there is none."""
    if folder is None:
        return f"models/{name}: no such folder; `dvc repro` makes it, `dvc checkout` restores it"
    unlearned = Path("models/unlearned")
    if name == "suppressed" and unlearned.is_dir() and absent_reason(unlearned) is None and not is_distilled(unlearned):
        return NOT_DISTILLED
    return absent_reason(folder) or folder
