"""What each model says: generation, scores, familiarity, benchmark tasks, terms."""
