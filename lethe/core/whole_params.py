"""Every section of params.yaml against the stages of dvc.yaml: a misspelt key of the last stage stops the first one."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lethe.core.errors import StageError
from lethe.core.params import (
    StageParams,
    did_you_mean,
    join_problems,
    merged,
    read_yaml,
    shared_sections,
    stage_problems,
)


def check_whole(params: Path = Path("params.yaml"), pipeline: Path = Path("dvc.yaml")) -> None:
    """Raise StageError naming every problem of the params file; a folder without both files is left to the stage."""
    if params.exists() and pipeline.exists():
        _, problems = validated(read_yaml(pipeline).get("stages") or {}, read_yaml(params))
        if problems:
            raise StageError(join_problems(params, problems))


def validated(pipeline: Mapping[str, Any], values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The valid sections by stage, what they share merged in, and a line for everything wrong with the others."""
    sections: dict[str, Any] = {}
    known = [*pipeline, *section_schemas(pipeline)]
    problems = [f"{name}: unknown section{did_you_mean(name, known)}" for name in values if name not in known]
    for stage in pipeline:
        schema = schema_of(stage)
        if schema is None:
            problems.append(
                f"{stage}: expected stages/{stage}.py with a class Params, as dvc.yaml has this stage, got none"
            )
            continue
        found = stage_problems(stage, schema, values)
        problems += found
        if not found:
            sections[stage] = schema.model_validate(merged(stage, schema, values))
    return sections, list(dict.fromkeys(problems))  # a shared section's once, not by every stage that reads it


def section_schemas(stages: Iterable[str]) -> dict[str, type[StageParams]]:
    """{section: class of its fields} of the stages and of the sections they share."""
    own = {stage: schema for stage in stages if (schema := schema_of(stage))}
    return own | {name: fields for schema in own.values() for name, fields in shared_sections(schema).items()}


def schema_of(stage: str) -> type[StageParams] | None:
    """The class Params of the stage's module, None if there is no such module or class."""
    name = f"stages.{stage}"
    try:
        return getattr(importlib.import_module(name), "Params", None)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return None
