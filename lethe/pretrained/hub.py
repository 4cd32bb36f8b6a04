"""Causal language models from the Hugging Face Hub: a pinned commit, safetensors only, into a plain folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lethe.core.errors import StageError
from lethe.core.hashing import file_sha256
from lethe.core.stage import need_disk
from lethe.core.tables import read_json, write_json
from lethe.models.folders import INDEX, WEIGHTS, is_welcome

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

HUB = "https://huggingface.co"
SECONDS = 30.0  # for one answer of the API
NEEDED = ("config.json", "tokenizer.json")


class Asked(NamedTuple):
    """Where a repository is named, for the errors, and what it holds."""

    repo: str  # the place of its name
    revision: str  # the place of its commit
    what: str
    kind: str | None  # as the Hub calls it; None: a model

    @property
    def command(self) -> str:
        """What to run again."""
        return f"lethe {self.kind}" if self.kind else "dvc repro"

    def page(self, endpoint: str, repo: str) -> str:
        """Its address."""
        return f"{endpoint}/{self.kind}s/{repo}" if self.kind else f"{endpoint}/{repo}"


MODEL = Asked("params.yaml: baseline.model", "params.yaml: baseline.revision", "model", None)


def fetch_model(repo: str, revision: str | None, target: Path, endpoint: str | None = None) -> str:
    """Download the model at a pinned commit into `target` and return the commit, which source.json there also holds.

    Every file is checked against the Hub's own hash. Called again after a kill, it resumes at the byte it had reached.
    endpoint: the Hub's address; None: HF_ENDPOINT, else huggingface.co. A token is taken from HF_TOKEN.
    Raises StageError if `revision` is not a commit, or the model is gated, missing, pickled, too large or damaged.
    """
    endpoint = (endpoint or os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
    with explained(repo, revision, endpoint):
        commit, listing = repository(repo, revision, endpoint)
        refuse_moving(revision, commit)
        refuse_unusable(repo, commit, set(listing))
        target.mkdir(parents=True, exist_ok=True)
        for name in sorted(name for name in listing if is_welcome(name) and (name != INDEX or WEIGHTS not in listing)):
            download(repo, commit, listing[name], target, endpoint)
        shards = [WEIGHTS] if WEIGHTS in listing else index_shards(read_json(target / INDEX), repo, set(listing))
        need_disk(target, missing_bytes([listing[name] for name in shards], target), f"the weights of {repo}")
        for name in shards:
            download(repo, commit, listing[name], target, endpoint)
    write_json({"repo": repo, "revision": revision, "commit": commit}, target / "source.json")
    return commit


def repository(repo: str, revision: str | None, endpoint: str) -> tuple[str, dict[str, RepoSibling]]:
    """The current commit of `revision` (None: main), and its files by name, weights in folders left out."""
    from huggingface_hub import HfApi

    info = HfApi(endpoint=endpoint).model_info(repo, revision=revision or "main", files_metadata=True, timeout=SECONDS)
    files = {file.rfilename: file for file in info.siblings or []}
    return str(info.sha), {name: file for name, file in files.items() if "/" not in name or is_welcome(name)}


def refuse_moving(revision: str | None, commit: str, asked: Asked = MODEL) -> None:
    """Raise StageError unless `revision` is the commit itself: a branch or a tag can mean other weights tomorrow."""
    if revision != commit:
        found = revision or "null"
        raise StageError(
            f"{asked.revision}: expected a 40-digit commit, got {found}; {revision or 'main'} is currently {commit}"
        )


def refuse_unusable(repo: str, commit: str, names: set[str]) -> None:
    """Raise StageError if the files are not those of a model that can be loaded without pickle and without code."""
    where = f"params.yaml: baseline.model: {repo} at {commit[:12]}"
    for name in NEEDED:
        if name not in names:
            raise StageError(f"{where}: expected a causal language model with its fast tokenizer, got no {name}")
    if WEIGHTS not in names and INDEX not in names:
        pickled = sorted(name for name in names if name.endswith((".bin", ".pt", ".pth", ".ckpt")))
        found = f"only pickled weights ({', '.join(pickled)})" if pickled else f"no {WEIGHTS}"
        raise StageError(f"{where}: expected safetensors, got {found}; use a converted copy of the model")


def index_shards(index: dict[str, dict[str, str]], repo: str, names: set[str]) -> list[str]:
    """The weight files that the index names. Raises StageError if the repository lacks one."""
    shards = sorted(set(index["weight_map"].values()))
    for shard in shards:
        if shard not in names or not shard.endswith(".safetensors"):
            raise StageError(
                f"params.yaml: baseline.model: {repo}: {INDEX}: expected a .safetensors file of the model, got {shard}"
            )
    return shards


def missing_bytes(files: list[RepoSibling], target: Path) -> int:
    """Bytes of the files that are not downloaded yet."""
    places = [path for file in files for path in (_part(target, file), target / file.rfilename)]
    return max(0, sum(file.size or 0 for file in files) - sum(path.stat().st_size for path in places if path.exists()))


def download(repo: str, commit: str, file: RepoSibling, target: Path, endpoint: str, asked: Asked = MODEL) -> None:
    """Download one file to `target`, unless it is there and intact. A file without .part is complete and checked."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    path, part = target / file.rfilename, _part(target, file)
    if path.exists() and is_intact(path, file):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # A text file may come compressed, and then a byte offset means nothing; neither does one beyond the end.
    if file.lfs is None or (part.exists() and part.stat().st_size > (file.size or 0)):
        part.unlink(missing_ok=True)
    with part.open("ab") as stream:
        if stream.tell() < (file.size or 0):
            url = hf_hub_url(repo, file.rfilename, repo_type=asked.kind, revision=commit, endpoint=endpoint)
            http_get(url, stream, resume_size=stream.tell(), headers=build_hf_headers())
    if not is_intact(part, file):
        part.unlink()
        raise StageError(
            f"{path}: expected the hash that {repo} states, got another file from {endpoint}; run "
            f"`{asked.command}` to fetch it again"
        )
    part.rename(path)


