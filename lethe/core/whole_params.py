"""Every section of params.yaml against the stages of dvc.yaml: a misspelt key of the last stage stops the first one."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Iterator, Mapping
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

SECRET = re.compile(  # a password in an address, or a key as their issuers write them; base_url has a check of its own
    r"://[^/\s@]+@|[?&](?:api_?key|key|token|access_token|password|secret|sig)=\S|"
    r"\b(?:sk-[A-Za-z0-9_-]{16,}|hf_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|AKIA[0-9A-Z]{16})"
)
SECRET_SAID = "expected a value without a password or key, got one with; dvc.lock and the page show every value"


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
    problems = [f"{name}: unknown section{remedy(name, known)}" for name in values if name not in known]
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
    problems += [f"{place}: {SECRET_SAID}" for place in secrets(values)]
    return sections, list(dict.fromkeys(problems))  # a shared section's once, not by every stage that reads it


def remedy(name: str, known: list[str]) -> str:
    """What to do about an unknown section: one named as the pages name a parameter is a key of a section."""
    section, dot, key = name.partition(".")
    if dot and section in known:
        return f"; write {key} into the section {section}"
    return did_you_mean(name, known)


def secrets(values: Any, place: str = "") -> Iterator[str]:
    """`section.key` of every text that holds a password or a key: dvc.lock, models and the page keep all values."""
    if isinstance(values, dict):
        for name, value in values.items():
            yield from secrets(value, f"{place}.{name}".lstrip("."))
    elif isinstance(values, list):
        for value in values:
            yield from secrets(value, place)
    elif isinstance(values, str) and not place.endswith(".base_url") and SECRET.search(values):
        yield place


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
