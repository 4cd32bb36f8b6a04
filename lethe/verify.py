"""Whether a certificate is genuine and speaks of this model."""

from __future__ import annotations


def command() -> None:
    """Whether a certificate is genuine and speaks of this model."""