def is_intact(path: Path, file: RepoSibling) -> bool:
    """True if the file has the size and the hash the Hub states: sha256 for large files, git's own for small ones."""
    if path.stat().st_size != file.size:
        return False
    return file_sha256(path) == file.lfs.sha256 if file.lfs else git_sha1(path.read_bytes()) == file.blob_id


def git_sha1(content: bytes) -> str:
    """The hash under which git stores a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@contextmanager
def explained(repo: str, revision: str | None, endpoint: str, asked: Asked = MODEL) -> Iterator[None]:
    """Turn the Hub's errors, or its silence, into one line that says what to do."""
    from huggingface_hub import errors

    try:
        yield
    except errors.HFValidationError:
        raise StageError(f"{asked.repo}: expected owner/name, got {repo}") from None
    except errors.OfflineModeIsEnabled:
        raise StageError(
            f"{endpoint}: expected network access, got HF_HUB_OFFLINE set; unset it"
            + ("" if asked.kind else " or use `source: folder`")
        ) from None
    except errors.HfHubHTTPError as error:
        raise StageError(refusal(error, repo, revision, endpoint, asked)) from None
    except errors.HTTPError as error:
        raise StageError(
            f"{endpoint}: not reachable ({type(error).__name__}); expected the Hugging Face Hub; check the network "
            f"and HF_ENDPOINT, then run `{asked.command}`, which resumes"
        ) from None


def refusal(error: Exception, repo: str, revision: str | None, endpoint: str, asked: Asked = MODEL) -> str:
    """One line for an HTTP status that is not success."""
    from huggingface_hub import errors

    assert isinstance(error, errors.HfHubHTTPError)
    status = error.response.status_code
    named, page = f"{asked.repo}: {repo}", asked.page(endpoint, repo)
    if isinstance(error, errors.GatedRepoError):
        return f"{named}: gated ({status}); accept the licence at {page} and set HF_TOKEN"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{asked.revision}: expected one of {page}/commits/main, got {revision}, which {repo} does not have"
    if isinstance(error, errors.RepositoryNotFoundError):
        found = f"no such {asked.what} at {endpoint}, or a private one"
        return f"{named}: {found}; check the name, or set HF_TOKEN to see it"
    if status in (401, 403):
        return f"{named}: HF_TOKEN refused ({status}); expected a token that may read {page}"
    return f"{endpoint}: expected the files of {repo}, got status {status}; run `{asked.command}` later, it resumes"


def _part(target: Path, file: RepoSibling) -> Path:
    return target / f"{file.rfilename}.part"
