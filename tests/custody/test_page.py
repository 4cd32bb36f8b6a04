"""The page of a certificate: the whole statement for a person, and never a fail that reads as a pass."""

from __future__ import annotations

import base64
import html
import json
import re
from pathlib import Path
from typing import Any

import pytest

from lethe.custody.page import criterion, page
from tests.conftest import ROOT
from tests.recorded import git, lethe

Run = tuple[Path, dict[str, str]]

MET = {"name": "a", "met": True, "value": 1, "bound": "at most", "limit": 2}


@pytest.fixture(scope="module")
def made(judged_run: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """The statement about a model that the gate failed, and its page."""
    folder = tmp_path_factory.mktemp("page")
    key, out = str(folder / "lethe.key"), str(folder / "certificate.json")
    words = ("certify", "models/unlearned", "--new-key", "--key", key, "--out", out, "--html")
    done = lethe(judged_run[0], *words)
    assert done.exit_code == 0, (done.output, done.exception)
    assert f"written   {folder / 'certificate.html'}" in done.output
    statement = json.loads(base64.b64decode(json.loads((folder / "certificate.json").read_text())["payload"]))
    return statement, (folder / "certificate.html").read_text()


def plain(text: str) -> str:
    """What a person reads of a page without its style."""
    body = re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())


def changed(statement: dict[str, Any], **predicate: Any) -> str:
    return page(statement | {"predicate": statement["predicate"] | predicate}, "a" * 64, "certificate.json")


def test_it_holds_all_that_the_statement_holds(made: tuple[dict[str, Any], str], judged_run: Run) -> None:
    statement, text = made
    shown = plain(text)
    whole = html.unescape(re.findall(r"<pre>(.*?)</pre>", text, re.DOTALL)[0])
    assert json.loads(whole) == statement
    predicate = statement["predicate"]
    values = [predicate["id"], predicate["signedOn"], predicate["corpus"]["digest"]["md5"], predicate["model"]["md5"]]
    values += [
        git(judged_run[0], "rev-parse", "HEAD"),
        "2026-01-10T09:00:00+00:00 by Ada",
        "python 3.11.7, torch 2.13.0",
    ]
    values += [row["digest"]["sha256"] for row in (*statement["subject"], *predicate["corpus"]["documents"])]
    values += [*predicate["proves"], *predicate["doesNotProve"]]
    before = shown[: shown.index("the whole statement, as it was signed")]
    for value in values:
        assert value in before, value
    assert "Familiarity (completion) remaining (retrained 0, baseline 1) at most 0.1 0.5 MISSED" in before


def test_it_is_alone(made: tuple[dict[str, Any], str]) -> None:
    text = made[1]
    assert "default-src 'none'; style-src 'unsafe-inline'" in text
    style = re.search(r"<style>.*?</style>", text, re.DOTALL)[0]  # type: ignore[index]
    assert not re.search(r"url\(|@import", style)
    assert not re.search(r"<(script|img|link|iframe|form|a|object|embed)\b|\bsrc=|\bhref=|\bon\w+=", text)


def test_a_fail_reads_as_a_fail_and_never_as_a_pass(made: tuple[dict[str, Any], str]) -> None:
    text = made[1]
    assert "<title>FAIL: certificate of an unlearned model</title>" in text
    shown = plain(text)
    assert shown.index("The model FAILED its release gate") < shown.index("What is certified")
    before = shown[: shown.index("How it was made and measured")]
    assert not re.search(r"\bpass(ed)?\b", before, re.IGNORECASE)
    assert '<div class="seal fail">' in text


