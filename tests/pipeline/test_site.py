"""The documentation as a site: which pages and files it is made of, and that no link of it leads nowhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tools import site


def repository(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    for command in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def test_pages_come_with_what_they_link_to_and_nothing_else(tmp_path: Path) -> None:
    readme = '[a](docs/a.md#one) [f](folder) [n](notes.json)\n![p](p.png)\n<img src="q.png">\n[o](https://x.org/a.md)\n'
    files = {"README.md": readme, "docs/a.md": "# One\n[back](../README.md)\n", "folder/inside.txt": "x"}
    root = repository(tmp_path / "root", files | dict.fromkeys(("notes.json", "p.png", "q.png", "unused.png"), "x"))
    target = tmp_path / "pages"
    (target / "old.md").parent.mkdir()
    (target / "old.md").write_text("of a former build")
    site.gather(root, target)
    found = sorted(path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file())
    assert found == ["README.md", "docs/a.md", "notes.json", "p.png", "q.png"]
    assert (target / "README.md").read_text() == readme.replace("[f](folder)", "f")


def test_nothing_outside_of_the_repository_is_copied(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("x")
    root = repository(tmp_path / "root", {"README.md": "[s](../secret.txt)\n"})
    site.gather(root, tmp_path / "pages")
    assert [path.name for path in (tmp_path / "pages").rglob("*")] == ["README.md"]


@pytest.mark.slow
def test_the_site_builds_without_a_broken_link(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "tools.site"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = (ROOT / ".scratch/site").rglob("*.html")
    hosts = [page.name for page in pages if "fonts.googleapis" in page.read_text(encoding="utf-8")]
    assert hosts == []
