"""Running a model: batches, a cache that grows in place, decoding, and scores of given text."""
