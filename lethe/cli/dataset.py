"""`lethe dataset`: text and conversations of the Hugging Face Hub at a pinned commit, as a folder of the corpus."""

from __future__ import annotations

import os
import shutil
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lethe.console import Json, print_json
from lethe.core.errors import StageError
from lethe.core.hashing import folder_sha256
from lethe.core.stage import SCRATCH, need_disk
from lethe.core.tables import write_json
from lethe.pretrained.hub import HUB, Asked, download, explained, missing_bytes, refuse_moving

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

SUFFIXES = (".jsonl", ".json", ".parquet", ".txt", ".md")  # .json: JSON lines under another name
CARD = "README.md"  # describes the data and is none
SOURCE = "source.json"
SECONDS = 30.0
DATA_SET = Asked("lethe dataset", "--commit", "data set", "dataset")


def command(
    name: Annotated[str, typer.Argument(help="owner/name on the Hub.")],
    into: Annotated[Path, typer.Option(help="The folder to write, for example data/forget.")],
    commit: Annotated[str, typer.Option(help="The 40-digit commit; without it, the current one is named.")] = "",
    only: Annotated[str, typer.Option(help="Which files, as a pattern: 'forget10*'.")] = "*",
    json: Json = False,
) -> None:
    """Fetch a data set of the Hugging Face Hub at a commit, for **corpus.forget** or **corpus.retain**.

    Rows hold text, messages, or question and answer; every file is checked against the Hub's hash. Name the folder in
    params.yaml and record it with `dvc add`. HF_TOKEN and HF_ENDPOINT count as for models.
    """
    files = fetch_dataset(name, commit or None, into, only)
    if json:
        print_json({"dataset": name, "commit": commit, "folder": str(into), "files": files})
    else:
        print(f"dataset: {len(files)} files of {name} at {commit[:12]} in {into}; now `dvc add {into}`")


def fetch_dataset(repo: str, commit: str | None, target: Path, only: str, endpoint: str | None = None) -> list[str]:
    """Write the data files of a commit into `target`, with source.json that names it; returns their names.

    What was downloaded stays in .scratch, so a call after a kill resumes. Raises StageError if `commit` is none, the
    data set is missing or gated, has no such files, or the folder holds something else.
    """
    endpoint = (endpoint or os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
    if target.exists() and any(target.iterdir()) and not (target / SOURCE).exists():
        raise StageError(f"{target}: expected an empty folder for {repo}, got one with files; name another with --into")
    with explained(repo, commit, endpoint, DATA_SET):
        found, listing = listed(repo, commit, endpoint)
        refuse_moving(commit, found, DATA_SET)
        files = chosen(listing, only, repo)
        kept = SCRATCH / "hub" / found
        kept.mkdir(parents=True, exist_ok=True)
        need_disk(kept, missing_bytes(files, kept), f"the files of {repo}")
        for file in files:
            download(repo, found, file, kept, endpoint, DATA_SET)
    shutil.rmtree(target, ignore_errors=True)
    for file in files:
        place = target / as_rows(kept / file.rfilename, Path(file.rfilename))
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(kept / file.rfilename, place)
    hashes = folder_sha256(target)
    write_json({"dataset": repo, "commit": found, "sha256": hashes}, target / SOURCE)
    return list(hashes)


def listed(repo: str, revision: str | None, endpoint: str) -> tuple[str, list[RepoSibling]]:
    """The current commit of `revision` (None: main), and all its files."""
    from huggingface_hub import HfApi

    api = HfApi(endpoint=endpoint)
    info = api.dataset_info(repo, revision=revision or "main", files_metadata=True, timeout=SECONDS)
    return str(info.sha), list(info.siblings or [])


def chosen(files: list[RepoSibling], only: str, repo: str) -> list[RepoSibling]:
    """The files of text and rows that the pattern names, by their path or their name alone."""
    data = [file for file in files if Path(file.rfilename).suffix in SUFFIXES and Path(file.rfilename).name != CARD]
    found = [file for file in data if any(fnmatch(name, only) for name in (file.rfilename, Path(file.rfilename).name))]
    if not found:
        names = ", ".join(sorted(file.rfilename for file in data or files)[:8]) or "no files"
        raise StageError(f"{repo}: expected files like {only} with {', '.join(SUFFIXES)}, got {names}")
    return sorted(found, key=lambda file: file.rfilename)


def as_rows(path: Path, name: Path) -> Path:
    """The name under which the corpus reads a file: JSON lines end with .jsonl. Raises StageError for a JSON array."""
    if name.suffix != ".json":
        return name
    with path.open(encoding="utf-8") as stream:
        if stream.read(1) != "{" or not stream.readline().rstrip().endswith("}"):
            raise StageError(f"{name}: expected JSON lines, one object a line, got other JSON; take the parquet files")
    return name.with_suffix(".jsonl")
