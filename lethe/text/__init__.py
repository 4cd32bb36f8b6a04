"""Text: documents, passages, the name matcher, cloze prompts, overlap with other text, and streaming tables."""
