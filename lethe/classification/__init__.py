"""The labelled task of SPUL: its table, its splits, its prompts and its scores."""
