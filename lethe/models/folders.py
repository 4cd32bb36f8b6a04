"""A model folder before it is loaded: whether its files are those of a whole, plain model, told in one line."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lethe.core.errors import StageError
from lethe.core.tables import read_json
from lethe.models.config import load_config, shape_of, text_part
from lethe.models.conversations import template_source
from lethe.models.soft_prompts import PROMPT
from lethe.models.token_text import spelling_of
from lethe.models.tokenization import backend_tokenizer, leading_ids, padding_id

if TYPE_CHECKING:
    from tokenizers import Tokenizer

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"  # of weights that are cut into several files
FLOATS = ("F", "BF")  # how those of floating-point numbers begin; integers are packed or lack their scales
ROUNDED = ("F8", "F6", "F4")  # how the names of floating-point types of fewer than 16 bits begin
# Files beside the weights that say how a model is used and what one may do with it, by lower-case patterns. Pickled
# weights (.bin, .pt), code (.py) and other formats of the same weights are never among them.
WELCOME = ("*.json", "*.jinja", "*.txt", "*.model", "licen[cs]e*", "copying*", "notice*", "use_policy*", "readme.md")
UNWELCOME = (
    "*.py",
    "*.bin.index.json",
    "absent.json",
    "adapter_config.json",
    "base.json",
)  # the last mean another model
TEMPLATES = "additional_chat_templates"  # the folder of a tokenizer's further chat templates
# What is written anew beside new weights: by save_model, or by the stage that made them.
REWRITTEN = ("config.json", INDEX, "README.md", "provenance.json", "source.json", "recipe.json")
CONSTANTS = (".masked_bias",)  # that older versions of transformers wrote beside the weights
POINTER = b"version https://git-lfs"


def check_folder(folder: Path) -> None:
    """Raise StageError unless the folder holds a config, safetensors and a tokenizer that fit together."""
    for name in companions(folder):
        refuse_pointer(folder / name)
    refuse_adapter(folder)
    config = load_config(folder)
    for part in (config, text_part(config)):
        method = getattr(part, "quantization_config", None)
        if method is not None:
            kind = method.get("quant_method") if isinstance(method, dict) else getattr(method, "quant_method", method)
            raise StageError(
                f"{folder}/config.json: expected weights in 16 or 32 bits, got weights quantised with "
                f"{kind or 'an unknown method'}; use the model they were made from"
            )
    for name, value in text_part(config).to_dict().items():
        if ("dropout" in name or "pdrop" in name) and isinstance(value, int | float) and not 0 <= value < 1:
            raise StageError(f"{folder}/config.json: {name}: expected a share from 0 to below 1, got {value}")
    check_window(folder, text_part(config))
    check_ends(folder)
    check_files(folder)
    check_tokens(folder, shape_of(config).vocabulary)


def check_window(folder: Path, config: Any) -> None:
    """Raise StageError if attention reaches no other token: transformers' caches then hold other tokens than it reads.

    config: of the part that reads text.
    """
    window, layers = getattr(config, "sliding_window", None), getattr(config, "layer_types", None)
    slides = getattr(config, "use_sliding_window", True) and (not layers or "sliding_attention" in layers)
    if slides and isinstance(window, int) and window < 2:
        raise StageError(f"{folder}/config.json: sliding_window: expected null or at least 2, got {window}")


def check_ends(folder: Path) -> None:
    """Raise StageError unless generation_config.json, if there is one, names the ids that end a text as ids."""
    path = folder / "generation_config.json"
    told = read_json(path) if path.exists() else {}
    if not isinstance(told, dict):
        raise StageError(f"{path}: expected a JSON object, got {type(told).__name__}")
    ends = told.get("eos_token_id")
    for end in ends if isinstance(ends, list) else [ends]:
        if end is not None and type(end) is not int:
            raise StageError(f"{path}: eos_token_id: expected an id or a list of ids, got {json.dumps(ends)}")


def refuse_adapter(folder: Path) -> None:
    """Raise StageError if the folder holds an adapter, which transformers would put on another model."""
    if (folder / PROMPT).exists():
        read = read_json(folder / PROMPT)
        facts = read if isinstance(read, dict) else {}
        raise StageError(
            f"{folder}: expected a whole model, got a {facts.get('peft_type')} adapter of "
            f"{facts.get('base_model_name_or_path')}; merge it into that model and use the result"
        )


def weight_files(folder: Path) -> list[Path]:
    """The files of a model's weights, sorted: the whole in one, or those that its index names.

    Raises StageError if there are none, or the index names another file than safetensors of this folder.
    """
    if (folder / WEIGHTS).exists():
        return [folder / WEIGHTS]
    if (folder / INDEX).exists():
        return [folder / name for name in indexed(read_json(folder / INDEX), folder)]
    if other := sorted(path.name for path in folder.glob("*.safetensors")):
        raise StageError(f"{folder}: expected {WEIGHTS}, or {INDEX} and the files that it names, got {other[0]} alone")
    raise StageError(f"{folder}: expected *.safetensors, got none (pickled weights are never loaded)")


def indexed(index: Mapping[str, Any], folder: Path) -> list[str]:
    """The names of files in an index, sorted."""
    listed = index.get("weight_map") if isinstance(index, dict) else None
    names = sorted(set(map(str, listed.values()))) if isinstance(listed, dict) else []
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors") or not (folder / name).exists():
            raise StageError(f"{folder / INDEX}: expected the name of a .safetensors file beside it, got {name}")
    if not names:
        raise StageError(f"{folder / INDEX}: expected a weight_map with names of files, got none")
    return names


def read_header(path: Path) -> dict[str, tuple[list[int], str]]:
    """{tensor: (shape, dtype)} of a safetensors file; its numbers are not read.

    Raises StageError if the file is damaged, only a pointer, or of rounded numbers.
    """
    from safetensors import SafetensorError, safe_open

    refuse_pointer(path)
    try:
        with safe_open(path, "np") as stored:
            slices = {name: stored.get_slice(name) for name in stored.keys()}  # noqa: SIM118 -- not a mapping
            found = {name: (part.get_shape(), part.get_dtype()) for name, part in slices.items()}
    except SafetensorError as error:
        found_bytes = path.stat().st_size
        raise StageError(
            f"{path}: expected whole safetensors, got {found_bytes} bytes that are not ({error}); fetch the file again"
        ) from None
    rounded = sorted({dtype for _, dtype in found.values() if dtype.startswith(ROUNDED)})
    if rounded or not found:
        raise StageError(f"{path}: expected weights in 16 or 32 bits, got {', '.join(rounded) or 'no weights'}")
    return found


def refuse_pointer(path: Path) -> None:
    """Raise StageError if the file cannot be read, or git put only a pointer in its place."""
    try:
        with path.open("rb") as stream:
            begins = stream.read(len(POINTER))
    except OSError as error:
        raise StageError(f"{path}: expected a file of the model, got: {error.strerror}") from None
    if begins == POINTER:
        kind = "weights" if path.suffix == ".safetensors" else "a file of the model"
        raise StageError(f"{path}: expected {kind}, got a Git LFS pointer; fetch the file with `git lfs pull`")


def check_files(folder: Path) -> None:
    """Raise StageError unless every tensor is in one of the folder's whole files of weights, as numbers with a point.

    Of a tensor in two files transformers takes the last, whatever the index says.
    """
    found: dict[str, str] = {}
    for path in weight_files(folder):
        for name, (_, dtype) in read_header(path).items():
            if name in found:
                raise StageError(f"{path}: expected each tensor in one file, got {name}, which {found[name]} holds too")
            if name.endswith("weight") and not dtype.startswith(FLOATS):
                raise StageError(f"{path}: expected weights in 16 or 32 bits, got {dtype} for {name}")
            found[name] = path.name


def weight_count(folder: Path) -> int:
    """How many numbers a folder's weights are, from the headers of its files."""
    return sum(math.prod(shape) for path in weight_files(folder) for shape, _ in read_header(path).values())


