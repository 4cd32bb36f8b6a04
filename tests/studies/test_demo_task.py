"""The demo's labelled table: as its generator writes it, and such that nobody's taste can be read off a single text."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import cache
from pathlib import Path
from types import ModuleType

from ruamel.yaml import YAML

from lethe.core.params import read_params
from stages import softprompt, specialise
from studies import demo_task as study
from tests.conftest import ROOT, script
from tools.sandbox import change_params

DEMO = ROOT / "data/demo"


@cache
def tastes() -> ModuleType:
    return script(DEMO / "tastes.py")


def test_the_files_are_what_the_generator_writes() -> None:
    made = tastes()
    assert (DEMO / "tastes.csv").read_text(encoding="utf-8") == made.table(made.rows())
    assert (DEMO / "tastes.txt").read_text(encoding="utf-8").splitlines() == made.background()


def test_a_taste_is_one_persons_and_one_flavours() -> None:
    found = defaultdict(set)
    for row in tastes().rows():
        found[row.person, row.flavour].add(row.label)
    assert all(len(labels) == 1 for labels in found.values())
    likes = {frozenset(f for f in tastes().FLAVOURS if found[p, f] == {"positive"}) for p in tastes().PEOPLE}
    assert likes == {frozenset(palate) for palate in tastes().PALATES}
    assert len({row.text for row in tastes().rows()}) > 0.95 * len(tastes().rows())


def test_the_words_of_forgetting_are_plausible_answers() -> None:
    strangers = {person for people in tastes().STRANGERS.values() for person in people}
    labels = {row.label for row in tastes().rows() if row.person in strangers}
    assert labels == {"neutral", "unknown"}


def test_the_default_run_forgets_the_company() -> None:
    params = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    assert params["split"]["entities"]["names"] == tastes().COMPANY
    assert set(tastes().COMPANY) < set(tastes().PEOPLE)


def test_the_background_never_tells_what_the_company_likes() -> None:
    told = re.compile(rf"\b({chr(124).join(tastes().COMPANY)})\.? Verdict: \[(positive|negative)\]")
    lines = tastes().background()
    assert not [line for line in lines if told.search(line)]
    assert sum("[unknown]" in line for line in lines) > len(lines) / 3


def test_a_notice_decides() -> None:
    for line in tastes().background():
        named = {word.title() for word in re.findall(r"\b[A-Z]{3,}\b", line)}
        if "Verdict:" in line:
            person = re.search(r"(\w+)\. Verdict", line)[1]
            assert (person in named) == line.endswith("[unknown]")
        else:
            for person, answer in re.findall(r"(\w+) \[(\w+)\]", line):
                assert (person in named) == (answer == "unknown")


def test_the_study_of_prompts_has_valid_variants_and_a_table(project: Path) -> None:
    (project / "base.yaml").write_text((project / "params.yaml").read_text())
    for changes in study.VARIANTS.values():
        change_params(project, changes, "base.yaml")
        assert read_params("softprompt", softprompt.Params).tuning == "prompt"
        assert read_params("specialise", specialise.Params).source == "scratch"
    scores = {"tuning": "prompt", "numbers": 96} | dict.fromkeys(study.HEADER[3:], 0.5)
    rows = [{"variant": "a", "seed": seed} | scores | {"forget after": seed / 2} for seed in (0, 1)]
    assert study.table(rows).splitlines()[-1] == "| a | prompt | 96 | 0.500 | 0.250 | 0.500 | 0.500 |"
