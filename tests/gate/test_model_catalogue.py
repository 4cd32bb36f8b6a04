"""Each model's mark: one definition, different from every other, and the same wherever the model is shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lethe.app.server import TEMPLATE as APP
from lethe.console import titled
from lethe.core.tables import COMPARED
from lethe.gate.model_catalogue import MODELS, Shown, marked_as, role
from lethe.report.charts import Line, chart
from lethe.report.html import HERE, SHARED, render
from tests.conftest import ROOT

PAGES = sorted(path for path in (ROOT / "lethe").rglob("*.html.j2") if SHARED[0] in path.read_text(encoding="utf-8"))


def test_every_compared_model_has_a_mark_of_its_own() -> None:
    assert MODELS.keys() == {*COMPARED}
    for of in ("role", "sign", "marker", "outline", "light", "dark", "paper", "terminal"):
        assert len({getattr(model, of) for model in MODELS.values()}) == len(MODELS), of


def test_a_mark_is_defined_once() -> None:
    literal = [each for model in MODELS.values() for each in (model.sign, model.light, model.dark)]
    found = [
        f"{path.relative_to(ROOT)}: {each}"
        for path in (ROOT / "lethe").rglob("*")
        if path.suffix in (".py", ".j2") and path.name != "model_catalogue.py"
        for each in literal
        if each in path.read_text(encoding="utf-8")
    ]
    assert found == []


def test_the_app_and_the_report_have_the_same_shapes(tmp_path: Path) -> None:
    shapes = [f".dot.{name} {{ border: 0; " for name in MODELS]
    style = tmp_path / "style.j2"
    style.write_text((HERE / SHARED[0]).read_text(encoding="utf-8"), encoding="utf-8")
    report = render(style, {})
    app = render(APP, {}, nonce="n", project="p")
    for name, model in MODELS.items():
        [rule] = re.findall(rf"^\.dot\.{name} {{.*}}$", report, re.MULTILINE)
        assert model.outline in rule
        assert rule in app
        assert f'content: "{model.sign} "' in report
    assert all(shape in app for shape in shapes)
    assert PAGES  # and every other page takes its style from the same file


def test_a_drawing_and_a_terminal_have_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [Line(name, [(0, 1.0), (1, 0.5)]) for name in MODELS]
    before = chart("t", "x", lines)
    monkeypatch.setitem(MODELS, "baseline", MODELS["baseline"]._replace(marker="P", sign="+"))
    assert chart("t", "x", lines) != before
    assert [titled(name).plain for name in ("baseline", "retrained-2", "step-00010")] == [
        "+ baseline", "▲ retrained-2", "step-00010",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "found"),
    [("retrained", "retrained"), ("retrained-2", "retrained"), ("step-00010", None), ("retrained-old", None),
     ("baseline2", None), ("models/baseline", None), ("baseline-", None)],
)  # fmt: skip
def test_whose_mark_a_model_bears(model: str, found: str | None) -> None:
    assert marked_as(model) == found
    assert role(model) == (MODELS[found].role if found else "")
    assert isinstance(MODELS["baseline"], Shown)
