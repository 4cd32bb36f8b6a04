"""The one training loop, its losses, and which parameters it tunes."""
