"""params.yaml, read strictly: no defaults in code, nothing unknown, every problem reported at once."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

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
    "a valid boolean": "true or false",
    "a valid i": "an i",
    "a valid ": "a ",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    "greater than": "a value greater than",
    "less than": "a value less than",
}
# What pydantic adds to the place of a value that may be of several kinds: which of them it tried.
TRIED = re.compile(r"bool|int|float|str|(list|literal|dict)\[.*\]")
NUMBER = re.compile(r"[-+]?\d+(\.\d*)?([eE][-+]?\d+)?")
ITEMS = re.compile(r"List should have (at (?:least|most) \d+ items?) after validation, not \d+")
DEEPEST, MOST, LARGEST = 12, 100_000, 2**63  # sections within sections; values; what the libraries' numbers hold
Section = TypeVar("Section", bound=StageParams)
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # as numpy takes it
Beta = Annotated[float, Field(ge=0, lt=1)]  # of Adam


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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of numbers in YAML 1.1, which a %YAML line may ask for
            content = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StageError(f"{path}: no such file; run the command in the folder of the project") from None
    except OSError as error:
        raise StageError(f"{path}: expected a file that can be read, got: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise StageError(
            f"{path}: expected text in UTF-8, got another byte at {error.start}; save it as UTF-8"
        ) from None
    except (YAMLError, ValueError, RecursionError) as error:  # the last two of values such as 2026-13-45
        raise StageError(f"{path}: not readable as YAML: {yaml_problem(error)}") from None
    if content is None:
        raise StageError(f"{path}: expected a mapping of sections, got an empty file")
    if not isinstance(content, dict):
        raise StageError(f"{path}: expected a mapping of sections, got {type(content).__name__}")
    for problem in unusable(content):
        raise StageError(f"{path}: {problem}")
    return content


def yaml_problem(error: Exception) -> str:
    """What is wrong with a YAML file and in which line, without the reader's own words for it."""
    if not isinstance(error, MarkedYAMLError) or error.problem is None:
        return " ".join(str(error).replace(' in "<unicode string>",', ",").split())
    mark = error.problem_mark or error.context_mark
    tab = "; indent with spaces, not with a tab" if "'\\t'" in error.problem else ""
    return " ".join(f"line {mark.line + 1}: {error.problem}{tab}".split())


def unusable(content: Any) -> Iterator[str]:
    """A line for every key that is no text, every number beyond 64 bits, and for sections that contain themselves."""
    waiting: list[tuple[str, Any, int]] = [("", content, 0)]
    for _ in range(MOST):
        if not waiting:
            return
        place, value, depth = waiting.pop()
        if isinstance(value, dict):
            where = f"{place}: " if place else ""
            for key in value:
                if not isinstance(key, str):
                    yield f"{where}expected names as keys, got {key!r}; a number or true as a key needs quotes"
            waiting += [(f"{place}.{key}".lstrip("."), value[key], depth + 1) for key in value]
        elif isinstance(value, list):
            waiting += [(f"{place}.{number}", each, depth + 1) for number, each in enumerate(value)]
        elif isinstance(value, int) and abs(value) >= LARGEST:
            yield f"{place}: expected a number of at most 18 digits, got a larger one"
        if depth > DEEPEST:
            break
    yield f"expected at most {DEEPEST} sections within each other and {MOST} values, got more"


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
        return [_line(section, schema, problem, sections or {}) for problem in _each_value_once(error.errors())]
    return []


def _each_value_once(problems: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """The problems, those of a value that may be of several kinds as one: what it may be, at its own place."""
    found: dict[tuple[int | str, ...], ErrorDetails] = {}
    for number, problem in enumerate(problems):
        location = problem["loc"]
        place = tuple(part for part in location if not (isinstance(part, str) and TRIED.fullmatch(part)))
        if place == location or len(location) == 1:
            found[(*location, number)] = problem
        elif place in found:
            found[place]["msg"] += f" or {problem['msg'].removeprefix('Input should be ')}"
        else:
            found[place] = cast("ErrorDetails", {**problem, "loc": place})
    return list(found.values())


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
    shown = "a section" if isinstance(found, dict) else str(found) if isinstance(found, date) else repr(found)
    quoted = problem["type"] in ("int_type", "float_type") and isinstance(found, str) and NUMBER.fullmatch(found)
    return f"{where}: {_plain(problem['msg'])}, got {shown}{'; leave out the quotes' if quoted else ''}"


def _plain(message: str) -> str:
    """A message of pydantic in the words of an error line: `expected at least 8`."""
    if message.startswith("Input should be a valid dictionary or instance of"):
        return "expected a section"
    for theirs, ours in PLAIN.items():
        message = message.replace(theirs, ours)
    return ITEMS.sub(r"expected \1", message)


def _stands_in(values: Any, path: tuple[int | str, ...]) -> bool:
    """Whether a section has the value at `path`; what lies within a value that is no section belongs to it."""
    for part in path:
        if not isinstance(values, dict):
            return values is not None
        if part not in values:
            return False
        values = values[part]
    return True
