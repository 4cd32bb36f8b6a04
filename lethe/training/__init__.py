"""The training loop, its losses, and its tunings: full, lora, prompt."""
