"""Finding the anchors: the terms that only the forget set uses."""
