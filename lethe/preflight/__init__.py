"""Checks before the first stage runs: parameters, memory, time, the machine."""
