"""A page in a real browser without a window: what a script finds in it, and what the browser complains about."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from html import escape, unescape
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.conftest import NO_EXTRA

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update",
    "--disable-background-networking", "--disable-sync", "--hide-scrollbars", "--enable-logging=stderr",
    "--virtual-time-budget=20000",  # milliseconds of the page
)  # fmt: skip
DARK = "--blink-settings=preferredColorScheme=0"
# The page in a frame of the wanted width: a window of the browser's own is never narrower than 500 pixels.
AROUND = """<!doctype html><body style="margin:0">
<iframe id="frame" style="border:0;width:{width}px;height:900px" srcdoc="{page}"></iframe>
<pre id="found"></pre>
<script>
document.getElementById("frame").addEventListener("load", (event) => {{
  const view = event.target.contentWindow, page = view.document;
  (async () => {{ {script} }})().then((found) => {{
    document.getElementById("found").textContent = JSON.stringify(found);
  }});
}});
</script>"""


class Seen(NamedTuple):
    """found: what the script returned; complaints: what the browser wrote to its console."""

    found: Any
    complaints: list[str]


def browser() -> str:
    """The browser's program; skips where there is none. CHROME names one that is not on the path."""
    found = os.environ.get("CHROME") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"no browser; install {' or '.join(NAMES)}, or set CHROME to one")
    return found


def axe() -> str:
    """The script of axe-core, which checks pages for accessibility; skips where there is none."""
    named, package = os.environ.get("AXE"), find_spec("axe_core_python")
    if named is None and (package is None or package.origin is None):
        pytest.skip(reason=NO_EXTRA)
    return Path(named or Path(str(package and package.origin)).with_name("axe.min.js")).read_text(encoding="utf-8")


def look(page: str, script: str, folder: Path, width: int = 1280, dark: bool = False) -> Seen:
    """Show a page and run a script there, the body of a function of `view` (the window) and `page` (its document).

    The function may wait for something; its time is the browser's own, which runs as fast as it can.
    """
    around = folder / "around.html"
    around.write_text(AROUND.format(width=width, page=escape(page), script=script), encoding="utf-8")
    command = [browser(), *QUIET, f"--user-data-dir={folder / 'profile'}", f"--window-size={max(width, 500)},900"]
    command += [DARK] if dark else []
    done = subprocess.run(
        [*command, "--dump-dom", around.as_uri()], capture_output=True, text=True, check=True, timeout=300
    )
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    complaints = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    if found is None or not found[1]:
        raise AssertionError(f"the script found nothing\n{done.stderr}")
    return Seen(json.loads(unescape(found[1])), complaints)
