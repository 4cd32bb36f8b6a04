"""Templates of strangers: those that end are taken, whatever they say, and those that do not are told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lethe.preflight import chat_template

LOOPS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize("text", [LOOPS, "{{ 'x'.center(10**11) }}"])
def test_a_template_that_does_not_end(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_template, "SECONDS", 1)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": text}))
    (said,) = chat_template.template_problems(tmp_path, "data/forget")
    assert said.startswith("baseline.folder: expected a chat template that ends, got one in ")


def test_a_template_that_ends_or_refuses(tmp_path: Path) -> None:
    assert "got none in" in next(chat_template.template_problems(tmp_path, "data/forget"))
    text = "{% for m in messages %}{{ m.content }}{{ raise_exception('no') }}{% endfor %}"
    (tmp_path / "chat_template.jinja").write_text(text)
    assert list(chat_template.template_problems(tmp_path, "data/forget")) == []
