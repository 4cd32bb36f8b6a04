"""A GGUF file, the format of llama.cpp, as the plain model folder that a training starts from.

transformers reads the file: it names the weights as its own architectures do and turns rounded blocks into numbers.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lethe.core.errors import StageError
from lethe.core.hashing import file_sha256
from lethe.core.stage import need_disk
from lethe.core.tables import read_json, write_json
from lethe.models.checkpoints import save_model
from lethe.models.folders import POINTER, check_loaded

if TYPE_CHECKING:
    from gguf import GGUFReader

MAGIC = b"GGUF"
SUFFIX = ".gguf"
FACTORS = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")  # that transformers leaves out
KEPT_SCALING = ("gpt-oss",)  # architectures whose scaled positions transformers reads
FOLDER = "use the folder that the file was made from"
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


class Header(NamedTuple):
    """What the file says of its model."""

    architecture: str  # llama.cpp's name of it
    context: int | None  # tokens
    weights: int  # how many numbers
    dtype: str  # that the plain folder gets
    said: dict[str, str]  # its name and licence, as far as it has them


def gguf_path(own: Path, setting: str) -> Path:
    """The GGUF file that `setting` of params.yaml names: the file itself, or the only one in a folder.

    Raises StageError if there is none, or there are several.
    """
    if own.is_file():
        return own
    found = sorted(own.glob(f"*{SUFFIX}"))
    if len(found) != 1:
        there = ", ".join(path.name for path in found) or ("none" if own.is_dir() else "nothing there")
        raise StageError(f"params.yaml: {setting}: expected a GGUF file, or a folder with one, got {own}: {there}")
    return found[0]


def read_gguf(path: Path) -> GGUFReader:
    """The file's header and its weights, still on disk. Raises StageError if it is not a whole GGUF file."""
    with path.open("rb") as stream:
        begins = stream.read(len(POINTER))
    if begins == POINTER:
        raise StageError(f"{path}: expected a GGUF file, got a Git LFS pointer; fetch the file with `git lfs pull`")
    if not begins.startswith(MAGIC):
        raise StageError(f"{path}: expected a GGUF file, got one that does not begin with {MAGIC.decode()}")
    try:
        from gguf import GGUFReader
    except ImportError:
        raise StageError(
            f"{path}: expected the package gguf to read it, got none; `pip install 'lethe-unlearning[gguf]'`"
        ) from None
    try:
        return GGUFReader(path)
    except Exception as error:  # a cut file ends in the middle of any of its parts
        found = f"{path.stat().st_size} bytes that are not ({one_line(error)})"
        raise StageError(f"{path}: expected a whole GGUF file, got {found}; fetch the file again") from None


def header_of(path: Path) -> Header:
    """The file's header, checked. Raises StageError if no stage could train its model, or would train another one."""
    reader = read_gguf(path)
    values = {name: field.contents() for name, field in reader.fields.items() if name.startswith("general.")}
    architecture = values.get("general.architecture")
    if not architecture or not reader.tensors:
        raise StageError(f"{path}: expected a model, got a GGUF file without {'weights' if architecture else 'its kind'}")
    for problem in changed_by_reading(reader, architecture):
        raise StageError(f"{path}: {problem}")
    check_architecture(path, architecture)
    context = reader.get_field(f"{architecture}.context_length")
    said = {name: str(values[f"general.{name}"]) for name in ("name", "license") if values.get(f"general.{name}")}
    count = sum(int(tensor.n_elements) for tensor in reader.tensors)
    return Header(architecture, int(context.contents()) if context else None, count, stored_dtype(reader), said)


