"""Outside judges: run in the environment that `make judge` makes, skipped elsewhere."""
