"""What the Markdown pages print: code blocks, the commands in them, links and the headings links can point to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

FENCE = re.compile(r"^(?P<indent> *)```(?P<info>\S*)[^\n]*\n(?P<body>.*?)^(?P=indent)```$", re.DOTALL | re.MULTILINE)
COMMENT = re.compile(r"<!-- (?P<text>[^\n]+) -->\n$")
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"")


class Block(NamedTuple):
    """A fenced block. line: of its fence, from 1; info: its language; comment: of the line before, "" for none."""

    line: int
    info: str
    comment: str
    body: str

    @property
    def not_run(self) -> str | None:
        """Why no test runs its commands; None where one has to."""
        found = re.fullmatch(r"not run: (.+)", self.comment)
        return found[1] if found else None

    @property
    def exit_codes(self) -> set[int]:
        """The exit codes its commands may have; `<!-- exit code 0 or 3: why -->` says which beside 0."""
        found = re.match(r"exit code ([^:]+): .", self.comment)
        return {int(code) for code in re.findall(r"\d", found[1])} if found else {0}

    @property
    def commands(self) -> list[str]:
        """What a reader would type, a comment at the end of a line included."""
        lines = self.body.splitlines()
        if self.info == "console":
            return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        return [line for line in lines if line and not line.startswith("#")] if self.info == "bash" else []


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found = []
    for fence in FENCE.finditer(text):
        before = text[: fence.start()]
        comment = COMMENT.search(before)
        found.append(Block(before.count("\n") + 1, fence["info"], comment["text"] if comment else "", fence["body"]))
    return found


def prose(text: str) -> str:
    """The page without its fenced blocks."""
    return FENCE.sub("", text)


def links(text: str) -> Iterator[str]:
    """Targets of the links and pictures that lead to no other host."""
    for found in LINK.finditer(prose(text)):
        target = found[1] or found[2]
        if not re.match(r"[a-z]+:", target):
            yield target


def anchors(text: str) -> set[str]:
    """What GitHub lets a link to a heading of this page end in."""
    found: list[str] = []
    for title in re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).lower()
        found.append(re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"))
    return {f"{name}-{found[:at].count(name)}" if name in found[:at] else name for at, name in enumerate(found)}


def broken_links(page: Path) -> list[str]:
    """The links of a page that lead nowhere."""
    text = page.read_text(encoding="utf-8")
    return [link for link in links(text) if not leads_somewhere(page, link)]


def leads_somewhere(page: Path, link: str) -> bool:
    """Whether the file that a link names is there, and has the heading."""
    name, _, heading = link.partition("#")
    target = page.parent / name if name else page
    return target.exists() and (not heading or heading in anchors(target.read_text(encoding="utf-8")))
