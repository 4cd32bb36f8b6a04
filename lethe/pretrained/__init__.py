"""Where a model comes from: the Hub at a pinned commit, a folder, or random weights."""
