"""The command line: every command of lethe is registered here."""
