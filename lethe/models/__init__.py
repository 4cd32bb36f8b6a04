"""Model folders: tokenizers, weights, output head, soft prompts, device and processes."""
