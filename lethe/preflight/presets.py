"""Presets: changes to the default parameters for other sizes and texts, and the complete params file of each.

presets/default.yaml is params.yaml as it comes with the project. Every other params file there holds only what differs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Annotated, Any

import typer
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.representer import RoundTripRepresenter

from lethe.console import Json, print_json
from lethe.core.errors import StageError
from lethe.core.params import did_you_mean, join_problems, overlaid, read_yaml

FOLDER, DEFAULT = Path("presets"), "default.yaml"
COLUMN = 30  # of the comments after values


def command(
    name: Annotated[str | None, typer.Argument(help="The preset; without a name, all are listed.")] = None,
    json: Json = False,
) -> None:
    """Print the complete params file of a preset, or list the presets: **lethe preset book > params.yaml**."""
    from lethe.core.whole_params import validated

    found = presets(FOLDER)
    if not found:
        raise StageError(
            f"{FOLDER}: expected the project's folder of presets, got none; run the command in the project"
        )
    if name is None:
        sentences = {preset: sentence(path) for preset, path in found.items()}
        if json:
            print_json({"presets": sentences})
        else:
            print("\n".join(f"{preset:<20} {said}" for preset, said in sentences.items()))
        return
    if name not in found:
        raise StageError(f"{FOLDER}: expected one of {', '.join(found)}, got {name}{did_you_mean(name, list(found))}")
    values = read_whole(found[name])
    _, problems = validated(read_yaml(Path("dvc.yaml"))["stages"], values)
    if problems:
        raise StageError(join_problems(found[name], problems))
    if json:
        print_json({"preset": name, "params": values})
    else:
        print(whole_text(found[name]), end="")


def presets(folder: Path) -> dict[str, Path]:
    """{name: params file}, the default first. Configurations of accelerate are not params files."""
    paths = sorted(path for path in folder.glob("*.yaml") if not path.name.startswith("accelerate-"))
    return {path.stem: path for path in sorted(paths, key=lambda path: path.name != DEFAULT)}


def sentence(path: Path) -> str:
    """The first sentence of a params file's first comment."""
    head = " ".join(line.removeprefix("#").strip() for line in head_of(path).splitlines())
    found = re.match(r".+?\.(?=\s|$)", head)
    return found[0] if found else head


def head_of(path: Path) -> str:
    """The comment lines that a params file begins with."""
    found = re.match(r"(#.*\n)*", path.read_text(encoding="utf-8"))
    return found[0] if found else ""


def is_overlay(path: Path) -> bool:
    """Whether a params file holds only what differs from the default in its folder."""
    return path.name != DEFAULT and path.with_name(DEFAULT).exists()


def read_whole(path: Path) -> dict[str, Any]:
    """All sections of a params file, those of a preset with the default's values where it sets none.

    Raises StageError if there is no such file or it is no mapping.
    """
    values = read_yaml(path)
    return overlaid(read_yaml(path.with_name(DEFAULT)), values) if is_overlay(path) else values


def whole_text(path: Path) -> str:
    """The same as text, with the default's comments except those of the values that the preset changes."""
    if not is_overlay(path):
        return path.read_text(encoding="utf-8")
    yaml = round_trip()
    content = yaml.load(path.with_name(DEFAULT).read_text(encoding="utf-8"))
    lay_over(content, yaml.load(path.read_text(encoding="utf-8")))
    return f"{head_of(path)}#\n{dumped(content)}"


def round_trip() -> YAML:
    """YAML that is written as it was read: comments, quotes, `1e-3`, `null`."""
    yaml = YAML()
    yaml.preserve_quotes, yaml.width, yaml.Representer = True, 4096, Representer
    return yaml


def dumped(content: CommentedMap) -> str:
    """The text of sections that `round_trip` has read."""
    stream = StringIO()
    round_trip().dump(content, stream)
    return stream.getvalue()


def lay_over(content: CommentedMap, changes: Mapping[str, Any]) -> None:
    """Put values into sections in place, key by key, with their comments."""
    for key, value in changes.items():
        if isinstance(value, dict):
            put(content, key, content.get(key, CommentedMap()))
            lay_over(content[key], value)
        else:
            put(content, key, value)
        said = comment_of(changes, key)
        if said:
            comment(content, key, said)


def put(content: CommentedMap, key: str, value: Any) -> None:
    """Set a value where it stands; a new one comes last, but before the empty line between two sections.

    A list is written in one line, as everywhere in params.yaml: an empty one as a block garbles the lines after it.
    """
    if isinstance(value, list):
        value = CommentedSeq(value)
        value.fa.set_flow_style()
        said = content.ca.items.get(key)
        if said and said[3] is not None:  # of a block: its comment stands before its first line, not behind a value
            del content.ca.items[key]
            content.yaml_add_eol_comment(said[2].value.strip(), key, column=COLUMN)
    if key in content:
        content[key] = value
    else:
        content.insert(len(content) - ends_section(content), key, value)


def ends_section(content: CommentedMap) -> bool:
    """Whether an empty line follows the last value, which ruamel keeps as a comment of it."""
    last = next(reversed(content), None)
    inner = content.get(last)
    if isinstance(inner, CommentedMap) and inner:
        return ends_section(inner)
    token = content.ca.items.get(last, [None] * 4)[2]
    return token is not None and token.value.count("\n") > 1


def comment_of(values: Mapping[str, Any], key: str) -> str:
    """The comment behind a value, "" if there is none."""
    token = values.ca.items.get(key, [None] * 4)[2] if isinstance(values, CommentedMap) else None
    return token.value.split("\n")[0] if token else ""


def comment(content: CommentedMap, key: str, said: str) -> None:
    """Put a comment behind a value in place of its own; empty lines after it stay."""
    token = content.ca.items.get(key, [None] * 4)[2]
    if token is None:
        content.yaml_add_eol_comment(said, key, column=COLUMN)
    else:
        token.value = said + "\n" + token.value.partition("\n")[2]
        token.column = COLUMN


class Representer(RoundTripRepresenter):
    """ruamel's representer, but null is written."""


Representer.add_representer(type(None), lambda self, _: self.represent_scalar("tag:yaml.org,2002:null", "null"))
