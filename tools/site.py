"""Build the documentation as a site from the pages of the repository.

python -m tools.site [--pages-only]    writes .scratch/site-pages and, with mkdocs, .scratch/site/index.html

mkdocs reads one folder, and here pages lie where their subject does. So the tracked Markdown files are copied with each
file that one of them links to; a link to a folder becomes its path, as there is no page to show for it.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / ".scratch/site-pages"
LINK = re.compile(r"(?<!\!)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s#]*)(?P<anchor>#[^)\s]*)?\)")
SOURCE = re.compile(r"(?:src|srcset|href)=\"([^\"]+)\"")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--pages-only", action="store_true", help="gather the pages, build nothing")
    arguments = parser.parse_args()
    gather(ROOT, PAGES)
    if not arguments.pages_only:
        command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--config-file", str(ROOT / "mkdocs.yml")]
        done = subprocess.run(command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"})
        if done.returncode:
            sys.exit("site: expected pages without a broken link, got the warnings above")
        print(f"site: {(ROOT / '.scratch/site/index.html').relative_to(ROOT)}")


def gather(root: Path, target: Path) -> None:
    """Copy the tracked pages of a repository and the files they link to into a fresh folder, with the same layout."""
    tracked = subprocess.run(["git", "ls-files", "*.md"], cwd=root, capture_output=True, text=True, check=True)
    shutil.rmtree(target, ignore_errors=True)
    for name in tracked.stdout.splitlines():
        page = root / name
        text = page.read_text(encoding="utf-8")
        for linked in files_linked(page, text, root):
            place = target / linked.relative_to(root)
            place.parent.mkdir(parents=True, exist_ok=True)
            if linked.suffix != ".md":
                shutil.copyfile(linked, place)
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(without_folders(page, text), encoding="utf-8")


def files_linked(page: Path, text: str, root: Path) -> Iterator[Path]:
    """The files of the repository that a page links to or shows."""
    targets = [found["target"] for found in LINK.finditer(text)] + SOURCE.findall(text)
    targets += re.findall(r"!\[[^\]]*\]\(([^)\s]+)\)", text)
    for target in targets:
        linked = (page.parent / target).resolve()
        if target and linked.is_file() and linked.is_relative_to(root):
            yield linked


def without_folders(page: Path, text: str) -> str:
    """The page with links to folders and to files without an ending as plain text: a site has no page for them."""

    def shown(found: re.Match[str]) -> str:
        linked = page.parent / found["target"]
        plain = found["target"] and (linked.is_dir() or (linked.is_file() and not linked.suffix))
        return found["text"] if plain else found[0]

    return LINK.sub(shown, text)


if __name__ == "__main__":
    main()
