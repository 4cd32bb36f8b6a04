"""What every stage stands on: params, the workspace of a run, typed tables, content hashes, one-line errors."""
