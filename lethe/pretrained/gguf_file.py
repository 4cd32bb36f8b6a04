"""A GGUF file, the format of llama.cpp, as the plain model folder that a training starts from.

transformers reads the file: it names the weights as its own architectures do and turns rounded blocks into numbers.
"""

from __future__ import annotations

import hashlib
import io
import math
import mmap
import shutil
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from lethe.core.errors import StageError, one_line
from lethe.core.hashing import file_sha256
from lethe.core.stage import need_disk
from lethe.core.tables import write_json
from lethe.models.checkpoints import save_model
from lethe.models.config import loadable
from lethe.models.folders import POINTER, check_loaded

MAGIC = b"GGUF"
SUFFIX = ".gguf"
VERSIONS = (2, 3)
FORMS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}  # kind of value: its struct format
STRING, ARRAY = 8, 9
ONE = b"\x00\x00\x80\x3f"  # 1.0 in float32
FACTORS = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")  # that transformers leaves out
KEPT_SCALING = ("gpt-oss",)  # architectures whose scaled positions transformers reads
FOLDER = "use the folder that the file was made from"
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


class Tensor(NamedTuple):
    """A tensor of the file."""

    name: str
    shape: tuple[int, ...]
    kind: int  # of its numbers, or of the blocks that they are rounded in
    start: int  # its first byte in the file
    size: int  # bytes


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


def header_of(path: Path) -> Header:
    """The file's header, checked. Raises StageError if no stage could train its model, or would train another one."""
    values, tensors = read_gguf(path)
    architecture = values.get("general.architecture")
    if not architecture or not tensors:
        raise StageError(
            f"{path}: expected a model, got a GGUF file without {'weights' if architecture else 'its kind'}"
        )
    for problem in changed_by_reading(path, values, tensors):
        raise StageError(f"{path}: {problem}")
    said = {name: str(values[f"general.{name}"]) for name in ("name", "license") if values.get(f"general.{name}")}
    count = sum(math.prod(tensor.shape) for tensor in tensors)
    return Header(architecture, values.get(f"{architecture}.context_length"), count, stored_dtype(tensors), said)


def read_gguf(path: Path) -> tuple[dict[str, Any], list[Tensor]]:
    """The file's values, arrays left out, and its tensors. Raises StageError if it is not a whole GGUF file."""
    with path.open("rb") as stream:
        begins = stream.read(len(POINTER))
        if begins == POINTER:
            raise StageError(f"{path}: expected a GGUF file, got a Git LFS pointer; fetch the file with `git lfs pull`")
        if not begins.startswith(MAGIC):
            raise StageError(f"{path}: expected a GGUF file, got one that does not begin with {MAGIC.decode()}")
        try:
            from gguf import GGML_QUANT_SIZES
        except ImportError:
            raise StageError(
                f"{path}: expected the package gguf to read it, got none; `pip install 'lethe-unlearning[gguf]'`"
            ) from None
        size = path.stat().st_size
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            try:
                values, tensors = parsed(Cursor(content), {int(kind): own for kind, own in GGML_QUANT_SIZES.items()})
            except (struct.error, UnicodeDecodeError, LookupError, ValueError) as error:
                found = f"{size} bytes that are not ({one_line(error)})"
                raise StageError(f"{path}: expected a whole GGUF file, got {found}; fetch the file again") from None
    if (end := max((tensor.start + tensor.size for tensor in tensors), default=0)) > size:
        raise StageError(f"{path}: expected a whole GGUF file of {end} bytes, got {size} bytes; fetch the file again")
    return values, tensors


class Cursor:
    """A place in the file, behind what has been read."""

    def __init__(self, content: mmap.mmap) -> None:
        self.content, self.at = content, 0

    def numbers(self, form: str) -> tuple[Any, ...]:
        """Numbers of one little-endian struct format."""
        found = struct.unpack_from(f"<{form}", self.content, self.at)
        self.at += struct.calcsize(f"<{form}")
        return found

    def text(self) -> str:
        """A string: its length, 64 bits, and UTF-8."""
        (length,) = self.numbers("Q")
        begin, self.at = self.at, self.at + length
        if self.at > len(self.content):
            raise ValueError("a string that ends behind the file")
        return self.content[begin : self.at].decode("utf-8")

    def value(self, kind: int) -> Any:
        """A value of one of GGUF's kinds; None for an array, which is only passed over."""
        if kind == STRING:
            return self.text()
        if kind != ARRAY:
            return self.numbers(FORMS[kind])[0]
        inner, count = self.numbers("IQ")
        if inner in FORMS:
            self.at += struct.calcsize(FORMS[inner]) * count
        else:
            for _ in range(count):
                self.value(inner)
        return None


