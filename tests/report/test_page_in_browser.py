"""The report page and the cost page in a real browser: quiet console, nothing wider than a phone, parts that react."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser import axe, browser, look
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


# What axe-core finds wrong: the rule and the first element that breaks it.
AXE = """
const found = await view.axe.run(page, {resultTypes: ["violations"]});
return found.violations.map((rule) => rule.id + ": " + rule.nodes[0].html.slice(0, 120));
"""


def checked(page: str) -> str:
    """The page with axe-core in it."""
    return page.replace("</body>", f"<script>{axe()}</script></body>")


@pytest.mark.parametrize(("width", "dark"), [(DESKTOP, False), (PHONE, True)])
def test_axe_finds_nothing(page: str, tmp_path: Path, width: int, dark: bool) -> None:
    assert look(checked(page), AXE, tmp_path, width, dark).found == []


def test_axe_would_find_a_missing_label(page: str, tmp_path: Path) -> None:
    nameless = page.replace('<label for="score">score</label>', "", 1)
    assert [found.split(":")[0] for found in look(checked(nameless), AXE, tmp_path).found] == ["select-name"]


SAID = """
const samples = [...page.querySelectorAll(".sample")], buttons = [...page.querySelectorAll(".filter button")];
const shown = () => samples.filter((sample) => !sample.hidden).map((sample) => sample.dataset.why);
const count = () => [...new Set(shown())].sort().join() + " " + shown().length;
const press = (name) => buttons.find((button) => button.textContent === name).click();
const more = page.querySelector("button.more");
const told = () => page.querySelector("[role=status]").textContent;
const found = {first: count(), told: told(), more: more.textContent};
press("other text");
Object.assign(found, {kept: count(), hidden: more.hidden});
press("all");
more.click();
return {...found, all: count(), end: more.hidden, pressed: page.querySelector("[aria-pressed=true]").textContent};
"""


def test_a_few_of_what_the_models_say_until_more_are_asked_for(page: str, tmp_path: Path) -> None:
    box = page[page.index('<article class="sample" data-why="still leaks">') :].split("</article>")[0] + "</article>"
    found = look(page.replace(box, box * 3, 1), SAID, tmp_path).found  # five that leak, three of other text
    assert found == {
        "first": "other text,still leaks 6", "told": "6 of 8 are shown", "more": "show 2 more",
        "kept": "other text 3", "hidden": True, "all": "other text,still leaks 8", "end": True, "pressed": "all",
    }  # fmt: skip


CUT = """
const score = page.querySelector(".score"), input = score.querySelector("input");
const told = (part) => part.textContent.match(/\\d+(?=\\s%)/g).map(Number);
const shares = () => [...score.querySelectorAll(".panel p")].map(told);
const before = shares();
input.value = 0;
input.dispatchEvent(new view.Event("input"));
const least = shares(), at = score.querySelector("output").textContent;
input.value = input.max;
input.dispatchEvent(new view.Event("input"));
return {before, least, at, most: shares(), line: score.querySelector(".cut").getAttribute("d")};
"""


def test_the_threshold_of_a_membership_score_moves(page: str, tmp_path: Path) -> None:
    found = look(page, CUT, tmp_path).found
    assert found["before"] == [[100, 0], [0, 0], [0, 0]]  # it begins where the baseline's passages are told apart
    assert (found["least"], found["at"]) == ([[100, 100]] * 3, "-3.000")
    assert (found["most"], found["line"]) == ([[0, 0]] * 3, "M256 0V64")


HINTS = """
const cut = [...page.querySelectorAll(".scroll")].filter((part) => part.scrollWidth > part.clientWidth + 1);
const silent = cut.filter((part) => !part.previousElementSibling.matches(".hint:not([hidden])"));
return {cut: cut.length, silent: silent.length,
  untabbed: cut.filter((part) => part.tabIndex !== 0).length,
  hints: page.querySelectorAll(".hint:not([hidden])").length};
"""


def test_a_table_that_is_cut_off_says_so(page: str, tmp_path: Path) -> None:
    found = look(page, HINTS, tmp_path, PHONE).found
    assert found == {"cut": found["hints"], "silent": 0, "untabbed": 0, "hints": found["cut"]}
    assert found["cut"] > 0  # the table of terms


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
