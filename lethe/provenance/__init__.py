"""Which corpus made which model: history, audit, trace, replay, certificates."""
