"""params.yaml, read strictly: no defaults in code, nothing unknown, every problem told at once."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from lethe.core.errors import StageError


class StageParams(BaseModel):
    """One section of params.yaml: strict types, frozen, unknown keys refused, values in the file and nowhere else."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


Section = TypeVar("Section", bound=StageParams)


def read_params(section: str, schema: type[Section], path: Path = Path("params.yaml")) -> Section:
    """The validated section of params.yaml.

    Raises StageError naming every problem of the section.
    """
    sections = read_yaml(path)
    problems = section_problems(section, schema, sections.get(section))
    if problems:
        raise StageError(join_problems(path, problems))
    return schema.model_validate(sections[section])


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML 1.2 mapping, so that `1e-5` is a number. Raises StageError if it is missing or not a mapping."""
    try:
        content = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StageError(f"{path}: no such file, wanted it in the folder the command is run from") from None
    except (YAMLError, UnicodeDecodeError) as error:
        where = " ".join(str(error).split())
        raise StageError(f"{path}: not readable as YAML: {where}") from None
    if not isinstance(content, dict):
        raise StageError(f"{path}: found {type(content).__name__}, wanted a mapping of sections")
    return content


def section_problems(section: str, schema: type[StageParams], values: object) -> list[str]:
    """One line per problem, `section.key: what is wrong`; empty if the section is valid."""
    if values is None:
        return [f"{section}: section is missing"]
    try:
        schema.model_validate(values)
    except ValidationError as error:
        return [_line(section, schema, problem) for problem in error.errors()]
    return []


def join_problems(path: Path, problems: list[str]) -> str:
    """One problem on one line, several as an indented list."""
    if len(problems) == 1:
        return f"{path}: {problems[0]}"
    return f"{path}: {len(problems)} problems\n" + "\n".join(f"  {problem}" for problem in problems)


def did_you_mean(word: str, known: list[str]) -> str:
    """`; did you mean X?` or nothing."""
    near = get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _line(section: str, schema: type[StageParams], problem: ErrorDetails) -> str:
    location = [str(part) for part in problem["loc"]]
    where = ".".join([section, *location])
    if problem["type"] == "extra_forbidden":
        return f"{where}: unknown parameter{did_you_mean(location[-1], _known(schema, location[:-1]))}"
    if problem["type"] == "missing":
        return f"{where}: parameter is missing"
    if problem["type"] == "value_error":
        return f"{where}: {problem['msg'].removeprefix('Value error, ')}"
    found = problem["input"]
    shown = "a section" if isinstance(found, dict) else repr(found)
    wanted = problem["msg"].replace("Input should be", "wanted").replace("a valid i", "an i").replace("a valid ", "a ")
    return f"{where}: found {shown}, {wanted}"


def _known(schema: type[BaseModel], path: list[str]) -> list[str]:
    for name in path:
        annotation = schema.model_fields[name].annotation if name in schema.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        schema = annotation
    return list(schema.model_fields)