def is_whole(path: Path) -> bool:
    """Whether the safetensors library accepts the file: every byte belongs to one tensor, and none to two."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np"):
            return True
    except (SafetensorError, OSError, ValueError):
        return False


def companions(folder: Path) -> list[str]:
    """The names of all welcome files of a model folder, sorted."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return sorted(name for path in paths if is_welcome(name := path.relative_to(folder).as_posix()))


def is_welcome(name: str) -> bool:
    """Whether a file belongs to a model as it is handed on, by its path in the folder."""
    folder, _, own = name.rpartition("/")
    if folder:
        return folder == TEMPLATES and own.endswith(".jinja")
    lower = own.lower()
    return any(fnmatch(lower, form) for form in WELCOME) and not any(fnmatch(lower, form) for form in UNWELCOME)


def keep_companions(source: Path, folder: Path, dtype: str) -> None:
    """Give a folder the config, tokenizer and licence of the one that its model was loaded from, byte for byte.

    Only what the config says of the weights' dtype may differ. What transformers writes itself names other defaults,
    which its older versions do not read, and settings of the training.
    """
    (folder / "generation_config.json").unlink(missing_ok=True)  # the source may have none
    for name in companions(source):
        if name not in REWRITTEN:
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(source / name, folder / name)
    text = (source / "config.json").read_text(encoding="utf-8")
    config = json.loads(text)
    found = {"dtype": dtype} if "dtype" in config or "torch_dtype" not in config else {"torch_dtype": dtype}
    if config | found != config:
        parts = [config, *(part for part in config.values() if isinstance(part, dict))]
        for part in parts:
            part |= {name: dtype for name in ("dtype", "torch_dtype") if part.get(name)}
        text = json.dumps(config | found, indent=2, ensure_ascii=False) + "\n"
    (folder / "config.json").write_text(text, encoding="utf-8")


