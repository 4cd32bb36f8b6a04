"""What the compared models are to a reader, and the mark that each bears: on pages, in drawings and in a terminal."""

from __future__ import annotations

from typing import NamedTuple


class Shown(NamedTuple):
    """A model's role in a few words and its mark, one shape in every form."""

    role: str
    sign: str  # in text
    marker: str  # of matplotlib
    points: float  # its size in a drawing: all marks are as large as each other to the eye
    side: float  # its size on a page, in rem
    outline: str  # CSS
    light: str  # its colour on a light page, on a dark one, on paper and in a terminal
    dark: str
    paper: str
    terminal: str


CIRCLE, ROUNDED = "border-radius: 50%", "border-radius: .08rem"
DIAMOND = "clip-path: polygon(50% 0, 100% 50%, 50% 100%, 0 50%)"
TRIANGLE = "clip-path: polygon(50% 4%, 100% 96%, 0 96%)"
MODELS = {
    "baseline": Shown("before", "●", "o", 6.5, 0.74, CIRCLE, "#b4532a", "#e39367", "#a04520", "dark_orange3"),
    "suppressed": Shown("half-way", "◆", "D", 5.5, 0.74, DIAMOND, "#8a5a9e", "#c79fdb", "#6f4482", "medium_purple"),
    "unlearned": Shown("after", "■", "s", 6.0, 0.66, ROUNDED, "#17708f", "#68bfdc", "#0f5f7c", "deep_sky_blue3"),
    "retrained": Shown("never read it", "▲", "^", 7.0, 0.74, TRIANGLE, "#5d6670", "#a9b2bb", "#555555", "grey58"),
}
OTHER = "○"  # the sign of any other model


def marked_as(model: str) -> str | None:
    """The model whose mark a model bears, `retrained` of `retrained-2`; None for a checkpoint or a folder."""
    name, dash, number = model.partition("-")
    return name if name in MODELS and number.isdecimal() == bool(dash) else None


def role(model: str) -> str:
    """A model's role in a few words, nothing of one that has none."""
    name = marked_as(model)
    return MODELS[name].role if name else ""