@pytest.mark.parametrize(
    ("predicate", "headline", "seal"),
    [
        ({"verdict": "pass", "thresholds": [MET]}, "The model passed its release gate", "pass"),
        ({"verdict": "pass", "thresholds": [{"name": "a", "met": False, "result": "pass"}]},
         "It cannot be told whether the model meets its release gate", "cannot-tell"),
        ({"verdict": "pass", "thresholds": []}, "It cannot be told whether the model meets its release gate",
         "cannot-tell"),
        ({"verdict": "PASS", "thresholds": []}, "No release gate was recorded for this model", "cannot-tell"),
        ({"verdict": None, "thresholds": [MET]}, "No release gate was recorded for this model",
         "cannot-tell"),
    ],
)  # fmt: skip
def test_only_a_pass_that_its_criteria_give_reads_as_one(
    made: tuple[dict[str, Any], str], predicate: dict[str, Any], headline: str, seal: str
) -> None:
    text = changed(made[0], **predicate)
    assert f"<h1>{headline}</h1>" in text
    assert f'<div class="seal {seal}">' in text


@pytest.mark.parametrize(
    ("row", "result"),
    [
        (MET | {"result": "pass"}, "met"),
        ({"met": False, "result": "pass"}, "MISSED"),
        ({"met": None, "result": "not measurable"}, "not measurable here"),
        ({"met": None}, "cannot tell"),
        (MET, "met"),
        ({"met": True}, "cannot tell"),
        ({"met": None, "result": ["pass"]}, "cannot tell"),
    ],
)
def test_a_criterion_is_met_only_where_it_says_so_twice(row: dict[str, Any], result: str) -> None:
    assert criterion(row)["result"] == result


def test_names_and_words_of_strangers_are_no_markup(made: tuple[dict[str, Any], str]) -> None:
    evil = "</pre><script>alert(1)</script><h1>The model passed its release gate</h1>"
    statement = made[0] | {"subject": [made[0]["subject"][0] | {"name": evil}]}
    text = page(
        statement | {"predicate": statement["predicate"] | {"doesNotProve": [evil], "attacks": [{evil: evil}, 7]}},
        evil,
        evil,
    )
    assert "<script" not in text
    assert text.count("<h1>") == 1


@pytest.mark.parametrize("predicate", [{"corpus": [1], "metrics": 3, "runDetails": None, "buildDefinition": "x"}, {}])
def test_a_statement_without_its_parts_has_a_page(made: tuple[dict[str, Any], str], predicate: dict[str, Any]) -> None:
    text = page(made[0] | {"predicate": {"model": {"path": "m", "md5": "x"}} | predicate}, "k", "c.json")
    assert "<h1>No release gate was recorded for this model</h1>" in text


KINDS = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}


def misfits(value: Any, schema: dict[str, Any], where: str = "") -> list[str]:
    """Where a value is not as a JSON schema of the few words that ours uses has it."""
    names = [schema["type"]] if isinstance(schema.get("type"), str) else schema.get("type", [])
    fits = any(value is None if name == "null" else isinstance(value, KINDS[name]) for name in names)
    found = [where] if names and not fits else []
    found += [where] if "const" in schema and value != schema["const"] else []
    found += [where] if "enum" in schema and value not in schema["enum"] else []
    if isinstance(value, dict):
        own = schema.get("properties", {})
        found += [f"{where}.{name} is missing" for name in schema.get("required", ()) if name not in value]
        extra = value.keys() - own.keys() if schema.get("additionalProperties") is False else ()
        found += [f"{where}.{name} is unknown" for name in extra]
        found += [
            row for name in value.keys() & own.keys() for row in misfits(value[name], own[name], f"{where}.{name}")
        ]
    if isinstance(value, list):
        found += [row for each in value for row in misfits(each, schema.get("items", {}), f"{where}[]")]
    return found


def test_a_certificate_fits_its_schema(made: tuple[dict[str, Any], str]) -> None:
    schema = json.loads((ROOT / "docs/certificate.schema.json").read_text())
    statement = made[0]
    assert misfits(statement, schema) == []
    predicate = statement["predicate"]
    assert misfits(statement | {"predicate": predicate | {"verdict": "passed", "more": 1}}, schema) == [
        ".predicate.more is unknown", ".predicate.verdict",
    ]  # fmt: skip
