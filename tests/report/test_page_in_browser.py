"""The report page and the cost page in a real browser: quiet console, tables that sort, nothing wider than a phone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser import browser, look
from tests.stages.test_report import made  # noqa: F401

PHONE, DESKTOP = 390, 1280

OVERFLOW = """
const clipped = (element) => element.closest(".scroll") !== null;
const wide = [...page.querySelectorAll("body *")].filter((element) =>
  !clipped(element) && element.getBoundingClientRect().right > view.innerWidth + 0.5);
const told = wide.map((element) => element.outerHTML.slice(0, 80));
const cells = [...page.querySelectorAll("td")].filter((cell) => cell.scrollWidth > cell.clientWidth + 1);
return {width: view.innerWidth, scrolls: page.documentElement.scrollWidth, wide: told,
  spilt: cells.map((cell) => cell.textContent.trim().slice(0, 80))};
"""
SORT = """
const table = page.querySelector("table.sortable");
const text = (element) => element.textContent.trim();
const order = (name) => {
  [...table.querySelectorAll("th button")].find((button) => text(button) === name).click();
  return [...table.tBodies[0].rows].map((row) => text(row.cells[0]));
};
const state = () => [...table.querySelectorAll("th[aria-sort]")].map((head) => text(head) + " " + head.ariaSort);
return {term: order("term"), again: order("term"), before: order("baseline"), after: order("unlearned"),
  count: order("count"), state: state()};
"""
# Contrast of text with what is behind it (WCAG 2, relative luminance): 4.5 is what small text needs.
CONTRAST = """
const linear = (value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
const luminance = (colour) => {
  const [r, g, b] = numbers(colour).map((value) => linear(value / 255));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (element) => { for (; element; element = element.parentElement) {
  const colour = view.getComputedStyle(element).backgroundColor;
  if (numbers(colour)[3] !== 0) return colour; } return "rgb(255, 255, 255)"; };
const low = [];
for (const element of page.querySelectorAll("h1, h2, p, th, td, small, li, caption, summary, code, .grade")) {
  if (!element.textContent.trim() || element.closest("svg")) continue;
  const [one, other] = [luminance(view.getComputedStyle(element).color), luminance(behind(element))];
  const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  if (contrast < 4.5) low.push(element.textContent.trim().slice(0, 40) + " " + contrast.toFixed(2));
}
return {low, page: view.getComputedStyle(page.body).backgroundColor};
"""


@pytest.fixture(scope="module")
def page(made: Path) -> str:  # noqa: F811
    browser()
    return (made / "reports/index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_nothing_is_wider_than_the_screen(page: str, tmp_path: Path, width: int) -> None:
    seen = look(page, OVERFLOW, tmp_path, width)
    assert seen.found == {"width": width, "scrolls": width, "wide": [], "spilt": []}
    assert seen.complaints == []


def test_a_wide_element_would_be_found(page: str, tmp_path: Path) -> None:
    wide = page.replace("<header>", '<header><p style="width:600px;max-width:none">x</p>', 1)
    assert look(wide, OVERFLOW, tmp_path, PHONE).found["scrolls"] > PHONE
    narrow = page.replace("td.number small { white-space: normal;", "td.number small { width: 20rem;", 1)
    assert look(narrow, OVERFLOW, tmp_path, DESKTOP).found["spilt"]


def test_a_complaint_would_be_found(page: str, tmp_path: Path) -> None:
    broken = page.replace('"use strict";', '"use strict"; fetch("https://example.org"); nothing();', 1)
    complaints = " ".join(look(broken, "return 1", tmp_path).complaints)
    assert "Content Security Policy" in complaints
    assert "nothing is not defined" in complaints


def test_tables_sort(page: str, tmp_path: Path) -> None:
    seen = look(page, SORT, tmp_path)
    assert seen.complaints == []
    assert seen.found == {
        "term": ["Harrow Hill", "lantern", "Orla", "Tom"],  # words from A
        "again": ["Tom", "Orla", "lantern", "Harrow Hill"],
        "before": ["Orla", "Harrow Hill", "lantern", "Tom"],  # numbers from the largest: 0.30 0.20 0.10 0.004
        "after": ["Harrow Hill", "lantern", "Tom", "Orla"],  # 0.15 0.005 0.003 0.002
        "count": ["lantern", "Orla", "Harrow Hill", "Tom"],  # 50 40 12 7: by number, not by letter
        "state": ["count descending"],
    }


def test_empty_cells_come_last(tmp_path: Path, page: str) -> None:
    gap = page.replace('data-value="0.3"', 'data-value=""', 1)
    seen = look(gap, SORT.replace('after: order("unlearned")', 'up: order("baseline")'), tmp_path)
    assert seen.found["before"][-1] == seen.found["up"][-1] == "Orla"
    assert seen.found["up"][:3] == ["Tom", "lantern", "Harrow Hill"]


def test_pale_text_would_be_found(page: str, tmp_path: Path) -> None:
    pale = page.replace("--soft: #5f6771", "--soft: #a0a0a0", 1)
    assert look(pale, CONTRAST, tmp_path).found["low"]


@pytest.mark.parametrize(("dark", "paper"), [(False, "rgb(251, 250, 247)"), (True, "rgb(20, 23, 26)")])
def test_text_is_readable_in_light_and_dark(page: str, tmp_path: Path, dark: bool, paper: str) -> None:
    seen = look(page, CONTRAST, tmp_path, dark=dark)
    assert seen.found == {"low": [], "page": paper}


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_the_page_of_costs(tmp_path: Path, width: int) -> None:
    from lethe.cli.cost import Cost, page
    from tests.cli.test_cost import NUMBERS

    browser()
    made_page = page([Cost("corpus", dict.fromkeys(NUMBERS), ran=False), Cost("baseline", NUMBERS, ran=True)])
    assert look(made_page, OVERFLOW, tmp_path, width) == (
        {"width": width, "scrolls": width, "wide": [], "spilt": []},
        [],
    )
    by_name = "page.querySelector('th button').click(); return page.querySelector('tbody th').textContent.trim();"
    assert look(made_page, by_name, tmp_path).found == "baseline"  # it came second
