"""The page of `dvc plots`: it draws what DVC gives it, and asks nothing of a network."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.browser import look
from tools.structure import ROOT

PAGE = (ROOT / ".dvc/plots/page.html").read_text(encoding="utf-8")
AXES = {"x": {"field": "step", "title": "step"}, "y": {"field": "loss", "title": "loss"}}
APART = {"color": {"field": "rev"}, "strokeDash": {"field": "filename"}}


def plot(place: str, spec: dict[str, Any]) -> str:
    """A plot as DVC writes it into its page."""
    return f'<div id="{place}"><script>vegaEmbed("#{place}", {json.dumps(spec)});</script></div>'


def row(step: str, loss: str, rev: str = "workspace", filename: str = "a.csv") -> dict[str, str]:
    return {"step": step, "loss": loss, "rev": rev, "filename": filename}


def test_dvc_takes_this_page_and_it_fetches_nothing() -> None:
    assert "html_template = plots/page.html" in (ROOT / ".dvc/config").read_text(encoding="utf-8")
    assert "{plot_divs}" in PAGE
    assert "{scripts}" not in PAGE  # those that DVC fetches
    assert not re.search(r"\s(src|href)=|url\(|fetch\(|import\(|https?://(?!www\.w3\.org/2000/svg)", PAGE)


def test_it_draws_every_line(tmp_path: Path) -> None:
    layers = {"layer": [{"encoding": AXES | APART, "layer": [{"mark": "line"}]}, {"encoding": {}}]}
    rows = [row("10", "2.5"), row("2", "5"), row("3", ""), row("2", "4", "HEAD"), row("2", "1", "HEAD", "<b>.csv")]
    page = PAGE.replace("{refresh_tag}", "").replace(
        "{plot_divs}",
        plot("one", layers | {"title": "Loss", "data": {"values": rows}})
        + plot("none", layers | {"data": {"values": []}}),
    )
    script = """return {
      lines: [...page.querySelectorAll("#one polyline")].map(each => each.getAttribute("points").split(" ").length),
      order: page.querySelector("#one polyline").getAttribute("points").split(" ").map(each => parseFloat(each)),
      key: [...page.querySelectorAll("#one .key span")].map(each => each.textContent),
      titles: [...page.querySelectorAll("h2")].map(each => each.textContent),
      none: page.querySelector("#none p").textContent, markup: page.querySelectorAll("b").length}"""
    seen = look(page, script, tmp_path)
    assert seen.complaints == []
    assert seen.found == {
        "lines": [2, 1, 1], "order": [60, 680],
        "key": ["workspace, a.csv", "HEAD, a.csv", "HEAD, <b>.csv"], "titles": ["Loss", "none"],
        "none": "No numbers to draw; dvc plots show --json has the data.", "markup": 0,
    }  # fmt: skip
