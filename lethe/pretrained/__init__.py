"""Pretrained models: the Hub at a pinned commit, a folder, or random weights."""
