"""The unlearning objectives and what they need from the base model."""
