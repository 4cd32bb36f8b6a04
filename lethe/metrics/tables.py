"""The columns of data/measures.csv and data/tokens.csv, which hold no text."""

from __future__ import annotations

from lethe.core.tables import COMPARED

MEASURES = ("model", "metric", "item", "value")
TOKENS = ("item", "text", "start", "end", *COMPARED)  # text: its number among the forget set's training documents
