"""Content hashes of files and folders: the only identity an artifact has."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from lethe.core.errors import StageError


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_files(folder: Path) -> list[Path]:
    """Every file below `folder`, sorted by its path, bytecode left out."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def folder_sha256(folder: Path) -> dict[str, str]:
    """{path relative to `folder`: sha256} of every file below it."""
    return {str(path.relative_to(folder)): file_sha256(path) for path in folder_files(folder)}


def path_sha256(path: Path) -> str:
    """One hash for a file or a whole folder; a folder's hash is that of its sorted `sha256  name` lines."""
    if not path.is_dir():
        return file_sha256(path)
    lines = "".join(f"{digest}  {name}\n" for name, digest in folder_sha256(path).items())
    return hashlib.sha256(lines.encode()).hexdigest()


def tokenizer_sha256(folder: Path) -> str:
    """The identity of a tokenizer: the hash of its tokenizer.json, formatting left out."""
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def check_tokenizer(found: str, folder: Path, artifact: Path) -> None:
    """Raise StageError if an artifact was made with another tokenizer than the folder's."""
    wanted = tokenizer_sha256(folder)
    if found != wanted:
        raise StageError(f"{artifact}: expected tokenizer {wanted[:12]} of {folder}, got {found[:12]}; run `dvc repro`")
