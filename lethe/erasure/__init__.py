"""Erasure requests: the ledger, purging, and what dvc gc would take."""
