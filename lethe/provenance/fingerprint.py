"""Identity of a model: its md5 as DVC computes it, the hashes of its files, its tensors. Nothing is ever loaded."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from lethe.core.errors import StageError
from lethe.custody.plain_data import checked
from lethe.models.folders import is_whole
from lethe.provenance.verify import is_pickle, sha256_of, walk

HASH = re.compile(r"[0-9a-f]{7,64}(\.dir)?")
CHUNK = 1 << 24  # bytes compared at a time
HOLES = 1 << 30  # bytes that a file beside weights may lack: one of a few bytes can claim any size
JUNK = ("__pycache__", ".DS_Store")  # of .dvcignore, and what file managers leave


class Subject(NamedTuple):
    """The model in question. A bare hash has no files."""

    given: str
    md5: str  # of a folder with .dir at the end; of a hash: as it was given, perhaps its beginning only
    files: dict[str, Path]  # by path relative to the folder; a single file under its own name


def subject_of(given: str) -> Subject:
    """A model folder, a file or a hash. Raises StageError for anything else, a pickle and a truncated file."""
    path = Path(given)
    if path.is_dir():
        files = own_files(path)
        check_files(given, files)
        return Subject(given, folder_md5({name: md5_of(found) for name, found in files.items()}), files)
    if path.is_file():
        check_files(given, {path.name: path})
        return Subject(given, md5_of(path), {path.name: path})
    if HASH.fullmatch(given):
        return Subject(given, given, {})
    raise StageError(f"{given}: no such file; expected a model folder, a safetensors file or a hash")


def check_files(given: str, files: Mapping[str, Path]) -> None:
    """Raise StageError for a pickle, a truncated safetensors file and an empty folder."""
    if not files:
        raise StageError(f"{given}: expected a model, got an empty folder")
    for path in files.values():
        if is_pickle(path):
            raise StageError(
                f"{path}: expected safetensors, got a pickle, which was not loaded (a pickle can run code)"
            )
        facts = path.stat()
        if path.suffix != ".safetensors" and facts.st_size - 512 * facts.st_blocks > HOLES:
            raise StageError(f"{path}: expected a file, got {facts.st_size} bytes, hardly any of which are there")
        if path.suffix == ".safetensors":
            size, wanted = facts.st_size, safetensors_size(path)
            if wanted is None:
                raise StageError(f"{path}: expected a complete safetensors file, got one without a valid header")
            if size != wanted:
                word = "truncated: " if size < wanted else ""
                raise StageError(f"{path}: {word}expected {wanted} bytes by its header, got {size}")
            if not is_whole(path):
                raise StageError(
                    f"{path}: expected a safetensors file in which every byte belongs to one tensor, got a header that "
                    "says otherwise"
                )


def md5_of(path: Path) -> str:
    """Hex md5 of a file's bytes. Raises StageError for a pipe or a device, which may have no end."""
    with checked(path).open("rb") as stream:
        return hashlib.file_digest(stream, "md5").hexdigest()


def manifest_bytes(files: Mapping[str, str]) -> bytes:
    """The object DVC keeps for a folder of {relative path: md5}."""
    entries = [{"md5": md5, "relpath": name} for name, md5 in sorted(files.items())]
    return json.dumps(entries, sort_keys=True).encode()


def folder_md5(files: Mapping[str, str]) -> str:
    """The md5 that dvc.lock gives a folder of {relative path: md5}."""
    return bytes_md5(manifest_bytes(files)) + ".dir"


def path_md5(path: Path) -> str:
    """The md5 that dvc.lock gives a file or a folder."""
    if not path.is_dir():
        return md5_of(path)
    return folder_md5({name: md5_of(found) for name, found in own_files(path).items()})


def own_files(folder: Path) -> dict[str, Path]:
    """The files below a folder by their path in it, as DVC counts them. Raises StageError for what is no file."""
    files, problems = walk(folder)
    for name, said in problems.items():
        raise StageError(f"{folder / name}: {said}")
    return {name: path for name, path in sorted(files.items()) if not set(name.split("/")) & set(JUNK)}


def tensor_places(path: Path) -> dict[str, tuple[str, tuple[int, ...], int, int]]:
    """{tensor: (dtype, shape, first byte, end)} of a whole safetensors file, from its header alone."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
    offsets = {name: entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"}
    return {
        name: (header[name]["dtype"], tuple(header[name]["shape"]), 8 + length + start, 8 + length + end)
        for name, (start, end) in offsets.items()
    }


def same_tensors(one: Path, other: Path) -> bool:
    """Whether two safetensors files hold the same tensors, whatever else their headers say and in any order.

    Files that the library refuses hold none: headers can name the same bytes twice, or no bytes at all.
    """
    if not is_whole(one) or not is_whole(other):
        return False
    first, second = tensor_places(one), tensor_places(other)
    if {name: entry[:2] for name, entry in first.items()} != {name: entry[:2] for name, entry in second.items()}:
        return False
    if not any(end > start for _, _, start, end in first.values()):
        return False
    with one.open("rb") as left, other.open("rb") as right:
        for name, (_, _, start, end) in first.items():
            left.seek(start)
            right.seek(second[name][2])
            for place in range(start, end, CHUNK):
                size = min(CHUNK, end - place)
                if left.read(size) != right.read(size):
                    return False
    return True


def sha256s(subject: Subject) -> dict[str, str]:
    """{relative path: sha256} of a subject's files."""
    return {name: sha256_of(path) for name, path in subject.files.items()}


def contents_md5(files: Mapping[str, bytes]) -> str:
    """The md5 that dvc.lock gives a folder of {relative path: content}."""
    return folder_md5({name: bytes_md5(content) for name, content in files.items()})


def bytes_md5(content: bytes) -> str:
    """Hex md5 of bytes."""
    return hashlib.md5(content).hexdigest()


def safetensors_size(path: Path) -> int | None:
    """The bytes a safetensors file should have by its own header; None if it has no such header."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > min(path.stat().st_size, 100_000_000):
            return None
        try:
            header = json.loads(stream.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, AttributeError, KeyError, TypeError, IndexError, RecursionError):
            return None
    if not all(isinstance(end, int) for end in ends):
        return None
    return 8 + length + max(ends, default=0)
