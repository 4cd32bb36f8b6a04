"""A headless Chromium, steered through chromedriver: the W3C's WebDriver protocol over HTTP, standard library only."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAMS = ("chromedriver", "chromium.chromedriver")
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update",
    "--disable-background-networking", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key of an element's id, by the standard


class Browser:
    """One session. An error of the page or of the driver is a RuntimeError with the driver's words."""

    def __init__(self, address: str, program: str, profile: Path) -> None:
        self.address = address
        options = {"binary": program, "args": [*QUIET, f"--user-data-dir={profile}"]}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        made = self.command("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.session = f"/session/{made['sessionId']}"

    def command(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """A command of the protocol; returns its value."""
        content = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(
            self.address + path, content, {"content-type": "application/json"}, method=method
        )
        try:
            with DIRECT.open(asked, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            told = json.load(error)["value"]
            raise RuntimeError(f"{told['error']}: {told['message'].splitlines()[0]}") from None

    def own(self, path: str, **body: Any) -> Any:
        """A command to this session."""
        return self.command("POST", self.session + path, body)

    def go(self, address: str) -> None:
        """Open an address and wait until its page is loaded."""
        self.own("/url", url=address)

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script returns, the body of a function of `arguments`."""
        return self.own("/execute/sync", script=script, args=list(arguments))

    def wait(self, script: str, *arguments: Any, seconds: float = 120) -> Any:
        """What an expression is once it is true. Raises AssertionError if it is not in so many seconds."""
        end = time.monotonic() + seconds
        while not (found := self.run(f"return {script};", *arguments)):
            if time.monotonic() > end:
                text = self.run("return document.body.innerText")
                raise AssertionError(f"never true: {script}\n{text}")
            time.sleep(0.05)
        return found

    def element(self, selector: str) -> str:
        """The path of the first element that a selector finds."""
        found = self.own("/element", using="css selector", value=selector)
        return f"/element/{found[ELEMENT]}"

    def click(self, selector: str) -> None:
        """Click an element where a person would, scrolled into view."""
        self.own(f"{self.element(selector)}/click")

    def type(self, selector: str, text: str, clear: bool = True) -> None:
        """Type into a field as a person would, in place of what it holds."""
        place = self.element(selector)
        if clear:
            self.own(f"{place}/clear")
        self.own(f"{place}/value", text=text)

    def text(self, selector: str) -> str:
        """The text of an element as it is shown."""
        return self.command("GET", f"{self.session}{self.element(selector)}/text")

    def screen(self, width: int, height: int = 900, dark: bool = False) -> None:
        """Show the page on a screen of this size in this colour scheme."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.own("/goog/cdp/execute", cmd="Emulation.setDeviceMetricsOverride", params=size)
        self.own("/goog/cdp/execute", cmd="Emulation.setEmulatedMedia", params={"features": scheme})

    def picture(self) -> bytes:
        """The screen as a PNG."""
        return base64.b64decode(self.command("GET", f"{self.session}/screenshot"))

    def complaints(self) -> list[str]:
        """What the browser wrote to its console since the last look."""
        return [row["message"] for row in self.own("/se/log", type="browser")]

    def tabs(self) -> list[str]:
        """The open tabs."""
        return self.command("GET", f"{self.session}/window/handles")

    def new_tab(self) -> str:
        """Open a tab and go there; returns it."""
        made = self.own("/window/new", type="tab")["handle"]
        self.turn_to(made)
        return made

    def turn_to(self, tab: str) -> None:
        """Go to a tab."""
        self.own("/window", handle=tab)


@contextmanager
def browsing(driver: str, program: str, profile: Path) -> Iterator[Browser]:
    """A browser for as long as the block runs. driver, program: of chromedriver and of Chromium."""
    started = subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert started.stdout is not None
        port = next(
            (found[1] for line in started.stdout if (found := re.search(r"successfully on port (\d+)", line))), None
        )
        if port is None:
            raise RuntimeError(f"{driver}: expected it to listen, got its end")
        browser = Browser(f"http://127.0.0.1:{port}", program, profile)
        try:
            yield browser
        finally:
            browser.command("DELETE", browser.session)
    finally:
        started.terminate()
        started.wait()
