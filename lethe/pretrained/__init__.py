"""Pretrained models: the Hub at a pinned commit, a folder, a GGUF file, or random weights."""
