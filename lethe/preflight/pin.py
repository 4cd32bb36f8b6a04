"""`lethe pin`: the commit that a branch of a repository on the Hugging Face Hub is at now, written into params.yaml."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer
from ruamel.yaml.comments import CommentedMap

from lethe.console import Json, print_json
from lethe.core.errors import StageError
from lethe.core.params import read_yaml
from lethe.preflight.presets import dumped, put, round_trip

PARAMS = Path("params.yaml")


def command(
    model: Annotated[str, typer.Argument(help="owner/name on the Hub.")],
    revision: Annotated[str, typer.Option(help="A branch, tag or commit of it.")] = "main",
    stage: Annotated[
        Literal["baseline", "specialise"], typer.Option(help="The stage that is to start from this model.")
    ] = "baseline",
    params: Annotated[Path, typer.Option(help="The params file to write into.")] = PARAMS,
    json: Json = False,
) -> None:
    """Write a model of the Hugging Face Hub into params.yaml, at the commit that its branch is at now.

    A stage fetches a model only at a commit, because a branch may hold other weights tomorrow. Comments stay. Nothing
    is downloaded, and nothing written if the repository does not hold a model that the stage would take. HF_TOKEN and
    HF_ENDPOINT count as in the stage.
    """
    commit = current_commit(model, revision)
    before = pinned(params, stage, model, commit)
    if json:
        print_json({"model": model, "revision": revision, "commit": commit, "params": str(params), "before": before})
    else:
        print(
            f"pin: {params}: {stage}.revision: {commit}, which is {revision} of {model} now; before: {before or 'null'}"
        )


def current_commit(repo: str, revision: str) -> str:
    """The 40-digit commit. Raises StageError if the Hub does not say, or the stage would refuse the model's files."""
    from lethe.pretrained.hub import HUB, explained, refuse_unusable, repository

    endpoint = (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
    with explained(repo, revision, endpoint):
        commit, listing = repository(repo, revision, endpoint)
        refuse_unusable(repo, commit, set(listing))
    return commit


def pinned(params: Path, stage: str, repo: str, commit: str) -> str | None:
    """Set a stage's source in a params file; returns the revision that was there. Raises StageError as read_yaml."""
    if not isinstance(read_yaml(params).get(stage), dict):
        raise StageError(f"{params}: expected a section {stage}, got none")
    content = round_trip().load(params.read_text(encoding="utf-8"))
    section: CommentedMap = content[stage]
    before = section.get("revision")
    for key, value in {"source": "hub", "model": repo, "revision": commit}.items():
        put(section, key, value)
    written = params.with_name(f".{params.name}.part")
    written.write_text(dumped(content), encoding="utf-8")
    written.replace(params)  # a kill leaves the old file or the new one
    return before