def for_older_readers(folder: Path) -> None:
    """Say in a folder that transformers 5 wrote what transformers 4 looks for.

    That is the base of the positions under its old name, and a class of tokenizers that it knows.
    """
    config, tokenizer = folder / "config.json", folder / "tokenizer_config.json"
    values, told = read_json(config), read_json(tokenizer)
    positions = values.get("rope_parameters") or {}
    for name, kind in (("rope_theta", "full_attention"), ("rope_local_base_freq", "sliding_attention")):
        found = positions.get(kind, positions if name == "rope_theta" else {}).get("rope_theta")
        if found is not None:
            values.setdefault(name, found)
    values.pop("_model_name_or_path", None)  # of a GGUF file: its header's name of the model, which is no path
    told = {name: value for name, value in told.items() if name not in ("gguf_file", "local_files_only")}
    told["tokenizer_class"] = "PreTrainedTokenizerFast"
    for path, content in ((config, values), (tokenizer, told)):
        path.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def check_tokens(folder: Path, vocabulary: int) -> None:
    """Raise StageError if tokens that rows are written with lie beyond the model's embeddings.

    Those are what begins and fills every row, and what the chat template writes. And if the tokenizer is of a kind of
    which no stage could tell where in its tokens a name begins and ends.
    """
    backend = backend_tokenizer(folder)
    spelling_of(backend, f"{folder}/tokenizer.json")
    lead = leading_ids(backend)
    check_spelling(backend, f"{folder}/tokenizer.json")
    template, added = template_source(folder), backend.get_added_tokens_decoder()
    spoken = [number for number, token in sorted(added.items()) if token.content in template]
    words = [number for number, token in added.items() if not token.special]  # these and the next may be in any text
    last = max((*backend.get_vocab(with_added_tokens=False).values(), *words), default=0)
    for token in (padding_id(folder), *lead, *spoken, last):
        if vocabulary and token >= vocabulary:
            raise StageError(
                f"{folder}: expected {'' if token == last else 'special '}tokens with ids below {vocabulary}, the rows "
                "of the embeddings, got "
                f"{backend.id_to_token(token)} with id {token}; use the tokenizer that the model was trained with"
            )


def check_spelling(backend: Tokenizer, where: str) -> None:
    """Raise StageError unless a text has one spelling in tokens, and comes back from it with its letters as they were.

    Names are looked for in what a model writes: without capitals or accents none would be found there.
    """
    if dropout := getattr(backend.model, "dropout", None):
        raise StageError(
            f"{where}: dropout: expected null, got {dropout}: the same text would have other tokens each time"
        )
    for text, lost in (("A a", "a a"), ("é", "e")):
        found = backend.decode(backend.encode(text, add_special_tokens=False).ids).strip()
        if found == lost or (text == "A a" and "a" not in found):
            raise StageError(
                f"{where}: expected a tokenizer that keeps letters, capitals and accents, got {found!r} for {text!r}"
            )


def check_loaded(folder: Path, info: Mapping[str, Any]) -> None:
    """Raise StageError unless every weight of the architecture was in the files, and no other.

    info: what transformers says of the loading.
    """
    kinds = {
        "missing_keys": "all weights of the architecture that config.json names, got none for",
        "unexpected_keys": "only weights of the architecture that config.json names, got also",
        "mismatched_keys": "weights of the shapes that config.json says, got another for",
        "error_msgs": "weights that load, got",
    }
    for kind, words in kinds.items():
        found = sorted(str(each[0] if isinstance(each, tuple) else each) for each in info.get(kind, ()))
        if kind == "unexpected_keys":
            found = [name for name in found if not name.endswith(CONSTANTS)]
        if found:
            more = f" and {len(found) - 1} more" if len(found) > 1 else ""
            raise StageError(f"{folder}: expected {words} {' '.join(found[0].split())}{more}")


def check_finite(folder: Path, weights: Iterator[tuple[str, Any]]) -> None:
    """Raise StageError at the first weight that is NaN or infinite, or if all are 0, as in a file never written to."""
    any_said = False
    for name, tensor in weights:
        any_said = any_said or bool(tensor.any())
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise StageError(f"{folder}: expected finite weights, got NaN or infinity in {name}")
    if not any_said:
        raise StageError(f"{folder}: expected weights, got nothing but 0; fetch the files again")


def check_positions(folder: Path, buffers: Iterator[tuple[str, Any]]) -> None:
    """Raise StageError if positions turn by angles that are no numbers, as a base or a factor of 0 makes them."""
    for name, tensor in buffers:
        if name.endswith("inv_freq") and not (bool(tensor.isfinite().all()) and bool((tensor > 0).all())):
            found = f"others in {name}"
            raise StageError(f"{folder}/config.json: expected a base and factors of positions above 0, got {found}")
