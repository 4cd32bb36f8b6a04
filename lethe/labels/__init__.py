"""Generic labels: the translated blocks and the two forward passes."""
