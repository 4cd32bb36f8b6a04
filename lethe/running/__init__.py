"""A run of the pipeline as a person sees it: what will run and why, one line per stage, and an end to all of it."""
