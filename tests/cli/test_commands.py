"""What docs/commands.md promises of every command: its name, its exit codes, the keys of its JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from lethe.cli import commands
from tests.conftest import ROOT
from tests.recorded import lethe

Run = tuple[Path, dict[str, str]]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs/commands.md").read_text().splitlines()
    if line.startswith("| `lethe ")
]
TABLE = {row[0].strip("`").removeprefix("lethe "): row[1:] for row in ROWS}


def test_every_command_is_in_the_table() -> None:
    root = get_command(commands.app)
    names = set()
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        names |= {f"{name} {inner}" for inner in getattr(command, "commands", ())} or {name}
    assert names == set(TABLE)


def documented(command: str, part: int = 0) -> set[str]:
    """The keys that the table gives, those before or after `; with`."""
    cell = TABLE[command][3].split("; with")[part]
    return set(re.findall(r"\w+(?=,|$)", cell.removeprefix(" --check").removeprefix(" --chain")))


@pytest.fixture(scope="module")
def project(judged_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of a judged run with params, as the commands want it."""
    import shutil

    folder = shutil.copytree(judged_run[0], tmp_path_factory.mktemp("commands") / "project", symlinks=True)
    (folder / "params.yaml").write_text("corpus: {forget: data/asked}\n")
    (folder / "data/asked/r").mkdir(parents=True)
    (folder / "data/asked/r/a.txt").write_text("Nobody knew.\n")
    return folder


WORDS: list[tuple[str, list[str], int, int]] = [  # command, its arguments, part of the table's cell, exit code
    ("audit", ["models/unlearned", "--verify"], 0, 0),
    ("trace", ["data/forget/a.txt"], 0, 0),
    ("gate", ["--ref", "HEAD"], 0, 3),
    ("certify", ["models/unlearned", "--new-key"], 0, 0),
    ("verify", ["certificate.json", "models/unlearned"], 0, 0),
    ("revoke", ["certificate.json"], 0, 0),
    ("requests list", [], 0, 0),
    ("requests check", [], 0, 0),
    ("purge", ["r", "--check"], 1, 3),
    ("gc", ["--all-commits"], 0, 0),
]


def test_the_keys_and_exit_codes_are_those_of_the_table(project: Path) -> None:
    assert lethe(project, "requests", "add", "r", "data/asked/r").exit_code == 0
    for command, arguments, part, code in WORDS:
        done = lethe(project, *command.split(), *arguments, "--json")
        found: dict[str, Any] = json.loads(done.stdout)
        assert set(found) == documented(command, part), command
        assert done.exit_code == code, (command, done.output)
