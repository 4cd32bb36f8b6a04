"""Evaluation of each model: completions, familiarity, benchmark tasks and terms."""