def parsed(file: Cursor, sizes: Mapping[int, tuple[int, int]]) -> tuple[dict[str, Any], list[Tensor]]:
    """Values and tensors of a file. sizes: how many weights a block of a kind holds, in how many bytes.

    Raises ValueError or another error of reading where the bytes are none.
    """
    _, version, tensor_count, value_count = file.numbers("4sIQQ")
    if version not in VERSIONS:
        raise ValueError(f"version {version}")
    values: dict[str, Any] = {}
    for _ in range(value_count):
        name = file.text()
        values[name] = file.value(*file.numbers("I"))
    listed = []
    for _ in range(tensor_count):
        name = file.text()
        (axes,) = file.numbers("I")
        shape = file.numbers(f"{axes}Q")
        listed.append((name, shape, *file.numbers("IQ")))
    alignment = values.get("general.alignment") or 32
    begin = -(-file.at // alignment) * alignment
    tensors = []
    for name, shape, kind, offset in listed:
        if kind not in sizes:
            raise ValueError(f"weights of kind {kind}")
        weights, taken = sizes[kind]
        tensors.append(Tensor(name, shape, kind, begin + offset, math.prod(shape) // weights * taken))
    return values, tensors


def changed_by_reading(path: Path, values: Mapping[str, Any], tensors: Sequence[Tensor]) -> Iterator[str]:
    """What of the model transformers cannot read, or would leave out without a word."""
    from transformers.integrations.gguf.gguf_conversion_mapping import GGUF_ARCHS
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    architecture, parts = values["general.architecture"], values.get("split.count") or 1
    if plain(architecture) not in map(plain, (*GGUF_SUPPORTED_ARCHITECTURES, *GGUF_ARCHS)):
        yield f"expected an architecture that transformers reads from GGUF, got {architecture}"
    if parts > 1:
        yield f"expected a whole model in one file, got one of {parts} parts; join them with `llama-gguf-split --merge`"
    scaling = values.get(f"{architecture}.rope.scaling.type") or "none"
    if scaling != "none" and architecture not in KEPT_SCALING:
        yield f"expected positions as they are, got {scaling} scaling, which transformers leaves out; {FOLDER}"
    for tensor in tensors:
        if tensor.name in FACTORS and stored(path, tensor) != ONE * math.prod(tensor.shape):
            yield f"expected positions as they are, got factors {tensor.name}, which transformers leaves out; {FOLDER}"


def plain(architecture: str) -> str:
    """An architecture's name as llama.cpp and transformers both spell it: `gpt-oss` and `gpt_oss` are one."""
    return architecture.replace("-", "").replace("_", "")


def stored(path: Path, tensor: Tensor) -> bytes:
    """A tensor's bytes in the file."""
    with path.open("rb") as stream:
        stream.seek(tensor.start)
        return stream.read(tensor.size)


def gguf_config(path: Path) -> Any:
    """The file's config, as transformers understands its header. Raises StageError as header_of does."""
    from transformers import AutoConfig

    header_of(path)
    return AutoConfig.from_pretrained(path.parent, gguf_file=path.name, local_files_only=True)


def stored_dtype(tensors: Sequence[Tensor]) -> str:
    """The dtype of the plain folder: that of the file's matrices, float16 where they are rounded to fewer bits."""
    from gguf import GGMLQuantizationType as Kind

    kinds = {tensor.kind for tensor in tensors if len(tensor.shape) > 1}
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
    """Write the file's weights, config and tokenizer as a plain model folder.

    Raises StageError as plain_folder does.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    dtype = getattr(torch, header.dtype)
    how: dict[str, Any] = {"gguf_file": path.name, "local_files_only": True}
    whole = {"dtype": dtype, "quantization_config": GgufConfig(dequantize=True), "output_loading_info": True}
    with loadable(path):
        with redirect_stderr(io.StringIO()):  # a bar over the tensors, which the line above does not switch off
            loaded: Any = AutoModelForCausalLM.from_pretrained(path.parent, **whole, **how)
        tokenizer = AutoTokenizer.from_pretrained(path.parent, **how)
    model, info = loaded
    check_loaded(path, info)
    model.hf_quantizer = None  # the weights are plain numbers now, and may be trained and saved
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.name_or_path = ""  # a folder's other files, if any, belong to another model
    save_model(model, tokenizer, folder, dtype)
