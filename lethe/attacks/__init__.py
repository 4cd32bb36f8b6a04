"""Extraction attacks on a model that has unlearned."""
