"""Self-contained HTML pages: a template with its style and script, filled with tables, charts and samples."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lethe.gate.metric_catalogue import number
from lethe.gate.model_catalogue import MODELS
from lethe.report.comparison import signed
from lethe.report.opening import thousands

HERE = Path(__file__).parent
TEMPLATE = HERE / "report.html.j2"
SHARED = ("style.css.j2", "script.js.j2")  # that every page includes


def render(template: Path, charts: Mapping[str, Any], **content: Any) -> str:
    """One HTML page. Everything but the charts is escaped; a variable that is missing is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([template.parent, HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"number": number, "signed": signed, "thousands": thousands}
    environment.globals |= {"catalogue": MODELS}
    return environment.get_template(template.name).render(charts=marked(charts), **content)


def marked(charts: Any) -> Any:
    """The charts as markup that is not escaped."""
    from markupsafe import Markup

    if isinstance(charts, Mapping):
        return {name: marked(found) for name, found in charts.items()}
    return [Markup(svg) for svg in charts] if isinstance(charts, list) else charts and Markup(charts)


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
