"""The report's page: a template filled with tables, charts and samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

TEMPLATE = "report.html.j2"


def render(**content: Any) -> str:
    """One HTML page that needs nothing beside it. Everything but the charts is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    content["charts"] = {group: [Markup(svg) for svg in svgs] for group, svgs in content["charts"].items()}
    return environment.get_template(TEMPLATE).render(**content)


def flattened(values: Any, prefix: str = "") -> list[tuple[str, str]]:
    """(dotted name, text) of every value of nested mappings, in their order."""
    if not isinstance(values, dict):
        return [(prefix, "" if values is None else str(values))]
    return [row for key, value in values.items() for row in flattened(value, f"{prefix}.{key}" if prefix else str(key))]


def excerpt(text: str, words: int, end: bool = False) -> str:
    """The first (or last) `words` words of a text, on one line, with an ellipsis where it goes on."""
    found = text.split()
    if len(found) <= words:
        return " ".join(found)
    kept = ["…", *found[len(found) - words :]] if end else [*found[:words], "…"]
    return " ".join(kept)
