"""Render the first screen of reports/index.html, light and dark, into docs/images/ with a headless Chromium.

python3 tools/pictures.py    `make pictures` runs it; CHROME names a browser that is not on the path
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "reports/index.html"
FOLDER = ROOT / "docs/images"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
SIZE = (1280, 800)  # pixels: width, height
LARGEST = 300_000  # bytes
SCHEMES = {"report.png": 1, "report-dark.png": 0}  # Chromium's preferredColorScheme


def main() -> None:
    if not PAGE.exists():
        sys.exit(f"make pictures: expected {PAGE.relative_to(ROOT)} of a finished run, got none; make repro")
    program = browser()
    for name, scheme in SCHEMES.items():
        picture = FOLDER / name
        picture.parent.mkdir(exist_ok=True)
        render(program, PAGE, picture, scheme)
        size = picture.stat().st_size
        if size > LARGEST:
            sys.exit(f"{picture.relative_to(ROOT)}: expected at most {LARGEST} bytes, got {size}")
        print(f"{picture.relative_to(ROOT)}: {SIZE[0]} x {SIZE[1]} pixels, {size} bytes")


def browser() -> str:
    """The browser's program. Exits with one line where there is none."""
    found = os.environ.get("CHROME") or next(filter(None, map(shutil.which, NAMES)), None)
    return found or sys.exit(
        f"make pictures: expected one of {', '.join(NAMES)} (or CHROME=/path/to/it), got no browser"
    )


def render(program: str, page: Path, picture: Path, scheme: int) -> None:
    """Write the page's first screen as a PNG. Raises CalledProcessError if the browser fails."""
    with tempfile.TemporaryDirectory() as profile:
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]
        options += [f"--user-data-dir={profile}", f"--window-size={SIZE[0]},{SIZE[1]}", f"--screenshot={picture}"]
        options += [f"--blink-settings=preferredColorScheme={scheme}"]
        subprocess.run([program, *options, page.as_uri()], check=True, capture_output=True, timeout=120)


if __name__ == "__main__":
    main()