def changed_by_reading(reader: GGUFReader, architecture: str) -> Iterator[str]:
    """What of the model transformers would leave out without a word."""
    parts = reader.get_field("split.count")
    if parts and parts.contents() > 1:
        yield (
            f"expected a whole model in one file, got one of {parts.contents()} parts; join them with "
            "`llama-gguf-split --merge`"
        )
    scaling = reader.get_field(f"{architecture}.rope.scaling.type")
    if scaling and scaling.contents() != "none" and architecture not in KEPT_SCALING:
        yield f"expected positions as they are, got {scaling.contents()} scaling, which transformers leaves out; {FOLDER}"
    for tensor in reader.tensors:
        if tensor.name in FACTORS and (tensor.data != 1).any():
            yield f"expected positions as they are, got factors {tensor.name}, which transformers leaves out; {FOLDER}"


def check_architecture(path: Path, architecture: str) -> None:
    """Raise StageError unless transformers reads the architecture from GGUF files, as a causal language model."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    wanted = "an architecture that transformers reads from GGUF as a causal language model"
    try:
        kind = gguf_config(path).model_type
    except Exception as error:  # whatever its reader says
        raise StageError(f"{path}: expected {wanted}, got {architecture} ({one_line(error)})") from None
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise StageError(f"{path}: expected {wanted}, got {architecture}")


def gguf_config(path: Path) -> Any:
    """The file's config, as transformers understands its header."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(path.parent, gguf_file=path.name, local_files_only=True)


def stored_dtype(reader: GGUFReader) -> str:
    """The dtype of the plain folder: that of the file's matrices, float16 where they are rounded to fewer bits."""
    from gguf import GGMLQuantizationType as Kind

    kinds = {tensor.tensor_type for tensor in reader.tensors if len(tensor.shape) > 1}
    if kinds <= {Kind.F32}:
        return "float32"
    return "bfloat16" if Kind.BF16 in kinds else "float16"


def plain_folder(path: Path, cache: Path) -> Path:
    """The file's model as a plain folder below `cache`, made once for the file and the code that reads it.

    Raises StageError if the file does not hold a whole causal language model that transformers reads.
    """
    digest = file_sha256(path)
    header = header_of(path)
    made_by = [digest, version("transformers"), version("gguf"), file_sha256(Path(__file__))]
    folder = cache / hashlib.sha256(" ".join(made_by).encode()).hexdigest()[:16]
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        need_disk(cache, header.weights * BYTES[header.dtype], f"the weights of {path}")
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        convert(path, header, part)
        write_json({"gguf": path.name, "sha256": digest} | header.said, part / "source.json")
        part.rename(folder)
    return folder


def convert(path: Path, header: Header, folder: Path) -> None:
    """Write the file's weights, config and tokenizer as a plain model folder. Raises StageError as plain_folder does."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    dtype = getattr(torch, header.dtype)
    how = {"gguf_file": path.name, "local_files_only": True}
    try:
        model, info = AutoModelForCausalLM.from_pretrained(path.parent, dtype=dtype, output_loading_info=True, **how)
        tokenizer = AutoTokenizer.from_pretrained(path.parent, **how)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # each architecture rejects values in its own way
        raise StageError(f"{path}: not loadable as a causal language model: {one_line(error)}") from None
    check_loaded(path, info)
    model.hf_quantizer = None  # the weights are plain numbers now, and may be trained and saved
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.name_or_path = ""  # a folder's other files, if any, belong to another model
    save_model(model, tokenizer, folder, dtype)
    for_older_readers(folder)


def for_older_readers(folder: Path) -> None:
    """Say in the folder what transformers 4 looks for: the base of the positions, and a class of tokenizers it knows."""
    config, tokenizer = folder / "config.json", folder / "tokenizer_config.json"
    values, told = read_json(config), read_json(tokenizer)
    theta = (values.get("rope_parameters") or {}).get("rope_theta")
    if theta is not None:
        values.setdefault("rope_theta", theta)
    told = {name: value for name, value in told.items() if name not in ("gguf_file", "local_files_only")}
    told["tokenizer_class"] = "PreTrainedTokenizerFast"
    for path, content in ((config, values), (tokenizer, told)):
        path.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def one_line(error: Exception) -> str:
    """What an exception says, without line breaks."""
    return " ".join(str(error).split())
