"""Data that somebody else wrote, and that is not believed: YAML and JSON of one reading, files that have an end."""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

from lethe.core.errors import StageError
from lethe.core.strict_json import once

NODES = 1_000_000  # of a YAML file, those of aliases counted each time: nine lines can stand for a billion
LARGEST = 1 << 28  # bytes of a file that is read whole


@cache
def read_yaml_text(text: str) -> Any:
    """YAML by ruamel, as PyYAML takes 1e-5 for a word. Raises StageError for anything else.

    What JSON has not, such as dates, infinity and keys that are no text, is given as the text it is written as.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return as_json(YAML(typ="safe").load(text), [NODES])
    except (YAMLError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise StageError(f"dvc.lock: not valid YAML: {(str(error).splitlines() or ['broken'])[0]}") from None


def as_json(value: Any, left: list[int]) -> Any:
    """The value with nothing in it that JSON has not. left: how many more nodes it may have; ValueError beyond."""
    left[0] -= 1
    if left[0] < 0:
        raise ValueError(f"more than {NODES} values, aliases among them")
    if isinstance(value, dict):
        return {key if isinstance(key, str) else str(key): as_json(each, left) for key, each in value.items()}
    if isinstance(value, list | tuple | set):
        return [as_json(each, left) for each in value]
    plain = value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
    return value if plain else str(value)


def json_object(content: bytes) -> dict[str, Any]:
    """A JSON object, {} for anything else: one that says a name twice, and one with a number that JSON does not have,
    or that is too large to be computed with, too.
    """

    def refuse(word: str) -> float:
        raise ValueError(f"{word} is no number of JSON")

    def whole(digits: str) -> int:
        float(number := int(digits))  # OverflowError
        return number

    try:
        found = json.loads(content.decode(), parse_constant=refuse, parse_int=whole, object_pairs_hook=once)
        json.dumps(found, allow_nan=False)  # 1e999 is read as infinity
    except (ValueError, OverflowError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def checked(path: Path) -> Path:
    """The path of a file that has an end. Raises StageError for a pipe, a device or a folder."""
    if path.exists() and not path.is_file():
        raise StageError(f"{path}: expected a file, got a folder, pipe or device")
    return path


def text_if_there(path: Path) -> str:
    """The text of a file, "" where there is none. Raises StageError for what is no file, or far too long a one."""
    if not path.exists():
        return ""
    if checked(path).stat().st_size > LARGEST:
        raise StageError(f"{path}: expected a file of at most {LARGEST} bytes, got {path.stat().st_size}")
    return path.read_text(encoding="utf-8", errors="replace")
