"""The metrics of TOFU and MUSE, and membership inference."""
