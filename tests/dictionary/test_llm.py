"""Translations from a chat model, against a server on 127.0.0.1."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lethe.core.errors import StageError
from lethe.dictionary.entity_types import Context, Usage
from lethe.dictionary.entries import Choice, finder_of
from lethe.dictionary.llm import Asked, ask_translations, first_ones_distinct, prompt, read_entries, usable_choices
from lethe.llm_client import ChatSettings
from tests import fake_chat
from tests.fake_chat import Server, completion

server = fake_chat.server

TERMS = {"Orla": ["Orla"], "Quorls": ["Quorls", "Quorl"], "Zod": ["Zod"]}
CONTEXTS = {name: [Context("Here\nis ", name, " again.")] for name in TERMS}
ORLA = {"kind": "person", "translations": ["Alice", "Ruth"]}


def use(name: str, singular: str = "") -> Usage:
    return Usage(name, "thing", 1.0, 0.0, 0.0, 0.0, 0.0, singular or name, bool(singular), 0, 0)


USES = {"Orla": use("Orla"), "Quorls": use("Quorls", "Quorl"), "Zod": use("Zod")}


def test_prompt() -> None:
    system, user = prompt(["Orla"], CONTEXTS, 4)
    assert "person, place, thing, creature, group, event" in system["content"]
    assert user["content"] == (
        "Suggest 4 translations for each of these names; with each come texts that use it.\n"
        '{\n "Orla": [\n  "Here is Orla again."\n ]\n}'
    )


def test_read_entries() -> None:
    good = {"Orla": ORLA, "Tom": ORLA}
    assert read_entries([["Orla", "Zod"]], [good]) == {"Orla": ORLA}  # Tom was not asked for, Zod is missing
    bad: list[Any] = [None, [], "x", {"Orla": 1}, {"Orla": {"kind": "dragon", "translations": ["A"]}}]
    bad += [{"Orla": {"kind": "person", "translations": value}} for value in ("Alice", None, [1])]
    assert read_entries([["Orla"]] * len(bad), bad) == {}


def test_usable_choices() -> None:
    suggested = [" ducks", "ducks", "", "Orla's ducks", "R2D2", "mice"]
    found = usable_choices(suggested, TERMS["Quorls"], USES["Quorls"], {}, finder_of(TERMS))
    assert found == [Choice("duck", "ducks", None), Choice("mice", "mice", None)]


def test_first_ones_distinct() -> None:
    alice, ruth, kate = (Choice(name, name + "s", None) for name in ("Alice", "Ruth", "Kate"))
    usable = {"Orla": [alice, ruth], "Ysme": [alice, ruth, kate], "Zod": [alice, ruth]}
    # Zod: both are somebody's first already
    assert first_ones_distinct(usable, 2) == {"Orla": [alice, ruth], "Ysme": [ruth, kate], "Zod": [alice, ruth]}


def test_remarks() -> None:
    assert Asked({}, {}, 0, []).remarks() == []
    assert Asked({}, {}, 1, ["Zod"]).remarks() == ["1 unparsable reply", "none for Zod"]
    assert Asked({}, {}, 2, ["Orla", "Zod"]).remarks() == ["2 unparsable replies", "none for Orla; Zod"]


def ask(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: str) -> Asked:
    monkeypatch.chdir(tmp_path)  # the replies are kept in .scratch
    server.answer = lambda body: (200, completion(answer))
    settings = ChatSettings(base_url=server.url, model="m", send_forget_text=True, concurrency=2, retries=0)
    return ask_translations(sorted(TERMS), CONTEXTS, TERMS, USES, {"mouse": "mice"}, 2, settings)


def test_ask_translations(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answer: Mapping[str, Any] = {
        "Orla": {"kind": "person", "translations": ["Zod", "Alice", "Ruth", "Kate"]},  # Zod is an anchor
        "Quorls": {"kind": "creature", "translations": ["ducks"]},
        "Zod": {"kind": "person", "translations": ["Orla"]},  # nothing left
    }
    found = ask(server, monkeypatch, tmp_path, f"Here you are:\n```json\n{json.dumps(answer)}\n```")
    assert found.choices == {
        "Orla": [Choice("Alice", "Alices", None), Choice("Ruth", "Ruths", None)],
        "Quorls": [Choice("duck", "ducks", None)],
    }
    assert found.kinds == {"Orla": "person", "Quorls": "creature"}
    assert found.remarks() == ["none for Zod"]
    assert len(server.asked) == 1


def test_nothing_usable(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(StageError) as caught:
        ask(server, monkeypatch, tmp_path, "I would rather not.")
    assert str(caught.value) == (
        f"{server.url}: expected translations as JSON, got none that can be used in 1 replies of m (1 "
        "unparsable); try another model"
    )
