"""Pictures of `lethe app` on a finished run, into docs/images/: every tab, one of them dark and one on a phone.

python -m tools.app_pictures [FOLDER]    `make pictures` runs it; FOLDER: of the run, else this checkout
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.pictures import FOLDER, LARGEST, SIZE, browser
from tools.structure import ROOT
from tools.webdriver import PROGRAMS, Browser, browsing

PHONE = (390, 844)  # pixels: width, height
PICTURES = {
    "app-ask.png": SIZE,
    "app-ask-dark.png": SIZE,
    "app-ask-phone.png": PHONE,
    "app-heat-map.png": SIZE,
    "app-runs.png": SIZE,
    "app-stand-ins.png": SIZE,
    "app-attacks.png": SIZE,
}
WORDS = 90  # of the passage
TRIED = 24  # examples, until one makes the model before unlearning name the corpus
CHOOSE = """
const list = document.getElementById(arguments[0]);
list.selectedIndex = arguments[1];
for (const kind of ["input", "change"]) list.dispatchEvent(new Event(kind, { bubbles: true }));
"""
LOADED = "document.querySelector('#models label') && !document.querySelector('#models label[data-state=loading]')"


def main() -> None:
    project = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT
    if not (project / "models/unlearned").is_dir():
        sys.exit(f"make pictures: expected models/unlearned of a finished run in {project}, got none; make repro")
    driver = os.environ.get("CHROMEDRIVER") or next(filter(None, map(shutil.which, PROGRAMS)), None)
    if driver is None:
        sys.exit(f"make pictures: expected one of {', '.join(PROGRAMS)} (or CHROMEDRIVER=/path/to/it), got none")
    command = [sys.executable, "-m", "lethe", "app", "--json"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    app = subprocess.Popen(command, cwd=project, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        address = address_of(app)
        with tempfile.TemporaryDirectory() as profile, browsing(driver, browser(), Path(profile)) as page:
            page.screen(*SIZE)
            page.go(address)
            page.wait(LOADED)
            take_all(page, project)
    finally:
        app.send_signal(signal.SIGINT)
        app.wait()


def address_of(app: subprocess.Popen[str]) -> str:
    """Where a started app listens. Exits with one line if it does not."""
    assert app.stdout is not None
    lines = []
    for line in app.stdout:
        lines.append(line)
        if line == "}\n":
            return json.loads("".join(lines))["url"]
    return sys.exit("make pictures: expected `lethe app` to start, got its end")


def take_all(page: Browser, project: Path) -> None:
    """Every picture, in the order of the tabs."""
    for number in range(1, TRIED + 1):
        page.run(CHOOSE, "ask-example", number)
        answered(page, "ask")
        if page.run("return !!document.querySelector('.answer.baseline .verdict .fail')"):
            break
    for name, size in PICTURES.items():
        if name.startswith("app-ask"):
            take(page, name, size, dark="dark" in name)
    forget = sorted((project / "data/demo/forget").glob("*.txt"))[0].read_text(encoding="utf-8")
    page.click("#tab-passage")
    page.type("#passage-text", " ".join(forget.split()[:WORDS]))
    page.click("#passage-go")
    page.wait("document.querySelector('.strip-of')")
    take(page, "app-heat-map.png", SIZE)
    for tab in ("runs", "stand-ins"):
        page.click(f"#tab-{tab}")
        page.wait(f"document.querySelector('#{tab}-table tbody tr')")
        take(page, f"app-{tab}.png", SIZE)
    page.click("#tab-attacks")
    page.run(CHOOSE, "attack-example", number)
    page.run(CHOOSE, "template", 1)
    page.type("#samples", "8")
    answered(page, "attack")
    take(page, "app-attacks.png", SIZE)


def answered(page: Browser, where: str) -> None:
    """Ask, and wait until every model is done."""
    page.click(f"#{where}-go")
    page.wait(f"document.getElementById('{where}-stop').disabled && document.querySelector('#{where}-answers .words')")


def take(page: Browser, name: str, size: tuple[int, int], dark: bool = False) -> None:
    """Write one picture of the top of the page. Exits if it is too large."""
    page.screen(*size, dark=dark)
    page.run("document.activeElement.blur(); scrollTo(0, 0)")
    picture = FOLDER / name
    picture.write_bytes(page.picture())
    page.screen(*SIZE)
    if picture.stat().st_size > LARGEST:
        sys.exit(f"{picture.relative_to(ROOT)}: expected at most {LARGEST} bytes, got {picture.stat().st_size}")
    print(f"{picture.relative_to(ROOT)}: {size[0]} x {size[1]} pixels, {picture.stat().st_size} bytes")


if __name__ == "__main__":
    main()
