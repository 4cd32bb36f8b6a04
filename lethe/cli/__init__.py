"""The command line of lethe."""
