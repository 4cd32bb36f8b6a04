"""params.yaml, read strictly: no defaults in code, nothing unknown, every problem reported at once."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from lethe.core.errors import StageError


class StageParams(BaseModel):
    """One section of params.yaml: strict types, finite numbers, unknown keys rejected, no defaults outside the file.

    shared_section: the section that holds the fields of this class for every stage whose class is derived from it;
    a stage's section overrides them key by key. Empty: the stage's section has them all.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)
    shared_section: ClassVar[str] = ""


PLAIN = {  # words of pydantic -> words of an error line, replaced in this order
    "Input should be": "expected",
    "a valid i": "an i",
    "a valid ": "a ",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    "greater than": "a value greater than",
    "less than": "a value less than",
}
Section = TypeVar("Section", bound=StageParams)


def read_params(section: str, schema: type[Section], path: Path = Path("params.yaml")) -> Section:
    """The validated section of params.yaml, over the shared sections that its class reads.

    Raises StageError naming every problem and its place in the file.
    """
    sections = read_yaml(path)
    problems = stage_problems(section, schema, sections)
    if problems:
        raise StageError(join_problems(path, problems))
    return schema.model_validate(merged(section, schema, sections))


def shared_sections(schema: type[StageParams]) -> dict[str, type[StageParams]]:
    """{name: class whose fields it may hold} of the shared sections that a stage's class reads."""
    bases = [base for base in schema.__mro__ if issubclass(base, StageParams)]
    return {base.shared_section: base for base in bases if vars(base).get("shared_section")}


def merged(section: str, schema: type[StageParams], sections: Mapping[str, Any]) -> Any:
    """The values of a stage's section over those of the shared sections it reads."""
    values: dict[str, Any] = {}
    for name, fields in shared_sections(schema).items():
        given = sections.get(name)
        if isinstance(given, dict):
            values |= {key: value for key, value in given.items() if key in fields.model_fields}
    own = sections.get(section)
    return overlaid(values, own) if isinstance(own, dict) else own


def overlaid(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The values with the changes in place, key by key in nested sections too; a list is one value."""
    both = {key: changes.get(key, value) for key, value in values.items()} | dict(changes)
    nested = [key for key in both if isinstance(values.get(key), dict) and isinstance(changes.get(key), dict)]
    return both | {key: overlaid(values[key], changes[key]) for key in nested}


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML 1.2 mapping, so that `1e-5` is a number. Raises StageError if it is missing or not a mapping."""
    try:
        content = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StageError(f"{path}: no such file; run the command in the folder of the project") from None
    except (YAMLError, UnicodeDecodeError) as error:
        where = " ".join(str(error).split())
        raise StageError(f"{path}: not readable as YAML: {where}") from None
    if not isinstance(content, dict):
        raise StageError(f"{path}: expected a mapping of sections, got {type(content).__name__}")
    return content


def stage_problems(section: str, schema: type[StageParams], sections: Mapping[str, Any]) -> list[str]:
    """One line per problem of a stage's section and of the shared ones it reads, `section.key: what is wrong`."""
    shared = shared_sections(schema)
    problems = [line for name, fields in shared.items() for line in _shared_problems(name, fields, sections.get(name))]
    if any(not isinstance(sections.get(name), dict) for name in shared):
        return problems  # otherwise every key that the stage lacks would be reported
    return problems + section_problems(section, schema, merged(section, schema, sections), sections)


def section_problems(
    section: str, schema: type[StageParams], values: object, sections: Mapping[str, Any] | None = None
) -> list[str]:
    """One line per problem, `section.key: what is wrong`; empty if the section is valid.

    sections: where the values were merged from, so that each problem is reported at its place.
    """
    if values is None:
        return [f"{section}: section is missing"]
    try:
        schema.model_validate(values)
    except ValidationError as error:
        return [_line(section, schema, problem, sections or {}) for problem in error.errors()]
    return []


def _shared_problems(name: str, fields: type[StageParams], given: object) -> list[str]:
    """Problems of a shared section by itself; its values are checked with each stage's."""
    if given is None:
        return [f"{name}: section is missing"]
    if not isinstance(given, dict):
        return [f"{name}: expected a section, got {given!r}"]
    known = list(fields.model_fields)
    return [f"{name}.{key}: unknown parameter{did_you_mean(str(key), known)}" for key in given if key not in known]


def join_problems(path: Path, problems: list[str]) -> str:
    """One problem on one line, several as an indented list."""
    if len(problems) == 1:
        return f"{path}: {problems[0]}"
    return f"{path}: {len(problems)} problems\n" + "\n".join(f"  {problem}" for problem in problems)


def did_you_mean(word: str, known: list[str]) -> str:
    """`; did you mean X?` or nothing."""
    near = get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def known_names(schema: type[BaseModel], path: list[str]) -> list[str]:
    """The parameters in the nested section at `path`, none if there is no such section."""
    for name in path:
        annotation = schema.model_fields[name].annotation if name in schema.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        schema = annotation
    return list(schema.model_fields)


def _line(section: str, schema: type[StageParams], problem: ErrorDetails, sections: Mapping[str, Any]) -> str:
    location = [str(part) for part in problem["loc"]]
    shared = shared_sections(schema)
    holders = [name for name in (section, *shared) if location and _stands_in(sections.get(name), problem["loc"])]
    where = ".".join([holders[0] if holders else section, *location])
    if problem["type"] == "extra_forbidden":
        return f"{where}: unknown parameter{did_you_mean(location[-1], known_names(schema, location[:-1]))}"
    if problem["type"] == "missing":
        others = [name for name, fields in shared.items() if location[0] in fields.model_fields]
        return f"{where}: parameter is missing" + (f"; set it there or in {others[0]}" if others else "")
    if problem["type"] == "value_error":
        return f"{where}: {problem['msg'].removeprefix('Value error, ')}"
    found = problem["input"]
    shown = "a section" if isinstance(found, dict) else repr(found)
    return f"{where}: {_plain(problem['msg'])}, got {shown}"


def _plain(message: str) -> str:
    """A message of pydantic in the words of an error line: `expected at least 8`."""
    for theirs, ours in PLAIN.items():
        message = message.replace(theirs, ours)
    return message


def _stands_in(values: Any, path: tuple[int | str, ...]) -> bool:
    """Whether a section has the value at `path`; what lies within a value that is no section belongs to it."""
    for part in path:
        if not isinstance(values, dict):
            return values is not None
        if part not in values:
            return False
        values = values[part]
    return True
